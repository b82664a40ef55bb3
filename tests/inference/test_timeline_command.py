"""The command: its files, its scores, the rendered video, and what it refuses."""

import csv
import errno
import json
import os
from itertools import pairwise

import av
import numpy as np
import pytest
from pages import Page, assert_self_contained
from PIL import Image
from videos import encode, numbered_frames, turn, write_streams

from uniformer_video.inference.timeline_files import read_timeline

FRAMES = numbered_frames(70, (48, 64))


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def video(tmp_path):
    """A video of 2.8 seconds with sound."""
    return write_streams(tmp_path / "a video.mp4", [(FRAMES, 1)], sound=True)


@pytest.fixture
def timeline(call, untrained, video, tmp_path):
    """A function that runs the command on the video; (status, output, errors)."""

    def run(*words, source=None):
        if source is None:
            words = ("--checkpoint", untrained(), *words)
        return call("timeline", source or video, *words)

    return run


def test_all_files(timeline, video, tmp_path):
    out = tmp_path / "out"
    status, printed, _ = timeline("--out", out, "--smooth", 1, "--enter", 0)
    assert status == 0
    record = json.loads((out / "timeline.json").read_text("utf-8"))
    assert record["model"] == "uniformer_s"  # as users call it, not its class
    segments = record["segments"]
    assert segments[0]["start"] == 0 and segments[-1]["end"] == 2.8
    assert all(a["end"] == b["start"] for a, b in pairwise(segments))
    assert len(printed.splitlines()) == len(segments)
    rows = table(out / "windows.csv")
    assert len(rows) == record["windows"] == 14
    stored, _ = read_timeline(out)
    for row, own in zip(rows, stored.probabilities, strict=True):
        assert row["answer"] == row["top1_name"] == stored.class_names[own.argmax()]
        assert float(row["score"]) == pytest.approx(own.max(), abs=1e-6)
    listed = table(out / "segments.csv")
    assert [row["label"] for row in listed] == [s["name"] for s in segments]
    vtt, srt = ((out / f"segments.{kind}").read_text() for kind in ("vtt", "srt"))
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert srt.startswith("1\n00:00:00,000 --> ")
    with av.open(str(out / "segments.srt")) as subtitles:  # what a player makes of it
        first = [p for p in subtitles.demux(subtitles.streams.subtitles[0]) if p.size]
    assert len(first) == len(segments)
    assert (out / "timeline.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "timeline.html").read_text("utf-8")
    assert_self_contained(Page(page), scripted=False)
    for number in range(1, len(segments) + 1):
        assert f'href="#segment-{number}"' in page and f'id="segment-{number}"' in page
    assert page.count("data:image/jpeg") > 20


def test_scores_and_a_second_look_without_decoding(timeline, video, tmp_path, place):
    truth = place({"truth.csv": "start,end,label\n0,1,class0\n1,2.8,1\n"}) / "truth.csv"
    out = tmp_path / "out"
    names = json.loads(timeline("--json", "--out", out)[1])["class_names"]
    truth.write_text(f"start,end,label\n0,1,{names[0]}\n1,9,1\n")
    video.unlink()
    status, printed, _ = timeline("--score", truth, "--smooth", 1, "--enter", 0.4, source=out)
    assert status == 0 and "frame accuracy" in printed and "mAP at tIoU 0.3" in printed
    status, printed, _ = timeline("--score", truth, "--json", "--out", out, source=out)
    record = json.loads(printed)
    assert json.loads((out / "timeline.json").read_text("utf-8")) == record
    assert record["truth"][1]["end"] == 2.8
    # frame accuracy once more, from the two tables alone
    times = read_timeline(out)[0].frame_times
    right = 0
    for time in times:
        own = [s["class"] for s in record["segments"] if s["start"] <= time < s["end"]]
        right += (own or [-1]) == [0 if time < 1 else 1]
    assert record["scores"]["frame_accuracy"] == {
        "value": right / 70,
        "correct": right,
        "of": 70,
    }
    assert "Known" in (out / "timeline.html").read_text("utf-8")
    assert any("counted as far as" in note for note in record["scores"]["notes"])


@pytest.mark.parametrize("kind", ["sound", "turned", "uneven", "pcm"])
def test_the_rendered_video(call, untrained, tmp_path, kind):
    times = np.cumsum(np.tile([20, 45, 90, 33], 18))[:70]
    if kind == "uneven":
        path = encode(tmp_path / "a.mp4", FRAMES, times=times)
    else:
        path = write_streams(tmp_path / "a.mp4", [(FRAMES, 1)], sound=True)
    if kind == "turned":
        turn(path, 1)
    if kind == "pcm":
        path = _with_pcm(tmp_path / "a.mkv")
    target = tmp_path / "out.mp4"
    words = ("--checkpoint", untrained(), "--enter", 0, "--render", target)
    assert call("timeline", path, *words)[0] == 0
    with av.open(str(target)) as rendered, av.open(str(path)) as original:
        shown = [f.time for f in rendered.decode(video=0)]
        given = [f.time for f in original.decode(video=0)]
        assert np.allclose(np.subtract(shown, shown[0]), np.subtract(given, given[0]), atol=2e-3)
        stream = rendered.streams.video[0]
        size = (48, 64) if kind == "turned" else (64, 48)
        assert (stream.width, stream.height) == size
        assert len(rendered.streams.audio) == (kind != "uneven")
    if kind in ("sound", "pcm"):
        with av.open(str(target)) as rendered:
            assert sum(frame.samples for frame in rendered.decode(audio=0)) >= 1024
    with av.open(str(target)) as rendered:
        frame = next(rendered.decode(video=0)).to_ndarray(format="rgb24")
    if kind != "turned":
        assert frame[-8:].mean() < 0.75 * FRAMES[0][-8:].mean()  # the band
        assert np.abs(frame[:20].astype(int) - FRAMES[0][:20]).mean() < 12
    assert not list(tmp_path.glob(".*.tmp*"))


def _with_pcm(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for image in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), "s16", "mono")
        frame.sample_rate = 16000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def test_a_part_is_rendered_with_its_part_of_the_sound(timeline, tmp_path):
    target = tmp_path / "part.mp4"
    assert timeline("--start", "0:01", "--end", 2, "--render", target)[0] == 0
    with av.open(str(target)) as rendered:
        assert sum(1 for _ in rendered.decode(video=0)) == 25


