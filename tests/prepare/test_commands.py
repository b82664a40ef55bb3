"""The preparation tool as a user types it: statuses, what is printed, mistakes."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from uniformer_video.commands import prepare
from uniformer_video.data.lists.annotations import DATASETS
from uniformer_video.data.lists.shard_index import read_index

ROOT = Path(__file__).parents[2]
STEPS = ("lists", "resize", "frames", "shards", "check")


@pytest.fixture
def prepare_in(call, monkeypatch, tmp_path):
    """A function: run the tool in this process, in `tmp_path`; (status, standard output, errors)."""
    monkeypatch.chdir(tmp_path)
    return partial(call, command="prepare")


def test_the_tool_explains_itself_without_being_installed(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "prepare_dataset.py"), "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert all(step in done.stdout for step in STEPS)


def test_every_dataset_can_be_listed():
    assert (*DATASETS, "imagenet") == prepare._DATASETS


@pytest.mark.parametrize("step", STEPS)
def test_every_step_explains_itself(prepare_in, step):
    status, out, _ = prepare_in(step, "--help")
    assert status == 0
    assert "usage:" in out and len(out.splitlines()) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["resize", "in", "--out", "o", "--short-side", "15"],
            "--short-side is 15; it takes an even",
        ),
        (["resize", "in", "--out", "o", "--short-side", "321"], "--short-side is 321"),
        (["resize", "in", "--out", "o", "--crf", "52"], "--crf is 52"),
        (["resize", "in", "--out", "o", "--gop", "0"], "--gop is 0"),
        (["resize", "in", "--out", "o", "--workers", "-1"], "--workers is -1"),
        (["resize", "nowhere", "--out", "o"], "nowhere does not exist; give a folder of videos"),
        (["frames", "in", "--out", "o", "--quality", "0"], "--quality 1 to 100"),
        (["frames", "in", "--out", "in/o"], "would lie inside in, among the videos"),
        (["shards", "no.csv", "--out", "o"], "there is no file no.csv"),
        (["shards", "no.csv", "--out", "o", "--shard-size", "0"], "--shard-size is 0"),
        (["check", "no.csv"], "there is no file no.csv"),
        (["check", "in", "--timeout", "0"], "--timeout is 0"),
        (["check", "in", "--out", "no/bad.csv"], "cannot write no/bad.csv"),
        (
            ["lists", "k400", "--annotations", "no", "--videos", "in", "--out", "o"],
            "no is not a folder; give the one",
        ),
        (
            ["lists", "ssv2", "--annotations", "in", "--videos", "in", "--out", "o", "--with-test"],
            "--with-test is for k400 and k600",
        ),
    ],
)
def test_mistakes_are_one_line_and_status_2(prepare_in, make_video, arguments, message):
    make_video("in/a.mp4", frames=2)
    status, _, errors = prepare_in(*arguments)
    assert status == 2
    assert errors.startswith("error: ") and message in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments",
    [[], ["fly"], ["lists", "k400"], ["lists", "k300"], ["resize", "in"], ["check"]],
)
def test_wrong_usage_is_status_2(prepare_in, arguments):
    status, _, errors = prepare_in(*arguments)
    assert status == 2
    assert "usage:" in errors


def test_a_bad_video_makes_status_2_and_costs_only_itself(prepare_in, make_video, tmp_path):
    make_video("in/a.mp4", frames=4)
    (tmp_path / "in" / "b.mp4").write_bytes(b"")
    status, out, _ = prepare_in(
        "resize", "in", "--out", "o", "--short-side", "32", "--workers", "1"
    )
    assert status == 2
    assert out.startswith("o: 1 resized, 1 failed\nin/b.mp4: cannot be opened")
    assert "All that failed are in o/failed.csv." in out
    status, out, _ = prepare_in("check", "in", "--workers", "1")
    assert status == 2
    assert "2 videos checked, 1 bad: see bad.csv" in out and "in/b.mp4: cannot be opened" in out
    status, out, _ = prepare_in("check", "o", "--out", "none.csv", "--workers", "1")
    assert (status, out) == (0, "1 video checked, 0 bad\n")


def test_from_a_list_to_shards(prepare_in, make_video, tmp_path):
    video = make_video("in/a.mp4", frames=4)
    (tmp_path / "train.csv").write_text("a.mp4,3\n")
    status, out, _ = prepare_in(
        "shards", "train.csv", "--out", "o", "--prefix", "in", "--workers", "1"
    )
    assert (status, out) == (0, "o: 1 shard packed\n")
    _, out, _ = prepare_in("shards", "train.csv", "--out", "o", "--prefix", "in", "--workers", "1")
    assert out == "o: 1 shard kept\n"
    (entry,) = read_index(tmp_path / "o")
    assert (entry.name, entry.labels, entry.length) == ("a.mp4", (3,), video.stat().st_size)
