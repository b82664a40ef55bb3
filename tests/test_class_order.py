"""Index order belongs to a checkpoint: names decide, in tests and when a head is taken over."""

import pytest
import torch

from uniformer_video.class_order import (
    arrange_head,
    check_label_kind,
    check_order_is_told,
    known_names,
    stand_ins,
)
from uniformer_video.data.labels import class_names, orders_in_use
from uniformer_video.errors import CheckpointError
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


@pytest.mark.parametrize("several", [True, False])
def test_weights_are_tested_on_videos_of_their_kind(several):
    trained = weights(training={"epochs": 1}, **({"multi_label": True} if several else {}))
    check_label_kind(trained, several)
    with pytest.raises(CheckpointError, match=f"is {not several}; set it to {several}"):
        check_label_kind(trained, not several)
    check_label_kind(weights(), several)
    check_label_kind(weights(class_names=NAMES), several)