def test_what_is_refused(timeline, video, tmp_path, place, call):
    place({"run/results.json": "{}", "notes.txt": "x"})
    for words, message in [
        (("--out", tmp_path / "run"), "holds other things (results.json)"),
        (("--out", tmp_path / "notes.txt"), "is a file; name a folder"),
        (("--render", tmp_path / "notes.txt"), "must end in .mp4"),
        (("--render", video), "is the video itself"),
        (("--render", tmp_path / "no" / "a.mp4"), "a folder that is not there"),
        (("--start", 3), "the video ends at 2.800"),
        (("--smooth", 2), "--smooth is 2"),
        (("--score", tmp_path / "no.csv"), "no.csv"),
    ]:
        status, _, errors = timeline(*words)
        assert status == 2 and message in errors and "Traceback" not in errors, words
    assert call("timeline", video)[0] == 2
    assert call("timeline", video, "--checkpoint", "x", "--start", "1:2:x")[0] == 2
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert timeline("--out", tmp_path / "new")[0] == 0
    status, _, errors = call(
        "timeline", tmp_path / "empty.mp4", "--checkpoint", tmp_path / "weights.pt"
    )
    assert status == 2 and "cannot be opened as a video" in errors
    status, _, errors = timeline("--window", 3, source=tmp_path / "new")
    assert status == 2 and "leave out --window" in errors


