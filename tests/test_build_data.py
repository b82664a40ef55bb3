"""Whose class names count, and what a test does where the data and the checkpoint disagree."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from uniformer_video import build
from uniformer_video.build_data import Data, build_data, match_classes
from uniformer_video.config import load_config
from uniformer_video.data.labels import class_names
from uniformer_video.data.records import VideoRecord
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.models.checkpoint import read_weights, write_checkpoint
from uniformer_video.run import run


def stand_ins(count):
    return [f"class {i}" for i in range(count)]


def checkpoint(names=None, outputs=None):
    metadata = {"class_names": names} if names else {}
    return SimpleNamespace(path="w.pt", metadata=metadata, num_classes=outputs or len(names))


def data(names):
    return Data(names, test=[VideoRecord(f"{i}.mp4", f"{i}.mp4", i) for i in range(len(names))])


def named_labels(matched):
    return [matched.class_names[record.label] for record in matched.test]


def refusal(*arguments):
    with pytest.raises(CheckpointError) as refused:
        match_classes(*arguments)
    return str(refused.value).splitlines()


def test_equal_names_change_nothing():
    own = data(["b", "a"])
    assert match_classes(own, checkpoint(["b", "a"])) is own


def test_another_order_is_mapped_by_name():
    matched = match_classes(data(class_names("k400")), checkpoint(class_names("k400", "published")))
    assert matched.class_names == class_names("k400", "published")
    assert named_labels(matched) == class_names("k400")
    assert "mapped by name" in matched.notes[0]


def test_other_names_are_refused_with_the_first_three_of_each_side():
    lines = refusal(data(list("abcdez")), checkpoint(list("zxy")))
    assert lines[0] == "w.pt names 3 classes, the data 6, and not the same ones:"
    assert lines[1] == "  only in the data: 'a', 'b', 'c' and 2 more"
    assert lines[2] == "  only in the checkpoint: 'x', 'y'"
    assert "classes.txt or DATA.CLASS_NAMES" in lines[3]


def test_a_part_of_the_classes_is_another_set_of_names():
    lines = refusal(data(["a", "b"]), checkpoint(["a", "b", "c"]))
    assert lines[1:-1] == ["  only in the checkpoint: 'c'"]


def test_bare_numbers_beside_an_order_of_the_checkpoints_own_are_refused():
    lines = refusal(data(stand_ins(400)), checkpoint(class_names("k400", "published")))
    assert "does not tell in which order" in lines[0]
    assert lines[1:4] == [
        "  output 0 is 'riding a bike', in the usual order 'abseiling'",
        "  output 1 is 'marching', in the usual order 'air drumming'",
        "  output 2 is 'dodgeball', in the usual order 'answering questions'",
    ]
    assert "usual order, set DATA.CLASS_NAMES k400." in lines[4]
    assert "the checkpoint's order, set DATA.CLASS_NAMES k400-published." in lines[5]
    assert "remap-labels" in lines[6]


def test_bare_numbers_beside_an_unknown_order():
    lines = refusal(data(stand_ins(3)), checkpoint(["a", "c", "b"]))
    assert lines[1:3] == [
        "  output 1 is 'c', in the usual order 'b'",
        "  output 2 is 'b', in the usual order 'c'",
    ]
    assert "DATA.CLASS_NAMES FILE" in lines[3]
    assert refusal(data(stand_ins(2)), checkpoint(["a", "c", "b"])) == lines


@pytest.mark.parametrize("names", [["a", "b", "c"], class_names("ucf101"), class_names("demo")])
def test_bare_numbers_take_the_names_of_a_checkpoint_in_the_usual_order(names):
    for count in (len(names), 2):
        matched = match_classes(data(stand_ins(count)), checkpoint(names))
        assert matched.class_names == names
        assert named_labels(matched) == names[:count]
        assert not matched.notes


def test_class_counts_that_differ():
    assert (
        "3 classes apart and the data has 4" in refusal(data(stand_ins(4)), checkpoint(None, 3))[0]
    )
    assert "3 classes apart and the data has 2" in refusal(data(list("ab")), checkpoint(None, 3))[0]
    fixed = refusal(data(stand_ins(2)), checkpoint(["a", "b", "c"]), 2)
    assert "3 classes apart and the data has 2" in fixed[0]
    assert match_classes(data(stand_ins(2)), checkpoint(None, 3)).class_names == stand_ins(3)


@pytest.mark.parametrize("names", [None, stand_ins(2)])
def test_a_checkpoint_without_names_is_taken_and_said(names):
    matched = match_classes(data(["b", "a"]), checkpoint(names, 2))
    assert matched.class_names == ["b", "a"]
    assert "does not name its classes" in matched.notes[0]
    assert "tools/convert_checkpoint.py" in matched.notes[0]


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"]])
def test_names_that_do_not_fit_the_outputs_are_refused(names):
    assert "3 classes apart and records" in refusal(data(list("abc")), checkpoint(names, 3))[0]


# Sources of names


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
    model, _ = build.build_model(cfg, 400)
    torch.nn.init.normal_(model.head.weight)
    names = class_names("k400", "published")
    path = tmp_path / "published.pt"
    write_checkpoint(path, model.state_dict(), build.build_metadata(cfg, model, names))
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
        with np.load(target / "scores.npz") as scores:
            return json.loads((target / "results.json").read_text()), scores["scores"].mean(1)

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
    bare, _ = evaluated(
        in_own,
        "DATA.CLASS_NAMES",
        "k400-published",
        TEST__CHECKPOINT_FILE_PATH=tmp_path / "bare.pth",
    )
    assert bare["summary"] == expected["summary"]
    assert "convert_checkpoint.py" in bare["notes"][0]
