"""Smaller videos: the same frames at the same times, and runs that are cut short."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import numbered_frames, turn

from uniformer_video.data.decoding import open_video
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.prepare import resize
from uniformer_video.prepare.resize import Encoding, resize_folder, resize_video

ROOT = Path(__file__).parents[2]
SMALL = Encoding(short_side=32, crf=10)
VFR_TIMES = [0, 40, 80, 90, 400, 433, 1000, 1001, 1500, 1540, 1580, 2000]  # milliseconds


def write_vfr(path, times=VFR_TIMES, size=(48, 64), audio=False):
    """A video whose frames have these times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "g": "5"})
        stream.height, stream.width = size
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=8000) if audio else None
        for pixels, milliseconds in zip(numbered_frames(len(times), size), times, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = milliseconds, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound:
            silence = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), np.float32), "fltp", layout="mono"
            )
            silence.rate = 8000
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


def times_of(path):
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def pixels_of(path):
    with open_video(path) as reader:
        return reader.frames(range(reader.num_frames)).astype(int)


def halved(frames):
    count, height, width, _ = frames.shape
    return frames.reshape(count, height // 2, 2, width // 2, 2, 3).mean((2, 4))


def resized(source, tmp_path, encoding=SMALL):
    target = tmp_path / "out" / f"{source.stem}.mp4"
    target.parent.mkdir(exist_ok=True)
    assert resize_video((source, target), encoding) == "resized"
    return target


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.mov"])
def test_frames_and_times_are_kept_where_the_rate_varies(tmp_path, name):
    source = write_vfr(tmp_path / name, size=(64, 128))
    target = resized(source, tmp_path)
    assert times_of(target) == pytest.approx([t / 1000 for t in VFR_TIMES], abs=1e-4)
    small, large = pixels_of(target), pixels_of(source)
    assert small.shape == (12, 32, 64, 3)
    assert abs(small - halved(large)).mean() < 6
    # Each frame is nearest to its own original.
    means = large.mean((1, 2))
    for place, frame in enumerate(small.mean((1, 2))):
        assert abs(means - frame).sum(-1).argmin() == place


def test_start_and_sound_are_left_out(tmp_path):
    late = [t + 5000 for t in VFR_TIMES]
    target = resized(write_vfr(tmp_path / "late.ts", late), tmp_path)
    assert times_of(target) == pytest.approx([t / 1000 for t in VFR_TIMES], abs=1e-4)
    target = resized(write_vfr(tmp_path / "loud.mp4", audio=True), tmp_path)
    with av.open(str(target)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


def test_b_frames_odd_sizes_and_times_that_turn_back(make_video, tmp_path):
    video = make_video("b.mp4", size=(98, 66), options={"bf": "3", "g": "40"})
    assert pixels_of(resized(video, tmp_path)).shape == (50, 48, 32, 3)
    video = make_video("packed.avi", codec="mpeg4", options={"bf": "2", "g": "12"})
    assert pixels_of(resized(video, tmp_path)).shape == (50, 32, 42, 3)
    h264 = make_video("h264.avi", size=(66, 98), options={"bf": "3", "g": "12"})
    for target in (tmp_path / "out" / "packed.mp4", resized(h264, tmp_path)):
        times = np.array(times_of(target))
        np.testing.assert_allclose(times - times[0], np.arange(50) / 25, atol=1e-4)


def test_a_bare_stream_keeps_the_rate_of_its_header(make_video, tmp_path):
    target = resized(make_video("a.h264", size=(66, 98), fps=10), tmp_path)
    assert times_of(target) == pytest.approx(np.arange(50) / 10, abs=1e-4)


def test_key_frames_are_as_asked(make_video, tmp_path):
    video = make_video(options={"g": "5"})
    target = resized(video, tmp_path, Encoding(32, gop=20))
    with av.open(str(target)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [place for place, packet in enumerate(packets) if packet.is_keyframe]
    assert keys[:2] == [0, 20] and len(keys) == 3  # the third may come early, at a change of scene


@pytest.mark.parametrize(("quarters", "mirrored"), [(1, False), (2, False), (3, False), (1, True)])
def test_turned_videos_come_out_as_they_are_shown(make_video, tmp_path, quarters, mirrored):
    video = turn(make_video("turned.mp4", frames=6, size=(64, 128)), quarters, mirrored)
    large, small = pixels_of(video), pixels_of(resized(video, tmp_path))
    assert large.shape[1:3] == ((64, 128) if quarters == 2 else (128, 64))
    assert abs(small - halved(large)).mean() < 6
    with av.open(str(tmp_path / "out" / "turned.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize("quarters", [0, 1])
def test_the_form_of_pixels_is_kept(tmp_path, quarters):
    source = tmp_path / "wide.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width = 64, 64
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for pixels in numbered_frames(3, (64, 64)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(resized(turn(source, quarters), tmp_path))) as container:
        shown = Fraction(3, 4) if quarters else Fraction(4, 3)
        assert container.streams.video[0].sample_aspect_ratio == shown


def test_what_was_written_is_read_as_training_reads_it(make_video, tmp_path, monkeypatch):
    """Where it cannot be, nothing is left under the name of the video."""
    source, target = make_video(size=(64, 96)), tmp_path / "out.mp4"
    monkeypatch.setattr(resize, "read_all", _refuse)
    for encoding in (SMALL, Encoding(short_side=64)):
        with pytest.raises(DecodeError, match=r"frame 7 does not come"):
            resize_video((source, target), encoding)
        assert not target.exists()


def _refuse(reader):
    assert reader.num_frames == 50
    raise DecodeError("frame 7 does not come")


def test_a_small_video_that_breaks_is_not_copied(make_video, tmp_path):
    source = make_video("a.mkv", frames=60, options={"g": "30", "bf": "0", "sc_threshold": "0"})
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        hurt = [bytes(packet) for packet in container.demux(video=0) if packet.size][45]
    place = content.index(hurt)
    content[place : place + len(hurt)] = b"\xff" * len(hurt)
    source.write_bytes(content)
    with pytest.raises(DecodeError, match=r"a\.mkv (breaks while decoding|is damaged)"):
        resize_video((source, tmp_path / "out.mp4"), Encoding(short_side=64))
    assert not (tmp_path / "out.mkv").exists()


def test_a_folder(make_video, tmp_path):
    make_video("in/a/x.avi", codec="mpeg4", options={})
    make_video("in/b, ü/x.mkv")
    make_video("in/small.webm.mp4", size=(24, 40))
    (tmp_path / "in" / "notes.txt").touch()
    (tmp_path / "in" / "garbage.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "in" / "gone.mp4").symlink_to("nowhere.mp4")
    whole = make_video("in/cut.mp4").read_bytes()
    (tmp_path / "in" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    shown = []
    summary = resize_folder(tmp_path / "in", out, SMALL, 2, lambda *counts: shown.append(counts))
    assert summary.done == {"resized": 2, "copied": 1}
    assert [Path(path).name for path, _ in sorted(summary.failed)] == [
        "cut.mp4",
        "garbage.mp4",
        "gone.mp4",
    ]
    assert shown[0] == (0, 6, 0) and shown[-1] == (6, 6, 3)
    assert files_in(out) == [
        "a/x.mp4",
        "b, ü/x.mp4",
        "failed.csv",
        "prepared.json",
        "small.webm.mp4",
    ]
    table = (out / "failed.csv").read_text().splitlines()
    assert table[0] == "path,reason"
    assert "gone.mp4," in table[3] and "does not exist" in table[3]
    assert os.path.samefile(out / "small.webm.mp4", tmp_path / "in" / "small.webm.mp4")

    before = (out / "a" / "x.mp4").stat()
    for name in ("cut", "garbage", "gone"):
        (tmp_path / "in" / f"{name}.mp4").unlink()
    again = resize_folder(tmp_path / "in", out, SMALL, 2)
    assert (again.kept, again.done, again.failed) == (3, {}, [])
    assert (out / "a" / "x.mp4").stat() == before
    assert not (out / "failed.csv").exists()


def files_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_small_videos_are_copied_where_links_are_not_possible(make_video, tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    video = make_video("small.mkv", size=(24, 40))
    assert resize_video((video, tmp_path / "copy.mp4"), SMALL) == "copied"
    assert (tmp_path / "copy.mkv").read_bytes() == video.read_bytes()


def test_what_cannot_be_done_is_said(make_video, tmp_path):
    source = make_video("in/a.mp4").parent
    for wrong in (source / "out", source):
        with pytest.raises(DataError, match="would lie inside"):
            resize_folder(source, wrong, SMALL)
    with pytest.raises(DataError, match="does not exist; give a folder of videos"):
        resize_folder(tmp_path / "nowhere", tmp_path / "out", SMALL)
    with pytest.raises(DataError, match="is a file, not a folder"):
        resize_folder(source / "a.mp4", tmp_path / "out", SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no videos; names of videos end in \.mp4"):
        resize_folder(tmp_path / "empty", tmp_path / "out", SMALL)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DataError, match="a file is in its place"):
        resize_folder(source, file / "b", SMALL)
    shutil.copy(source / "a.mp4", source / "a.avi")
    with pytest.raises(DataError, match=r"a\.avi and .*a\.mp4 would both become .*a\.mp4"):
        resize_folder(source, tmp_path / "out", SMALL)


def test_results_of_something_else_are_not_taken(make_video, tmp_path):
    source, out = make_video("in/a.mp4").parent, tmp_path / "out"
    out.mkdir()
    (out / "a.mp4").touch()
    with pytest.raises(DataError, match="was not made by this tool"):
        resize_folder(source, out, SMALL)
    (out / "a.mp4").unlink()
    resize_folder(source, out, SMALL, 1)
    with pytest.raises(DataError, match=r"crf=10.*, not .*crf=11"):
        resize_folder(source, out, Encoding(32, 11))


def test_results_of_another_folder_are_not_taken(make_video, tmp_path, monkeypatch):
    source = make_video("one/a.mp4").parent
    other = make_video("two/a.mp4", frames=20).parent
    out = tmp_path / "out"
    resize_folder(source, out, SMALL, 1)
    with pytest.raises(DataError, match=r"out was made from .*/one, not .*/two; .* another --out"):
        resize_folder(other, out, SMALL, 1)
    monkeypatch.chdir(tmp_path)
    assert resize_folder("one", "out", SMALL, 1).kept == 1

    settings = json.loads((out / "prepared.json").read_text())
    moved = source.rename(tmp_path / "three")
    with pytest.raises(DataError, match=r"only moved, put their new place into .*prepared\.json"):
        resize_folder(moved, out, SMALL, 1)
    (out / "prepared.json").write_text(json.dumps({**settings, "source": str(moved)}))
    assert resize_folder(moved, out, SMALL, 1).kept == 1

    del settings["source"]  # as older versions wrote it
    (out / "prepared.json").write_text(json.dumps(settings))
    assert resize_folder(moved, out, SMALL, 1).kept == 1
    assert json.loads((out / "prepared.json").read_text())["source"] == str(moved)
    (out / "prepared.json").write_text("[]")
    with pytest.raises(DataError, match="is not what this tool wrote"):
        resize_folder(moved, out, SMALL, 1)


def test_a_video_that_is_newer_than_its_result_is_done_again(make_video, tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "ab":
        make_video(f"in/{name}.mkv")
    make_video("in/small.mkv", size=(24, 40))
    resize_folder(source, out, SMALL, 1)
    later = (out / "a.mp4").stat().st_mtime + 10
    make_video("in/a.mkv", frames=20, size=(24, 40))
    (source / "small.mkv").unlink()  # else the copy, a hard link, would be written too
    make_video("in/small.mkv", frames=20)
    for name in ("a", "small"):
        os.utime(source / f"{name}.mkv", (later, later))
    again = resize_folder(source, out, SMALL, 1)
    assert (again.kept, again.done, again.failed) == (1, {"resized": 1, "copied": 1}, [])
    assert files_in(out) == ["a.mkv", "b.mp4", "prepared.json", "small.mp4"]
    assert len(pixels_of(out / "a.mkv")) == len(pixels_of(out / "small.mp4")) == 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told_apart_from_a_bad_video(make_video, tmp_path, monkeypatch):
    encode = resize._encode
    monkeypatch.setattr(resize, "_encode", lambda a, _, *more: encode(a, "/dev/full", *more))
    with pytest.raises(OSError) as caught:
        resize_video((make_video(), tmp_path / "new.mp4"), SMALL)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "new.mp4"))
    assert files_in(tmp_path) == ["video.mp4"]


def test_a_video_whose_frames_do_not_add_up_is_refused(make_video, tmp_path, monkeypatch):
    monkeypatch.setattr("uniformer_video.prepare.resize._encode", lambda *_: 49)
    with pytest.raises(DecodeError, match="gives 49 frames and has 50"):
        resize_video((make_video(), tmp_path / "new.mp4"), SMALL)
    assert files_in(tmp_path) == ["video.mp4"]


@pytest.fixture
def long_run(make_video, tmp_path):
    """A function: start the tool on more work than a moment's, and wait for its first video."""
    first = make_video("in/00.mp4", frames=40, size=(160, 200))
    for number in range(1, 100):
        os.link(first, first.with_name(f"{number:02d}.mp4"))
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "tools" / "prepare_dataset.py"), "resize", first.parent]
    command += ["--out", out, "--short-side", "100", "--preset", "medium", "--workers", "2"]

    def start():
        run = subprocess.Popen(
            [str(part) for part in command],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not list(out.glob("*.mp4")):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        return run

    start.out, start.source = out, first.parent
    return start


def gone(group):
    """Wait until no process of the group is left."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_a_killed_run_goes_on_where_it_was(long_run):
    run = long_run()
    encoding = Encoding(100, 23, "medium")
    with pytest.raises(DataError, match="another run is writing"):
        resize_folder(long_run.source, long_run.out, encoding)
    run.kill()
    run.communicate()
    assert gone(run.pid), "workers outlive their parent"
    finished = sorted(long_run.out.glob("*.mp4"))
    assert 0 < len(finished) < 100
    for path in finished:
        with open_video(path) as reader:
            assert reader.num_frames == 40
    for path in sorted(long_run.source.glob("*.mp4"))[4:]:
        if not (long_run.out / path.name).exists():
            path.unlink()  # enough is left to do
    before = {path: path.stat().st_mtime_ns for path in finished}
    (long_run.out / ".00.mp4.0123abcd.tmp").touch()
    summary = resize_folder(long_run.source, long_run.out, encoding, 2)
    assert summary.kept == len(finished) and not summary.failed
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    names = [path.name for path in long_run.source.iterdir()]
    assert sorted(os.listdir(long_run.out)) == sorted([*names, "prepared.json"])


def test_ctrl_c_keeps_what_is_finished(long_run):
    run = long_run()
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "Interrupted" in errors and "Traceback" not in errors
    assert gone(run.pid)
    assert not [name for name in os.listdir(long_run.out) if name.endswith(".tmp")]
