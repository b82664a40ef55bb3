"""Folders with one sub-folder a class: every class is read, named or refused; none vanishes."""

import pytest
from videos import encode, numbered_frames

from uniformer_video.config.settings import load_config
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.class_folders import read_folder
from uniformer_video.data.lists.folders import find_videos, is_video
from uniformer_video.data.lists.media import VIDEO_SUFFIXES
from uniformer_video.errors import DataError
from uniformer_video.runs.build_data import build_data


@pytest.fixture
def fill(place):
    """A function: a folder with empty files, and with empty folders for names that end in a slash."""

    def make(*names):
        root = place({f"videos/{name}": None for name in names if not name.endswith("/")})
        for name in names:
            if name.endswith("/"):
                (root / "videos" / name).mkdir(parents=True)
        return root / "videos"

    return make


def labels(records):
    return [(record.name, record.label) for record in records]


def data_of(root, *settings, training=True):
    fixed = ["TRAIN.DATASET", "folder", "DATA.PATH_TO_DATA_DIR", str(root)]
    fixed += [] if training else ["TRAIN.ENABLE", "False"]
    return build_data(load_config(overrides=[*fixed, *map(str, settings)]))


def refusal(root, *settings, **options):
    with pytest.raises(DataError) as error:
        data_of(root, *settings, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_classes_are_numbered_in_the_order_of_their_names(fill):
    root = fill(
        "jump/0.mp4", "jump/1.gif", "walk/0.mp4", "walk/deep/z.MKV", ".cache/a.mp4", "jump/._0.mp4"
    )
    records, names, notes = read_folder(root)
    assert names == ["jump", "walk"]
    assert labels(records) == [
        ("jump/0.mp4", 0),
        ("jump/1.gif", 0),
        ("walk/0.mp4", 1),
        ("walk/deep/z.MKV", 1),
    ]
    hidden, deeper = notes
    assert hidden.startswith(f"{root}: left out 2 hidden videos, ")
    assert deeper == (
        f"{root}: 1 video in folders inside those of the classes, counted for the class above: "
        "walk/deep (1)"
    )


def test_what_is_left_out_is_counted_and_named(fill):
    root = fill("run/a.mp4", "walk/b.mp4", "top.mp4", "run/c.txt", "run/d", "run/e/", "classes.txt")
    (root / "run" / "around").symlink_to("..")
    skipped, empty, circular, loose = read_folder(root)[2]
    assert (
        skipped
        == f"{root}: left out 2 files without a suffix of videos (1 .txt, 1 without any): run/c.txt, run/d"
    )
    assert empty == f"{root}: 1 folder without a video: run/e"
    assert circular == f"{root}: left out 1 link back to a folder around: run/around"
    assert loose.endswith("left out 1 video beside the folders of the classes: top.mp4")


@pytest.mark.parametrize("name", ["St. Moritz", "kick v1.2", "U.S.A."])
def test_a_class_on_an_absent_disk_may_have_dots_in_its_name(fill, name):
    root = fill("run/a.mp4", "walk/b.mp4")
    (root / name).symlink_to("/nowhere/disk")
    assert f"{name} (a link to /nowhere/disk, which is not there)" in refusal(root)


def test_a_class_without_a_video_stops_the_run(fill):
    root = fill(
        "run/a.mp4", "walk/b.mp4", "jump/c.jpg", "jump/d.jpg", "jump/e.TXT", "sit/", "x/._.mp4"
    )
    (root / "disk").symlink_to("/nowhere/disk")
    (root / "README").symlink_to("nowhere.md")
    (root / "notes.txt").symlink_to("nowhere.txt")  # a file by its name
    said = refusal(root)
    assert said.startswith(
        f"{root}: 5 of 7 class folders without a video: README (a link to nowhere.md"
    )
    assert "disk (a link to /nowhere/disk, which is not there)" in said
    assert "jump (2 .jpg, 1 .txt), sit (empty), x (1 hidden video)" in said
    assert "names of videos end in .mp4, .avi" in said


def test_a_linked_class_is_a_class_and_a_second_name_is_none(fill):
    root = (
        fill("videos/run/a.mp4", "videos/run/b.mp4", "elsewhere/c.mp4", "elsewhere/d.mp4")
        / "videos"
    )
    (root / "swim").symlink_to("../elsewhere")
    (root / "around").symlink_to("..")
    records, names, notes = read_folder(root)
    assert (names, len(records)) == (["run", "swim"], 4)
    assert notes == [f"{root}: left out 1 link back to a folder around: around"]
    (root / "laufen").symlink_to("run")
    assert "the classes laufen and run are one and the same folder" in refusal(root)
    (root / "laufen").unlink()
    (root / "run" / "deep").mkdir()
    (root / "deep").symlink_to("run/deep")
    (root / "run" / "deep" / "e.mp4").touch()
    assert "the class deep is a link into the class run" in refusal(root)


def test_a_video_counted_again_by_a_link_is_told(fill):
    root = fill("run/0.mp4", "run/1.mp4", "walk/b.mp4", "walk/f/img_1.jpg", "walk/f/img_2.jpg")
    assert read_folder(root)[2] == []
    (root / "jump").mkdir()
    (root / "jump" / "r0.mp4").symlink_to("../run/0.mp4")
    (root / "jump" / "r1.mp4").symlink_to("../run/1.mp4")
    (root / "jump" / "frames").symlink_to("../walk/f")
    (root / "run" / "again.mp4").symlink_to("0.mp4")
    records, _, notes = read_folder(root)
    assert len(records) == 8
    assert notes == [
        f"{root}: 4 videos counted again by links, 3 of them for another class, such as jump/frames, "
        "which is walk/f"
    ]


def test_folders_without_classes(fill, tmp_path):
    with pytest.raises(DataError, match="no folder"):
        read_folder(tmp_path / "absent")
    with pytest.raises(DataError, match="no sub-folder with videos"):
        read_folder(fill("a.mp4"))


def test_a_folder_around_the_classes_is_told(fill):
    said = refusal(
        fill("all/run/a.mp4", "all/walk/b.mp4"), "TRAIN.EVAL_PERIOD", 0, "TEST.ENABLE", False
    )
    assert "only one class, 'all'" in said and "all/run (1), all/walk (1)" in said


# Names of the classes


FOUR = ("run/a.mp4", "run/b.mp4", "walk/a.mp4", "walk/b.mp4")


def test_given_names_number_the_classes(fill, tmp_path):
    root = fill(*FOUR)
    assert data_of(root).class_names == ["run", "walk"]
    (root / "classes.txt").write_text("walk\nfly\nrun\n")
    data = data_of(root)
    assert data.class_names == ["walk", "fly", "run"]
    assert {(record.name[:3], record.label) for record in data.train} == {("run", 2), ("wal", 0)}
    assert "1 of the 3 classes never occurs in the train list: fly." in data.notes
    (tmp_path / "names.txt").write_text("run\nwalk\n")
    assert data_of(root, "DATA.CLASS_NAMES", tmp_path / "names.txt").class_names == ["run", "walk"]


def test_a_folder_that_the_names_lack(fill):
    root = fill(*FOUR, "notes/x.txt")
    (root / "classes.txt").write_text("run\nwalks\n")
    said = refusal(root)
    assert (
        f"{root} has the class 'walk', which {root}/classes.txt lacks; did you mean 'walks'?"
        in said
    )
    (root / "classes.txt").write_text("run\nwalk\n")
    assert f"{root}: 1 folder without a video: notes" in data_of(root).notes  # it is no class


# Parts


PARTS = ("train/run/a.mp4", "train/walk/b.mp4", "val/walk/c.mp4")


def test_parts_take_the_classes_of_training_by_name(fill):
    root = fill(*PARTS, "extra/run/d.mp4", "top.mp4")
    data = data_of(root)
    assert data.class_names == ["run", "walk"]
    assert labels(data.val) == labels(data.test) == [("walk/c.mp4", 1)]
    assert f"{root}: left out 1 folder beside train and val: extra" in data.notes
    assert f"{root}: left out 1 video beside train and val: top.mp4" in data.notes
    (root / "val" / "sit").mkdir()
    (root / "val" / "sit" / "a.mp4").touch()
    assert f"'sit', which the training folder {root / 'train'} lacks" in refusal(root)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train/run/a.mp4", "validation/run/b.mp4"), "has a folder validation, which is no part"),
        (("Train/run/a.mp4", "Test/run/b.mp4"), "has a folder Test and none called train"),
        (("training/a.mp4", "testing/b.mp4"), "has a folder testing and none called train"),
        (("test/run/a.mp4",), "has a folder test and none called train"),
        (("test/a.mp4", "run/b.mp4"), "has a folder test and none called train"),
    ],
)
def test_parts_under_other_names(fill, names, message):
    assert message in refusal(fill(*names))


