"""`uniformer-video bench decode`: what it asks for, and how it shows who is how fast."""

import numpy as np
import pytest

from uniformer_video import cli
from uniformer_video.bench import decode
from uniformer_video.prepare.frames import Pictures, extract_video


def test_requests_are_of_the_published_protocol():
    asked = decode.requests(300, seed=3)
    assert [clips.shape for clips in asked.values()] == [(1, 16), (4, 16), (1, 16)]
    assert asked["4 clips"][:, 0].tolist() == [0, 78, 156, 234]
    assert not np.array_equal(
        asked["random 16x4 clip"], decode.requests(300, 4)["random 16x4 clip"]
    )


def test_the_table_shows_ratios_failures_and_other_frames():
    results = {
        "ours": ([0.1, 0.1, 0.2], True),
        "decord": ([0.2, 0.3, 0.2], True),
        "torchcodec": ([], True),
        "pytorchvideo": ([0.4, 0.6, 0.4], False),
    }
    assert decode.ratio(results, "ours") == 2
    assert decode.ratio(results, "torchcodec") is None
    lines = decode.table({"/a/b.mp4": {"4 clips": results}, "/a/c.mp4": {"4 clips": results}})
    row = next(line for line in lines if line.startswith("b.mp4"))
    for cell in ("100.0 ms  2.00x ", "200.0 ms  1.00x ", "cannot read", "400.0 ms  0.50x*"):
        assert cell in row
    mean = next(line for line in lines if line.startswith("geometric mean"))
    assert mean.split()[-4:] == ["2.00x", "1.00x", "-", "0.50x"]


def test_videos_of_one_name_are_told_by_their_folders(make_video, tmp_path):
    paths = [make_video(f"{folder}.mp4", frames=20) for folder in "ab"]
    for path, folder in zip(paths, "ab", strict=True):
        (tmp_path / folder).mkdir()
        path.rename(tmp_path / folder / "x.mp4")
    found = {}
    lines = decode.run([tmp_path / "a/x.mp4", tmp_path / "b/x.mp4"], 1, found)
    for folder in "ab":
        name = str(tmp_path / folder / "x.mp4")
        assert f"{name}: 4 clips: ours" in found
        assert any(line.startswith(f"{name} ") for line in lines)


def test_the_command_measures_what_is_installed(make_video, capsys):
    path = make_video(frames=80)
    assert cli.main(["bench", "decode", str(path), "--repeat", "1"]) == 0
    shown = capsys.readouterr().out
    assert "random 16x4 clip" in shown and "16 over the video" in shown
    assert all(side in shown for side in decode.contenders())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["absent.mp4"], "absent.mp4 does not exist"), (["--repeat", "0"], "--repeat is 0")],
)
def test_mistakes_are_one_line(make_video, capsys, arguments, message):
    videos = [] if arguments[0].endswith("mp4") else [str(make_video())]
    assert cli.main(["bench", "decode", *videos, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_may_hold_frames_and_broken_videos(make_video, tmp_path, call):
    path = make_video("videos/a.mp4", frames=20)
    (tmp_path / "videos" / "b.mp4").write_bytes(b"no video")
    extract_video((path, tmp_path / "videos" / "c"), Pictures("{}.png"))
    status, shown, errors = call("bench", "decode", tmp_path / "videos", "--repeat", "1")
    assert status == 0, errors
    rows = [line.split()[0] for line in shown.splitlines() if "16 over the video" in line]
    assert rows[:2] == ["a.mp4", "c"]
    assert shown.splitlines()[-1].startswith(f"1 video left out as broken: {tmp_path}/videos/b.mp4")
