"""Whose class names count, and what a test does where the data and the checkpoint disagree."""

import json

import numpy as np
import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.runs import build_model
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import run
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint


@pytest.fixture
def listed(tmp_path, demo):
    """A function: a folder whose test.csv gives the demo's videos these labels; the overrides."""

    def make(labels, *settings):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        lines = [f"{demo}/test/{i:05d}.mp4,{label}" for i, label in enumerate(labels)]
        (folder / "test.csv").write_text("\n".join(lines))
        fixed = ["TRAIN.ENABLE", "False", "DATA.PATH_TO_DATA_DIR", str(folder)]
        return [*fixed, *map(str, settings)]

    return make


@pytest.mark.parametrize("text", ["k400", "k400-published", "ssv1-mmaction2"])
def test_a_known_order_names_the_classes(listed, text):
    names = build_data(load_config(overrides=listed([0, 3], "DATA.CLASS_NAMES", text))).class_names
    dataset, _, order = text.partition("-")
    assert names == class_names(dataset, order or "usual")


def test_the_setting_goes_before_classes_txt_and_nothing_names_numbers(listed, tmp_path):
    bare = listed([0, 1])
    assert build_data(load_config(overrides=bare)).class_names == ["class 0", "class 1"]
    (tmp_path / "data" / "classes.txt").write_text("walk\nrun\n")
    assert build_data(load_config(overrides=bare)).class_names == ["walk", "run"]
    chosen = build_data(load_config(overrides=listed([0, 1], "DATA.CLASS_NAMES", "hmdb51")))
    assert chosen.class_names == class_names("hmdb51")


def test_names_that_cannot_be(listed):
    with pytest.raises(DataError, match=r"DATA\.CLASS_NAMES k401 is not a file.*k400-published"):
        build_data(load_config(overrides=listed([0], "DATA.CLASS_NAMES", "k401")))
    with pytest.raises(DataError, match=r"test\.csv:2: label 51 .* outside 0\.\.50"):
        build_data(load_config(overrides=listed([0, 51], "DATA.CLASS_NAMES", "hmdb51")))
    wrong = listed([0], "DATA.CLASS_NAMES", "k400", "MODEL.NUM_CLASSES", 600)
    with pytest.raises(ConfigError, match="600 and there are 400 class names"):
        build_data(load_config(overrides=wrong))


# From list to accuracy


@pytest.fixture
def published(tiny, tmp_path):
    """An untrained checkpoint with Kinetics' classes in the published order."""
    cfg = load_config(overrides=tiny())
    torch.manual_seed(0)
    model, _ = build_model.build_model(cfg, 400)
    torch.nn.init.normal_(model.head.weight)
    names = class_names("k400", "published")
    path = tmp_path / "published.pt"
    write_checkpoint(path, model.state_dict(), build_model.build_metadata(cfg, model, names))
    return path


@pytest.fixture
def evaluated(tiny, listed, tmp_path, published):
    """A function: test the checkpoint on the demo's videos with these labels; (results, scores)."""

    def test(labels, *settings, **changes):
        folder = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        changes = {"TEST__CHECKPOINT_FILE_PATH": published, **changes}
        target = run(
            load_config(
                overrides=[*tiny(OUTPUT_DIR=folder, **changes), *listed(labels, *settings)]
            ),
            "tiny",
        )
        results = json.loads((target / "results.json").read_text())
        # eight videos are few of Kinetics', and the notes say so
        results["notes"] = [note for note in results["notes"] if "published val" not in note]
        with np.load(target / "scores.npz") as scores:
            return results, scores["scores"].mean(1)

    return test


def test_accuracy_does_not_depend_on_the_order_of_the_list(evaluated, published, tmp_path):
    usual, own = class_names("k400"), class_names("k400", "published")
    first, scores = evaluated([0] * 8, "DATA.CLASS_NAMES", "k400-published")
    assert not first["notes"]
    predicted = scores.argmax(1)
    # Five of eight answers are right, counted in the published order and in the usual one.
    in_own = [int(top) if i < 5 else int(top + 1) % 400 for i, top in enumerate(predicted)]
    in_usual = [usual.index(own[label]) for label in in_own]
    assert in_own != in_usual

    expected, _ = evaluated(in_own, "DATA.CLASS_NAMES", "k400-published")
    assert expected["summary"]["top1"]["correct"] == 5
    by_name, _ = evaluated(in_usual, "DATA.CLASS_NAMES", "k400")
    assert by_name["summary"] == expected["summary"]
    assert by_name["class_names"] == own
    assert by_name["videos"] == expected["videos"]
    assert "mapped by name" in by_name["notes"][0]

    (tmp_path / "data" / "classes.txt").write_text("\n".join(usual))
    from_file, _ = evaluated(in_usual)
    assert from_file["summary"] == expected["summary"]
    (tmp_path / "data" / "classes.txt").unlink()
    with pytest.raises(CheckpointError, match="output 0 is 'riding a bike'"):
        evaluated(in_usual)

    state = read_weights(published).state
    torch.save(state, tmp_path / "bare.pth")  # as others publish it: no names
    with pytest.raises(CheckpointError, match=r"2 orders \(k400, k400-published\)"):
        evaluated(
            in_usual,
            "DATA.CLASS_NAMES",
            "k400",
            TEST__CHECKPOINT_FILE_PATH=tmp_path / "bare.pth",
        )
    known_file = tmp_path / "uniformer_small_k400_16x4.pth"  # known by its name
    (tmp_path / "bare.pth").rename(known_file)
    known, _ = evaluated(
        in_usual, "DATA.CLASS_NAMES", "k400", TEST__CHECKPOINT_FILE_PATH=known_file
    )
    assert known["summary"] == expected["summary"]


