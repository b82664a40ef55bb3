"""Disagreement of views, against scipy and scikit-learn and by hand."""

import numpy as np
import pytest
from tests_by_views import noisy, record

from uniformer_video.evaluation.metrics import jensen_shannon, ranking_area, softmax
from uniformer_video.tasks.multi_label import MultiLabel


def test_divergence_is_that_of_scipy_for_two_and_its_bounds():
    distance = pytest.importorskip("scipy.spatial.distance")
    probabilities = softmax(np.random.default_rng(0).normal(size=(20, 2, 6)))
    expected = [distance.jensenshannon(*pair) ** 2 for pair in probabilities]
    assert jensen_shannon(probabilities) == pytest.approx(expected)
    assert jensen_shannon(np.eye(4)[None]) == pytest.approx([np.log(4)])
    assert jensen_shannon(probabilities[:, :1].repeat(5, 1)) == pytest.approx(0, abs=1e-12)


def test_area_is_that_of_scikit_learn_with_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    wrong = rng.random(200) < 0.3
    doubts = np.round(rng.normal(size=200) + wrong, 1)
    assert ranking_area(doubts, wrong) == pytest.approx(metrics.roc_auc_score(wrong, doubts))
    assert ranking_area([1, 1], [True, False]) == 0.5
    assert np.isnan(ranking_area([1, 2], [False, False]))
    assert np.isnan(ranking_area([1, 2], [True, True]))


def test_parts_go_from_agreement_to_disagreement():
    logits, labels = noisy(videos=53, clips=3, crops=1)
    found = record(logits, labels)["analyses"]["disagreement"]
    views = logits[:, :, 0].astype(np.float64)
    powers = np.exp(views)
    shares = powers / powers.sum(-1, keepdims=True)
    entropy = lambda p: -(p * np.log(p)).sum(-1)  # noqa: E731
    divergence = entropy(shares.mean(1)) - entropy(shares).mean(1)
    right = views.sum(1).argmax(1) == labels
    order = divergence.argsort()
    assert [part["of"] for part in found["parts"]] == [11, 11, 11, 10, 10]
    start = 0
    for part in found["parts"]:
        own = order[start : start + part["of"]]
        start += part["of"]
        assert part["correct"] == right[own].sum()
        assert (part["from"], part["to"]) == pytest.approx(
            (divergence[own[0]], divergence[own[-1]])
        )
    assert found["mean"] == pytest.approx(divergence.mean())
    metrics = pytest.importorskip("sklearn.metrics")
    assert found["area"] == pytest.approx(metrics.roc_auc_score(~right, divergence))
    mean = views.mean(1)
    powers = np.exp(mean)
    confidence = (powers / powers.sum(-1, keepdims=True)).max(-1)
    assert found["confidence_area"] == pytest.approx(metrics.roc_auc_score(~right, -confidence))


def test_nothing_wrong_has_parts_and_no_area():
    logits, labels = noisy(skill=50.0)
    found = record(logits, labels)["analyses"]["disagreement"]
    assert found["area"] is found["confidence_area"] is None
    assert found["right"] == found["videos"] == 60


def test_several_labels_add_up_yes_and_no_and_leave_out_videos_without_a_label():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(4, 2, 1, 3)).astype(np.float32)
    labels = [(0, 1), (), (2,), (1,)]
    found = record(logits, labels, task=MultiLabel())["analyses"]["disagreement"]
    yes = 1 / (1 + np.exp(-logits[:, :, 0].astype(np.float64)))
    expected = sum(jensen_shannon(np.stack([yes[:, :, k], 1 - yes[:, :, k]], -1)) for k in range(3))
    assert found["videos"] == 3
    assert found["mean"] == pytest.approx(expected[[0, 2, 3]].mean())
    assert found["most"] == pytest.approx(expected[[0, 2, 3]].max())
