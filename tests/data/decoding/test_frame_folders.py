"""A folder of frames is a video: whatever its numbers start from, and wherever videos are taken."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from videos import numbered_frames

from uniformer_video.config.settings import load_config
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.check import missing_files
from uniformer_video.data.lists.folders import find_videos
from uniformer_video.data.lists.layouts import read_class_folders, read_kinetics, read_ucf101
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.inference.records import records_at
from uniformer_video.prepare.check import check_videos, videos_to_check
from uniformer_video.prepare.frames import Pictures, extract_folder
from uniformer_video.prepare.lists import make_lists
from uniformer_video.prepare.resize import Encoding, resize_folder
from uniformer_video.prepare.shards import make_shards
from uniformer_video.runs.run import run


def write_frames(folder, count=4, template="img_{:05d}.png", first=1, size=(32, 40)):
    """Frames told by their brightness; their pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = numbered_frames(count, size)
    for number, image in enumerate(pixels, start=first):
        Image.fromarray(image).save(folder / template.format(number))
    return pixels


# Names and numbers


@pytest.mark.parametrize("first", [0, 1, 2, 7, 100])
@pytest.mark.parametrize(
    "template", ["img_{:05d}.png", "{}.png", "s01e02_{:d}.png", "{:03d}_left.png"]
)
def test_frames_are_in_the_order_of_their_numbers(tmp_path, first, template):
    pixels = write_frames(tmp_path, 12, template, first)
    for path, count in ((tmp_path, 0), (tmp_path / template, 0), (tmp_path / template, 12)):
        with open_video(path, num_frames=count) as video:
            assert (video.num_frames, video.size, video.fps) == (12, (32, 40), None)
            np.testing.assert_array_equal(video.frames(range(12)), pixels)


def test_more_frames_than_a_list_counts_from_any_number(tmp_path):
    pixels = write_frames(tmp_path, 120, "{}.png", first=100, size=(4, 4))
    with open_video(tmp_path / "{}.png", num_frames=110) as video:  # number 110 is there, too
        np.testing.assert_array_equal(video.frames([0, 109]), pixels[[0, 109]])
    with pytest.raises(DecodeError, match=r"/1\.png is not there, the first of 121 frames"):
        open_video(tmp_path / "{}.png", num_frames=121)
    with pytest.raises(DecodeError, match=r"350\.png is not there, the last of 251 frames"):
        open_video(tmp_path / "{}.png", num_frames=251)


def test_what_is_no_picture_and_what_is_hidden_is_no_frame(tmp_path):
    write_frames(tmp_path, 3)
    for name in ("Thumbs.db", "notes_7.txt", "._img_00004.png", ".hidden.png"):
        (tmp_path / name).write_bytes(b"?")
    assert open_video(tmp_path).num_frames == 3


def test_time_stamps_beside_the_number(tmp_path):
    for number, stamp in enumerate(("0.000", "0.033", "0.066", "0.100")):
        write_frames(tmp_path, 1, f"frame_{number}_t{stamp}.png")
    assert open_video(tmp_path).num_frames == 4


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1", "2", "4", "5"], r"lacks 1 frame between 1\.png and 5\.png: 3\.png; extract"),
        (["a09", "a12", "a13"], r"lacks 2 frames between a09.* a10\.png is the first; extract"),
        (["a1", "b1", "a2"], r"2 kinds of names, such as a1\.png and b1\.png; .*template"),
        (["1", "01", "2"], r"numbers repeat, such as 01\.png and 1\.png"),
        (["one"], r"without numbers, such as one\.png; number them"),
        ([], "is a folder, not a video: it holds no pictures"),
    ],
)
def test_numbers_that_do_not_tell_are_said(tmp_path, names, message):
    for name in names:
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    with pytest.raises(DecodeError, match=message):
        open_video(tmp_path)


# Among videos


