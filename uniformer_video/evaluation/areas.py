"""Figures of semantic segmentation from the areas of classes: IoU, accuracies, and their intervals.

The areas of a picture are int64 `[3, K]`, pixels of each class: the intersection of truth and prediction, all
that are predicted as it, and all that truly are it. Ignored pixels are in none of the three.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from uniformer_video.evaluation.metrics import basic_interval, times_drawn
from uniformer_video.evaluation.parts import counts, number
from uniformer_video.evaluation.per_class import quotient
from uniformer_video.randomness import generator

INTERSECTION, PREDICTED, TRUTH = range(3)  # the places of the areas
RESAMPLES = 1000
_WEIGHTS_AT_ONCE = 4_000_000  # of resamples x pictures
_AREAS_AT_ONCE = 4_000_000
FIGURES = ("miou", "mean_accuracy", "pixel_accuracy")


def class_iou(areas: np.ndarray) -> np.ndarray:
    """Areas `[..., 3, K]` -> intersection over union float64 `[..., K]`.

    0 for a class that is predicted and not there; NaN for one that is neither there nor predicted. Source:
    Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective" (2015).
    """
    common = areas[..., INTERSECTION, :]
    return _shares(common, areas[..., PREDICTED, :] + areas[..., TRUTH, :] - common)


def class_accuracy(areas: np.ndarray) -> np.ndarray:
    """Areas `[..., 3, K]` -> the share of each class's pixels that are right, float64 `[..., K]`, NaN for a
    class that is not there.
    """
    return _shares(areas[..., INTERSECTION, :], areas[..., TRUTH, :])


def mean_iou(areas: np.ndarray) -> np.ndarray:
    """Areas `[..., 3, K]` -> the mean of `class_iou` over the classes that have one, float64 `[...]`; NaN
    where none has.
    """
    return _mean(class_iou(areas))


def mean_accuracy(areas: np.ndarray) -> np.ndarray:
    """Areas `[..., 3, K]` -> the mean of `class_accuracy` over the classes that are there, float64 `[...]`;
    NaN where none is.
    """
    return _mean(class_accuracy(areas))


def pixel_accuracy(areas: np.ndarray) -> np.ndarray:
    """Areas `[..., 3, K]` -> the share of all pixels that are right, float64 `[...]`; NaN without pixels."""
    return _shares(areas[..., INTERSECTION, :].sum(axis=-1), areas[..., TRUTH, :].sum(axis=-1))


def picture_iou(areas: np.ndarray) -> np.ndarray:
    """Areas of pictures `[N, 3, K]` -> the mean of `class_iou` over each one's own classes, those that are
    truly there, float64 `[N]`; NaN for a picture of ignored pixels alone.

    A class that is only predicted takes pixels from the others and is no zero of its own: a few pixels would
    else halve the mean of a picture of one class.
    """
    return _mean(np.where(areas[:, TRUTH] > 0, class_iou(areas), np.nan))


def resampled_areas(
    areas: np.ndarray, count: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """The summed areas of `count` resamples of the pictures, with replacement: float64 `[some, 3, K]` each,
    whole numbers, as many together as memory for a few million of them allows.

    areas: int64 `[N, 3, K]`. groups: int `[N]`, from 0, of pictures that are drawn together; None = each by
    itself.
    """
    num_pictures, size = len(areas), areas[0].size if len(areas) else 0
    groups = np.arange(num_pictures) if groups is None else groups
    resamples = max(1, _WEIGHTS_AT_ONCE // max(1, num_pictures))
    pictures = max(1, _AREAS_AT_ONCE // max(1, size))
    for first in range(0, count, resamples):
        times = times_drawn(groups, min(resamples, count - first), rng)
        sums = np.zeros((len(times), size))
        for start in range(0, num_pictures, pictures):
            part = areas[start : start + pictures].reshape(-1, size).astype(np.float64)
            sums += times[:, start : start + pictures].astype(np.float64) @ part
        yield sums.reshape(-1, *areas.shape[1:])


def figures_with_intervals(
    areas: np.ndarray, groups: np.ndarray | None = None
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Areas of pictures int64 `[N, 3, K]` -> the `FIGURES`, and the IoU of each class, as the record has
    them: `{"value", "low", "high", "resamples"}`.

    The 95 % intervals are basic bootstrap intervals over pictures, or over their `groups`, int `[N]`: each
    resample sums the areas of the pictures that it draws. None where resamples do not differ.
    """
    total = areas.sum(axis=0)
    values = (float(mean_iou(total)), float(mean_accuracy(total)), float(pixel_accuracy(total)))
    ious = class_iou(total)
    drawn: list[np.ndarray] = []
    drawn_ious: list[np.ndarray] = []
    if len(areas):
        for sums in resampled_areas(areas, RESAMPLES, generator("resamples", len(areas)), groups):
            drawn.append(np.stack([mean_iou(sums), mean_accuracy(sums), pixel_accuracy(sums)]))
            drawn_ious.append(class_iou(sums))
    of_figures = np.concatenate([np.empty((len(FIGURES), 0)), *drawn], axis=1)
    of_classes = np.concatenate([np.empty((0, len(ious))), *drawn_ious])
    figures = {
        key: _figure(value, resampled)
        for key, value, resampled in zip(FIGURES, values, of_figures, strict=True)
    }
    return figures, [_figure(iou, of_classes[:, k]) for k, iou in enumerate(ious)]


