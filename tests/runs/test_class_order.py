"""Index order belongs to a checkpoint: names decide, in tests and when a head is taken over."""

import pytest
import torch

from uniformer_video.data.lists.class_names import class_names, orders_in_use
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import CheckpointError
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.class_order import (
    arrange_head,
    check_order_is_told,
    known_names,
    match_classes,
    order_of_teacher,
    stand_ins,
)
from uniformer_video.weights.checkpoint import Weights

NAMES = ["run", "jump", "swim"]
HEADS = ("head.weight", "head.bias", "head_cls.weight")


def weights(count=3, path="w.pth", **metadata):
    head = torch.arange(count).float()
    state = {"norm.weight": torch.ones(2), "head.weight": head[:, None], "head.bias": head}
    return Weights(path, {**state, "head_cls.weight": head[:, None] + 10}, metadata)


def test_published_files_are_known_by_their_name():
    assert known_names(weights(400)) is None
    published = weights(400, "weights/uniformer_small_k400_16x4.pth")
    assert known_names(published) == class_names("k400", "published")
    assert known_names(weights(10, "uniformer_small_k400_16x4.pth")) is None
    mmaction2 = Weights(published.path, published.state, hints={"layout": "mmaction2"})
    assert known_names(mmaction2) == class_names("k400")
    recorded = weights(400, published.path, class_names=class_names("k400"))
    assert known_names(recorded) == class_names("k400")
    assert known_names(weights(class_names=stand_ins(3))) is None


def test_rows_follow_the_names():
    arranged, line = arrange_head(weights(class_names=NAMES), HEADS, ["swim", "run", "jump"])
    assert arranged.state["head.bias"].tolist() == [2, 0, 1]
    assert arranged.state["head_cls.weight"].flatten().tolist() == [12, 10, 11]
    assert torch.equal(arranged.state["norm.weight"], torch.ones(2))
    assert "by name" in line
    same, line = arrange_head(weights(class_names=NAMES), HEADS, NAMES)
    assert line is None and same.state["head.bias"].tolist() == [0, 1, 2]


def test_other_classes_leave_no_head():
    left, line = arrange_head(weights(class_names=NAMES), HEADS, ["sit", "run", "jump"])
    assert set(left.state) == {"norm.weight"} and "other classes" in line


def test_a_head_without_names_is_taken_as_it_is_and_says_so():
    kept, line = arrange_head(weights(), HEADS, NAMES)
    assert set(kept.state) > set(HEADS) and "does not name its classes" in line
    assert arrange_head(weights(), HEADS, stand_ins(3))[1] is None
    assert arrange_head(weights(), HEADS, ["a", "b"])[1] is None  # it is replaced anyway


def test_kinetics_weights_must_tell_their_order():
    assert orders_in_use(class_names("k600", "published")) == ["k600", "k600-published"]
    assert orders_in_use(NAMES) == orders_in_use(class_names("ssv2")) == []
    check_order_is_told(weights(), NAMES)
    with pytest.raises(
        CheckpointError, match=r"2 orders \(k400, k400-published\).*--classes ORDER"
    ):
        check_order_is_told(weights(400), class_names("k400"))


def checkpoint(names=None, outputs=None):
    metadata = {"class_names": names} if names else {}
    return Weights("w.pt", {"head.weight": torch.zeros(outputs or len(names), 1)}, metadata)


def data(names):
    return Data(names, test=[VideoRecord(f"{i}.mp4", f"{i}.mp4", (i,)) for i in range(len(names))])


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


def test_a_part_of_the_classes_is_mapped_by_name():
    matched = match_classes(data(["b", "a"]), checkpoint(["a", "b", "c", "d"]))
    assert matched.class_names == ["a", "b", "c", "d"]
    assert named_labels(matched) == ["b", "a"]
    assert matched.notes == [
        "The data has 2 of the 4 classes of the checkpoint; labels were mapped by name. None of its videos "
        "is of c, d."
    ]
    lines = refusal(data(["a", "z"]), checkpoint(["a", "b", "c"]))
    assert lines[1:3] == ["  only in the data: 'z'", "  only in the checkpoint: 'b', 'c'"]


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
    fewer = refusal(data(list("ab")), checkpoint(None, 3))[0]
    assert "3 classes apart and the data has 2" in fewer and "DATA.CLASS_NAMES" in fewer
    fixed = refusal(data(stand_ins(2)), checkpoint(["a", "b", "c"]), 2)
    assert "3 classes apart and the data has 2" in fixed[0]
    assert match_classes(data(stand_ins(2)), checkpoint(None, 3)).class_names == stand_ins(3)


@pytest.mark.parametrize("names", [None, stand_ins(2)])
def test_a_checkpoint_without_names_is_taken_and_said(names):
    matched = match_classes(data(["b", "a"]), checkpoint(names, 2))
    assert matched.class_names == ["b", "a"]
    assert "does not name its classes" in matched.notes[0]
    assert "video convert`" in matched.notes[0]


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "b"]])
def test_names_that_do_not_fit_the_outputs_are_refused(names):
    assert "3 classes apart and records" in refusal(data(list("abc")), checkpoint(names, 3))[0]


def test_the_outputs_of_a_teacher_for_the_classes_that_are_learnt():
    numbers = stand_ins(3)
    assert order_of_teacher(NAMES, NAMES, 3, "t.pt") == (None, "")
    order, line = order_of_teacher(NAMES, ["swim", "run", "jump"], 3, "t.pt")
    assert order == [1, 2, 0] and "by name" in line
    order, line = order_of_teacher(NAMES, None, 3, "t.pt")
    assert order is None and "does not name its classes" in line
    assert order_of_teacher(numbers, None, 3, "t.pt") == (None, "")
    assert order_of_teacher(numbers, sorted(NAMES), 3, "t.pt") == (None, "")
    with pytest.raises(CheckpointError, match=r"t\.pt numbers its classes in an order of its own"):
        order_of_teacher(numbers, NAMES, 3, "t.pt")
    with pytest.raises(
        CheckpointError, match=r"only in the data: 'swim'; only in the teacher: 'fly'"
    ):
        order_of_teacher(NAMES, ["run", "jump", "fly"], 3, "t.pt")
    with pytest.raises(CheckpointError, match=r"only in the teacher: 'fly'; take a teacher that"):
        order_of_teacher(NAMES, [*NAMES, "fly"], 4, "t.pt")
    for names in (NAMES, numbers):
        with pytest.raises(CheckpointError, match=r"tells 4 classes apart and the data has 3"):
            order_of_teacher(names, None, 4, "t.pt")