def test_which_folders_are_videos(tmp_path, make_video):
    write_frames(tmp_path / "run" / "a")
    write_frames(tmp_path / "run" / "deep" / "b", first=100)
    write_frames(tmp_path / "run" / "deep")  # pictures above a video are none of its frames
    write_frames(tmp_path / "sit" / "c")  # of the video beside it
    make_video("sit/c.mp4", frames=3)
    (tmp_path / "sit" / "covers").mkdir()
    for name in ("one.png", "two.png"):
        shutil.copy(tmp_path / "sit" / "c" / "img_00001.png", tmp_path / "sit" / "covers" / name)
    found = find_videos(tmp_path)
    names = [path.as_posix() for path in found.videos]
    assert names == ["run/a", "run/deep/b", "sit/c.mp4"]
    assert {path.parent.as_posix() for path in found.skipped} == {"run/deep", "sit/c", "sit/covers"}
    assert [path.as_posix() for path in found.empty] == ["sit/c", "sit/covers"]
    found, _ = records_at([tmp_path])
    assert [record.path for record in found] == [str(tmp_path / name) for name in names]
    found, _ = records_at([tmp_path / "run" / "a"])
    assert [record.path for record in found] == [str(tmp_path / "run" / "a")]


def test_lists_of_every_format_take_folders_of_frames(tmp_path, make_video):
    for name in ("walk/v_a", "walk/v_b", "jump/v_c"):
        write_frames(tmp_path / "videos" / name, first=0)
    make_video("videos/jump/v_d.mp4", frames=3)
    lists = tmp_path / "lists"
    lists.mkdir()
    rows = "walk/v_a,1\nwalk/v_b/img_{:05d}.png,1\njump/v_c 0\njump/v_d.mp4,0\n"
    (lists / "train.csv").write_text(rows)
    records = read_kinetics(lists, "train", str(tmp_path / "videos")).records
    assert missing_files(records) == {}
    counts = [
        open_video(record.path, num_frames=record.num_frames).num_frames for record in records
    ]
    assert counts == [4, 4, 4, 3]

    found = read_class_folders(tmp_path / "videos", "train", 0.5).records
    assert missing_files(found) == {} and len(found) == 2

    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n")
    (lists / "trainlist01.txt").write_text("ApplyEyeMakeup/v_e.avi 1\nApplyEyeMakeup/v_f.avi 1\n")
    write_frames(tmp_path / "videos" / "ApplyEyeMakeup" / "v_e")
    records = read_ucf101(lists, "train", prefix=str(tmp_path / "videos")).records
    assert [record.name for record in records] == ["ApplyEyeMakeup/v_e", "ApplyEyeMakeup/v_f.avi"]
    assert [records[place].name for place in missing_files(records)] == ["ApplyEyeMakeup/v_f.avi"]


def test_a_list_of_the_format_frames_is_told_from_others(tmp_path):
    write_frames(tmp_path / "a b", 4)
    (tmp_path / "train.csv").write_text("a b 4 0\n")
    with pytest.raises(
        DataError, match=r"train\.csv:1: 'a b 4 0' names a folder of frames and .*TRAIN"
    ):
        read_kinetics(tmp_path, "train")
    write_frames(tmp_path / "a b 4", 4)
    assert read_kinetics(tmp_path, "train").records[0].name == "a b 4"
    place = str(tmp_path / "a b" / "img_{:05d}.png")
    assert videos_to_check(place) == [(place, 0)]


def test_a_folder_without_frames_is_missing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "train.csv").write_text("empty,0\n")
    (place,) = missing_files(read_kinetics(tmp_path, "train").records).values()
    assert place == f"{tmp_path / 'empty'} (a folder without frames)"


def test_classes_of_single_pictures_are_told_from_videos(tmp_path):
    write_frames(tmp_path / "cats")
    with pytest.raises(DataError, match=r"cats holds the frames of one video itself; a class is"):
        read_class_folders(tmp_path, "train")


def test_the_check_reads_every_picture(tmp_path):
    write_frames(tmp_path / "clips" / "good", first=5)
    write_frames(tmp_path / "clips" / "gap", 4)
    (tmp_path / "clips" / "gap" / "img_00003.png").unlink()
    write_frames(tmp_path / "clips" / "broken")
    (tmp_path / "clips" / "broken" / "img_00002.png").write_bytes(b"no picture")
    videos = videos_to_check(tmp_path / "clips")
    checked, bad = check_videos(videos, tmp_path / "bad.csv", workers=1, strict=True)
    assert checked == 3
    assert [(row[0], *row[2:]) for row in bad] == [
        (str(tmp_path / "clips" / name), "", "") for name in ("broken", "gap")
    ]
    assert "img_00002.png cannot be read" in bad[0][1]
    assert bad[1][1].startswith("lacks 1 frame")
    assert videos_to_check(tmp_path / "clips" / "good") == [(str(tmp_path / "clips" / "good"), 0)]


