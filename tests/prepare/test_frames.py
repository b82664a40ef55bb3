"""Videos taken apart into pictures."""

import csv
import os
from fractions import Fraction

import pytest
from PIL import Image
from videos import encode, numbered_frames

from uniformer_video.data.decoding import open_video
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.prepare.frames import Pictures, extract_folder, extract_video


def counts(out):
    with open(out / "frames.csv", newline="") as file:
        return list(csv.reader(file))


def test_pictures_are_the_frames(make_video, tmp_path):
    video = make_video("in/a, ü.mp4", frames=12)
    pictures = Pictures("{:05d}.png")
    assert extract_video((video, tmp_path / "a"), pictures) == 12
    assert sorted(os.listdir(tmp_path / "a")) == [f"{n:05d}.png" for n in range(1, 13)]
    with open_video(video) as plain, open_video(tmp_path / "a" / "{:05d}.png") as taken:
        assert (plain.frames(range(12)) == taken.frames(range(12))).all()


def test_size_and_quality(make_video, tmp_path):
    video = make_video(frames=3, size=(66, 98))
    sizes = {}
    for quality in (95, 20):
        folder = tmp_path / str(quality)
        extract_video((video, folder), Pictures(short_side=32, quality=quality))
        with Image.open(folder / "img_00003.jpg") as picture:
            assert (picture.format, picture.size) == ("JPEG", (48, 32))
        sizes[quality] = (folder / "img_00003.jpg").stat().st_size
    assert sizes[20] < sizes[95]


def test_a_folder_appears_when_it_is_complete(make_video, tmp_path):
    make_video("in/x/a.mp4", frames=5)
    cut = make_video("in/cut.webm.mp4", frames=50, size=(96, 128))
    cut.write_bytes(cut.read_bytes()[:-2000])
    out = tmp_path / "out"
    (out / ".b.0123abcd.tmp").mkdir(parents=True)
    summary = extract_folder(tmp_path / "in", out, Pictures(), 1)
    assert summary.done == {"extracted": 1}
    assert [path for path, _ in summary.failed] == [str(cut)]
    assert sorted(os.listdir(out)) == ["failed.csv", "frames.csv", "prepared.json", "x"]
    assert os.listdir(out / "x") == ["a"]
    assert counts(out) == [["folder", "frames"], ["x/a", "5"]]

    make_video("in/cut.webm.mp4", frames=7)
    again = extract_folder(tmp_path / "in", out, Pictures(), 1)
    assert (again.kept, again.done, again.failed) == (1, {"extracted": 1}, [])
    assert counts(out) == [["folder", "frames"], ["cut.webm", "7"], ["x/a", "5"]]
    with pytest.raises(DataError, match=r"quality=95.*, not .*quality=90"):
        extract_folder(tmp_path / "in", out, Pictures(quality=90), 2)


def test_pictures_of_another_folder_or_of_an_older_video_are_not_taken(make_video, tmp_path):
    source, out = make_video("one/a.mp4", frames=5).parent, tmp_path / "out"
    other = make_video("two/a.mp4", frames=6).parent
    extract_folder(source, out, Pictures(), 1)
    with pytest.raises(DataError, match=r"was made from .*/one, not .*/two"):
        extract_folder(other, out, Pictures(), 1)
    video = make_video("one/a.mp4", frames=4)
    later = (out / "a").stat().st_mtime + 10
    os.utime(video, (later, later))
    assert extract_folder(source, out, Pictures(), 1).done == {"extracted": 1}
    assert counts(out) == [["folder", "frames"], ["a", "4"]]
    assert sorted(os.listdir(out)) == ["a", "frames.csv", "prepared.json"]


def test_a_damaged_video_leaves_nothing(make_video, tmp_path, monkeypatch):
    video = make_video(frames=5)
    monkeypatch.setattr("uniformer_video.prepare.frames._write_frames", lambda *_: 4)
    with pytest.raises(DecodeError, match="gives 4 frames and has 5"):
        extract_video((video, tmp_path / "a"), Pictures())
    assert os.listdir(tmp_path) == ["video.mp4"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("img.jpg", "a name with one number"),
        ("a/{:05d}.jpg", "a name with one number"),
        ("{:05d}{}.jpg", "a name with one number"),
        ("{:05d}.gif", r"must end in \.jpg"),
        ("{:05d}", r"must end in \.jpg"),
    ],
)
def test_names_that_are_none(make_video, tmp_path, template, message):
    source = make_video("in/a.mp4").parent
    with pytest.raises(DataError, match=message):
        extract_folder(source, tmp_path / "out", Pictures(template))


def test_videos_whose_pixels_are_not_square_are_named(call, tmp_path):
    form, folder = {"sample_aspect_ratio": Fraction(16, 11)}, tmp_path / "in"
    folder.mkdir()
    frames = numbered_frames(3, (48, 64))
    encode(folder / "wide.mp4", frames, context=form)
    encode(folder / "square.mp4", frames)
    extract = ("prepare", "frames", folder, "--out", tmp_path / "out", "--workers", 1)
    for _ in range(2):  # the second time nothing is made, and nothing is forgotten
        status, out, _ = call(*extract)
        assert status == 0
        assert "1 video with pixels that are not square" in out and "wide (16:11)" in out
        table = (tmp_path / "out" / "not_square.csv").read_text()
        assert table == "folder,pixels\nwide,16:11\n"
    with Image.open(tmp_path / "out" / "wide" / "img_00001.jpg") as picture:
        assert picture.size == (64, 48)
    encode(folder / "wide.mp4", frames)
    _, out, _ = call(*extract)
    assert "not square" not in out and not (tmp_path / "out" / "not_square.csv").exists()