def test_a_full_disk_is_said_and_what_was_there_stays(timeline, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert timeline("--out", out)[0] == 0
    before = (out / "timeline.json").read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("uniformer_video.files.os.fsync", full)
    status, _, errors = timeline("--out", out, "--smooth", 1, source=out)
    assert status == 2 and "the disk is full" in errors and str(out) in errors
    assert (out / "timeline.json").read_bytes() == before
    assert not list(out.glob(".*"))
    monkeypatch.undo()
    (out / "timeline.json").unlink()
    for path in out.iterdir():
        if path.name != "windows.npz":
            path.unlink()
    assert timeline("--out", out)[0] == 0  # what a full disk left is no hindrance


def test_a_damaged_timeline_is_refused(timeline, tmp_path):
    out = tmp_path / "out"
    assert timeline("--out", out)[0] == 0
    (out / "windows.npz").write_bytes(b"PK")
    status, _, errors = timeline(source=out)
    assert status == 2 and "is damaged" in errors


def test_a_stored_timeline_keeps_its_smoothing(timeline, tmp_path):
    out = tmp_path / "out"
    words = ("--smooth", 0.7, "--enter", 0.6, "--leave", 0.5)
    assert timeline("--out", out, *words)[0] == 0

    def smoothing(*words):
        return json.loads(timeline("--json", *words, source=out)[1])["smoothing"]

    assert smoothing() == {"weight": 0.7, "enter": 0.6, "leave": 0.5}
    assert smoothing("--smooth", 1) == {"weight": 1.0, "enter": 0.6, "leave": 0.5}
    assert smoothing("--enter", 0.4) == {"weight": 0.7, "enter": 0.4, "leave": pytest.approx(0.15)}
    assert smoothing("--leave", 0.7) == {"weight": 0.7, "enter": 0.7, "leave": 0.7}


def test_a_window_of_zero_is_refused_of_a_stored_timeline_too(timeline, tmp_path):
    out = tmp_path / "out"
    assert timeline("--out", out)[0] == 0
    status, _, errors = timeline("--window", 0, "--start", 0, source=out)
    assert status == 2 and "leave out --window, --start" in errors


@pytest.mark.parametrize("text", ["1:70", "1:75:00", "0:60"])
def test_sixty_seconds_are_a_minute(timeline, text):
    status, _, errors = timeline("--window", text)
    assert status == 2 and "is no time" in errors


def test_a_pause_is_no_error(call, untrained, tmp_path):
    times = [*range(0, 1400, 40), *range(9000, 10400, 40)]
    path = encode(tmp_path / "a.mp4", FRAMES, times=times)
    status, _, errors = call("timeline", path, "--checkpoint", untrained(), "--window", 0.4)
    assert status == 0 and "no frame begins" in errors and "error" not in errors
    assert "the last begins at 10.360 s" in errors


def test_time_that_no_window_looks_at_is_said(timeline):
    assert "No window" not in timeline("--window", 0.5, "--stride", 0.5)[2]
    _, _, errors = timeline("--window", 0.5, "--stride", 1)
    assert "No window looks at 1.300 s of 2.800 s" in errors


def test_frames_that_lack_in_the_rendered_video_are_counted(call, untrained, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(FRAMES[:20]):
        Image.fromarray(frame).save(folder / f"{number:03d}.jpg")
    for number in (9, 10):
        (folder / f"{number:03d}.jpg").write_bytes(b"x")
    words = ("--fps", 25, "--window", 0.2, "--render", tmp_path / "out.mp4")
    status, _, errors = call("timeline", folder, "--checkpoint", untrained(), *words)
    assert status == 2 and "lacks 2 frames that could not be decoded" in errors


def test_another_video_is_not_rendered_with_the_labels_of_the_first(timeline, video, tmp_path):
    out, target = tmp_path / "out", tmp_path / "new.mp4"
    assert timeline("--out", out)[0] == 0
    encode(video, FRAMES[:30])
    status, _, errors = timeline("--render", target, source=out)
    assert status == 2 and "another video than the timeline was made of: 30 frames" in errors
    assert not target.exists()
