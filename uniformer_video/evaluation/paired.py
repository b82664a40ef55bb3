"""Differences between two answers to the same videos, with intervals that keep the pairs together.

Both answers meet the same easy and hard videos, so that their difference varies less than either figure: it
is taken video by video, and the differences are resampled. Source: Efron and Tibshirani, "An Introduction to
the Bootstrap" (1993), sections 8.3 (paired data) and 13.3 (percentile interval).
"""

import copy

import numpy as np
from numpy.typing import ArrayLike

from uniformer_video.evaluation.metrics import resampled_map, resampled_precision

RESAMPLES = 10_000
_QUANTILES = (0.025, 0.975)


def paired_interval(
    right_a: ArrayLike,
    right_b: ArrayLike,
    rng: np.random.Generator,
    count: int = RESAMPLES,
    groups: np.ndarray | None = None,
) -> tuple[float, float]:
    """The 95 % interval `(low, high)` of the mean of `right_a - right_b`, both bool or float `[N]`.

    Percentile bootstrap: the videos, each with both of its answers, are drawn N at a time with replacement,
    `count` times, and the interval lies between the 2.5 % and the 97.5 % quantile of the mean differences.
    Resamples are drawn as how often each distinct difference occurs, which has the same distribution as
    drawing videos one by one. groups: int `[N]`, from 0, of videos that are drawn together; None = each by
    itself. `(0.0, 0.0)` without videos.
    """
    differences = np.asarray(right_a, np.float64) - np.asarray(right_b, np.float64)
    if not len(differences):
        return 0.0, 0.0
    if groups is None:
        values, occurrences = np.unique(differences, return_counts=True)
        sizes = np.ones_like(values)
    else:
        sums = np.stack([np.bincount(groups, differences), np.bincount(groups)], axis=1)
        (values, sizes), occurrences = _distinct(sums[sums[:, 1] > 0])
    units = occurrences.sum()
    drawn = rng.multinomial(units, occurrences / units, count)
    low, high = np.quantile((drawn @ values) / (drawn @ sizes), _QUANTILES)
    return float(low), float(high)


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows `[n, 2]` as two columns `[2, distinct]`, and how often each occurs."""
    values, occurrences = np.unique(rows, axis=0, return_counts=True)
    return values.T, occurrences


def resampled_interval(
    resampled_a: np.ndarray, resampled_b: np.ndarray
) -> tuple[float, float] | None:
    """The 95 % percentile interval of a figure's difference, from two of it on the same resamples, `[count]`.

    A resample on which the figure cannot be told is NaN and left out; None where none is left.
    """
    differences = resampled_a - resampled_b
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return None
    low, high = np.quantile(differences, _QUANTILES)
    return float(low), float(high)


def paired_precision_intervals(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    truth: ArrayLike,
    rng: np.random.Generator,
    count: int,
    groups: np.ndarray | None = None,
) -> dict[int, tuple[float, float]]:
    """`{class: (low, high)}`: as `paired_map_interval`, of the average precision of each class by itself."""
    same = copy.deepcopy(rng)
    pairs = zip(
        resampled_precision(scores_a, truth, count, rng, groups),
        resampled_precision(scores_b, truth, count, same, groups),
        strict=True,
    )
    found = {k: resampled_interval(first, second) for (k, first), (_, second) in pairs}
    return {k: interval for k, interval in found.items() if interval}


def paired_map_interval(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    truth: ArrayLike,
    rng: np.random.Generator,
    count: int,
    groups: np.ndarray | None = None,
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean average precision of `scores_a` less that of `scores_b`.

    Scores `[N, K]`, truth bool `[N, K]`, groups as in `paired_interval`. Both are measured on the same
    `count` resamples of the videos; None where no resample has a true label.
    """
    same = copy.deepcopy(rng)
    first = resampled_map(scores_a, truth, count, rng, groups)
    return resampled_interval(first, resampled_map(scores_b, truth, count, same, groups))
