"""How frequent the classes of a list are, and what makes up for it."""

from collections.abc import Iterable, Sequence

import numpy as np

from uniformer_video.data.lists.records import VideoRecord


def class_totals(records: Iterable[VideoRecord]) -> dict[int, float]:
    """`{class: the weights of its videos in all}` of the classes that occur in a list."""
    totals: dict[int, float] = {}
    for record in records:
        for label in record.labels:
            totals[label] = totals.get(label, 0.0) + record.weight
    return totals


def rarest_totals(records: Sequence[VideoRecord]) -> np.ndarray:
    """Of each video, the total of the rarest of its classes: float64 `[records]`.

    So a video with several labels comes as often as the rarest of them asks for, as in repeat factor
    sampling (Gupta et al., "LVIS", CVPR 2019). Videos without a label are taken together as one more
    class, and never as a rarer one than the most frequent class: nothing repeats the background.
    """
    totals = class_totals(records)
    unlabelled = sum(record.weight for record in records if not record.labels)
    background = max(unlabelled, *totals.values(), 0.0)
    return np.array(
        [min((totals[label] for label in record.labels), default=background) for record in records]
    )


def class_weights(records: Iterable[VideoRecord], num_classes: int, balance: float) -> np.ndarray:
    """Weights of the classes in the loss: float64 `[num_classes]`, mean 1 over those that occur.

    The weight of a class is its total to the power -balance; a class that never occurs in training
    has weight 1.
    """
    weights = np.ones(num_classes)
    occur = {label: total for label, total in class_totals(records).items() if total > 0}
    if occur:
        rare = np.array(list(occur.values())) ** -balance
        weights[list(occur)] = rare / rare.mean()
    return weights
