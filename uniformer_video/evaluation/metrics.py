"""Accuracy figures from scores and labels: pure numpy, no files, no state."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike


def softmax(scores: ArrayLike) -> np.ndarray:
    """Scores `[..., K]` -> probabilities `[..., K]` float64 over the last axis."""
    scores = np.asarray(scores, dtype=np.float64)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def sigmoid(scores: ArrayLike) -> np.ndarray:
    """Scores of any shape -> the probability of each by itself, float64 of the same shape."""
    with np.errstate(invalid="ignore"):  # NaN, of a video that failed, stays NaN
        return np.exp(-np.logaddexp(0.0, -np.asarray(scores, dtype=np.float64)))


def jensen_shannon(probabilities: np.ndarray) -> np.ndarray:
    """The Jensen-Shannon divergence of distributions `[..., view, K]` with equal weights, in nats: `[...]`.

    The entropy of their mean less the mean of their entropies: 0 where all are alike, at most the logarithm
    of how many there are, and of K. Source: Lin, "Divergence Measures Based on the Shannon Entropy" (1991);
    of ensembles, Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation
    using Deep Ensembles" (2017).
    """
    between = _entropy(probabilities.mean(axis=-2)) - _entropy(probabilities).mean(axis=-1)
    return np.maximum(between, 0.0)  # rounding may go below; NaN stays


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """Of distributions `[..., K]`, in nats: `[...]`."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -(probabilities * logs).sum(axis=-1)


def ranking_area(doubts: ArrayLike, wrong: ArrayLike) -> float:
    """How well doubts, float `[N]`, tell wrong answers, bool `[N]`, from right ones: the area under the ROC.

    The share of pairs of a wrong and a right answer in which the wrong one has the higher doubt, where equal
    doubts count half; NaN where all answers are right, or wrong. Source: Hanley and McNeil, "The Meaning and
    Use of the Area under a Receiver Operating Characteristic (ROC) Curve" (1982).
    """
    doubts, wrong = np.asarray(doubts), np.asarray(wrong, dtype=bool)
    right, mistaken = np.sort(doubts[~wrong]), doubts[wrong]
    if not len(right) or not len(mistaken):
        return math.nan
    below = np.searchsorted(right, mistaken, side="left")
    equal = np.searchsorted(right, mistaken, side="right") - below
    return float((below + equal / 2).sum() / (len(right) * len(mistaken)))


def topk_correct(scores: np.ndarray, labels: ArrayLike, k: int) -> np.ndarray:
    """Whether the true class is among the `k` best: scores `[N, K]`, labels `[N]` -> bool `[N]`.

    The rank of the true class is the number of classes that score at least as much, so a tie counts
    against us and a constant output earns nothing. A NaN score is never correct. A `k` above the
    number of classes means all of them.
    """
    true = np.take_along_axis(scores, np.asarray(labels)[:, None], axis=1)
    rank = (scores >= true).sum(axis=1)
    return (rank <= min(k, scores.shape[1])) & ~np.isnan(true[:, 0])


def ranked_classes(scores: np.ndarray, labels: ArrayLike, count: int) -> np.ndarray:
    """The `count` best classes, best first: scores `[N, K]`, labels `[N]` -> int `[N, count]`.

    Among equal scores the true class comes last, so that column 0, read as the prediction, agrees
    with `topk_correct` video by video. A `count` above the number of classes means all of them.
    """
    is_true = np.arange(scores.shape[1]) == np.asarray(labels)[:, None]
    return best_classes(scores, is_true, count)


def best_classes(scores: np.ndarray, truth: np.ndarray, count: int) -> np.ndarray:
    """As `ranked_classes`, for several true classes or none: truth bool `[N, K]`."""
    return np.lexsort((truth, -scores), axis=-1)[:, :count]


def hit_at_1(scores: ArrayLike, truth: np.ndarray) -> np.ndarray:
    """Whether a true class scores above all others: scores `[N, K]`, truth bool `[N, K]` -> bool `[N]`.

    A tie counts against us, a NaN score counts as the lowest, and a video without a true class is
    never a hit.
    """
    scores = _nan_lowest(scores)
    best_true = np.where(truth, scores, -np.inf).max(axis=1, initial=-np.inf)
    return best_true > np.where(truth, -np.inf, scores).max(axis=1, initial=-np.inf)


