"""Confident learning and the probe on made-up features whose wrong labels are known."""

import numpy as np
import pytest

from uniformer_video.audit.confident import find_suspicions
from uniformer_video.errors import DataError

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from uniformer_video.audit.probe import assign_folds, probe_labels


def clouds(seed=0, each=40, classes=4, apart=5.0):
    """(features `[N, 12]` of clouds of points, labels of which 5 % are wrong, where they are wrong)."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(classes), each)
    centres = rng.normal(0, apart / 3, (classes, 12))
    features = centres[true] + rng.normal(0, 1, (len(true), 12))
    labels, flipped = true.copy(), rng.choice(len(true), len(true) // 20, replace=False)
    labels[flipped] = (labels[flipped] + rng.integers(1, classes, len(flipped))) % classes
    return features, labels, labels != true


def by_the_book(probabilities, labels):
    """Thresholds, confident joint, calibrated joint and margins, one video after the other."""
    count, classes = len(probabilities), len(probabilities[0])
    thresholds = []
    for label in range(classes):
        own = [probabilities[i][label] for i in range(count) if labels[i] == label]
        thresholds.append(sum(own) / len(own) if own else float("inf"))
    joint = [[0] * classes for _ in range(classes)]
    margins = []
    for i in range(count):
        reached = [k for k in range(classes) if probabilities[i][k] >= thresholds[k]]
        if reached:
            joint[labels[i]][max(reached, key=lambda k: probabilities[i][k])] += 1
        others = [probabilities[i][k] for k in range(classes) if k != labels[i]]
        margins.append(probabilities[i][labels[i]] - max(others))
    shares = []
    for label, row in enumerate(joint):
        given, total = list(labels).count(label) / count, sum(row)
        alone = [float(k == label) for k in range(classes)]
        shares.append(
            [given * (c / total if total else a) for c, a in zip(row, alone, strict=True)]
        )
    return thresholds, joint, shares, margins


@pytest.mark.parametrize("seed", range(3))
def test_suspicions_are_those_of_the_formulas(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 2, 4], 60)  # nobody is given class 3
    probabilities = rng.dirichlet([0.5] * 5, 60)
    found = find_suspicions(probabilities, labels)
    thresholds, joint, shares, margins = by_the_book(probabilities.tolist(), labels.tolist())
    assert np.isnan(found.thresholds[3])
    np.testing.assert_allclose(np.nan_to_num(found.thresholds, nan=np.inf), thresholds)
    assert found.counts.tolist() == joint
    np.testing.assert_allclose(found.joint, shares)
    np.testing.assert_allclose(found.margins, margins)
    np.testing.assert_allclose(found.joint.sum(), 1)
    assert found.noise == pytest.approx(1 - sum(shares[k][k] for k in range(5)))
    wrong = found.contradicted[found.order]
    assert wrong.tolist() == sorted(wrong.tolist(), reverse=True)  # they come first
    for part in (wrong, ~wrong):
        assert (np.diff(found.margins[found.order][part]) >= 0).all()


def test_a_class_that_nobody_is_sure_of_is_taken_for_right():
    found = find_suspicions(
        np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.9, 0.1]]), np.array([0, 0, 0, 0])
    )
    assert found.counts.tolist() == [[3, 0], [0, 0]]
    assert found.noise == 0


def test_flipped_labels_come_first():
    shares = []
    for seed in range(3):
        features, labels, flipped = clouds(seed)
        probe = probe_labels(features, labels, np.arange(len(labels)), 4)
        found = find_suspicions(probe.probabilities, labels)
        first = found.order[: round(0.08 * len(labels))]
        shares.append(flipped[first].sum() / flipped.sum())
        assert abs(found.noise - flipped.mean()) < 0.04
    assert min(shares) >= 0.8


def test_no_video_speaks_for_itself_or_for_its_copies():
    rng = np.random.default_rng(0)
    features = rng.normal(
        0, 1, (30, 400)
    )  # nothing tells the classes apart, and a fit would learn them all
    labels = np.arange(30) % 2
    copied = np.concatenate([features, features + 1e-3])
    twice = np.concatenate([labels, labels])
    groups = np.concatenate([np.arange(30), np.arange(30)])
    fold_of = assign_folds(twice, groups, 5, 0)
    assert (fold_of[:30] == fold_of[30:]).all()
    assert len(set(fold_of)) == 5
    apart = probe_labels(copied, twice, groups, 2)
    together = probe_labels(copied, twice, np.arange(60), 2)
    assert apart.accuracy < 0.7 < 0.85 < together.accuracy


def test_a_class_with_one_video_is_not_judged_and_others_are():
    features, labels, _ = clouds(each=10)
    labels = np.concatenate([labels, [4]])
    features = np.concatenate([features, features[:1]])
    probe = probe_labels(features, labels, np.arange(41), 5)
    assert probe.judged.tolist() == [True] * 40 + [False]
    assert np.isnan(probe.probabilities[40]).all()
    np.testing.assert_allclose(probe.probabilities[:40].sum(1), 1)


@pytest.mark.parametrize(
    ("labels", "groups", "said"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], "no class has two videos"),
        ([0, 0, 1, 1], [5, 5, 6, 6], "no class has two videos"),
        ([0, 0, 0, 0], [0, 1, 2, 3], "no class has two videos|one class"),
    ],
)
def test_what_cannot_be_judged_at_all_is_said(labels, groups, said):
    with pytest.raises(DataError, match=said):
        probe_labels(np.eye(4), np.array(labels), np.array(groups), 4)
