"""How far confidences can be trusted: calibration errors, a temperature, and what leaving videos out brings.

Pure numpy. Sources: Guo et al., "On Calibration of Modern Neural Networks" (2017), of the temperature and
the expected calibration error; Kumar et al., "Verified Uncertainty Calibration" (2019), of the debiased
estimates; Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks" (2017), of risk and
coverage.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from uniformer_video.evaluation.metrics import basic_interval
from uniformer_video.randomness import generator

BINS = 15
RESAMPLES = 1000
COVERAGES = 20  # steps of the curve of risk
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.001, 1000.0
_GRID = 37
_DRAWN_TOGETHER = 2**22  # numbers of a block of resamples
_GOLDEN = (math.sqrt(5) - 1) / 2
_ROUNDING = 1e-9  # of a share times a count, before it is cut to a whole number


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logits `[..., K]` -> the logarithm of their softmax, float64 `[..., K]`."""
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def log_sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits of any shape -> the logarithm of the sigmoid of each, float64."""
    return -np.logaddexp(0.0, -np.asarray(logits, np.float64))


def log_mean(logs: np.ndarray, axis: int) -> np.ndarray:
    """The logarithm of the mean over an axis of what `logs` are the logarithms of."""
    highest = logs.max(axis=axis, keepdims=True)
    return np.squeeze(highest, axis) + np.log(np.exp(logs - highest).mean(axis=axis))


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """The bin m of each confidence c, from 0: m / BINS < c <= (m + 1) / BINS; c of 0 is in the first."""
    return np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")


def binned(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of each video and bin: how many answers, the sum of their confidences, how many right: `[N, 3, BINS]`.

    confidence: float `[N, m]`, of m answers about each video. right: bool `[N, m]`.
    """
    videos = len(confidence)
    cell = (np.arange(videos)[:, None] * BINS + bin_of(confidence)).ravel()
    columns = [
        np.bincount(cell, weights=np.ravel(weights), minlength=videos * BINS).reshape(videos, BINS)
        for weights in (np.ones(confidence.shape), confidence, right)
    ]
    return np.stack(columns, axis=1)


def expected_error(sums: np.ndarray) -> np.ndarray:
    """The expected calibration error of `[..., 3, BINS]`, as `binned` gives it, added over videos: `[...]`.

    The mean over all answers of how far confidence and share of right answers are apart in their bin.
    """
    count, confidence, right = np.moveaxis(sums, -2, 0)
    return np.abs(right - confidence).sum(axis=-1) / count.sum(axis=-1)


def debiased_error(sums: np.ndarray) -> float:
    """`expected_error` of `[3, BINS]` less what chance adds to it, 0 at the least.

    Chance makes the share of right answers in a bin differ from confidence where both agree in truth. It is
    taken as normal, with the variance y (1 - y) / n; the estimate is twice the error less the error that
    such shares have on average, in closed form (the mean of a folded normal distribution).
    """
    count, share, gap = _shares(sums)
    deviation = np.sqrt(share * (1 - share) / count)
    expected = np.abs(gap)
    spread = deviation > 0
    ratio = gap[spread] / deviation[spread]
    density = math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2)
    inside = np.array([math.erf(each / math.sqrt(2)) for each in ratio])
    expected[spread] = deviation[spread] * density + gap[spread] * inside
    weights = count / count.sum()
    return max(0.0, float(weights @ (2 * np.abs(gap) - expected)))


def root_mean_square_error(sums: np.ndarray) -> float:
    """The root of the mean over all answers of the squared gap in their bin, of `[3, BINS]`."""
    count, _, gap = _shares(sums)
    return math.sqrt(float(count @ gap**2 / count.sum()))


def debiased_root_mean_square_error(sums: np.ndarray) -> float:
    """The same with each squared gap less y (1 - y) / (n - 1), its bias; 0 where what is left is negative.

    A bin of one answer, of which nothing tells the bias, counts as 0.
    """
    count, share, gap = _shares(sums)
    several = count > 1
    bias = share * (1 - share) / np.maximum(count - 1, 1)
    squared = np.where(several, gap**2 - bias, 0.0)
    return math.sqrt(max(0.0, float(count @ squared / count.sum())))


