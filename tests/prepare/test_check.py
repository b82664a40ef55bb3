"""The check of every frame of every video."""

import csv
import os
import shutil

import pytest
from shard_files import shards_of

from uniformer_video.errors import DataError
from uniformer_video.prepare import check
from uniformer_video.prepare.check import check_video, check_videos, videos_to_check
from uniformer_video.prepare.frames import Pictures, extract_video


def table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.fixture
def mixed(make_video, tmp_path):
    """A folder with good videos and each kind of bad file."""
    make_video("in/good.mp4")
    make_video("in/c, ü/good.avi", codec="mpeg4", options={})
    folder = tmp_path / "in"
    whole = make_video("in/whole.mkv", size=(96, 128), options={"g": "10"}).read_bytes()
    start = len(whole) // 2
    (folder / "noise.mkv").write_bytes(whole)  # replaced below: damage in the middle of an mp4
    data = bytearray(make_video("in/damaged.mp4", size=(96, 128), options={"g": "10"}).read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 300] = b"\xff" * 300
    (folder / "damaged.mp4").write_bytes(data)
    (folder / "noise.mkv").write_bytes(os.urandom(start))
    avi = make_video("in/cut.avi", codec="mpeg4", options={}, size=(96, 128)).read_bytes()
    (folder / "cut.avi").write_bytes(avi[: len(avi) * 6 // 10])
    mp4 = make_video("in/cut.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(mp4[: len(mp4) // 2])
    (folder / "empty.webm").touch()
    return folder


def test_bad_files_are_found_and_nothing_else(mixed, tmp_path):
    out, counts = tmp_path / "bad.csv", []
    videos = videos_to_check(mixed)
    checked, bad = check_videos(videos, out, 2, progress=lambda *numbers: counts.append(numbers))
    assert checked == len(videos) == 8
    assert counts[-1] == (8, 8, len(bad))
    header, *rows = table(out)
    assert header == ["path", "reason", "frames found", "frames declared"]
    found = {os.path.basename(row[0]): row[1:] for row in rows}
    assert set(found) == {"damaged.mp4", "cut.avi", "cut.mp4", "empty.webm", "noise.mkv"}
    reason, count, declared = found["cut.avi"]
    assert declared == "50" and 10 < int(count) < 45
    assert reason == f"is cut off: {count} of its 50 frames are there"
    assert found["damaged.mp4"][2] == "50" and int(found["damaged.mp4"][1]) < 50
    for name in ("empty.webm", "cut.mp4", "noise.mkv"):
        assert found[name][1:] == ["0", ""] and "opened" in found[name][0]


def test_damage_that_decoders_hide(make_video):
    path = make_video("d.mp4", size=(192, 256), options={"g": "50", "crf": "10"})
    data = bytearray(path.read_bytes())
    place = data.index(b"mdat") + 3 * (len(data) - data.index(b"mdat")) // 4
    data[place : place + 4] = bytes(255 - value for value in data[place : place + 4])
    path.write_bytes(data)
    assert check_video((str(path), 0)) == check.Found("", 50, 50)
    strict = check_video((str(path), 0), strict=True)
    assert strict == check.Found("has damage in 1 of its frames or more", 50, 50)
    assert not check_video((str(make_video("good.mp4")), 0), strict=True).reason


def test_long_videos_are_decoded_in_parts(make_video, monkeypatch):
    video = str(make_video())
    asked = []
    monkeypatch.setattr(check, "_CHUNK_BYTES", 48 * 64 * 3 * 16)

    class Recorder:
        num_frames = 50

        def __init__(self, path, backend, num_frames):
            self._reader = real(path)
            self.formats, self.declared_frames = self._reader.formats, 50

        def frames(self, indices):
            asked.extend(indices)
            return self._reader.frames(list(indices))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._reader.close()

    real = check.open_video
    monkeypatch.setattr(check, "open_video", Recorder)
    assert check_video((video, 0)) == check.Found("", 50, 50)
    assert asked == [0, *range(50)]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])  # indexed, counted
def test_a_segment_without_a_frame_is_bad(make_video, tmp_path, codec):
    path = str(make_video("a.mp4", codec=codec))  # 2 seconds
    rows = ["path,label,start,end", "a.mp4,0,0.4,1", "a.mp4,1,3,4", "a.mp4,1,,"]
    (tmp_path / "train.csv").write_text("\n".join(rows))
    videos = videos_to_check(tmp_path / "train.csv")
    assert videos == [(path, 0, ((0.4, 1.0), (3.0, 4.0)))]
    checked, bad = check_videos(videos, tmp_path / "bad.csv", 1)
    reason = "no frame begins from 3 s to 4 s; the last begins at 1.960 s"
    assert (checked, bad) == (1, [(path, reason, 50, 50)])
    assert not check_video((path, 0, ((0.4, 1.0),))).reason


def test_lists_of_videos_and_of_frames(make_video, tmp_path):
    good = make_video("a, b.mp4", frames=5)
    (tmp_path / "train.csv").write_text('"a, b.mp4",0\ngone.mp4,1\n')
    videos = videos_to_check(tmp_path / "train.csv")
    assert videos == [(str(good), 0), (str(tmp_path / "gone.mp4"), 0)]
    _, bad = check_videos(videos * 2, tmp_path / "bad.csv", 1)
    assert bad == [(str(tmp_path / "gone.mp4"), "does not exist", 0, "")]

    extract_video((good, tmp_path / "f"), Pictures())
    (tmp_path / "train.txt").write_text("f 5 0\nf 6 1\n")
    videos = videos_to_check(tmp_path / "train.txt", template="img_{:05d}.jpg")
    path = str(tmp_path / "f" / "img_{:05d}.jpg")
    assert videos == [(path, 5), (path, 6)]
    assert check_video(videos[0]) == check.Found("", 5, 5)
    assert "img_00006.jpg is not there" in check_video(videos[1]).reason
    (tmp_path / "f" / "img_00003.jpg").write_bytes(b"")
    assert "img_00003.jpg" in check_video((path, 5)).reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this platform")
def test_a_pipe_is_no_video_and_not_waited_for(tmp_path):
    pipe = tmp_path / "in" / "a.mp4"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    _, bad = check_videos(videos_to_check(pipe.parent), tmp_path / "bad.csv", 1, timeout=20)
    assert bad == [(str(pipe), "is no file", 0, "")]


def test_what_is_neither_a_list_nor_a_folder_of_videos(make_video, tmp_path):
    video = make_video("in/a.MP4", frames=3)
    with pytest.raises(DataError, match=r"a\.MP4 is a video; give its folder or a list"):
        videos_to_check(video)
    (video.parent / "train.csv").write_text("a.MP4,0\n")
    root = shards_of(video.parent, tmp_path / "shards")
    shutil.copytree(root / "train", root / "val")
    with pytest.raises(DataError, match=r"name these instead: \S+/shards/train \S+/shards/val$"):
        videos_to_check(root)
    (root / "val" / "index.csv").unlink()
    for place in (root, root / "val"):
        with pytest.raises(DataError, match=r"shards/val holds shards without index\.csv; get it"):
            videos_to_check(place)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no videos"):
        videos_to_check(tmp_path / "empty")


def test_a_video_that_takes_too_long_is_named(make_video, tmp_path):
    videos = [(str(make_video()), 0)]
    _, bad = check_videos(videos, tmp_path / "bad.csv", 1, timeout=1e-6)
    assert bad == [(videos[0][0], "no end after 1e-06 seconds", "", "")]


def test_the_table_is_written_whatever_happens(make_video, tmp_path):
    def stop(checked, total, bad):
        raise KeyboardInterrupt

    out = tmp_path / "bad.csv"
    with pytest.raises(KeyboardInterrupt):
        check_videos([(str(tmp_path / "gone.mp4"), 0)], out, 1, progress=stop)
    assert len(table(out)) == 2
    with pytest.raises(DataError, match=r"cannot write .*choose another --out"):
        check_videos([(str(make_video()), 0)], tmp_path / "nowhere" / "bad.csv", 1)
