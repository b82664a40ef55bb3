"""Precision, recall and F1 of classes, the interval of their mean accuracy, and what is taken for what."""

import numpy as np
import pytest

from uniformer_video.evaluation.metrics import (
    confusion_matrix,
    f1_scores,
    macro_f1,
    mean_class_accuracy,
    mean_class_accuracy_interval,
    wilson_interval,
)
from uniformer_video.evaluation.per_class import (
    confused_labels,
    rows_of_choices,
    rows_of_confusion,
)

NAMES = [f"class {k}" for k in range(9)]


def drawn(videos=200):
    """Labels and answers of 9 classes: 6 has no videos, 7 is never answered, 8 neither."""
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 2, 3, 4, 5, 7], videos)
    wrong = rng.choice(7, videos)
    return labels, np.where((rng.random(videos) < 0.6) & (labels < 7), labels, wrong)


def test_rows_agree_with_scikit_learn():
    oracle = pytest.importorskip("sklearn.metrics").precision_recall_fscore_support
    labels, answers = drawn()
    rows = rows_of_confusion(confusion_matrix(labels, answers, 9), NAMES)
    found = oracle(labels, answers, labels=range(9), zero_division=np.nan)
    for key, values in zip(("precision", "accuracy", "f1", "videos"), found, strict=True):
        own = [np.nan if row[key] is None else row[key] for row in rows]
        np.testing.assert_allclose(own, values, rtol=1e-12, err_msg=key)
    assert rows[6]["accuracy"] is None and rows[6]["precision"] == 0 and rows[6]["f1"] == 0
    assert rows[7]["precision"] is None and rows[7]["f1"] == 0
    assert rows[8]["f1"] is None
    assert sum(row["predicted"] for row in rows) == len(labels)


def test_rows_of_labels_agree_with_scikit_learn():
    oracle = pytest.importorskip("sklearn.metrics").precision_recall_fscore_support
    rng = np.random.default_rng(1)
    truth, chosen = rng.random((60, 5)) < 0.4, rng.random((60, 5)) < 0.3
    truth[:, 3] = chosen[:, 3] = chosen[:, 4] = False
    rows = rows_of_choices(chosen, truth, np.zeros(5), NAMES[:5])
    found = oracle(truth, chosen, zero_division=np.nan)
    for key, values in zip(("precision", "recall", "f1", "videos"), found, strict=True):
        own = [np.nan if row[key] is None else row[key] for row in rows]
        np.testing.assert_allclose(own, values, rtol=1e-12, err_msg=key)


def test_macro_f1_is_over_the_classes_that_occur():
    oracle = pytest.importorskip("sklearn.metrics").f1_score
    labels, answers = drawn()
    counts = confusion_matrix(labels, answers, 9)
    own = macro_f1(counts.diagonal(), counts.sum(axis=0), counts.sum(axis=1))
    present = np.unique(labels)
    assert 6 in answers and 6 not in present
    expected = oracle(labels, answers, labels=present, average="macro", zero_division=0)
    assert own == pytest.approx(expected, rel=1e-12)
    assert np.isnan(macro_f1([0], [0], [0])) and np.isnan(f1_scores([0], [0], [0])).all()


def test_interval_of_mean_class_accuracy_agrees_with_scipy():
    binomtest = pytest.importorskip("scipy.stats").binomtest
    labels, answers = drawn(60)
    counts = confusion_matrix(labels, answers, 9)
    correct, videos = counts.diagonal(), counts.sum(axis=1)
    below = above = 0.0
    present = np.flatnonzero(videos)
    for k in present:
        bounds = binomtest(int(correct[k]), int(videos[k])).proportion_ci(method="wilson")
        below += (correct[k] / videos[k] - bounds.low) ** 2
        above += (correct[k] / videos[k] - bounds.high) ** 2
    low, high = mean_class_accuracy_interval(counts)
    mean = mean_class_accuracy(counts)
    assert low == pytest.approx(mean - np.sqrt(below) / len(present), abs=1e-4)
    assert high == pytest.approx(mean + np.sqrt(above) / len(present), abs=1e-4)


def test_interval_of_mean_class_accuracy_holds_the_truth():
    """Classes of 5 to 40 videos, of which 30 to 95 % are right: 95 % of the intervals, or a little more."""
    rng = np.random.default_rng(0)
    rates, videos = np.linspace(0.3, 0.95, 12), np.linspace(5, 40, 12).astype(int)
    held = []
    for _ in range(400):
        correct = rng.binomial(videos, rates)
        counts = np.diag(correct)
        counts[:, 0] += videos - correct
        counts[0, 0] = correct[0]
        counts[0, 1] = videos[0] - correct[0]
        low, high = mean_class_accuracy_interval(counts)
        held.append(low <= rates.mean() <= high)
    assert 0.93 <= np.mean(held) <= 0.99


def test_interval_of_mean_class_accuracy_at_the_ends():
    assert mean_class_accuracy_interval(np.zeros((3, 3), int)) is None
    assert mean_class_accuracy_interval(np.diag([7])) == pytest.approx(wilson_interval(7, 7))
    low, high = mean_class_accuracy_interval(np.diag([1, 1, 1]))  # one video each, all right
    assert 0.5 < low < 0.6 and high == 1


def test_pairs_of_labels_that_are_missed_and_chosen():
    #                       0 for 1      0 for 1, 2    0 is right    1 for 0
    truth = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]], bool)
    shares = np.array([[0.1, 0.6, 0.2], [0.2, 0.9, 0.5], [0.7, 0.8, 0.1], [0.5, 0.4, 0.4]])
    pairs = confused_labels(shares >= 0.5, truth, shares, np.array([3, 4, 5, 9]))
    assert pairs == [
        {"missed": 0, "chosen": 1, "videos": 2, "example": 4, "score": 0.9},
        {"missed": 0, "chosen": 2, "videos": 1, "example": 4, "score": 0.5},
        {"missed": 1, "chosen": 0, "videos": 1, "example": 9, "score": 0.5},
    ]
    nothing = np.zeros((0, 3), bool)
    assert confused_labels(nothing, nothing, nothing.astype(float), np.array([], int)) == []