def _shares(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(answers, share of right ones, that share less mean confidence) of the bins that are not empty."""
    count, confidence, right = sums[:, sums[0] > 0]
    return count, right / count, (right - confidence) / count


def measure(
    confidence: np.ndarray, right: np.ndarray, log_likelihood: np.ndarray
) -> dict[str, Any]:
    """Calibration errors and negative log-likelihood of N videos with their intervals, ready for JSON.

    confidence, right: `[N, m]`, as `binned` takes them. log_likelihood: float `[N]`. The intervals are over
    `RESAMPLES` resamples of the videos; that of the likelihood is the basic bootstrap interval.
    """
    table = binned(confidence, right)
    columns = np.concatenate([table.reshape(len(table), -1), -log_likelihood[:, None]], axis=1)
    drawn = _resampled_sums(columns, generator("calibration", len(table)))
    errors = expected_error(drawn[:, :-1].reshape(RESAMPLES, 3, BINS))
    sums = table.sum(axis=0)
    error, nll = float(expected_error(sums)), float(-log_likelihood.mean())
    by_chance = _errors_by_chance(confidence)
    highest = float(np.quantile(by_chance, 0.975))
    losses = drawn[:, -1] / len(table)
    return {
        "ece": _interval(error, _error_interval(error, errors, highest)),
        "ece_debiased": debiased_error(sums),
        "ece_chance": {"mean": float(by_chance.mean()), "high": highest},
        "rms": root_mean_square_error(sums),
        "rms_debiased": debiased_root_mean_square_error(sums),
        "nll": _interval(nll, basic_interval(nll, losses, highest=math.inf)),
    }


def _resampled_sums(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sums `[RESAMPLES, ...]` of the rows `[N, ...]` of resamples with replacement, one after the other."""
    rows = len(values)
    per_block = max(1, _DRAWN_TOGETHER // rows)
    blocks = []
    for start in range(0, RESAMPLES, per_block):
        times = [
            np.bincount(rng.integers(rows, size=rows), minlength=rows)
            for _ in range(min(per_block, RESAMPLES - start))
        ]
        blocks.append(np.array(times, np.float64) @ values)
    return np.concatenate(blocks)


def _errors_by_chance(confidence: np.ndarray) -> np.ndarray:
    """`RESAMPLES` calibration errors of a model whose confidences, float `[N, m]`, are all true.

    How many answers in a bin are right is taken as normal, with the variance that the confidences give it.
    """
    variance = np.bincount(
        bin_of(confidence).ravel(),
        weights=(confidence * (1 - confidence)).ravel(),
        minlength=BINS,
    )
    drawn = generator("calibration by chance", len(confidence)).normal(size=(RESAMPLES, BINS))
    return np.abs(drawn * np.sqrt(variance)).sum(axis=1) / confidence.size


def _error_interval(
    value: float, resampled: np.ndarray, by_chance: float
) -> tuple[float, float] | None:
    """The 95 % interval of a calibration error; None where resamples do not differ.

    Errors are too high, of a sample and once more of its resamples. The low end mirrors the quantile of the
    resamples at the value, and is 0 where the value is one that chance alone may give (up to `by_chance`);
    the high end is the quantile less what resamples are too high on average. Percentiles would miss small
    errors altogether, and a mirrored high end those close to 0.
    """
    if np.ptp(resampled) == 0:
        return None
    highest = float(np.quantile(resampled, 0.975))
    low = 0.0 if value <= by_chance else max(0.0, 2 * value - highest)
    high = highest - (float(resampled.mean()) - value)
    return low, min(1.0, max(high, value))


def _interval(value: float, ends: tuple[float, float] | None) -> dict[str, Any]:
    low, high = ends or (None, None)
    return {"value": value, "low": low, "high": high, "resamples": RESAMPLES}


def fit_temperature(loss: Callable[[float], float]) -> float:
    """The temperature at which `loss`, such as the mean negative log-likelihood, is lowest.

    0 or infinity where it is lowest at an end of what is looked at, `LOWEST_TEMPERATURE` to
    `HIGHEST_TEMPERATURE`. Looks at a grid of logarithms, then by golden sections between the neighbours of
    its best point.
    """
    ends = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    grid = np.linspace(*ends, _GRID)
    best = int(np.argmin([loss(math.exp(place)) for place in grid]))
    if best in (0, _GRID - 1):
        return math.inf if best else 0.0
    low, high = float(grid[best - 1]), float(grid[best + 1])
    inner = [high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)]
    values = [loss(math.exp(place)) for place in inner]
    while high - low > 1e-10:
        if values[0] <= values[1]:
            high = inner[1]
            inner = [high - _GOLDEN * (high - low), inner[0]]
            values = [loss(math.exp(inner[0])), values[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + _GOLDEN * (high - low)]
            values = [values[1], loss(math.exp(inner[1]))]
    return math.exp((low + high) / 2)


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The risk where only the most confident answers are accepted, ready for JSON.

    confidence: float `[N]`. right: bool `[N]`. Answers of the same confidence are accepted together. `points`
    are those where 1/20, 2/20, ... of the videos are accepted, or as few more as there are equal ones.
    """
    total = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    falling = -confidence[order]
    wrong = np.cumsum(~right[order])
    accepted = np.searchsorted(falling, falling, side="right")  # at least as confident as each
    risk = wrong[accepted - 1] / accepted
    counts = np.arange(1, total + 1)
    points: list[dict[str, Any]] = []
    for step in range(1, COVERAGES + 1):
        place = -(-step * total // COVERAGES) - 1
        number = int(accepted[place])
        if points and points[-1]["accepted"] == number:
            continue
        points.append(
            {
                "threshold": float(-falling[place]),
                "accepted": number,
                "wrong": int(wrong[number - 1]),
                "coverage": number / total,
                "risk": float(risk[place]),
            }
        )
    return {
        "area": float(risk.mean()),
        "area_best": float((np.maximum(0, counts - right.sum()) / counts).mean()),
        "risk": float(1 - right.mean()),
        "points": points,
    }


def threshold_for(false: np.ndarray, rate: float) -> float:
    """The lowest confidence to accept at which at most `rate` of the `false` ones, float `[N]`, are accepted.

    It is the next float64 above the one of them that must be refused first; 0 where none must be.
    """
    allowed = math.floor(rate * len(false) + _ROUNDING)
    if allowed >= len(false):
        return 0.0
    return float(np.nextafter(np.sort(false)[::-1][allowed], math.inf))