def test_a_test_folder_alone(fill):
    root = fill("test/walk/a.mp4", "test/run/b.mp4")
    data = data_of(root, training=False)
    assert data.class_names == ["run", "walk"]
    assert labels(data.test) == [("run/b.mp4", 0), ("walk/a.mp4", 1)]
    assert data_of(root, "MODEL.NUM_CLASSES", 5, training=False).num_classes == 2
    (root / "test" / "sit").mkdir()
    assert "1 of 3 class folders without a video: sit (empty)" in refusal(root, training=False)


def test_held_out_videos_are_counted(fill):
    root = fill(*FOUR)
    assert f"{root}: 2 of 4 videos are held out (DATA.VAL_RATIO 0.2)." in data_of(root).notes


# Suffixes


def test_the_suffixes_are_those_of_what_is_decoded():
    asked = "asf ogg mxf qt m2v 3g2 f4v h264 264 y4m nut apng divx mpe ivf m4s trp gif mjpeg hevc"
    assert {f".{suffix}" for suffix in asked.split()} <= set(VIDEO_SUFFIXES)
    assert len(set(VIDEO_SUFFIXES)) == len(VIDEO_SUFFIXES)
    assert not any(map(is_video, ("a.jpg", "a.wav", "a.m3u8", "a.txt", "a")))


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        ("gif", "gif", "rgb8"),
        ("asf", "wmv2", "yuv420p"),
        ("mxf", "mpeg2video", "yuv420p"),
        ("m2v", "mpeg2video", "yuv420p"),
        ("3g2", "mpeg4", "yuv420p"),
        ("f4v", "libx264", "yuv420p"),
        ("264", "libx264", "yuv420p"),
        ("y4m", "wrapped_avframe", "yuv420p"),
        ("nut", "libx264", "yuv420p"),
        ("apng", "apng", "rgb24"),
        ("ivf", "libvpx", "yuv420p"),
    ],
)
def test_what_is_found_decodes(tmp_path, suffix, codec, pixels):
    (tmp_path / "run").mkdir()
    encode(tmp_path / "run" / f"a.{suffix}", numbered_frames(6, (48, 64)), codec, pixels)
    (video,) = find_videos(tmp_path).videos
    with open_video(tmp_path / video) as reader:
        assert reader.frames([0, 5]).shape == (2, 48, 64, 3)


