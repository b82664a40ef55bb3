"""Segments of a video's time against those that are known: the scores of temporal segmentation and detection.

Definitions: frame accuracy, edit score and segment F1 as in Lea et al., "Temporal Convolutional Networks for
Action Segmentation and Detection" (2017); mean average precision at thresholds of the temporal overlap (tIoU)
as ActivityNet measures it. `docs/timeline.md` has them in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

F1_OVERLAPS = (0.10, 0.25, 0.50)
MAP_OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7)
NONE = -1  # the class of time in which nothing is known or predicted
TOUCHING = 1e-3  # seconds: times are written in whole milliseconds
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Segment:
    """`[start, end)` in seconds, a class index, and how sure that is, 0 to 1."""

    start: float
    end: float
    label: int
    score: float = 1.0

    @property
    def seconds(self) -> float:
        return self.end - self.start


def merge_touching(segments: Sequence[Segment]) -> list[Segment]:
    """In order of time; those of one class that touch or overlap are one, as they are in labels of frames."""
    found: list[Segment] = []
    of_class: dict[int, int] = {}
    for segment in sorted(segments, key=lambda one: (one.start, one.end)):
        place = of_class.get(segment.label)
        if place is not None and segment.start - found[place].end < TOUCHING + _ROUNDING:
            before = found[place]
            whole = before.seconds + segment.seconds
            score = (before.score * before.seconds + segment.score * segment.seconds) / (whole or 1)
            end = max(before.end, segment.end)
            found[place] = Segment(before.start, end, segment.label, score)
        else:
            of_class[segment.label] = len(found)
            found.append(segment)
    return found


def cut_to_part(segments: Sequence[Segment], start: float, end: float) -> list[Segment]:
    """What of the segments lies in `[start, end)`."""
    cut = [Segment(max(s.start, start), min(s.end, end), s.label, s.score) for s in segments]
    return [segment for segment in cut if segment.seconds > _ROUNDING]


def overlap_in_time(segments: Sequence[Segment]) -> bool:
    """Whether two of them, of whatever class, are true at a time; touching is not overlapping."""
    ordered = sorted(segments, key=lambda one: (one.start, one.end))
    latest = -np.inf
    for segment in ordered:
        if segment.start < latest - TOUCHING:
            return True
        latest = max(latest, segment.end)
    return False


def frame_labels(segments: Sequence[Segment], times: np.ndarray) -> np.ndarray:
    """The class of each frame, by the time at which it begins to show: int64 `[frames]`, `NONE` outside all.

    times: float64 `[frames]` seconds, rising. Both are compared in whole milliseconds.
    """
    labels = np.full(len(times), NONE, np.int64)
    ticks = np.round(np.asarray(times) * 1000)
    for segment in segments:
        low, high = np.searchsorted(ticks, np.round([segment.start * 1000, segment.end * 1000]))
        labels[low:high] = segment.label
    return labels


def frame_accuracy(
    predicted: Sequence[Segment], truth: Sequence[Segment], times: np.ndarray
) -> tuple[int, int]:
    """(frames whose class is right, all frames). Where nothing is known, nothing predicted is right."""
    right = frame_labels(predicted, times) == frame_labels(truth, times)
    return int(right.sum()), len(times)


def edit_score(predicted: Sequence[Segment], truth: Sequence[Segment]) -> float:
    """1 - the Levenshtein distance of the two orders of classes / the length of the longer one, 0 to 1."""
    first = [segment.label for segment in merge_touching(predicted)]
    second = [segment.label for segment in merge_touching(truth)]
    if not first and not second:
        return 1.0
    row = list(range(len(second) + 1))
    for place, label in enumerate(first, start=1):
        before, row[0] = row[0], place
        for other, wanted in enumerate(second, start=1):
            changed = before + (label != wanted)
            before = row[other]
            row[other] = min(row[other] + 1, row[other - 1] + 1, changed)
    return 1 - row[-1] / max(len(first), len(second))


def segment_f1(
    predicted: Sequence[Segment], truth: Sequence[Segment], overlap: float
) -> dict[str, Any]:
    """F1 of segments: a predicted one is right where its best overlap with a true one of its class is
    `overlap` or more, and no earlier one has taken that. {"value", "true_positives", "false_positives",
    "false_negatives"}.
    """
    predicted, truth = merge_touching(predicted), merge_touching(truth)
    taken, right = set(), 0
    for segment in predicted:
        shares = [
            temporal_iou(segment, one) if one.label == segment.label else -1.0 for one in truth
        ]
        best = int(np.argmax(shares)) if shares else -1
        if best >= 0 and best not in taken and shares[best] >= overlap - _ROUNDING:
            taken.add(best)
            right += 1
    wrong, missed = len(predicted) - right, len(truth) - right
    counted = 2 * right + wrong + missed
    return {
        "value": 2 * right / counted if counted else 1.0,
        "true_positives": right,
        "false_positives": wrong,
        "false_negatives": missed,
    }


def temporal_iou(first: Segment, second: Segment) -> float:
    """The seconds that two segments share / those of either, 0 to 1."""
    shared = max(0.0, min(first.end, second.end) - max(first.start, second.start))
    return shared / (first.seconds + second.seconds - shared)


def average_precision(
    predicted: Sequence[Segment], truth: Sequence[Segment], overlap: float
) -> float:
    """Of one class: the area under the precision over the recall, where each precision is the highest of any
    recall that is as high. The surest first, each takes the free true segment that it overlaps most.
    """
    free = set(range(len(truth)))
    hits = []
    for segment in sorted(predicted, key=lambda one: (-one.score, one.start)):
        shares = {place: temporal_iou(segment, truth[place]) for place in sorted(free)}
        best = max(shares, key=lambda place: shares[place], default=None)
        hit = best is not None and shares[best] >= overlap - _ROUNDING
        if best is not None and hit:
            free.remove(best)
        hits.append(hit)
    right = np.cumsum(hits)
    precision = right / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(highest[np.asarray(hits, bool)].sum() / len(truth)) if hits else 0.0


def mean_average_precision(
    predicted: Sequence[Segment], truth: Sequence[Segment], overlap: float
) -> float | None:
    """The mean of `average_precision` over the classes that the truth holds; None where it holds none."""
    labels = sorted({segment.label for segment in truth})
    found = [
        average_precision(
            [one for one in predicted if one.label == label],
            [one for one in truth if one.label == label],
            overlap,
        )
        for label in labels
    ]
    return float(np.mean(found)) if found else None


def score_segments(
    predicted: Sequence[Segment], truth: Sequence[Segment], times: np.ndarray
) -> dict[str, Any]:
    """All scores of a video, shares of 0 to 1.

    times: when its frames begin to show. Frame accuracy and edit score are of one class at a time: None where
    segments overlap, and "notes" says so.
    """
    notes = []
    single = not (overlap_in_time(truth) or overlap_in_time(predicted))
    if not single:
        notes.append(
            "Segments overlap, so that several classes are true at a time: frame accuracy and edit score, "
            "which are of one class at a time, are not defined."
        )
    right, total = frame_accuracy(predicted, truth, times) if single else (None, len(times))
    at_overlaps = {f"{t:g}": mean_average_precision(predicted, truth, t) for t in MAP_OVERLAPS}
    known = [value for value in at_overlaps.values() if value is not None]
    return {
        "frame_accuracy": {
            "value": right / total if right is not None and total else None,
            "correct": right,
            "of": total,
        },
        "edit": edit_score(predicted, truth) if single else None,
        "f1": {f"{100 * t:g}": segment_f1(predicted, truth, t) for t in F1_OVERLAPS},
        "map": at_overlaps,
        "mean_map": float(np.mean(known)) if known else None,
        "true_segments": len(merge_touching(truth)),
        "predicted_segments": len(merge_touching(predicted)),
        "notes": notes,
    }
