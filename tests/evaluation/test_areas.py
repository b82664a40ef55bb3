"""IoU and accuracies from areas of classes, against loops over pixels."""

import math

import numpy as np
import pytest

from uniformer_video.evaluation import areas as areas_module
from uniformer_video.evaluation.areas import (
    RESAMPLES,
    mean_iou,
    resampled_areas,
    segmentation_results,
)

IGNORED = 255
NAMES = ["sky", "road", "tree", "cat", "never"]


def masks(count=6, seed=0):
    """Truth and prediction of pictures of different sizes, lists of uint8 `[H, W]`; class 3 is predicted and
    never true, class 4 is neither.
    """
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for place in range(count):
        size = (5 + place, 9)
        truth = rng.integers(0, 3, size).astype(np.uint8)
        predicted = np.where(rng.random(size) < 0.3, rng.integers(0, 4, size), truth)
        truth[rng.random(size) < 0.2] = IGNORED
        truths.append(truth)
        predictions.append(predicted.astype(np.uint8))
    return truths, predictions


def counted(truths, predictions, num_classes):
    """Areas `[N, 3, K]` and confusion `[K, K]`, pixel by pixel."""
    areas = np.zeros((len(truths), 3, num_classes), np.int64)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    for place, (truth, predicted) in enumerate(zip(truths, predictions, strict=True)):
        for true, said in zip(truth.flat, predicted.flat, strict=True):
            if true != IGNORED:
                areas[place, 0, true] += true == said
                areas[place, 1, said] += 1
                areas[place, 2, true] += 1
                confusion[true, said] += 1
    return areas, confusion


def iou_of_pixels(truths, predictions, num_classes):
    """{class: IoU} by sets of pixels, of the classes that are there or predicted."""
    found = {}
    for k in range(num_classes):
        true, said = set(), set()
        for place, (truth, predicted) in enumerate(zip(truths, predictions, strict=True)):
            for row in range(truth.shape[0]):
                for column in range(truth.shape[1]):
                    if truth[row, column] == IGNORED:
                        continue
                    pixel = (place, row, column)
                    if truth[row, column] == k:
                        true.add(pixel)
                    if predicted[row, column] == k:
                        said.add(pixel)
        if true | said:
            found[k] = len(true & said) / len(true | said)
    return found


def results_of(truths, predictions, failed=(), names=NAMES, **options):
    areas, _ = counted(truths, predictions, len(names))
    kept = [place for place in range(len(truths)) if place not in failed]
    _, confusion = counted([truths[i] for i in kept], [predictions[i] for i in kept], len(names))
    decoded = np.isin(np.arange(len(truths)), kept)
    entries = [
        {"name": f"{i}.png", "path": f"{i}.png", "mask": f"{i}.png"} for i in range(len(truths))
    ]
    return segmentation_results(entries, areas, confusion, decoded, names, **options)


def test_figures_are_those_of_the_pixels():
    truths, predictions = masks()
    found = results_of(truths, predictions)
    ious = iou_of_pixels(truths, predictions, 5)
    assert set(ious) == {0, 1, 2, 3} and ious[3] == 0  # predicted, and never there
    summary = found["summary"]
    assert summary["miou"]["value"] == pytest.approx(sum(ious.values()) / 4, abs=1e-12)
    assert (summary["classes"], summary["absent_classes"]) == (4, ["never"])
    judged = [(t, p) for truth, predicted in zip(truths, predictions, strict=True)
              for t, p in zip(truth.flat, predicted.flat, strict=True) if t != IGNORED]  # fmt: skip
    assert summary["pixels"] == len(judged)
    right = sum(t == p for t, p in judged) / len(judged)
    assert summary["pixel_accuracy"]["value"] == pytest.approx(right, abs=1e-12)
    recalls = []
    for k in range(3):
        own = [p == k for t, p in judged if t == k]
        recalls.append(sum(own) / len(own))
        row = found["per_class"][k]
        assert row["iou"] == pytest.approx(ious[k]) and row["accuracy"] == pytest.approx(
            recalls[-1]
        )
        assert (row["pixels"], row["correct"], row["videos"]) == (len(own), sum(own), 6)
        assert row["low"] < row["iou"] < row["high"]
    assert summary["mean_accuracy"]["value"] == pytest.approx(np.mean(recalls), abs=1e-12)
    cat, never = found["per_class"][3:]
    assert (cat["iou"], cat["accuracy"], cat["precision"], cat["pixels"]) == (0.0, None, 0.0, 0)
    assert cat["predicted"] > 0 and (never["iou"], never["low"], never["high"]) == (None,) * 3