def segmentation_results(
    entries: Sequence[Mapping[str, Any]],
    areas: np.ndarray,
    confusion: np.ndarray,
    decoded: np.ndarray,
    class_names: Sequence[str],
    groups: np.ndarray | None = None,
) -> dict[str, Any]:
    """`summary`, `per_class`, `confusion` and `videos` of a record.

    entries: what the record says of each picture beside its figures: "name", "path", "mask", "prediction".
    areas: int64 `[N, 3, K]`, those of pictures that failed are not read. confusion: pixels int64 `[K, K]`,
    row true and column predicted, of all pictures that did not fail. decoded: bool `[N]`. groups: int `[N]`
    of pictures that belong together.
    """
    decoded = np.asarray(decoded, bool)
    areas = np.where(decoded[:, None, None], areas, 0)
    good = areas[decoded]
    total = good.sum(axis=0)
    assert np.array_equal(confusion.diagonal(), total[INTERSECTION])
    assert np.array_equal(confusion.sum(axis=1), total[TRUTH])
    assert np.array_equal(confusion.sum(axis=0), total[PREDICTED])
    figures, ious = figures_with_intervals(good, None if groups is None else groups[decoded])
    is_absent = np.isnan(class_iou(total))
    return {
        "summary": {
            **counts(decoded),
            "classes": int((~is_absent).sum()),
            "absent_classes": [
                name for name, absent in zip(class_names, is_absent, strict=True) if absent
            ],
            "pixels": int(total[TRUTH].sum()),
            **figures,
        },
        "per_class": _rows_of_classes(good, ious, class_names),
        "confusion": [[*map(int, at), int(confusion[tuple(at)])] for at in np.argwhere(confusion)],
        "videos": _pictures(entries, areas),
    }


def _rows_of_classes(
    areas: np.ndarray, ious: Sequence[Mapping[str, Any]], class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """One row a class: its IoU with interval, and how many `pixels` and pictures (`videos`) it has."""
    total, pictures = areas.sum(axis=0), (areas[:, TRUTH] > 0).sum(axis=0)
    return [
        {
            "class": k,
            "name": name,
            "iou": ious[k]["value"],
            "low": ious[k]["low"],
            "high": ious[k]["high"],
            "accuracy": quotient(total[INTERSECTION, k], total[TRUTH, k]),
            "precision": quotient(total[INTERSECTION, k], total[PREDICTED, k]),
            "pixels": int(total[TRUTH, k]),
            "predicted": int(total[PREDICTED, k]),
            "correct": int(total[INTERSECTION, k]),
            "videos": int(pictures[k]),
        }
        for k, name in enumerate(class_names)
    ]


def _pictures(entries: Sequence[Mapping[str, Any]], areas: np.ndarray) -> list[dict[str, Any]]:
    """Every picture in order, with figures of its own; null for one that failed."""
    ious, accuracies = picture_iou(areas), pixel_accuracy(areas)
    pixels = areas[:, TRUTH].sum(axis=-1)
    return [
        {
            **entry,
            "miou": number(ious[place]),
            "pixel_accuracy": number(accuracies[place]),
            "pixels": int(pixels[place]),
        }
        for place, entry in enumerate(entries)
    ]


def _figure(value: float, resampled: np.ndarray) -> dict[str, Any]:
    """A share with its interval; nulls where nothing tells."""
    low, high = (len(resampled) and basic_interval(value, resampled)) or (None, None)
    return {"value": number(value), "low": low, "high": high, "resamples": len(resampled)}


def _shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """`parts / wholes`, NaN for 0 of 0."""
    absent = np.full(np.shape(wholes), math.nan)
    return np.divide(parts, wholes, out=absent, where=np.asarray(wholes) > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not NaN; NaN where all is."""
    is_known = ~np.isnan(values)
    return _shares(np.where(is_known, values, 0).sum(axis=-1), is_known.sum(axis=-1))
