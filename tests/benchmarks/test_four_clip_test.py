"""The published way of a test and ours see the same views; the script compares both."""

import json
import sys

import four_clip_test as script
import pytest
import torch
from tiny_run import TINY

from uniformer_video.bench.published_test import PublishedViews
from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError
from uniformer_video.zoo.create import build_network

pytest.importorskip("decord", reason="needs decord")


def test_views_are_those_of_our_tests(make_video):
    records = [
        VideoRecord(str(make_video(f"{i}.mp4", frames=30, size=size)), f"{i}", (0,))
        for i, size in enumerate([(48, 64), (70, 50)])
    ]
    arguments = records, ClipSampling(4, 2), EvalViews(40, 32, num_crops=3), 2
    ours, published = EvalDataset(*arguments), PublishedViews(*arguments)
    assert len(published) == 2 * 6
    for index in range(2):
        theirs = torch.stack([published[6 * index + view] for view in range(6)])
        torch.testing.assert_close(ours[index].views, theirs, atol=1e-4, rtol=0)


def test_a_video_that_decord_cannot_read_is_named(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    records = [VideoRecord(str(tmp_path / "bad.mp4"), "bad", (0,))]
    with pytest.raises(DecodeError, match=r"bad\.mp4"):
        PublishedViews(records, ClipSampling(4, 2), EvalViews(40, 32), 2)[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [(["--rounds", "0"], "--rounds is 0"), (["--workers", "-2"], "-1 for one a core")],
)
def test_what_cannot_be_measured_is_one_line(words, told, capsys):
    with pytest.raises(SystemExit, match="2"):
        script.options(words)
    assert told in capsys.readouterr().err


def test_the_script_compares_all_sides(make_video, tmp_path, monkeypatch, capsys):
    sizes = {
        "embed_dims": json.loads(TINY["UNIFORMER.EMBED_DIM"]),
        "depths": json.loads(TINY["UNIFORMER.DEPTH"]),
        "head_dim": 8,
    }
    monkeypatch.setattr(script, "build_network", lambda name, k: build_network(name, k, **sizes))
    written = tmp_path / "out.json"
    words = ["--clips", 2, "--frames", 4, "--size", 32, "--rounds", 1, "--workers", 0]
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    words += ["--videos", make_video(frames=30), tmp_path / "bad.mp4", "--json", written]
    monkeypatch.setattr(sys, "argv", ["four_clip_test.py", *map(str, words)])
    assert script.main() == 0
    out = capsys.readouterr().out
    assert "| published fp32 |" in out and "| ours bf16 |" in out
    told = json.loads(written.read_text())
    fp32, bf16 = (float(note.split()[5]) for note in told["notes"][1:3])
    assert told["notes"][3].startswith("1 video left out as broken") and "bad.mp4" in out
    assert fp32 < 1e-3 and 0 < bf16 < 0.1
    assert told["figures"]["ours fp32: times as fast"]["unit"] == "x"
    monkeypatch.setattr(sys, "argv", ["four_clip_test.py", "--videos", str(tmp_path / "none")])
    assert script.main() == 2
    assert capsys.readouterr().err.startswith("error: ")