# Steps that take video files alone say so


def test_steps_for_video_files_name_the_folders_of_frames(tmp_path, make_video):
    write_frames(tmp_path / "in" / "a")
    folder = tmp_path / "in"
    (folder / "train.csv").write_text("a,0\n")
    with pytest.raises(DataError, match=r"a is a folder of frames, and this step .*SHORT_SIDE"):
        resize_folder(folder, tmp_path / "small", Encoding(16), workers=1)
    with pytest.raises(DataError, match=r"a is a folder of frames.*used as it is"):
        extract_folder(folder, tmp_path / "frames", Pictures(), workers=1)
    with pytest.raises(DataError, match=r"a, is a folder of frames, and shards hold video files"):
        make_shards(folder / "train.csv", tmp_path / "shards")
    make_video("in/b.mp4", frames=3)
    (folder / "train.csv").write_text("a,0\nb.mp4,1\n")
    for summary in (
        resize_folder(folder, tmp_path / "small", Encoding(16), workers=1),
        extract_folder(folder, tmp_path / "frames", Pictures(), workers=1),
        make_shards(folder / "train.csv", tmp_path / "shards", workers=1),
    ):
        assert sum(summary.done.values()) == 1
        ((path, reason),) = summary.failed
        assert path == str(folder / "a") and reason.startswith("is a folder of frames")
    assert (tmp_path / "small" / "failed.csv").is_file()


def test_lists_of_a_dataset_count_from_any_number(tmp_path):
    write_frames(tmp_path / "frames" / "7", 3, first=100)
    write_frames(tmp_path / "frames" / "9", 3, first=0)
    (tmp_path / "something-something-v2-labels.json").write_text("{}")
    for part, number in (("train", "7"), ("validation", "9")):
        rows = [{"id": number, "template": "Approaching [something] with your camera"}]
        (tmp_path / f"something-something-v2-{part}.json").write_text(json.dumps(rows))
    arguments = ("ssv2", tmp_path, tmp_path)
    summaries = make_lists(*arguments, frames=tmp_path / "frames", template="img_{:05d}.png")
    assert [summary.videos for summary in summaries] == [1, 1]
    assert (tmp_path / "somesomev2_rgb_train_split.txt").read_text() == "frames/7 3 0\n"
    make_lists(*arguments, videos=tmp_path / "frames")
    assert (tmp_path / "train.csv").read_text() == "frames/7,0\n"


# From folders to a prediction


def test_train_test_report_and_predict(tiny, tmp_path, call):
    for place in range(8):
        name = f"{'up' if place % 2 else 'down'}/clip {place}"
        write_frames(tmp_path / "data" / name, 9, "{}.png", first=100 * place)
    (tmp_path / "data" / "up" / "clip 3" / "304.png").unlink()
    settings = {"TRAIN__DATASET": "folder", "DATA__PATH_TO_DATA_DIR": tmp_path / "data"}
    settings |= {"DATA__VAL_RATIO": 0.5, "DATA__MAX_BAD_RATIO": 0.5, "TRAIN__BATCH_SIZE": 2}
    settings |= {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0}
    folder = run(load_config(overrides=tiny(**settings)), "tiny")
    results = json.loads((folder / "results.json").read_text())
    failed = {failure["name"] for failure in results["failures"]}
    assert failed | {"up/clip 3"} == {"up/clip 3"}
    bad = folder / "bad_videos.csv"
    assert "lacks 1 frame" in (str(results["failures"]) if failed else bad.read_text())
    if results["summary"]["top1"]["correct"] < results["summary"]["decoded"]:
        assert "data:image/jpeg" in (folder / "report.html").read_text()

    data, checkpoint = tmp_path / "data", folder / "best.pt"
    for path, count, status in ((data, 8, 2), (data / "up", 4, 2), (data / "up" / "clip 1", 1, 0)):
        got, shown, errors = call("predict", path, "--checkpoint", checkpoint, "--json")
        lines = [json.loads(line) for line in shown.splitlines()]
        assert (got, len(lines)) == (status, count), errors
    assert lines[0]["video"] == str(data / "up" / "clip 1")
    template = data / "up" / "clip 1" / "{}.png"
    assert call("predict", template, "--checkpoint", checkpoint)[0] == 0
