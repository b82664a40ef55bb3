"""Calibration errors, temperatures and risk against hand-made arrays, scipy and scikit-learn."""

import math
import zlib

import numpy as np
import pytest
from pages import MODEL, PROTOCOL

from uniformer_video.evaluation.analyses import tested
from uniformer_video.evaluation.analyses.calibration import (
    calibration,
    log_likelihoods,
    measured,
)
from uniformer_video.evaluation.calibration import (
    BINS,
    bin_of,
    binned,
    debiased_error,
    debiased_root_mean_square_error,
    expected_error,
    fit_temperature,
    measure,
    risk_coverage,
    root_mean_square_error,
    threshold_for,
)
from uniformer_video.evaluation.results import build_results
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel


def column(*values):
    return np.array(values)[:, None]


def made_up(videos=300, views=4, classes=6, seed=0):
    """(logits of views that are too sure, labels) where the first class is often the answer."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=videos)
    means = rng.normal(size=(videos, 1, classes)) * 2
    means[np.arange(videos), 0, labels] += 2.5
    return (means + rng.normal(size=(videos, views, classes))).astype(np.float32), labels


def test_bins_hold_their_upper_end():
    assert bin_of(np.array([0.0, 1 / 15, np.nextafter(1 / 15, 1), 0.5, 1.0])).tolist() == [
        0,
        0,
        1,
        7,
        14,
    ]


def test_errors_by_hand():
    """Two bins: 0.9 twice with one right, 0.3 four times with none; gaps of 0.4 and 0.3."""
    confidence = column(0.9, 0.9, 0.3, 0.3, 0.3, 0.3)
    right = column(True, False, False, False, False, False)
    sums = binned(confidence, right).sum(axis=0)
    assert expected_error(sums) == pytest.approx((2 * 0.4 + 4 * 0.3) / 6)
    assert root_mean_square_error(sums) == pytest.approx(math.sqrt((2 * 0.16 + 4 * 0.09) / 6))
    # y (1 - y) / (n - 1) is a quarter in the first bin, 0 in the second
    squared = (2 * (0.16 - 0.25) + 4 * 0.09) / 6
    assert debiased_root_mean_square_error(sums) == pytest.approx(math.sqrt(squared))
    alone = binned(column(0.9), column(False)).sum(axis=0)
    assert debiased_root_mean_square_error(alone) == 0


def test_the_debiased_error_is_twice_the_error_less_that_of_drawn_shares():
    """As the authors' library has it, which draws normal shares in place of the closed form."""
    rng = np.random.default_rng(0)
    confidence = rng.random((400, 1))
    right = rng.random((400, 1)) < confidence**1.3
    sums = binned(confidence, right).sum(axis=0)
    count, total, correct = sums[:, sums[0] > 0]
    share, mean = correct / count, total / count
    deviation = np.sqrt(share * (1 - share) / count)
    drawn = rng.normal(share, deviation, (200_000, len(count)))
    errors = np.abs(drawn - mean) @ (count / count.sum())
    assert debiased_error(sums) == pytest.approx(2 * expected_error(sums) - errors.mean(), abs=2e-4)
    assert debiased_error(sums) < expected_error(sums)


def test_debiased_errors_of_a_calibrated_model_are_lower():
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(20):
        confidence = rng.random((200, 1))
        sums = binned(confidence, rng.random((200, 1)) < confidence).sum(axis=0)
        errors.append((expected_error(sums), debiased_error(sums)))
    plain, debiased = np.mean(errors, axis=0)
    assert plain > 0.06 and debiased < 0.6 * plain


def test_bins_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(0)
    confidence = rng.random((500, 1))
    right = rng.random((500, 1)) < confidence
    count, total, correct = binned(confidence, right).sum(axis=0)
    share, mean = sklearn.calibration_curve(right[:, 0], confidence[:, 0], n_bins=BINS)
    assert correct[count > 0] / count[count > 0] == pytest.approx(share)
    assert total[count > 0] / count[count > 0] == pytest.approx(mean)


@pytest.mark.parametrize("score", ["logits", "softmax"])
def test_likelihoods_are_those_of_scikit_learn(score):
    metrics = pytest.importorskip("sklearn.metrics")
    task = SingleLabel()
    logits, labels = made_up()
    shares = task.probabilities(task.video_scores(logits, score), score)
    expected = metrics.log_loss(labels, shares, labels=range(6))
    assert -log_likelihoods(task, logits, labels, score).mean() == pytest.approx(expected)
    found = measured(task, logits, labels, score)
    assert found["nll"]["value"] == pytest.approx(expected)
    assert found["nll"]["low"] < expected < found["nll"]["high"]


