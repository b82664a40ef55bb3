"""Confident learning: which given labels the probabilities of a model contradict, and what is mixed up.

After Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", Journal of
Artificial Intelligence Research 70, 2021. Numbers in, numbers out.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Suspicions:
    """What the probabilities say of N given labels of K classes.

    thresholds: float `[K]`, the mean probability of a class over the videos that are given it; NaN of a class
    without any. confident: int64 `[N]`, the class that a video confidently belongs to, -1 for none. counts:
    int64 `[K, K]`, the confident joint: how many of a given class (row) confidently belong to a class
    (column). joint: float `[K, K]`, the estimated share of all videos that is given the row's class and truly
    of the column's; its rows add up to the shares of the given classes. margins: float `[N]`, from -1 to 1:
    the probability of the given label less the greatest of the others. order: int64 `[N]`, the most
    suspicious first. suggested: int64 `[N]`, the class that a video seems to be. contradicted: bool `[N]`,
    whether a video confidently belongs to another class than the given one.
    """

    thresholds: np.ndarray
    confident: np.ndarray
    counts: np.ndarray
    joint: np.ndarray
    margins: np.ndarray
    order: np.ndarray
    suggested: np.ndarray
    contradicted: np.ndarray

    @property
    def noise(self) -> float:
        """The estimated share of wrong labels: the joint beside its diagonal."""
        return float(self.joint.sum() - np.trace(self.joint))


def find_suspicions(probabilities: np.ndarray, labels: np.ndarray) -> Suspicions:
    """What out-of-fold `probabilities` `[N, K]` say of the given `labels`, int `[N]`.

    A video confidently belongs to the most probable of the classes whose threshold it reaches (equations 1
    and 2 of the paper). Videos whose confident class is another than the given one come first, then all
    others, both by the normalised margin (section 3.3), the smallest first.
    """
    count, num_classes = probabilities.shape
    places = np.arange(count)
    own = probabilities[places, labels]
    given = np.bincount(labels, minlength=num_classes)
    with np.errstate(invalid="ignore"):
        thresholds = np.bincount(labels, own, num_classes) / given
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)  # nothing reaches NaN
    confident = np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)
    counts = np.zeros((num_classes, num_classes), np.int64)
    sure = confident >= 0
    np.add.at(counts, (labels[sure], confident[sure]), 1)
    others = probabilities.copy()
    others[places, labels] = -1
    margins = own - others.max(axis=1)
    contradicted = sure & (confident != labels)
    return Suspicions(
        thresholds=thresholds,
        confident=confident,
        counts=counts,
        joint=calibrated_joint(counts, given),
        margins=margins,
        order=np.lexsort((places, margins, ~contradicted)),
        suggested=np.where(contradicted, confident, probabilities.argmax(axis=1)),
        contradicted=contradicted,
    )


def calibrated_joint(counts: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The confident joint `[K, K]` as shares of all videos, float `[K, K]` (equation 3 of the paper).

    given: int `[K]`, how many videos are given each class. Each row is scaled to its class's share; one in
    which no video belongs to any class confidently is taken for right.
    """
    rows = counts.sum(axis=1, keepdims=True)
    scaled = np.where(rows > 0, counts, np.eye(len(counts))) / np.maximum(rows, 1)
    return scaled * (given / given.sum())[:, None]
