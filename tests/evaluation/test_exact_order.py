"""Means over views rank as the exact means, against decimals of many digits and fractions."""

from dataclasses import replace
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from itertools import chain, pairwise

import numpy as np
import pytest
from pages import PROTOCOL

from uniformer_video.evaluation import exact_order
from uniformer_video.evaluation.exact_order import (
    _ordered_means,
    in_order,
    mean_logits,
    mean_sigmoids,
    mean_softmaxes,
)
from uniformer_video.evaluation.metrics import mean_average_precision, sigmoid, softmax
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel


def exact_sigmoids(logits):
    """Sums of sigmoids over the views, rounded far beyond what float32 logits of this size can differ by."""
    digits = 100 + int(np.abs(logits).max() / 2.3)
    with localcontext(Context(prec=digits + 20)) as context:
        exact = [
            [sum(1 / (1 + (-Decimal(float(x))).exp()) for x in column) for column in video.T]
            for video in logits
        ]
        context.prec = digits
        return [[+value for value in row] for row in exact]


def exact_logits(logits):
    return [[sum(Fraction(float(x)) for x in column) for column in video.T] for video in logits]


def same_order(found, exact):
    """Whether `found` rises, or stays, just where `exact` does."""
    pairs = sorted(zip(chain.from_iterable(exact), found.ravel().tolist(), strict=True))
    return all((a[0] == b[0]) == (a[1] == b[1]) and a[1] <= b[1] for a, b in pairwise(pairs))


def plain(logits, value):
    return value(logits).mean(axis=-2)


@pytest.mark.parametrize("scale", [1, 30, 200])
@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("views", [1, 2, 4])
def test_means_of_sigmoids(scale, coarse, views):
    """Coarse logits, as bfloat16 gives them, are often the same in one view and not in the next."""
    logits = np.random.default_rng(views).normal(size=(20, views, 3)) * scale
    logits = (np.round(logits * 4 / scale) * scale / 4 if coarse else logits).astype(np.float32)
    found = mean_sigmoids(logits)
    assert same_order(found, exact_sigmoids(logits))
    assert found.min() >= 0 and found.max() <= 1
    np.testing.assert_allclose(found, plain(logits, sigmoid), rtol=0, atol=1e-13)


@pytest.mark.parametrize("views", [1, 3, 4])
def test_means_of_logits(views):
    rng = np.random.default_rng(views)
    logits = (
        rng.normal(size=(40, views, 4)) * 10.0 ** rng.integers(-12, 3, (40, views, 4))
    ).astype(np.float32)
    logits[20:] = np.round(rng.normal(size=(20, views, 4)) * 4) / 4
    found = mean_logits(logits)
    assert same_order(found, exact_logits(logits))
    np.testing.assert_allclose(found, logits.astype(np.float64).mean(1), rtol=1e-12, atol=1e-15)


def test_views_in_another_order_tie_and_opposite_ones_too():
    views = np.array([0.3, -1.7, 2.9, 0.1], np.float32)
    logits = np.stack([np.roll(views, k)[:, None] for k in range(4)])
    assert len(np.unique(mean_sigmoids(logits))) == len(np.unique(mean_logits(logits))) == 1
    halves = np.array([[0.7, -0.7], [31.0, -31.0], [0.0, 0.0]], np.float32)[..., None]
    assert mean_sigmoids(halves).tolist() == [[0.5]] * 3


def exact_softmaxes(logits):
    """Sums of the softmax over the views of one video `[view, K]`, in decimals."""
    with localcontext(Context(prec=400)) as context:
        powers = [[Decimal(float(x)).exp() for x in view] for view in logits]
        exact = [
            sum(p / sum(view) for p, view in zip(own, powers, strict=True))
            for own in zip(*powers, strict=True)
        ]
        context.prec = 380
        return [+value for value in exact]


@pytest.mark.parametrize("scale", [1, 60, 200])
@pytest.mark.parametrize("coarse", [False, True])
def test_means_of_softmaxes(scale, coarse):
    """Of each video: two views that are sure of different classes are the close ones."""
    logits = np.random.default_rng(0).normal(size=(30, 2, 4)) * scale
    logits = (np.round(logits * 4 / scale) * scale / 4 if coarse else logits).astype(np.float32)
    logits[:10, :, 0] = logits[:10, :, 3]  # classes alike
    found = mean_softmaxes(logits)
    for video, means in zip(logits, found, strict=True):
        assert same_order(means, [exact_softmaxes(video)])
    np.testing.assert_allclose(found, plain(logits, softmax), rtol=0, atol=1e-14)


def test_failed_videos_stay_unknown():
    logits = np.array([[[50.0], [60.0]], [[np.nan]] * 2, [[50.0], [61.0]]], np.float32)
    assert np.isnan(mean_softmaxes(logits)[1]).all()
    for means in (mean_sigmoids(logits), mean_logits(logits)):
        assert np.isnan(means[1, 0]) and means[0, 0] < means[2, 0]
    assert np.nanmax(mean_sigmoids(logits)) <= 1
    assert mean_sigmoids(logits[:0]).shape == (0, 1)


def test_sigmoids_of_means_keep_their_order():
    scores = np.array([[-900.0, -800.0, 45.0], [40.0, 0.0, np.nan], [45.0, 1.0, 2.0]])
    shares = in_order(sigmoid(scores), scores)
    known = ~np.isnan(scores)
    assert (
        np.argsort(shares[known], kind="stable") == np.argsort(scores[known], kind="stable")
    ).all()
    assert len(np.unique(shares[known])) == 7
    assert np.isnan(shares[1, 2])
    np.testing.assert_allclose(shares, sigmoid(scores), rtol=0, atol=1e-15)