def wilson_interval(correct: float, total: float, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval `(low, high)` of a fraction; `(0.0, 1.0)` when `total` is 0.

    `z` is the normal quantile: 1.96 for 95%. Source: Wilson, "Probable Inference, the Law of
    Succession, and Statistical Inference" (1927).
    """
    if total == 0:
        return 0.0, 1.0
    value = correct / total
    shrink = 1 + z * z / total
    centre = (value + z * z / (2 * total)) / shrink
    half = z / shrink * math.sqrt(value * (1 - value) / total + (z / (2 * total)) ** 2)
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Counts int64 `[K, K]`: row is the true class, column the predicted one."""
    pairs = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predictions, np.int64)
    counts = np.bincount(pairs, minlength=num_classes**2).astype(np.int64)
    return counts.reshape(num_classes, num_classes)


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Counts `[K, K]` -> fraction correct `[K]` float64, NaN for a class without videos."""
    videos = confusion.sum(axis=1)
    absent = np.full(len(confusion), np.nan)
    return np.divide(confusion.diagonal(), videos, out=absent, where=videos > 0)


def mean_class_accuracy(confusion: np.ndarray) -> float:
    """The mean of `per_class_accuracy` over the classes that have videos; NaN if none has."""
    accuracy = per_class_accuracy(confusion)
    present = accuracy[~np.isnan(accuracy)]
    return float(present.mean()) if len(present) else math.nan


def mean_class_accuracy_interval(confusion: np.ndarray) -> tuple[float, float] | None:
    """The 95 % interval `(low, high)` of `mean_class_accuracy`; None if no class has videos.

    The classes are taken as they are, the videos of each as drawn at random by themselves: with accuracies
    p of K classes and the Wilson interval (l, u) of each, it reaches from the mean less
    sqrt(sum of (p - l)^2) / K to the mean plus sqrt(sum of (u - p)^2) / K. Unlike a bootstrap within the
    classes it has a width where every video of a class is right, or a class has one video. Source: Zou, Huang
    and Zhang, "A note on confidence interval estimation for a linear function of binomial proportions",
    Computational Statistics & Data Analysis 53 (2009).
    """
    accuracy, videos = per_class_accuracy(confusion), confusion.sum(axis=1)
    present = np.flatnonzero(videos)
    if not len(present):
        return None
    bounds = [wilson_interval(confusion[k, k], videos[k]) for k in present]
    low, high = np.transpose(bounds)
    value, count = mean_class_accuracy(confusion), len(present)
    below = math.sqrt(((accuracy[present] - low) ** 2).sum()) / count
    above = math.sqrt(((high - accuracy[present]) ** 2).sum()) / count
    return max(0.0, value - below), min(1.0, value + above)


def f1_scores(correct: ArrayLike, chosen: ArrayLike, positives: ArrayLike) -> np.ndarray:
    """The harmonic mean of precision and recall of each class, float64 `[K]`, from counts `[K]`.

    2 correct / (chosen + positives): 0 for a class that occurs and is never chosen, or is chosen and does not
    occur; NaN for one that does neither. Source: van Rijsbergen, "Information Retrieval" (1979), chapter 7.
    """
    total = np.asarray(chosen, np.float64) + np.asarray(positives)
    return np.divide(
        2 * np.asarray(correct, np.float64), total, out=np.full(len(total), np.nan), where=total > 0
    )


def macro_f1(correct: ArrayLike, chosen: ArrayLike, positives: ArrayLike) -> float:
    """The mean of `f1_scores` over the classes that occur, as `mean_class_accuracy`; NaN if none does."""
    found = f1_scores(correct, chosen, positives)[np.asarray(positives) > 0]
    return float(found.mean()) if len(found) else math.nan


def average_precision(scores: ArrayLike, truth: ArrayLike) -> np.ndarray:
    """Average precision of each class: scores `[N, K]`, truth bool `[N, K]` -> float64 `[K]`.

    The sum, over the distinct scores from the highest down, of the precision at that score times the
    recall that it adds: no interpolation, and equal scores count together, so that a constant output
    earns the share of the positives. A NaN score counts as the lowest. NaN for a class without a
    positive. Source: Manning et al., "Introduction to Information Retrieval", section 8.4.
    """
    scores, truth = _nan_lowest(scores), np.asarray(truth, dtype=bool)
    return np.array(
        [_class_precision(scores[:, k], truth[:, k]) for k in range(scores.shape[1])], np.float64
    )


def _nan_lowest(scores: ArrayLike) -> np.ndarray:
    scores = np.asarray(scores)
    return np.where(np.isnan(scores), -np.inf, scores)


def _class_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(truth[order])
    last_of_equals = np.append(scores[1:] != scores[:-1], True)
    hits = hits[last_of_equals]
    precision = hits / (1 + np.flatnonzero(last_of_equals))
    return float((precision * np.diff(hits, prepend=0)).sum() / hits[-1])


def mean_average_precision(scores: ArrayLike, truth: ArrayLike) -> float:
    """The mean of `average_precision` over the classes that have a positive; NaN if none has."""
    found = average_precision(scores, truth)
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else math.nan


def resampled_map(
    scores: ArrayLike,
    truth: ArrayLike,
    count: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """`mean_average_precision` of `count` resamples of the videos, with replacement: float64 `[count]`.

    groups: int `[N]`, from 0, of videos that are drawn together; None = each by itself. A class that a
    resample leaves without a positive does not count in its mean.
    """
    total, classes = np.zeros(count), np.zeros(count)
    for _, precision in resampled_precision(scores, truth, count, rng, groups):
        has_positive = ~np.isnan(precision)
        total += np.where(has_positive, precision, 0)
        classes += has_positive
    return np.divide(total, classes, out=np.full(count, np.nan), where=classes > 0)


def resampled_precision(
    scores: ArrayLike,
    truth: ArrayLike,
    count: int,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Each class that has a positive, and its average precision on the resamples of `resampled_map`, float64
    `[count]`, NaN on those that leave it without.
    """
    scores, truth = _nan_lowest(scores), np.asarray(truth, dtype=bool)
    times = times_drawn(np.arange(len(scores)) if groups is None else groups, count, rng)
    for k in np.flatnonzero(truth.any(axis=0)):
        yield int(k), _resampled_precision(scores[:, k], truth[:, k], times)