def test_a_picture_is_judged_by_the_classes_that_are_there():
    truth = np.array([[0, 0, 0, 1], [IGNORED, 0, 0, 1]], np.uint8)
    predicted = np.array([[0, 0, 2, 1], [2, 0, 0, 0]], np.uint8)
    (picture,) = results_of([truth], [predicted])["videos"]
    assert picture["miou"] == pytest.approx((4 / 6 + 1 / 2) / 2)
    assert (picture["pixel_accuracy"], picture["pixels"]) == (pytest.approx(5 / 7), 7)
    assert picture["mask"] == "0.png"


def test_pictures_that_failed_count_in_no_figure():
    truths, predictions = masks()
    found = results_of(truths, predictions, failed=(1, 4))
    kept = [i for i in range(6) if i not in (1, 4)]
    without = results_of([truths[i] for i in kept], [predictions[i] for i in kept])
    assert found["summary"] == without["summary"] | {"videos": 6, "failed": 2}
    assert found["per_class"] == without["per_class"] and found["confusion"] == without["confusion"]
    assert [one["miou"] is None for one in found["videos"]] == [i in (1, 4) for i in range(6)]


def test_ignored_alone_one_class_and_no_picture_at_all():
    ignored = np.full((4, 4), IGNORED, np.uint8)
    said = np.zeros((4, 4), np.uint8)
    found = results_of([ignored], [said])
    assert found["summary"]["miou"] == {"value": None, "low": None, "high": None, "resamples": 1000}
    assert found["summary"]["classes"] == 0 and found["confusion"] == []
    assert found["videos"][0]["miou"] is None and found["videos"][0]["pixels"] == 0
    one = results_of([said, said], [said, said], names=["all"])["summary"]
    assert (one["miou"]["value"], one["miou"]["low"]) == (1.0, None)  # resamples do not differ
    none = results_of([], [])["summary"]
    assert none["videos"] == 0 and none["pixel_accuracy"]["value"] is None


def test_confusion_lists_what_is_there():
    truths, predictions = masks()
    _, confusion = counted(truths, predictions, 5)
    rows = results_of(truths, predictions)["confusion"]
    assert rows == [
        [i, j, confusion[i, j]] for i in range(5) for j in range(5) if confusion[i, j] > 0
    ]


def test_resamples_are_sums_of_drawn_pictures(monkeypatch):
    """Whatever fits into memory at once, and so that every picture comes once a resample on average."""
    areas, _ = counted(*masks(), 5)
    whole = np.concatenate(list(resampled_areas(areas, 40, np.random.default_rng(3))))
    times = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), 40)
    for own, drawn in zip(whole, times, strict=True):
        assert np.array_equal(own, sum(n * one for n, one in zip(drawn, areas, strict=True)))
    monkeypatch.setattr(areas_module, "_WEIGHTS_AT_ONCE", 18)
    monkeypatch.setattr(areas_module, "_AREAS_AT_ONCE", 30)
    parts = list(resampled_areas(areas, 40, np.random.default_rng(3)))
    assert len(parts) == 14 and np.array_equal(np.concatenate(parts), whole)


def test_groups_are_drawn_together():
    areas, _ = counted(*masks(), 5)
    (sums,) = resampled_areas(areas, 50, np.random.default_rng(0), np.array([0, 0, 0, 1, 1, 1]))
    halves = areas[:3].sum(axis=0), areas[3:].sum(axis=0)
    possible = [a * halves[0] + (2 - a) * halves[1] for a in range(3)]
    assert all(any(np.array_equal(own, one) for one in possible) for own in sums)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    """95 % of the time, over samples of a known population of pictures."""
    rng = np.random.default_rng(0)
    right = rng.beta(4, 2, size=(4000, 2))
    size = rng.integers(50, 200, size=(4000, 2))
    common = (right * size).astype(np.int64)
    wrong = size - common
    population = np.stack([common, common + wrong[:, ::-1], size], axis=1)
    truth, held = float(mean_iou(population.sum(axis=0))), 0
    for _ in range(100):
        drawn = population[rng.integers(0, 4000, 60)]
        figure = areas_module.figures_with_intervals(drawn)[0]["miou"]
        assert figure["resamples"] == RESAMPLES and not math.isnan(figure["low"])
        held += figure["low"] <= truth <= figure["high"]
    assert 88 <= held <= 99
