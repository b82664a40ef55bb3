"""Scores of segments against plain oracles: labels of single milliseconds, all matchings, all edit paths."""

from functools import cache
from itertools import groupby

import numpy as np
import pytest

from uniformer_video.evaluation.segments import (
    NONE,
    Segment,
    average_precision,
    cut_to_part,
    edit_score,
    frame_accuracy,
    mean_average_precision,
    merge_touching,
    score_segments,
    segment_f1,
)

CLASSES = 3


def drawn(seed, gaps=True, length=40):
    """Segments in order, each of whole tenths of a second, over about `length` tenths."""
    rng = np.random.default_rng(seed)
    place, found = 0, []
    while place < length:
        end = place + int(rng.integers(1, 12))
        if not (gaps and rng.random() < 0.25):
            label, score = int(rng.integers(CLASSES)), round(float(rng.random()), 3)
            found.append(Segment(place / 10, end / 10, label, score))
        place = end
    return found


def ticks(segments, length=600):
    """The class of each hundredth of a second, as a list: what the segments are made of."""
    labels = [NONE] * length
    for segment in segments:
        for tick in range(round(100 * segment.start), round(100 * segment.end)):
            labels[tick] = segment.label
    return labels


def runs(labels):
    """(class, set of ticks) of each run of one class, nothing left out but what has none."""
    found, place = [], 0
    for label, group in groupby(labels):
        size = len(list(group))
        if label != NONE:
            found.append((label, set(range(place, place + size))))
        place += size
    return found


def share(first, second):
    return len(first & second) / len(first | second)


def plain_edit(first, second):
    """The least number of changes, by trying all."""

    @cache
    def least(i, j):
        if not i or not j:
            return i + j
        same = first[i - 1] == second[j - 1]
        return min(least(i - 1, j) + 1, least(i, j - 1) + 1, least(i - 1, j - 1) + (not same))

    return least(len(first), len(second))


@pytest.mark.parametrize("seed", range(30))
def test_frame_accuracy_and_edit_score(seed):
    predicted, truth = drawn(seed), drawn(seed + 100)
    times = np.sort(np.random.default_rng(seed).choice(500, 90, replace=False)) / 100
    a, b = ticks(predicted), ticks(truth)
    places = [round(100 * time) for time in times]
    assert frame_accuracy(predicted, truth, times) == (sum(a[t] == b[t] for t in places), 90)
    first, second = ([label for label, _ in runs(labels)] for labels in (a, b))
    expected = 1 - plain_edit(tuple(first), tuple(second)) / max(len(first), len(second))
    assert edit_score(predicted, truth) == pytest.approx(expected)


@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("seed", range(30))
def test_segment_f1(seed, overlap):
    """As in the published code of Lea et al.: by runs of labels of frames, each looks at its best alone."""
    predicted, truth = drawn(seed), drawn(seed + 100)
    first, second = runs(ticks(predicted)), runs(ticks(truth))
    taken, right = set(), 0
    for label, own in first:
        best = max(
            range(len(second)), key=lambda j: share(own, second[j][1]) * (second[j][0] == label)
        )
        value = share(own, second[best][1]) * (second[best][0] == label)
        if value >= overlap and best not in taken:
            taken.add(best)
            right += 1
    found = segment_f1(predicted, truth, overlap)
    assert found["true_positives"] == right
    assert (found["false_positives"], found["false_negatives"]) == (
        len(first) - right,
        len(second) - right,
    )
    assert found["value"] == pytest.approx(2 * right / (len(first) + len(second)))


@pytest.mark.parametrize("overlap", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("seed", range(30))
def test_mean_average_precision(seed, overlap):
    """By ActivityNet's code: all true segments from the best overlap on, the first free one counts."""
    rng = np.random.default_rng(seed)
    predicted, truth = drawn(seed, length=90), drawn(seed + 100, length=90)
    predicted = [s for s in predicted if rng.random() < 0.9]
    values = []
    for label in {segment.label for segment in truth}:
        true = [ticks([s], 1200) for s in truth if s.label == label]
        true = [{t for t, v in enumerate(own) if v != NONE} for own in true]
        free, hits = set(range(len(true))), []
        for segment in sorted(
            (s for s in predicted if s.label == label), key=lambda s: (-s.score, s.start)
        ):
            own = {t for t, v in enumerate(ticks([segment], 1200)) if v != NONE}
            order = sorted(range(len(true)), key=lambda j: -share(own, true[j]))
            fitting = [j for j in order if share(own, true[j]) >= overlap and j in free]
            free -= set(fitting[:1])
            hits.append(bool(fitting))
        points = [
            (sum(hits[: n + 1]) / len(true), sum(hits[: n + 1]) / (n + 1)) for n in range(len(hits))
        ]
        area, before = 0.0, 0.0
        for recall, _ in points:
            area += (recall - before) * max(p for r, p in points if r >= recall)
            before = recall
        values.append(area)
    assert mean_average_precision(predicted, truth, overlap) == pytest.approx(np.mean(values))


def test_by_hand():
    truth = [Segment(0, 2, 0), Segment(2, 4, 1), Segment(4, 6, 0)]
    predicted = [Segment(0, 3, 0, 0.9), Segment(3, 4, 1, 0.8), Segment(4, 5, 2, 0.7)]
    found = score_segments(predicted, truth, np.arange(6.0))
    assert found["frame_accuracy"] == {"value": 3 / 6, "correct": 3, "of": 6}
    assert found["edit"] == pytest.approx(2 / 3)
    assert found["f1"]["50"]["value"] == pytest.approx(2 / 3)  # IoU 2/3, 1/2 and none
    assert found["map"]["0.5"] == pytest.approx((0.5 + 1) / 2)  # half of class 0, all of class 1
    assert found["map"]["0.7"] == 0
    assert found["mean_map"] == pytest.approx(np.mean(list(found["map"].values())))
    assert (found["true_segments"], found["predicted_segments"]) == (3, 3)


def test_perfect_and_empty():
    truth = drawn(3)
    times = np.arange(0, 4, 0.04)
    perfect = score_segments(truth, truth, times)
    assert perfect["frame_accuracy"]["value"] == perfect["edit"] == perfect["mean_map"] == 1
    assert {part["value"] for part in perfect["f1"].values()} == {1}
    empty = score_segments([], truth, times)
    assert empty["edit"] == empty["mean_map"] == empty["f1"]["10"]["value"] == 0
    assert average_precision([], truth, 0.5) == 0
    assert mean_average_precision(truth, [], 0.5) is None


def test_segments_of_one_class_that_touch_are_one():
    halves = [Segment(0, 1, 0, 0.4), Segment(1, 3, 0, 0.7), Segment(3.5, 4, 0, 0.5)]
    assert merge_touching(halves) == [Segment(0, 3, 0, pytest.approx(0.6)), Segment(3.5, 4, 0, 0.5)]
    assert segment_f1([Segment(0, 3, 0)], halves[:2], 0.9)["value"] == 1
    assert cut_to_part(halves, 0.5, 1) == [Segment(0.5, 1, 0, 0.4)]


def test_what_is_of_one_class_at_a_time_is_not_defined_for_several():
    truth = [Segment(0, 2, 0), Segment(1, 3, 1)]
    found = score_segments(truth, truth, np.arange(3.0))
    assert found["frame_accuracy"]["value"] is None and found["edit"] is None
    assert found["f1"]["50"]["value"] == found["mean_map"] == 1
    assert "overlap" in found["notes"][0]
