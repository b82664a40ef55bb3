"""How much rare classes count: in the order of an epoch and in the loss."""

import numpy as np
import pytest

from uniformer_video.data.lists.balance import class_totals, class_weights
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import sampling_weights


def videos(*labels, weights=None):
    weights = weights or [1.0] * len(labels)
    return [VideoRecord("a", "a", own, weight=w) for own, w in zip(labels, weights, strict=True)]


def test_totals_count_each_label_by_the_weight_of_its_video():
    items = videos((0, 2), (2,), (), (5,), weights=[1, 0.5, 7, 0])
    assert class_totals(items) == {0: 1.0, 2: 1.5, 5: 0.0}


@pytest.mark.parametrize("balance", [0.25, 0.5, 1.0])
def test_weights_of_classes(balance):
    """Classes with 4, 1 and 2 videos, one that never occurs, and one that is never drawn."""
    items = videos((0,), (0, 1), (0, 3), (0,), (3,), (4,), weights=[1, 1, 1, 1, 1, 0])
    rare = {0: 4**-balance, 1: 1.0, 3: 2**-balance}
    mean = sum(rare.values()) / 3
    expected = [rare[0] / mean, rare[1] / mean, 1.0, rare[3] / mean, 1.0]
    np.testing.assert_allclose(class_weights(items, 5, balance), expected)


def test_a_video_comes_as_often_as_its_rarest_class_asks_for():
    items = videos((0,), (0, 1), (0,), (0, 2), (2,), weights=[1, 1, 1, 1, 0.5])
    for balance in (0.5, 1.0):
        rarest = np.array([4, 1, 4, 1.5, 1.5])
        expected = np.array([1, 1, 1, 1, 0.5]) / rarest**balance
        np.testing.assert_allclose(sampling_weights(items, balance), expected)
    assert sampling_weights(videos((0, 1), (0,)), 0.0) is None


def test_videos_without_a_label_are_never_repeated_more_than_the_most_frequent_class():
    few = sampling_weights(videos((0,), (0,), (0,), (1,), ()), 1.0)
    np.testing.assert_allclose(few, [1 / 3, 1 / 3, 1 / 3, 1, 1 / 3])
    many = sampling_weights(videos((0,), (0,), (1,), (), (), ()), 1.0)
    np.testing.assert_allclose(many, [1 / 2, 1 / 2, 1, 1 / 3, 1 / 3, 1 / 3])
    assert sampling_weights(videos((), ()), 1.0) is None


def test_one_label_is_balanced_as_it_was():
    """The formula over classes as arrays, to the last bit."""
    rng = np.random.default_rng(0)
    labels, own = rng.integers(0, 7, 200), rng.random(200)
    items = videos(*[(int(label),) for label in labels], weights=own.tolist())
    _, classes = np.unique(labels, return_inverse=True)
    totals = np.bincount(classes, own)[classes]
    for balance in (0.3, 1.0):
        assert np.array_equal(sampling_weights(items, balance), own / totals**balance)