# From folder to accuracy


def test_a_run_prints_every_class_and_is_tested_on_fewer(tiny, call, make_video, tmp_path):
    for name in ("jump/a", "jump/b", "run/a", "run/b", "walk/a", "walk/b"):
        make_video(f"videos/{name}.mp4", frames=4)
    config = tmp_path / "a.yaml"
    config.write_text("TRAIN: {DATASET: folder}\n")

    def go(output, data, *settings):
        changes = {"DATA__PATH_TO_DATA_DIR": tmp_path / data}
        changes |= {"OUTPUT_DIR": tmp_path / output, "TRAIN__BATCH_SIZE": 3, "SOLVER__MAX_EPOCH": 1}
        settings = (*tiny(**changes), "SOLVER.WARMUP_EPOCHS", "0.5", *settings)
        status, out, errors = call("run", "--cfg", config, *settings)
        return status, out + errors

    status, said = go("first", "videos")
    assert status == 0, said
    assert "train: 3 videos of 3 classes: jump (1), run (1), walk (1)\n" in said
    assert "val: 3 videos of 3 classes: " in said and "test: 3 videos of 3 classes: " in said
    make_video("lone/test/walk/a.mp4", frames=4)
    weights = ("TRAIN.ENABLE", "False", "TEST.CHECKPOINT_FILE_PATH", tmp_path / "first" / "best.pt")
    status, said = go("second", "lone", *weights)
    assert status == 0, said
    assert "The data has 1 of the 3 classes of the checkpoint; labels were mapped by name." in said
    assert "None of its videos is of jump, run." in said
    assert "(0/1" in said or "(1/1" in said
    (tmp_path / "lone/test/walk").rename(tmp_path / "lone/test/fly")
    status, said = go("third", "lone", *weights)
    assert status == 2 and "only in the data: 'fly'" in said
