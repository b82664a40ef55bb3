"""Metrics against loops, closed forms and published numbers."""

import math
import warnings

import numpy as np
import pytest

from uniformer_video.data.lists.records import multi_hot
from uniformer_video.evaluation.metrics import (
    average_precision,
    basic_interval,
    best_classes,
    confusion_matrix,
    group_share_interval,
    hit_at_1,
    mean_average_precision,
    mean_class_accuracy,
    per_class_accuracy,
    ranked_classes,
    resampled_map,
    sigmoid,
    softmax,
    topk_correct,
    wilson_interval,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_topk_agrees_with_sorting_when_scores_differ(rng, k):
    scores, labels = rng.normal(size=(50, 7)), rng.integers(0, 7, 50)
    expected = [
        label in sorted(range(7), key=lambda c: -row[c])[:k]
        for row, label in zip(scores, labels, strict=True)
    ]
    correct = topk_correct(scores, labels, k)
    assert correct.dtype == bool
    assert correct.tolist() == expected


def test_a_tie_counts_against_us():
    constant = np.zeros((4, 4))
    labels = np.arange(4)
    assert not topk_correct(constant, labels, 1).any()
    assert not topk_correct(constant, labels, 3).any()
    pair = np.array([[2.0, 2.0, 1.0], [2.0, 2.0, 1.0], [2.0, 2.0, 1.0]])
    assert topk_correct(pair, np.array([0, 1, 2]), 2).tolist() == [True, True, False]


def test_k_above_the_number_of_classes_is_all_of_them():
    scores = np.array([[0.0, 1.0], [0.0, 0.0]])
    assert topk_correct(scores, np.array([0, 1]), 5).tolist() == [True, True]
    assert topk_correct(np.zeros((2, 1)), np.array([0, 0]), 1).tolist() == [True, True]


def test_nan_is_never_correct():
    scores = np.array([[np.nan, 0.0], [np.nan, np.nan]])
    assert not topk_correct(scores, np.array([0, 0]), 1).any()
    assert not topk_correct(scores, np.array([0, 0]), 5).any()


def test_no_videos():
    assert topk_correct(np.zeros((0, 3)), np.zeros(0, int), 1).shape == (0,)
    assert ranked_classes(np.zeros((0, 3)), np.zeros(0, int), 2).shape == (0, 2)


def test_ranked_classes_agree_with_topk_even_with_ties(rng):
    scores = rng.integers(0, 3, (200, 6)).astype(np.float32)
    labels = rng.integers(0, 6, 200)
    for k in (1, 2, 5, 6):
        listed = (ranked_classes(scores, labels, k) == labels[:, None]).any(axis=1)
        assert (listed == topk_correct(scores, labels, k)).all()
    ranked = np.take_along_axis(scores, ranked_classes(scores, labels, 6), axis=1)
    assert (np.diff(ranked, axis=1) <= 0).all()


def test_wilson_published_values():
    # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I,
    # method 3.
    for correct, total, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson_interval(correct, total) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("correct, total", [(0, 5), (3, 10), (10, 10), (470, 479)])
def test_wilson_ends_are_where_the_score_test_is_at_its_limit(correct, total):
    z = 1.96
    for end in wilson_interval(correct, total, z):
        if end in (0.0, 1.0) or math.isclose(end, correct / total, abs_tol=1e-12):
            continue
        deviation = abs(correct / total - end) / math.sqrt(end * (1 - end) / total)
        assert deviation == pytest.approx(z)


def test_wilson_without_videos_knows_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_confusion_matrix_counts_pairs(rng):
    labels, predictions = rng.integers(0, 4, 100), rng.integers(0, 4, 100)
    expected = np.zeros((5, 5), int)
    for true, predicted in zip(labels, predictions, strict=True):
        expected[true, predicted] += 1
    counts = confusion_matrix(labels, predictions, 5)  # class 4 never occurs
    assert counts.dtype == np.int64
    assert (counts == expected).all()
    assert confusion_matrix([], [], 3).tolist() == [[0] * 3] * 3


def test_absent_classes_are_nan_and_do_not_count():
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 0]])
    assert per_class_accuracy(counts) == pytest.approx([0.75, math.nan, 0.0], nan_ok=True)
    assert mean_class_accuracy(counts) == pytest.approx(0.375)
    assert math.isnan(mean_class_accuracy(np.zeros((2, 2), int)))


def test_softmax_is_stable_and_leaves_its_input_alone():
    scores = np.array([[1000.0, 1000.0 + math.log(3)], [-1e4, -1e4]], dtype=np.float64)
    before = scores.copy()
    assert softmax(scores) == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    assert (scores == before).all()
    assert softmax(np.zeros((2, 3, 4), np.float32)).sum(axis=-1) == pytest.approx(np.ones((2, 3)))


@pytest.mark.parametrize("levels", [3, 1000])
def test_average_precision_is_the_sum_over_thresholds(rng, levels):
    scores = rng.integers(0, levels, (60, 5)) / levels
    truth = rng.random((60, 5)) < (0.5, 0.2, 0.02, 1.0, 0.3)
    truth[0] = True
    for k in range(5):
        area, recall = 0.0, 0.0
        for threshold in sorted(set(scores[:, k]), reverse=True):
            chosen = scores[:, k] >= threshold
            found = (chosen & truth[:, k]).sum()
            now = found / truth[:, k].sum()
            area, recall = area + (now - recall) * found / chosen.sum(), now
        assert average_precision(scores, truth)[k] == pytest.approx(area, abs=1e-12)


