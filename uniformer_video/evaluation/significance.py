"""Tests of whether two answers to the same videos differ by more than chance."""

import math
from collections.abc import Sequence

import numpy as np


def mcnemar_exact(gained: int, lost: int) -> float:
    """The two-sided p-value of McNemar's exact test.

    gained: how many videos only the one gets right; lost: how many only the other. Were both equally good,
    each of these videos would be as likely to be gained as lost: p is the probability of a split at least as
    uneven, twice the smaller tail of the binomial distribution of `gained + lost` trials with one half, at
    most 1. 1.0 where none differs. Source: McNemar, "Note on the sampling error of the difference between
    correlated proportions" (1947), with the exact distribution; Dietterich, "Approximate Statistical Tests
    for Comparing Supervised Classification Learning Algorithms" (1998), section 3.1.
    """
    trials, fewer = gained + lost, min(gained, lost)
    if 2 * fewer == trials:
        return 1.0
    # C(n, i) / C(n, i - 1) is (n - i + 1) / i; in logarithms, as 2**n is beyond a float for n > 1023
    i = np.arange(1, fewer + 1)
    log_counts = np.concatenate([[0.0], np.cumsum(np.log((trials - i + 1) / i))])
    largest = log_counts[-1]
    log_tail = largest + math.log(math.fsum(np.exp(log_counts - largest)))
    return min(1.0, math.exp(log_tail - (trials - 1) * math.log(2)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several comparisons, adjusted so that all of them together are wrong as rarely as one.

    The smallest counts times their number m, the next one times m - 1, and so on; none less than one before
    it, none above 1. Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979).
    """
    count, largest = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, place in enumerate(sorted(range(count), key=lambda place: p_values[place])):
        largest = max(largest, (count - rank) * p_values[place])
        adjusted[place] = min(1.0, largest)
    return adjusted
