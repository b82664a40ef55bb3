"""`predict` into files: in order, resumed after any end, broken videos named, other files refused."""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.inference.prediction_rows import TableRows
from uniformer_video.inference.predictor import Predictor
from uniformer_video.prepare.shards import make_shards
from uniformer_video.runs import build_model
from uniformer_video.tasks.prediction import Prediction
from uniformer_video.weights.checkpoint import write_checkpoint

NAMES = ["sit", "run", "eat"]


@pytest.fixture
def checkpoint(tiny, tmp_path):
    cfg = load_config(overrides=tiny())
    torch.manual_seed(0)
    model, _ = build_model.build_model(cfg, len(NAMES))
    torch.nn.init.normal_(model.head.weight)
    path = tmp_path / "weights.pt"
    write_checkpoint(path, model.state_dict(), build_model.build_metadata(cfg, model, NAMES))
    return path


@pytest.fixture
def folder(make_video, tmp_path):
    """Five videos, of which 2.mp4 is broken."""
    for number in range(5):
        make_video(f"videos/{number}.mp4", frames=10 + 7 * number)
    (tmp_path / "videos" / "2.mp4").write_bytes(b"no video")
    return tmp_path / "videos"


def read_rows(path):
    """[(file, best class, score, why there is none)] of any form."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        best = [row.get("top", [{"class": "", "score": 0}])[0] for row in rows]
        return [
            (os.path.basename(row["video"]), first["class"], first["score"], row.get("error", ""))
            for row, first in zip(rows, best, strict=True)
        ]
    if path.suffix == ".parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = parquet.read_table(path).to_pylist()
    else:
        rows = list(csv.DictReader(path.open(newline="")))
    return [
        (
            os.path.basename(row["path"]),
            row["predicted_name"] or "",
            float(row["score"] or 0),
            row["failure"] or "",
        )
        for row in rows
    ]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_folder_into_a_file_and_on_from_anywhere(call, checkpoint, folder, tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"out.{suffix}"
    words = ["predict", folder, "--checkpoint", checkpoint, "--out", out, "--workers", 2]
    status, printed, errors = call(*words)
    assert (status, printed) == (2, "")
    assert "1 video of 5 cannot be predicted" in errors and "2.mp4" in errors.splitlines()[-1]
    rows, content = read_rows(out), out.read_bytes()
    assert [row[0] for row in rows] == [f"{number}.mp4" for number in range(5)]
    assert "cannot be opened" in rows[2][3] and not any(row[3] for row in rows[:2] + rows[3:])
    predictor = Predictor.from_checkpoint(checkpoint)
    for name, best, score, why in rows:
        if not why:
            expected = predictor(folder / name).top(1)[0]
            assert (best, score) == (expected[0], pytest.approx(expected[1], abs=2e-6))
    # the same command has nothing to do
    status, _, errors = call(*words)
    assert status == 2 and "has 5 videos already; 0 to go" in errors
    assert read_rows(out) == rows
    if suffix == "parquet":
        return
    # a run that was killed in the middle of a row
    lines = content.splitlines(keepends=True)
    head = suffix == "csv"
    out.write_bytes(b"".join(lines[: head + 2]) + lines[head + 2][:9])
    status, _, errors = call(*words)
    assert status == 2 and "has 2 videos already; 3 to go" in errors
    assert out.read_bytes() == content
    # videos that come to it later stand where they are given
    (folder / "0b.mp4").write_bytes((folder / "0.mp4").read_bytes())
    call(*words)
    names = [row[0] for row in read_rows(out)]
    assert names == ["0.mp4", "0b.mp4", "1.mp4", "2.mp4", "3.mp4", "4.mp4"]


def test_lists_frames_shards_and_repeats(call, checkpoint, folder, tmp_path):
    (tmp_path / "plain.txt").write_text("videos/1.mp4\nvideos/0.mp4\n")
    (tmp_path / "labels.csv").write_text("videos/3.mp4,7\nvideos/1.mp4 2\n")
    (tmp_path / "parts.csv").write_text("path,start,end\nvideos/4.mp4,0,0.5\nvideos/4.mp4,0.5,1\n")
    (tmp_path / "one.csv").write_text("path\nvideos/4.mp4\n")

    def names(*places):
        status, out, errors = call("predict", *places, "--checkpoint", checkpoint, "--json")
        assert status == 0, errors
        return [json.loads(line)["video"] for line in out.splitlines()], errors

    assert names(tmp_path / "plain.txt")[0] == ["videos/1.mp4", "videos/0.mp4"]
    found, errors = names(tmp_path / "labels.csv", folder / "3.mp4", tmp_path / "one.csv")
    assert found == ["videos/3.mp4", "videos/1.mp4", "videos/4.mp4"]
    assert "1 video is named more than once" in errors
    assert names(tmp_path / "parts.csv")[0] == ["videos/4.mp4#0-0.5", "videos/4.mp4#0.5-1"]
    (folder / "2.mp4").unlink()
    (tmp_path / "list.csv").write_text("videos/1.mp4,0\nvideos/0.mp4,1\n")
    shards = tmp_path / "shards"
    make_shards(tmp_path / "list.csv", shards, 1, workers=1)
    for place in (shards, shards / "index.csv", next(shards.glob("*.tar"))):
        assert names(place)[0] == ["videos/1.mp4", "videos/0.mp4"]


@pytest.mark.slow  # it starts two processes
def test_kill_9_loses_nothing_and_repeats_nothing(checkpoint, folder, tmp_path):
    out = tmp_path / "out.csv"
    (folder / "2.mp4").unlink()
    for number in range(10, 40):
        (folder / f"{number}.mp4").write_bytes((folder / "1.mp4").read_bytes())
    words = [sys.executable, "-m", "uniformer_video", "predict", str(folder), "--checkpoint"]
    words += [str(checkpoint), "--out", str(out), "--batch-size", "1", "--workers", "1"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True) as killed:
        while killed.poll() is None and (not out.exists() or out.read_bytes().count(b"\n") < 4):
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
    begun = out.read_bytes()
    assert begun.count(b"\n") >= 4
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes().startswith(begun[: begun.rfind(b"\n") + 1])
    names = [row[0] for row in read_rows(out)]
    assert names == sorted(path.name for path in folder.iterdir())


def test_other_files_are_left_alone(call, checkpoint, folder, tmp_path):
    other = tmp_path / "other.pt"
    weights = torch.load(checkpoint, weights_only=True)
    weights["model"]["head.bias"] += 1
    torch.save(weights, other)
    mine = tmp_path / "mine.csv"
    words = ["predict", folder, "--checkpoint", checkpoint, "--workers", 0, "--out"]
    assert call(*words, mine)[0] == 2
    (tmp_path / "list.csv").write_text("a.mp4,1\n")
    (tmp_path / "folder.csv").mkdir()
    content = mine.read_bytes()
    for out, told in [
        ("list.csv", "was not written by predict"),
        ("folder.csv", "is a folder"),
        ("none/out.csv", "there is no folder"),
        ("best.pt", "call it .csv, .jsonl or .parquet"),
        ("out", "call it .csv"),
    ]:
        status, _, errors = call(*words, tmp_path / out)
        assert (status, len(errors.splitlines())) == (2, 1) and told in errors
    for changed, told in [
        (["--top", 1], "another number of classes told"),
        (["--clips", 1], "another protocol"),
        (["--checkpoint", other], "another checkpoint"),
    ]:
        status, _, errors = call(*words, mine, *changed)
        assert status == 2 and told in errors.splitlines()[-1]
    assert mine.read_bytes() == content and (tmp_path / "list.csv").read_text() == "a.mp4,1\n"
    mine.write_text("something,else\n1,2\n")
    assert "no file of these predictions any more" in call(*words, mine)[2]


def test_two_runs_do_not_write_one_file(checkpoint, folder, tmp_path, call):
    out = tmp_path / "out.csv"
    words = ["predict", str(folder / "1.mp4"), "--checkpoint", str(checkpoint), "--out", str(out)]
    assert call(*words)[0] == 0
    with open(out, "r+b") as file:
        held = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import fcntl, sys, time; f = open(sys.argv[1], 'r+b'); fcntl.lockf(f, fcntl.LOCK_EX); "
                "print('held', flush=True); time.sleep(60)",
                str(out),
            ],
            stdout=subprocess.PIPE,
        )
        assert held.stdout.readline() == b"held\n" and file
        status, _, errors = call(*words)
        held.kill()
        held.wait()
        held.stdout.close()
    assert status == 2 and "is being written by another process" in errors


def test_a_full_disk_keeps_what_was_predicted(call, checkpoint, folder, tmp_path):
    out = tmp_path / "out.jsonl"
    (folder / "2.mp4").unlink()
    words = ["predict", folder, "--checkpoint", checkpoint, "--out", out, "--workers", 0]
    call(*words)
    content = out.read_bytes()
    out.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    beside = out.with_name(out.name + ".predict.json").stat().st_size
    limit = max(len(content) * 3 // 4, beside)
    rows = content[:limit]
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        status, _, errors = call(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert out.read_bytes() == rows[: rows.rfind(b"\n") + 1]
    if limit < len(content):
        assert status == 2 and f"too large: {out}" in errors
    assert call(*words)[0] == 0 and out.read_bytes() == content


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--device", "cuda:99"], "the device cuda:99 is not here; there are cpu"),
        (["--device", "gpu"], "'gpu'; allowed: 'cpu', 'cuda', 'mps'"),
        (["--batch-size", 0], "--batch-size is 0; it must be at least 1"),
        (["--workers", -2], "--workers is -2"),
        (["--out", "a.csv", "--json"], "--json prints and --out writes"),
        (["--out", ""], "--out is empty"),
    ],
)
def test_bad_input_is_one_line(call, checkpoint, folder, words, told, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, _, errors = call("predict", folder, "--checkpoint", checkpoint, *words)
    assert (status, len(errors.splitlines())) == (2, 1) and told in errors
    (tmp_path / "nothing").mkdir()
    status, _, errors = call("predict", tmp_path / "nothing", "--checkpoint", checkpoint)
    assert status == 2 and "holds no videos" in errors


def test_the_answer_may_be_none_of_these():
    record = VideoRecord("a.mp4", "a.mp4", ())
    row = TableRows(2).row(record, Prediction("a.mp4", np.array([0.4, 0.6]), ("a", "b"), 0.7))
    assert (row["predicted_name"], row["none_of_these"]) == ("none of these", True)
    assert (row["top1_name"], row["top1_score"]) == ("b", 0.6)
    assert set(row) == set(TableRows(2).kinds)