@pytest.mark.parametrize("score", ["logits", "sigmoid"])
def test_likelihoods_of_several_labels(score):
    metrics = pytest.importorskip("sklearn.metrics")
    task = MultiLabel()
    logits, labels = made_up()
    sets = [(int(own), 5) if own % 2 else () for own in labels]
    sets = [tuple(sorted(set(own))) for own in sets]
    truth = np.array([[k in own for k in range(6)] for own in sets])
    shares = task.probabilities(task.video_scores(logits, score), score)
    expected = metrics.log_loss(truth.ravel(), shares.ravel())
    assert -log_likelihoods(task, logits, sets, score).mean() == pytest.approx(expected)
    confidence, right = task.confidences(task.video_scores(logits, score), sets, score)
    assert np.array_equal(right, truth) and np.array_equal(confidence, shares)


@pytest.mark.parametrize("task", [SingleLabel(), MultiLabel()], ids=["one", "several"])
@pytest.mark.parametrize("averaged", ["logits", "probabilities"])
def test_the_temperature_is_that_of_scipy(task, averaged):
    optimize = pytest.importorskip("scipy.optimize")
    score = "logits" if averaged == "logits" else list(task.view_scores)[1]
    logits, own = made_up()
    labels = own if isinstance(task, SingleLabel) else [(int(label),) for label in own]

    def loss(temperature):
        return -log_likelihoods(task, logits, labels, score, temperature).mean()

    best = optimize.minimize_scalar(loss, bounds=(0.05, 20), options={"xatol": 1e-10})
    assert fit_temperature(loss) == pytest.approx(best.x, rel=1e-6)
    assert loss(fit_temperature(loss)) <= best.fun + 1e-12


def test_no_temperature_is_best_where_all_is_right_or_nothing_is_told():
    logits, _ = made_up()
    task, right = SingleLabel(), logits.mean(1).argmax(1)

    def loss_of(labels):
        return lambda t: -log_likelihoods(task, logits, labels, "logits", t).mean()

    assert fit_temperature(loss_of(right)) == 0
    assert fit_temperature(loss_of(logits.mean(1).argmin(1))) == math.inf


def test_intervals_are_of_resampled_videos():
    """As docs/results.md says, written once more."""
    rng = np.random.default_rng(3)
    confidence, right = rng.random((40, 2)), rng.random((40, 2)) < 0.5
    likelihood = rng.normal(size=40)
    found = measure(confidence, right, likelihood)
    drawn = np.random.default_rng([zlib.crc32(b"calibration"), 40])
    errors, losses = [], []
    for _ in range(1000):
        places = drawn.integers(40, size=40)
        flat, hit = confidence[places].ravel(), right[places].ravel()
        bins = np.ceil(flat * 15)
        gaps = [abs((hit - flat)[bins == each].sum()) for each in range(1, 16)]
        errors.append(sum(gaps) / 80)
        losses.append(-likelihood[places].mean())
    value = found["nll"]["value"]
    low, high = 2 * value - np.quantile(losses, (0.975, 0.025))
    assert found["nll"]["low"] == pytest.approx(max(0, min(low, value)))
    assert found["nll"]["high"] == pytest.approx(max(high, value))
    value, highest = found["ece"]["value"], np.quantile(errors, 0.975)
    assert value > found["ece_chance"]["high"]
    assert found["ece"]["low"] == pytest.approx(2 * value - highest)
    assert found["ece"]["high"] == pytest.approx(highest - np.mean(errors) + value)


def test_errors_that_chance_explains_are_not_told_from_0():
    rng = np.random.default_rng(0)
    confidence, draws = rng.random((300, 1)), []
    for _ in range(400):
        right = rng.random((300, 1)) < confidence
        draws.append(expected_error(binned(confidence, right).sum(axis=0)))
    right = rng.random((300, 1)) < confidence
    found = measure(confidence, right, np.log(confidence[:, 0]))
    assert found["ece_chance"]["mean"] == pytest.approx(np.mean(draws), rel=0.03)
    assert found["ece_chance"]["high"] == pytest.approx(np.quantile(draws, 0.975), rel=0.05)
    assert found["ece"]["low"] == 0 < found["ece"]["value"] < found["ece"]["high"]


