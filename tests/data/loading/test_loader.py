"""The order of an epoch: each video once, or as often as its weight and its class say."""

import numpy as np
import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import TrainPlan, sampling_weights
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import DataError
from uniformer_video.randomness import permutation
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_data import Data


def records(*counts, weights=None):
    """So many videos of class 0, 1, ..., with weights in their order."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    weights = weights or [1.0] * len(labels)
    return [
        VideoRecord(f"{i}.mp4", f"{i}.mp4", (label,), weight=weight)
        for i, (label, weight) in enumerate(zip(labels, weights, strict=True))
    ]


def plan_of(items, balance=1.0, seed=3, slots=1, slot_size=1):
    return TrainPlan(len(items), slots, slot_size, seed, sampling_weights(items, balance))


def drawn(plan, epochs=1):
    """How often each video stands in the orders of so many epochs."""
    return sum(np.bincount(plan.order(epoch), minlength=plan.videos) for epoch in range(epochs))


def test_without_weights_each_video_stands_once_in_the_order_of_the_seed():
    plan = plan_of(records(7, 3), balance=0.0)
    assert plan.weights is None
    assert np.array_equal(plan.order(5), permutation(3, 5, 10))


def test_balanced_lists_and_equal_weights_change_no_order():
    for items, balance in (
        (records(5, 5), 1.0),
        (records(5, 5), 0.5),
        (records(7, 3, weights=[2.0] * 10), 0.0),
    ):
        assert np.array_equal(plan_of(items, balance).order(2), permutation(3, 2, 10))


def test_all_classes_equally_often():
    items = records(60, 30, 9, 1)
    plan = plan_of(items)
    for epoch in range(4):
        classes = np.bincount([items[i].label for i in plan.order(epoch)])
        assert classes.tolist() == [25] * 4
    often = drawn(plan, 60)
    classes = np.bincount([item.label for item in items], often)
    np.testing.assert_allclose(classes / classes.sum(), 0.25, atol=0.005)
    assert often[-1] == 25 * 60


@pytest.mark.parametrize("balance", [0.25, 0.5, 0.75])
def test_between_the_classes_share_is_a_power_of_their_size(balance):
    items = records(64, 16, 4)
    often = drawn(plan_of(items, balance), 200)
    classes = np.bincount([item.label for item in items], often)
    wanted = np.array([64, 16, 4]) ** (1 - balance)
    np.testing.assert_allclose(classes / classes.sum(), wanted / wanted.sum(), atol=0.005)


def test_a_video_comes_as_often_as_due_rounded_up_or_down():
    items = records(10, weights=[1, 1, 1, 1, 1, 1, 1, 1, 2.5, 4.5])  # 15 in all
    plan = plan_of(items, balance=0.0)
    due = np.array([item.weight for item in items]) * 10 / 15
    for epoch in range(50):
        often = drawn(TrainPlan(10, 1, 1, epoch, plan.weights))
        assert (np.floor(due) <= often).all() and (often <= np.ceil(due)).all()
    np.testing.assert_allclose(drawn(plan, 3000) / 3000, due, atol=0.04)


def test_a_weight_of_nothing_is_never_drawn():
    items = records(3, 3, weights=[0.0, 1, 1, 0.0, 0.0, 1])
    for balance in (0.0, 0.5, 1.0):
        assert set(np.flatnonzero(drawn(plan_of(items, balance), 30))) == {1, 2, 5}
    silent = records(3, 2, weights=[1.0, 1, 1, 0, 0])  # a class that is never drawn
    assert set(np.flatnonzero(drawn(plan_of(silent), 30))) == {0, 1, 2}
    with pytest.raises(DataError, match="all weights of the training list are 0"):
        sampling_weights(records(2, weights=[0.0, 0.0]), 0.0)


def test_weights_count_inside_a_class_that_is_balanced():
    items = records(4, 2, weights=[3.0, 1, 1, 1, 1, 1])
    often = drawn(plan_of(items), 500) / 500
    np.testing.assert_allclose(often, [1.5, 0.5, 0.5, 0.5, 1.5, 1.5], atol=0.06)


def test_epochs_and_seeds_differ_and_neighbours_are_mixed():
    items = records(90, 10)
    plan = plan_of(items)
    assert not np.array_equal(plan.order(0), plan.order(1))
    assert not np.array_equal(plan.order(0), plan_of(items, seed=4).order(0))
    assert np.array_equal(plan.order(1), plan_of(items).order(1))
    labels = [items[i].label for i in plan.order(0)]
    assert 30 < np.count_nonzero(np.diff(labels)) < 70  # 50 expected of a mixed order


def test_any_slots_and_any_first_step_see_the_same_order():
    items = records(50, 14)
    plan = plan_of(items, slots=2, slot_size=4)
    whole = list(plan.batches(3, 0, (0, 1)))
    assert len(whole) == 2 * plan.steps_per_epoch == 16
    keys = [key for batch in whole for key in batch]
    assert [key.index for key in keys] == plan.order(3).tolist()
    assert [key.position for key in keys] == list(range(64))
    for slot in (0, 1):
        assert list(plan.batches(3, 0, (slot,))) == whole[slot::2]
    assert list(plan.batches(3, 5, (0, 1))) == whole[10:]


def test_the_config_balances(tiny):
    data = Data(["a", "b"], train=records(30, 10))
    for settings, often in (({}, 10), ({"DATA__BALANCE": 1.0}, 20)):
        cfg = load_config(overrides=tiny(**settings))
        plan = build_clips.build_train_loader(cfg, data, Ranks(0, 1, torch.device("cpu"))).plan
        assert abs(sum(data.train[i].label for i in plan.order(0)) - often) <= 1


def test_huge_weights_count_as_their_shares():
    records = [VideoRecord("v", "v", (0,), weight=weight) for weight in (1e308, 5.0, 1e308, 1e308)]
    order = TrainPlan(4, 1, 1, 0, sampling_weights(records, 0.0)).order(0)
    assert sorted(set(order.tolist())) == [0, 2, 3]
