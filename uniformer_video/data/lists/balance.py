"""How frequent the classes of a list are, and what makes up for it."""

from collections.abc import Iterable, Sequence

import numpy as np

from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.records import VideoRecord


def class_totals(records: Iterable[VideoRecord]) -> dict[int, float]:
    """`{class: the weights of its videos in all}` of the classes that occur in a list."""
    columns = as_columns(records)
    owners, labels = columns.labels.flat()
    own, first, places = np.unique(labels, return_index=True, return_inverse=True)
    totals = np.bincount(places, columns.weight[owners], len(own))  # adds in the order of the list
    return {int(own[place]): float(totals[place]) for place in np.argsort(first)}


def rarest_totals(records: Sequence[VideoRecord]) -> np.ndarray:
    """Of each video, the total of the rarest of its classes: float64 `[records]`.

    So a video with several labels comes as often as the rarest of them asks for, as in repeat factor
    sampling (Gupta et al., "LVIS", CVPR 2019). Videos without a label are taken together as one more
    class, and never as a rarer one than the most frequent class: nothing repeats the background.
    """
    columns = as_columns(records)
    totals = class_totals(columns)
    unlabelled = sum(columns.weight[columns.labels.counts == 0].tolist())
    background = max(unlabelled, *totals.values(), 0.0)
    rarest = np.full(len(columns), np.inf)
    owners, labels = columns.labels.flat()
    np.minimum.at(rarest, owners, np.array([totals[label] for label in labels.tolist()], float))
    rarest[columns.labels.counts == 0] = background
    return rarest


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