def _resampled_precision(scores: np.ndarray, truth: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Average precision where video n counts `times[:, n]` times, NaN without a positive."""
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    positives = np.flatnonzero(truth[order])
    # Equal scores count together: what is above a positive reaches to the last of its equals.
    ends = np.searchsorted(-scores, -scores[positives], side="right") - 1
    times = times[:, order]
    new = times[:, positives]
    hits = np.cumsum(new, axis=1)[:, np.searchsorted(positives, ends, side="right") - 1]
    stops = np.unique(
        ends
    )  # summed up from one to the next, which is faster than up to every video
    starts = np.append(0, stops[:-1] + 1)
    between = np.add.reduceat(times[:, : stops[-1] + 1], starts, axis=1, dtype=np.int64)
    seen = np.cumsum(between, axis=1)[:, np.searchsorted(stops, ends)]
    found = new.sum(axis=1)
    area = (new * hits / np.maximum(seen, 1)).sum(axis=1)
    return np.divide(area, found, out=np.full(len(times), np.nan), where=found > 0)


def times_drawn(groups: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each video counts where whole groups are drawn with replacement: int32 `[count, N]`."""
    drawn = int(groups.max(initial=-1)) + 1
    times = rng.multinomial(drawn, np.full(drawn, 1 / max(drawn, 1)), count).astype(np.int32)
    return times[:, groups]


def group_share_interval(
    right: ArrayLike, groups: np.ndarray, rng: np.random.Generator, count: int = 1000
) -> tuple[float, float]:
    """The 95 % interval `(low, high)` of the share of `right`, bool `[N]`, of videos that come in groups.

    Whole groups, int `[N]` from 0, are drawn with replacement; the interval lies between quantiles of such
    resamples (percentile bootstrap of clusters). Where these do not differ, it is `wilson_interval` of as
    many trials as there are groups. Source: Davison and Hinkley, "Bootstrap Methods and Their Application"
    (1997), section 3.8.
    """
    right = np.asarray(right, float)
    if not len(right):
        return wilson_interval(0, 0)
    times = times_drawn(groups, count, rng)
    shares = (times * right).sum(axis=1) / times.sum(axis=1)
    if np.ptp(shares) == 0:
        distinct = len(np.unique(groups))
        return wilson_interval(float(right.mean()) * distinct, distinct)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def basic_interval(
    value: float, resampled: np.ndarray, highest: float = 1.0
) -> tuple[float, float] | None:
    """The 95 % basic bootstrap interval `(low, high)` of a share; None where resamples do not differ.

    highest: what the value can be at most.

    It mirrors the resamples' quantiles at the value: average precision with few positives is too
    high, of a sample and once more of its resamples, and the mirror takes that back. It is widened to
    the value where that lies outside. Source: Davison and Hinkley, "Bootstrap Methods and Their
    Application" (1997), section 5.2.
    """
    resampled = resampled[~np.isnan(resampled)]
    if math.isnan(value) or not len(resampled) or np.ptp(resampled) == 0:
        return None
    low, high = 2 * value - np.quantile(resampled, (0.975, 0.025))
    return max(0.0, float(min(low, value))), min(highest, float(max(high, value)))