# Lists that are not as they should be


@pytest.fixture
def split(tmp_path):
    """A function: the data of a folder with these lists, over videos a.mp4 to d.mp4."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for name in "abcd":
        (folder / f"{name}.mp4").touch()

    def make(train, val="a.mp4,0\nb.mp4,1\n", *settings):
        (folder / "train.csv").write_text(train)
        (folder / "val.csv").write_text(val)
        fixed = ["DATA.PATH_TO_DATA_DIR", str(folder)]
        return build_data(load_config(overrides=[*fixed, *map(str, settings)]))

    make.folder = folder
    return make


def test_repeated_lines_count_once_in_a_test_and_as_often_as_they_stand_in_training(split):
    twice = "c.mp4,0\nd.mp4,1\n./c.mp4,0\n"
    found = split(twice, twice)
    assert [len(part) for part in (found.train, found.val, found.test)] == [3, 2, 2]
    assert found.notes[:3] == [
        "1 of the 3 lines of the train list repeat a video of it; it comes as often in training.",
        "1 of the 3 lines of the val list repeat a video of it; each counts once.",
        "1 of the 3 lines of the test list repeat a video of it; each counts once.",
    ]


def test_segments_of_one_video_are_no_repeats(split):
    table = "path,label,start,end\nc.mp4,0,0,2\nc.mp4,1,2,4\nc.mp4,0,4,\n"
    found = split(table, table)
    names = ["c.mp4#0-2", "c.mp4#2-4", "c.mp4#4-"]
    assert [r.name for r in found.train] == [r.name for r in found.test] == names
    assert not any("repeat" in note for note in found.notes)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            "c.mp4,0\nd.mp4,1\n\nc.mp4,1\n",
            r"train\.csv:4: c\.mp4 has label 1, and in .*train\.csv:1 label 0",
        ),
        (
            "path,label,end\nc.mp4,0,3\nc.mp4,1,3.0\n",
            r"train\.csv:3: c\.mp4#0-3 has label 1, and in .*:2 label 0",
        ),
        ("c.mp4,-1\nd.mp4,1\n", r"train\.csv:1: label -1 of c\.mp4 is outside 0\.\.1"),
        ("path,label\nc.mp4,-1\nd.mp4,1\n", r"train\.csv:2: label -1 of c\.mp4 is outside"),
        ("path,label\n", "lists no videos"),
        ("\ufeff\r\n\r\n", "lists no videos"),
        ("c.mp4,0.5\n", r"train\.csv:1: expected a path and a whole-number label"),
        (
            "c.mp4,99999999\n",
            r"train\.csv:1: the label 99999999 of c\.mp4 .*or set MODEL\.NUM_CLASSES",
        ),
        (
            "c.mp4,x\nd.mp4,y\n",
            "the train videos have class names and the val list has bare numbers",
        ),
        (
            "c.mp4,0\nd.mp4,y\n",
            r"train\.csv:2: the label of d\.mp4 is the name 'y', and in .*:1 the num",
        ),
    ],
)
def test_lists_that_cannot_be_right(split, train, message):
    with pytest.raises(DataError, match=message):
        split(train)


def test_what_stands_where_a_video_should_is_named(split):
    (split.folder / "gone.mp4").symlink_to(split.folder / "nowhere.mp4")
    (split.folder / "dir.mp4").mkdir()
    listed = "a.mp4,0\ngone.mp4,1\ndir.mp4,1\nno.mp4,1\nc.mp4,0\n"
    found = split(listed, "a.mp4,0\n", "DATA.MAX_BAD_RATIO", 0.6)
    (note,) = [note for note in found.notes if "exist" in note]
    assert note.startswith("3 of 5 train videos do not exist: ")
    assert "gone.mp4 (a broken link), " in note
    assert "dir.mp4 (a folder without frames), " in note
    assert note.endswith("no.mp4; no video is left of class 1")
    with pytest.raises(DataError, match=r"none of the 1 train .*gone\.mp4 \(a broken link\), from"):
        split("gone.mp4,0\n")
    with pytest.raises(
        DataError, match=r"3 of 5 train videos.*DATA\.MAX_BAD_RATIO 0\.1 allows: .*gone"
    ):
        split(listed)


def test_something_else_in_place_of_a_list(split):
    split("c.mp4,0\nd.mp4,1\n")
    (split.folder / "test.csv").mkdir()
    with pytest.raises(DataError, match=r"test\.csv is a folder; a list is a text file"):
        split("c.mp4,0\nd.mp4,1\n")
    (split.folder / "test.csv").rmdir()
    (split.folder / "test.csv").symlink_to("moved.csv")
    with pytest.raises(DataError, match=r"test\.csv is a link to moved\.csv, which is not there"):
        split("c.mp4,0\nd.mp4,1\n")


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("kinetics", r"train\.csv"),
        ("frames", r"train\.txt"),
        ("shards", r"train/index\.csv"),
    ],
)
def test_a_folder_that_does_not_exist(tmp_path, kind, wanted):
    there = ["TRAIN.DATASET", kind, "DATA.PATH_TO_DATA_DIR"]
    nowhere = tmp_path / "nowhere"
    message = rf"no folder {nowhere}; set DATA\.PATH_TO_DATA_DIR .*\n.* {wanted}, .*\n.*video guide"
    with pytest.raises(DataError, match=message):
        build_data(load_config(overrides=[*there, str(nowhere)]))
    nowhere.mkdir()
    with pytest.raises(DataError, match=rf"there is no {wanted} in {nowhere}\.\n"):
        build_data(load_config(overrides=[*there, str(nowhere)]))


def test_relative_and_absolute_paths(split, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    text = f"../lists/c.mp4,0\n{split.folder}/d.mp4,1\n"
    found = split(text, text, "DATA.PATH_TO_DATA_DIR", "lists")
    assert [r.path for r in found.train] == [str(split.folder / n) for n in ("c.mp4", "d.mp4")]
    elsewhere = split("c.mp4,0\nd.mp4,1\n", "c.mp4,0\n", "DATA.PATH_PREFIX", "lists/../lists")
    assert elsewhere.train[0].path == str(split.folder / "c.mp4")


# A whole run on a table


def test_a_run_on_segments_with_weights_balance_rates_and_flips(tiny, demo, tmp_path):
    """Segments are told apart in the results, and one outside its video is a failure."""
    folder = tmp_path / "tables"
    folder.mkdir()
    rows = [f"{demo}/train/{i:05d}.mp4,{i % 8},{0.1 * (i % 2)},,{1 + i % 3}" for i in range(16)]
    (folder / "train.csv").write_text("\n".join(["path,label,start,end,weight", *rows]))
    video = f"{demo}/test/00000.mp4"
    (folder / "test.csv").write_text(f"path,label,end,start\n{video},1,0.4,\n{video},2,9,8\n")
    (folder / "val.csv").write_text(f"{video},1\n")
    settings = {
        "DATA__PATH_TO_DATA_DIR": folder,
        "DATA__CLASS_NAMES": "demo",
        "DATA__BALANCE": 0.5,
        "DATA__FLIP": "swap-labels",
        "DATA__TARGET_FPS": 10,
        "DATA__SAMPLING_RATE": 1,
    }
    target = run(load_config(overrides=tiny(**settings)), "tiny")
    found = json.loads((target / "results.json").read_text())
    assert [item["name"] for item in found["videos"]] == [f"{video}#0-0.4", f"{video}#8-9"]
    (failure,) = found["failures"]
    assert failure["name"] == f"{video}#8-9"
    assert "no frame begins from 8 s to 9 s" in failure["reason"] and video in failure["reason"]
    assert found["summary"]["failed"] == 1


def test_a_test_folder_takes_its_labels_by_name_from_the_training_list(tmp_path, make_video):
    """Its own classes are numbered in the order of their names, those of the list in another."""
    for video in ("a/x.mp4", "a/y.mp4", "b/x.mp4", "b/y.mp4"):
        (tmp_path / video).parent.mkdir(exist_ok=True)
        make_video(tmp_path / video, frames=3)
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text("a/x.mp4,1\nb/x.mp4,0\n")
    (tmp_path / "classes.txt").write_text("b\na\n")
    overrides = ["DATA.PATH_TO_DATA_DIR", str(tmp_path), "TEST.DATASET", "folder"]
    data = build_data(load_config(overrides=overrides))
    assert data.class_names == ["b", "a"]
    assert sorted((record.name[0], record.label) for record in data.test) == [("a", 1), ("b", 0)]
    (tmp_path / "classes.txt").write_text("b\nc\n")
    with pytest.raises(DataError, match=r"has the class 'a', which .*classes\.txt lacks"):
        build_data(load_config(overrides=overrides))
