"""Differences between two answers to the same videos, with intervals that keep the pairs together.

Both answers meet the same easy and hard videos, so that their difference varies less than either figure: it
is taken video by video, and the differences are resampled. Source: Efron and Tibshirani, "An Introduction to
the Bootstrap" (1993), sections 8.3 (paired data) and 13.3 (percentile interval).
"""

import copy

import numpy as np
from numpy.typing import ArrayLike

from uniformer_video.evaluation.metrics import resampled_map

RESAMPLES = 10_000
_QUANTILES = (0.025, 0.975)


def paired_interval(
    right_a: ArrayLike, right_b: ArrayLike, rng: np.random.Generator, count: int = RESAMPLES
) -> tuple[float, float]:
    """The 95 % interval `(low, high)` of the mean of `right_a - right_b`, both bool or float `[N]`.

    Percentile bootstrap: the videos, each with both of its answers, are drawn N at a time with replacement,
    `count` times, and the interval lies between the 2.5 % and the 97.5 % quantile of the mean differences.
    Resamples are drawn as how often each distinct difference occurs, which has the same distribution as
    drawing videos one by one. `(0.0, 0.0)` without videos.
    """
    differences = np.asarray(right_a, np.float64) - np.asarray(right_b, np.float64)
    if not len(differences):
        return 0.0, 0.0
    values, occurrences = np.unique(differences, return_counts=True)
    drawn = rng.multinomial(len(differences), occurrences / len(differences), count)
    low, high = np.quantile(drawn @ values / len(differences), _QUANTILES)
    return float(low), float(high)


def paired_map_interval(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    truth: ArrayLike,
    rng: np.random.Generator,
    count: int,
) -> tuple[float, float] | None:
    """The 95 % percentile interval of the mean average precision of `scores_a` less that of `scores_b`.

    Scores `[N, K]`, truth bool `[N, K]`. Both are measured on the same `count` resamples of the videos;
    None where no resample has a true label.
    """
    same = copy.deepcopy(rng)
    differences = resampled_map(scores_a, truth, count, rng)
    differences -= resampled_map(scores_b, truth, count, same)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return None
    low, high = np.quantile(differences, _QUANTILES)
    return float(low), float(high)
