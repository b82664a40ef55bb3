"""The record's rows of classes: how many videos, precision, recall and F1, and what is taken for what."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uniformer_video.evaluation.metrics import f1_scores, per_class_accuracy
from uniformer_video.evaluation.parts import number

MAX_PAIRS = 50  # of labels, that a record lists


def rows_of_confusion(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row a class, of videos with one label: counts `[K, K]`, row true and column predicted."""
    videos, predicted, correct = confusion.sum(axis=1), confusion.sum(axis=0), confusion.diagonal()
    accuracy, f1 = per_class_accuracy(confusion), f1_scores(correct, predicted, videos)
    rows = []
    for index, name in enumerate(class_names):
        mistakes = confusion[index].copy()
        mistakes[index] = 0
        other = int(mistakes.argmax())
        confused = {"class": other, "count": int(mistakes[other])} if mistakes[other] else None
        rows.append(
            {
                "class": index,
                "name": name,
                "videos": int(videos[index]),
                "correct": int(correct[index]),
                "accuracy": number(accuracy[index]),
                "predicted": int(predicted[index]),
                "precision": quotient(correct[index], predicted[index]),
                "f1": number(f1[index]),
                "confused_with": confused,
            }
        )
    return rows


def rows_of_choices(
    chosen: np.ndarray, truth: np.ndarray, precision: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a class, of videos with any labels: chosen and truth bool `[N, K]`; average precision `[K]`."""
    right = (chosen & truth).sum(axis=0)
    picked, positives = chosen.sum(axis=0), truth.sum(axis=0)
    f1 = f1_scores(right, picked, positives)
    return [
        {
            "class": index,
            "name": name,
            "videos": int(positives[index]),
            "average_precision": number(precision[index]),
            "chosen": int(picked[index]),
            "correct": int(right[index]),
            "precision": quotient(right[index], picked[index]),
            "recall": quotient(right[index], positives[index]),
            "f1": number(f1[index]),
        }
        for index, name in enumerate(class_names)
    ]


def confused_labels(
    chosen: np.ndarray, truth: np.ndarray, shares: np.ndarray, places: np.ndarray
) -> list[dict[str, Any]]:
    """The most frequent pairs of a label that is missed and one that is chosen wrongly in the same video.

    chosen, truth: bool `[N, K]`; shares: probabilities `[N, K]`; places: where the N videos stand in the
    record. Each pair comes with its number of videos, and with the place of the one whose wrong label scores
    highest and that score; at most `MAX_PAIRS` of them, the most frequent first, then in the order of the
    classes.
    """
    missed, wrong = truth & ~chosen, chosen & ~truth
    # whole numbers below 2^24, exact in float32
    together = missed.T.astype(np.float32) @ wrong.astype(np.float32)
    first, second = np.nonzero(together)
    most_first = np.lexsort((second, first, -together[first, second]))[:MAX_PAIRS]
    pairs = []
    for label, other in zip(first[most_first], second[most_first], strict=True):
        videos = np.flatnonzero(missed[:, label] & wrong[:, other])
        surest = videos[np.argmax(shares[videos, other])]
        pairs.append(
            {
                "missed": int(label),
                "chosen": int(other),
                "videos": len(videos),
                "example": int(places[surest]),
                "score": number(shares[surest, other], digits=6),
            }
        )
    return pairs


def quotient(part: float, total: float) -> float | None:
    """`part / total`; None for 0 of 0."""
    return float(part / total) if total else None
