"""Accuracy figures from scores and labels: pure numpy, no files, no state."""

import math

import numpy as np


def softmax(scores):
    """Scores `[..., K]` -> probabilities `[..., K]` float64 over the last axis."""
    scores = np.asarray(scores, dtype=np.float64)
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def topk_correct(scores, labels, k):
    """Whether the true class is among the `k` best: scores `[N, K]`, labels `[N]` -> bool `[N]`.

    The rank of the true class is the number of classes that score at least as much, so a tie counts
    against us and a constant output earns nothing. A NaN score is never correct. A `k` above the
    number of classes means all of them.
    """
    true = np.take_along_axis(scores, np.asarray(labels)[:, None], axis=1)
    rank = (scores >= true).sum(axis=1)
    return (rank <= min(k, scores.shape[1])) & ~np.isnan(true[:, 0])


def ranked_classes(scores, labels, count):
    """The `count` best classes, best first: scores `[N, K]`, labels `[N]` -> int `[N, count]`.

    Among equal scores the true class comes last, so that column 0, read as the prediction, agrees
    with `topk_correct` video by video. A `count` above the number of classes means all of them.
    """
    is_true = np.arange(scores.shape[1]) == np.asarray(labels)[:, None]
    return np.lexsort((is_true, -scores), axis=-1)[:, :count]


def wilson_interval(correct, total, z=1.96):
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


def confusion_matrix(labels, predictions, num_classes):
    """Counts int64 `[K, K]`: row is the true class, column the predicted one."""
    pairs = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predictions, np.int64)
    counts = np.bincount(pairs, minlength=num_classes**2).astype(np.int64)
    return counts.reshape(num_classes, num_classes)


def per_class_accuracy(confusion):
    """Counts `[K, K]` -> fraction correct `[K]` float64, NaN for a class without videos."""
    videos = confusion.sum(axis=1)
    absent = np.full(len(confusion), np.nan)
    return np.divide(confusion.diagonal(), videos, out=absent, where=videos > 0)


def mean_class_accuracy(confusion):
    """The mean of `per_class_accuracy` over the classes that have videos; NaN if none has."""
    accuracy = per_class_accuracy(confusion)
    present = accuracy[~np.isnan(accuracy)]
    return float(present.mean()) if len(present) else math.nan


def average_precision(scores, truth):
    """Average precision of each class: scores `[N, K]`, truth bool `[N, K]` -> float64 `[K]`.

    The sum, over the distinct scores from the highest down, of the precision at that score times the
    recall that it adds: no interpolation, and equal scores count together, so that a constant output
    earns the share of the positives. NaN for a class without a positive. Source: Manning et al.,
    "Introduction to Information Retrieval", section 8.4.
    """
    scores, truth = np.asarray(scores), np.asarray(truth, dtype=bool)
    return np.array(
        [_class_precision(scores[:, k], truth[:, k]) for k in range(scores.shape[1])], np.float64
    )


def _class_precision(scores, truth):
    if not truth.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], np.cumsum(truth[order])
    last_of_equals = np.append(scores[1:] != scores[:-1], True)
    hits = hits[last_of_equals]
    precision = hits / (1 + np.flatnonzero(last_of_equals))
    return float((precision * np.diff(hits, prepend=0)).sum() / hits[-1])


def mean_average_precision(scores, truth):
    """The mean of `average_precision` over the classes that have a positive; NaN if none has."""
    found = average_precision(scores, truth)
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else math.nan
