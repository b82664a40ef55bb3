"""Paired bootstrap intervals, against resampling written out and against scipy."""

import numpy as np
import pytest

from uniformer_video.evaluation.metrics import mean_average_precision
from uniformer_video.evaluation.paired import paired_interval, paired_map_interval
from uniformer_video.randomness import generator


def _answers(count=400):
    rng = np.random.default_rng(0)
    first = rng.random(count) < 0.8
    return first, first ^ (rng.random(count) < 0.1)


def test_interval_is_that_of_scipy_s_percentile_bootstrap():
    stats = pytest.importorskip("scipy.stats")
    first, second = _answers()
    differences = first.astype(float) - second
    expected = stats.bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=1
    ).confidence_interval
    found = paired_interval(first, second, generator("paired", len(first)))
    assert found == pytest.approx((expected.low, expected.high), abs=0.003)


def test_pairs_make_it_narrower_than_answers_taken_apart():
    first, second = _answers()
    low, high = paired_interval(first, second, generator("paired", 1))
    mixed = np.random.default_rng(3).permutation(second)
    other_low, other_high = paired_interval(first, mixed, generator("paired", 1))
    assert high - low < 0.8 * (other_high - other_low)


def test_same_keys_give_the_same_and_shares_may_be_fractions():
    first, second = _answers()
    once = paired_interval(first, second, generator("paired", 7))
    assert once == paired_interval(first, second, generator("paired", 7))
    low, high = paired_interval(first / 2, second / 2, generator("paired", 7))
    assert (2 * low, 2 * high) == pytest.approx(once)


def test_equal_answers_differ_by_nothing():
    first, _ = _answers()
    assert paired_interval(first, first, generator("paired", 1)) == (0.0, 0.0)
    assert paired_interval([], [], generator("paired", 1)) == (0.0, 0.0)


def test_map_interval_measures_both_on_the_same_resamples():
    rng = np.random.default_rng(2)
    truth = rng.random((60, 3)) < 0.3
    first = rng.normal(size=truth.shape) + 2 * truth
    second = first + 0.3 * rng.normal(size=truth.shape)
    count = 200
    draws = generator("paired", 60).multinomial(60, np.full(60, 1 / 60), count)
    differences = []
    for times in draws:
        drawn = np.repeat(np.arange(60), times)
        differences.append(
            mean_average_precision(first[drawn], truth[drawn])
            - mean_average_precision(second[drawn], truth[drawn])
        )
    expected = np.quantile(differences, (0.025, 0.975))
    found = paired_map_interval(first, second, truth, generator("paired", 60), count)
    assert found == pytest.approx(tuple(expected))
    assert paired_map_interval(first, first, truth, generator("paired", 60), count) == (0, 0)
    assert paired_map_interval(first, first, truth & False, generator("paired", 60), 100) is None


def test_groups_are_drawn_whole():
    """Videos of a group that go up and down together tell less than as many videos by themselves."""
    groups = np.repeat(np.arange(40), 10)
    first = np.repeat(np.random.default_rng(5).random(40) < 0.6, 10)
    second = np.repeat(np.random.default_rng(6).random(40) < 0.5, 10)
    low, high = paired_interval(first, second, generator("paired", 400), groups=groups)
    alone = paired_interval(first, second, generator("paired", 400))
    one_each = paired_interval(first[::10], second[::10], generator("paired", 400))
    assert high - low == pytest.approx(one_each[1] - one_each[0])
    assert high - low > 2.5 * (alone[1] - alone[0])
    each = paired_interval(first, second, generator("paired", 400), groups=np.arange(400))
    assert each == pytest.approx(alone)
