"""Folders of videos: what counts, what is left out and said, links, and all who read them alike."""

import logging
import os
from pathlib import Path

import pytest

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_folders import read_folder
from uniformer_video.data.lists.folders import find_videos, is_video, list_videos, walk
from uniformer_video.errors import DataError
from uniformer_video.inference.records import records_at
from uniformer_video.prepare.check import videos_to_check
from uniformer_video.prepare.frames import Pictures, extract_folder
from uniformer_video.prepare.lists import make_lists
from uniformer_video.prepare.resize import Encoding, resize_folder
from uniformer_video.runs.build_data import build_data

HIDDEN = (
    "run/._a.mp4",
    ".Trash/deep/b.avi",
    "run/.tmp/c.mp4",
    ".d.mkv",
    "__MACOSX/run/e.mp4",
    "run/@eaDir/f.mp4",
)
OF_SYSTEMS = (
    "Thumbs.db",
    "run/desktop.ini",
    "sit/.DS_Store",
    ".git/config",
    ".hidden",
    ".frame_index/a.mp4",
)


@pytest.fixture
def videos(place):
    """A folder with two videos that count, six hidden ones, and other files."""
    names = ("run/a.mp4", "sit/B.MOV", *HIDDEN, "run/notes.txt", *OF_SYSTEMS)
    return place({f"videos/{name}": "" for name in names}) / "videos"


def relative(paths, folder):
    return [Path(os.path.relpath(path, folder)).as_posix() for path in paths]


def test_hidden_videos_are_left_out_counted_and_named(videos):
    found = find_videos(videos)
    assert [path.as_posix() for path in found.videos] == ["run/a.mp4", "sit/B.MOV"]
    assert sorted(path.as_posix() for path in found.hidden) == sorted(HIDDEN)
    assert found.notes == [
        f"{videos}: left out 6 hidden videos, by names that begin with a dot or that systems give, as "
        "__MACOSX: .Trash/deep/b.avi, .d.mkv, __MACOSX/run/e.mp4 and 3 more",
        f"{videos}: left out 1 file without a suffix of videos (1 .txt): run/notes.txt",
    ]
    assert find_videos(videos / "sit").notes == []
    assert find_videos(videos / ".Trash").videos == [Path("deep/b.avi")]  # it was asked for


def test_what_is_a_video():
    assert is_video("a/b.MP4") and is_video(Path("b.m2ts"))
    assert not any(map(is_video, ("a.mp4.txt", "mp4", "a.jpg", "")))


def read_with_resize(folder, tmp_path):
    summary = resize_folder(folder, tmp_path / "out", Encoding(32), workers=1)
    return [path for path, _ in summary.failed]


def read_with_frames(folder, tmp_path):
    return [path for path, _ in extract_folder(folder, tmp_path / "out", Pictures(), 1).failed]


def read_with_lists(folder, tmp_path):
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    for part in ("train", "val"):
        rows = "abseiling,a,0,10,x\nabseiling,B,0,10,x\nabseiling,c,0,10,x\n"
        text = f"label,youtube_id,time_start,time_end,split\n{rows}"
        (annotations / f"{part}.csv").write_text(text)
    for name in ("run/a.mp4", "sit/B.MOV", "run/.tmp/c.mp4"):  # as Kinetics names them
        path = folder / name
        path.rename(path.with_stem(f"{path.stem}_000000_000010"))
    make_lists("k400", annotations, tmp_path / "out", videos=folder)
    lines = (tmp_path / "out" / "train.csv").read_text().splitlines()
    return [line.partition(",")[0].replace("_000000_000010", "") for line in lines]


READERS = {
    "folder": lambda folder, _: [record.path for record in read_folder(folder)[0]],
    "predict": lambda folder, _: [record.path for record in records_at([folder])[0]],
    "check": lambda folder, _: [path for path, _ in videos_to_check(folder)],
    "resize": read_with_resize,
    "frames": read_with_frames,
    "lists": read_with_lists,
}


@pytest.mark.parametrize("reader", READERS)
def test_all_who_read_folders_take_the_same_videos_and_say_the_same(
    videos, tmp_path, caplog, reader
):
    with caplog.at_level(logging.WARNING):
        assert relative(READERS[reader](videos, tmp_path), videos) == ["run/a.mp4", "sit/B.MOV"]
    said = [*caplog.messages, *(read_folder(videos)[2] if reader == "folder" else [])]
    assert sum("left out 6 hidden videos" in line for line in said) == 1


def test_a_run_notes_them_once(videos, tiny):
    def notes(root):
        changes = {"TRAIN__DATASET": "folder", "DATA__PATH_TO_DATA_DIR": root}
        return build_data(load_config(overrides=tiny(**changes, DATA__VAL_RATIO=0.5))).notes

    for name in ("run/e.mp4", "sit/f.mp4"):
        (videos / name).touch()
    assert [note for note in notes(videos) if "left out" in note] == find_videos(videos).notes
    for part in ("train", "val"):
        (videos.parent / "divided").mkdir(exist_ok=True)
        (videos.parent / "divided" / part).symlink_to(videos)
    assert sum("left out 6" in note for note in notes(videos.parent / "divided")) == 2


def test_links_are_followed_and_never_in_a_circle(place):
    root = place({"videos/run/a.mp4": "", "elsewhere/b.mp4": "", "other/c.mp4": ""})
    (root / "videos" / "linked").symlink_to(root / "elsewhere")
    (root / "elsewhere" / "there").symlink_to(root / "other")
    (root / "other" / "back").symlink_to(root / "elsewhere")  # in a circle with the one before
    (root / "videos" / "run" / "up").symlink_to(root / "videos")
    (root / "videos" / "run" / "far up").symlink_to(root)
    (root / "videos" / "run" / "top").symlink_to("/")
    (root / "videos" / "run" / "itself").symlink_to("itself")
    expected = ["linked/b.mp4", "linked/there/c.mp4", "run/a.mp4"]
    assert [path.as_posix() for path in find_videos(root / "videos").videos] == expected
    assert [part.as_posix() for part, _ in walk(root / "videos")] == [
        ".",
        "linked",
        "linked/there",
        "run",
    ]
    assert len(read_folder(root / "videos")[0]) == len(records_at([root / "videos"])[0]) == 3


@pytest.mark.parametrize("reader", READERS)
def test_a_folder_that_cannot_be_read_is_named(videos, tmp_path, monkeypatch, reader):
    scandir = os.scandir

    def refuse(place="."):
        if os.fspath(place).endswith(("sit", ".Trash")):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot read the folder .*sit: Permission denied"):
        READERS[reader](videos, tmp_path)


def test_folders_without_videos(place):
    root = place({"empty/notes.txt": "", "hidden/.a.mp4": "", "a.mp4": ""})
    with pytest.raises(DataError, match=r"a\.mp4 is a file, not a folder"):
        find_videos(root / "a.mp4")
    with pytest.raises(DataError, match="nowhere does not exist; give a folder of videos"):
        list_videos(root / "nowhere")
    for name in ("empty", "hidden"):
        with pytest.raises(
            DataError, match=rf"{name} holds no videos .*; names of videos end in \.mp4"
        ):
            list_videos(root / name)
    assert [one.path for one in records_at([root / "a.mp4"])[0]] == [str(root / "a.mp4")]