def test_average_precision_of_a_textbook_ranking_and_of_no_opinion():
    truth = np.array([[1], [0], [1], [0], [0]], bool)
    ranked = np.array([[5.0], [4], [3], [2], [1]])
    assert average_precision(ranked, truth)[0] == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros((5, 1)), truth)[0] == pytest.approx(2 / 5)


def test_mean_average_precision_leaves_out_classes_without_a_positive():
    truth = np.array([[True, False], [False, False]])
    scores = np.array([[0.1, 0.9], [0.2, 0.8]])
    assert np.isnan(average_precision(scores, truth)[1])
    assert mean_average_precision(scores, truth) == pytest.approx(0.5)
    assert math.isnan(mean_average_precision(scores, np.zeros((2, 2), bool)))


def test_a_nan_score_ranks_last():
    truth = np.array([[True], [False], [True], [False]])
    with_nan = average_precision(np.array([[np.nan], [3.0], [2.0], [np.nan]]), truth)
    assert with_nan == average_precision(np.array([[0.0], [3.0], [2.0], [0.0]]), truth)
    assert with_nan[0] == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_sigmoid_at_the_ends_and_between():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sigmoid([-800.0, 0.0, 800.0]).tolist() == [0.0, 0.5, 1.0]
        assert np.isnan(sigmoid(np.float32([np.nan]))).all()
    assert sigmoid(np.float32([-100, 1.5])) == pytest.approx(
        [math.exp(-100), 1 / (1 + math.exp(-1.5))], rel=1e-12
    )


def test_hit_at_1_needs_a_true_class_above_all_others():
    scores = np.array([[3.0, 1, 2], [3, 3, 1], [3, 3, 1], [1, 2, 3], [np.nan, 1, 0], [np.nan] * 3])
    labels = [(0, 1), (0,), (0, 1), (), (1,), (0, 1, 2)]
    truth = multi_hot(labels, 3)
    assert truth.tolist() == [[k in own for k in range(3)] for own in labels]
    assert hit_at_1(scores, truth).tolist() == [True, False, True, False, True, False]
    assert hit_at_1(np.zeros((2, 1)), np.array([[True], [False]])).tolist() == [True, False]


def test_best_classes_list_true_ones_last_among_equals():
    truth = np.array([[True, False, True, False]])
    assert best_classes(np.array([[1.0, 1, 2, 0]]), truth, 3).tolist() == [[2, 1, 0]]


def test_resampled_map_is_the_map_of_videos_drawn_again(rng):
    scores = rng.integers(0, 5, (30, 4)).astype(float)
    scores[2, 1] = np.nan
    truth = rng.random((30, 4)) < (0.3, 0.1, 0.03, 0.0)
    drawn = rng.integers(0, 30, (25, 30))

    class Draws:
        def multinomial(self, videos, shares, count):
            assert (videos, count) == (30, 25) and shares == pytest.approx(1 / 30)
            return np.array([np.bincount(own, minlength=30) for own in drawn])

    expected = [mean_average_precision(scores[own], truth[own]) for own in drawn]
    found = resampled_map(scores, truth, 25, Draws())
    assert found == pytest.approx(expected, abs=1e-12)
    assert len(set(found)) > 10


def test_basic_interval_mirrors_the_quantiles_and_keeps_the_value():
    drawn = np.append(np.linspace(0.4, 0.6, 201), math.nan)
    assert basic_interval(0.45, drawn) == pytest.approx((0.9 - 0.595, 0.9 - 0.405))
    assert basic_interval(0.3, drawn) == pytest.approx((0.005, 0.3))
    assert basic_interval(0.95, drawn) == (0.95, 1.0)
    assert basic_interval(0.5, np.full(9, 0.5)) is None
    assert basic_interval(math.nan, drawn) is None
    assert basic_interval(0.5, np.full(3, math.nan)) is None


def test_groups_are_drawn_whole_and_make_the_interval_wider(rng):
    """Ten groups of ten videos that are all right or all wrong tell as much as ten videos."""
    groups = np.repeat(np.arange(10), 10)
    right = np.repeat(np.arange(10) < 6, 10)
    low, high = group_share_interval(right, groups, np.random.default_rng(0), 20_000)
    # Of 10 trials of probability 0.6, 97.5 % have 3 right ones or more, and 97.5 % have 9 or fewer.
    assert (low, high) == pytest.approx((0.3, 0.9))
    alone = group_share_interval(right, np.arange(100), np.random.default_rng(0), 20_000)
    assert alone == pytest.approx((0.5, 0.69), abs=0.011)


def test_groups_that_are_all_alike_are_as_many_trials():
    right = np.ones(30, bool)
    found = group_share_interval(right, np.repeat(np.arange(6), 5), np.random.default_rng(0))
    assert found == wilson_interval(6, 6)
    none = np.zeros(0, int)
    assert group_share_interval(none, none, np.random.default_rng(0)) == (0.0, 1.0)


def test_resampled_map_of_groups_draws_them_whole(rng):
    scores, truth = rng.random((6, 2)), np.eye(2, dtype=bool)[[0, 1, 0, 1, 0, 1]]
    groups = np.array([0, 0, 1, 1, 2, 2])
    drawn = rng.integers(0, 3, (25, 3))

    class Draws:
        def multinomial(self, count, shares, times):
            assert (count, times) == (3, 25)
            return np.array([np.bincount(own, minlength=3) for own in drawn])

    videos = [[v for group in own for v in np.flatnonzero(groups == group)] for own in drawn]
    expected = [mean_average_precision(scores[own], truth[own]) for own in videos]
    assert resampled_map(scores, truth, 25, Draws(), groups) == pytest.approx(expected, abs=1e-12)