def test_risk_where_equal_confidences_are_accepted_together():
    confidence = np.array([0.9, 0.5, 0.5, 0.1])
    right = np.array([True, False, True, False])
    found = risk_coverage(confidence, right)
    assert found["area"] == pytest.approx((0 + 1 / 3 + 1 / 3 + 1 / 2) / 4)
    assert found["area_best"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found["risk"] == 0.5
    assert [(p["threshold"], p["accepted"], p["wrong"]) for p in found["points"]] == [
        (0.9, 1, 0),
        (0.5, 3, 1),
        (0.1, 4, 2),
    ]
    assert found["points"][1]["coverage"] == 0.75
    assert found["points"][1]["risk"] == pytest.approx(1 / 3)


def test_a_threshold_accepts_no_more_than_its_share():
    false = np.array([0.1, 0.2, 0.3, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert (false >= threshold_for(false, 0.1)).sum() == 1
    assert (false >= threshold_for(false, 0.0)).sum() == 0
    assert (false >= threshold_for(false, 0.69)).sum() == 5  # of the equal ones, none
    assert threshold_for(false, 0.1) == np.nextafter(0.8, 1)
    assert threshold_for(np.ones(100) * 0.5, 0.29) > 0.5
    assert threshold_for(np.arange(100) / 100, 0.29) == np.nextafter(0.70, 1)


@pytest.mark.parametrize("task", [SingleLabel(), MultiLabel()], ids=["one", "several"])
def test_a_record_can_be_computed_again(task):
    """From logits and labels alone, by docs/results.md; a failed video does not count."""
    logits, own = made_up(videos=120)
    labels = list(own) if isinstance(task, SingleLabel) else [(int(each),) for each in own]
    logits[7] = np.nan
    record = build_results(
        task=task,
        title="test",
        names=[str(place) for place in range(120)],
        paths=[str(place) for place in range(120)],
        labels=labels,
        view_scores=logits,
        class_names=list("abcdef"),
        protocol=PROTOCOL,
        model=MODEL,
        failures={7: "broken"},
    )
    found = record["analyses"]["calibration"]
    means = np.delete(logits, 7, axis=0).astype(float).mean(axis=1)
    truth = np.delete(own, 7)
    top, rows = means.argmax(axis=1), np.arange(119)
    if isinstance(task, SingleLabel):
        shares = np.exp(means) / np.exp(means).sum(axis=1, keepdims=True)
        confidence, right = shares.max(axis=1), top == truth
        nll = -np.log(shares[rows, truth]).mean()
    else:
        shares = 1 / (1 + np.exp(-means))
        is_true = np.arange(6) == truth[:, None]
        confidence, right = shares.ravel(), is_true.ravel()
        nll = -np.log(np.where(is_true, shares, 1 - shares)).mean()
    assert (found["videos"], found["answers"]) == (119, len(confidence))
    assert found["confidence"] == pytest.approx(confidence.mean())
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["nll"]["value"] == pytest.approx(nll)
    bins, error = [], 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if not inside.any():
            continue
        gap = right[inside].mean() - confidence[inside].mean()
        error += inside.mean() * abs(gap)
        bins.append((m / 15, (m + 1) / 15, inside.sum(), right[inside].sum()))
    assert found["ece"]["value"] == pytest.approx(error)
    assert bins == [
        (each["low"], each["high"], each["accuracy"]["of"], each["accuracy"]["correct"])
        for each in found["reliability"]
    ]
    highest, curve = shares.max(axis=1), found["risk_coverage"]
    risks = [(top != truth)[highest >= each].mean() for each in highest]
    assert curve["area"] == pytest.approx(np.mean(risks))
    assert curve["risk"] == pytest.approx((top != truth).mean())
    assert [point["accepted"] for point in curve["points"]] == [
        -(-q * 119 // 20) for q in range(1, 21)
    ]


def test_scores_that_are_not_finite_have_no_calibration():
    logits, labels = made_up(videos=4)
    logits[0] = np.nan
    decoded = np.ones(4, bool)
    test = tested.Tested(SingleLabel(), PROTOCOL, logits, labels, decoded, "abcdef", MODEL, 1.0)
    assert calibration(test) is None