def confident_test():
    """Logits float32 `[video, view, class]` of a model that is sure of nearly all, and the labels."""
    rng = np.random.default_rng(0)
    truth = rng.random((60, 3)) < 0.4
    truth[:3] = np.eye(3, dtype=bool)
    logits = rng.normal(size=(60, 4, 3)) * 12 + np.where(truth, 45, 36)[:, None]
    return logits.astype(np.float32), [tuple(np.flatnonzero(row).tolist()) for row in truth], truth


def average_precision_by_rank(exact, truth):
    """Of one class, from the highest exact value down; no two are equal."""
    hits, area = 0, 0.0
    for seen, (_, is_true) in enumerate(sorted(zip(exact, truth, strict=True), reverse=True), 1):
        hits += is_true
        area += is_true * hits / seen
    return area / truth.sum()


def test_the_figures_of_a_test_are_those_of_the_exact_means(tmp_path):
    logits, labels, truth = confident_test()
    exact = np.array(exact_sigmoids(logits), object)
    expected = np.mean([average_precision_by_rank(exact[:, k], truth[:, k]) for k in range(3)])
    rounded = mean_average_precision(plain(logits, sigmoid), truth)
    assert abs(rounded - expected) > 0.01, "rounded means would do"
    task, names = MultiLabel(), [f"{i}.mp4" for i in range(60)]
    results = build_results(
        task=task,
        title="run",
        names=names,
        paths=names,
        labels=labels,
        view_scores=logits,
        class_names=["a", "b", "c"],
        protocol=replace(PROTOCOL, score="sigmoid"),
        model={"name": "m", "parameters": 5},
    )
    assert results["summary"]["map"]["value"] == pytest.approx(expected, abs=1e-12)
    assert results["per_class"][0]["average_precision"] == pytest.approx(
        average_precision_by_rank(exact[:, 0], truth[:, 0]), abs=1e-12
    )
    best = [int(np.argmax(row)) for row in exact]
    assert [video["top5"][0]["class"] for video in results["videos"]] == best
    hits = sum(k in own for k, own in zip(best, labels, strict=True))
    assert results["summary"]["hit1"]["correct"] == hits
    save_results(tmp_path, results, logits, task)
    with np.load(tmp_path / "scores.npz") as arrays:
        again = task.video_scores(arrays["scores"], "sigmoid")
    assert mean_average_precision(again, truth) == results["summary"]["map"]["value"]


@pytest.mark.parametrize("score", ["sigmoid", "logits"])
def test_a_prediction_ranks_as_the_test(score):
    logits, *_ = confident_test()
    exact = exact_sigmoids(logits) if score == "sigmoid" else exact_logits(logits)
    names = ("a", "b", "c")
    for views, row in zip(logits, exact, strict=True):
        top = MultiLabel().predict("a.mp4", views, score, names).top(3)
        assert [name for name, _ in top] == [names[k] for k in np.argsort(row)[::-1]]


def test_float32_means_would_tie():
    logits = np.array([[[1e4, 1e4], [0.0, 1e-4]]], np.float32)
    assert logits.mean(1)[0, 0] == logits.mean(1)[0, 1]
    for task in (SingleLabel(), MultiLabel()):
        low, high = task.video_scores(logits, "logits")[0]
        assert low < high


@pytest.mark.parametrize("views", [2, 7, 12])
@pytest.mark.parametrize("kind", ["plain", "coarse", "zeros", "tiny", "ties", "wide", "failed"])
def test_what_is_quickly_found_to_be_in_order_is(views, kind, monkeypatch):
    """The quick way gives, to the bit, what the exact comparison of all means gives."""
    rng = np.random.default_rng(views)
    logits = rng.normal(0, 2, (50, views, 6)).astype(np.float32)
    if kind == "coarse":
        logits = np.round(logits * 8) / 8
    elif kind == "zeros":
        logits[rng.random(logits.shape) < 0.4] = 0
    elif kind == "tiny":  # sums that no float64 holds
        logits[rng.random(logits.shape) < 0.02] *= np.float32(1e-9)
    elif kind == "ties":
        logits[1], logits[2], logits[3] = logits[0, ::-1], logits[0, :, ::-1], -logits[0]
    elif kind == "wide":
        logits[:, 0] *= np.float32(10) ** rng.integers(-20, 20, (50, 6)).astype(np.float32)
    elif kind == "failed":
        logits[3] = np.nan
    quick = _ordered_means(logits)
    assert quick is not None or kind == "wide"
    found = mean_logits(logits)
    monkeypatch.setattr(exact_order, "_ordered_means", lambda logits: None)
    np.testing.assert_array_equal(found, mean_logits(logits))
    same = same_order(found[10:], exact_logits(logits[10:]))
    assert same


@pytest.mark.parametrize("apart", [1e-12, 1e-16, 0.0])
def test_means_that_rounding_may_confuse_are_not_quickly_in_order(apart):
    """1 + x and 1 + y, where x and y are too small for the sum to hold them both."""
    logits = np.array([[[1.0, 1.0]], [[1e-12, 1e-12 + apart]]], np.float32).reshape(1, 2, 2)
    assert _ordered_means(logits) is None
    low, high = mean_logits(logits)[0]
    assert (low < high) if apart else (low == high)
