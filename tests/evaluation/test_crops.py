"""The centre crop against all crops: what it leaves out, what that costs, and when it is said."""

import numpy as np
import pytest
from tests_by_views import protocol_of, record

from uniformer_video.evaluation.metrics import average_precision, resampled_map
from uniformer_video.randomness import generator
from uniformer_video.tasks.multi_label import MultiLabel

WIDE, SQUARE = (1280, 720), (480, 480)


def sided(videos, seen_by_centre, classes=2):
    """Logits `[N, 2, 3, K]` and labels: all crops are right, the centre alone for those that it sees."""
    labels = np.arange(videos) % classes
    logits = np.zeros((videos, 2, 3, classes), np.float32)
    logits[np.arange(videos), :, 0, labels] = 9
    wrong = (labels + 1) % classes
    logits[np.arange(videos), :, 1, np.where(seen_by_centre, labels, wrong)] = 3
    return logits, labels


def test_wide_videos_lose_what_the_centre_does_not_see():
    seen = np.arange(60) % 3 > 0
    logits, labels = sided(60, seen)
    sizes = {place: WIDE if place < 30 else SQUARE for place in range(60)}
    result = record(logits, labels, sizes=sizes)
    assert result["videos"][0]["size"] == [1280, 720]
    found = result["analyses"]["crops"]
    assert (found["crops"], found["wide"], found["sizes_known"]) == (3, 30, 60)
    wide, square = 1 - 224**2 / (256 * 455), 1 - 224**2 / 256**2
    assert found["unseen_of_wide"] == pytest.approx(wide)
    assert found["unseen"] == pytest.approx((wide + square) / 2)
    everything, own = found["compared"]["all"], found["compared"]["wide"]
    assert (everything["videos"], everything["centre"], everything["all_crops"]) == (60, 40 / 60, 1)
    assert (own["videos"], own["centre"], own["all_crops"]) == (30, 20 / 30, 1)
    drawn = generator("paired", 30).multinomial(30, [10 / 30, 20 / 30], 10_000)
    expected = np.quantile(-drawn[:, 0] / 30, (0.025, 0.975))
    assert (own["low"], own["high"]) == pytest.approx(tuple(expected))
    assert found["classes_of"] == "wide"
    assert [row["videos"] for row in found["per_class"]] == [15, 15]
    rights = {
        row["class"]: seen[:30][labels[:30] == row["class"]].mean() for row in found["per_class"]
    }
    assert {row["class"]: row["centre"] for row in found["per_class"]} == pytest.approx(rights)
    (note,) = result["notes"]
    assert note.startswith("The sides of the frames matter: on 60 videos the centre crop alone has")


def test_only_one_class_or_only_wide_videos_lose():
    """One video in a hundred is no loss that can be told; that of one class is."""
    labels = np.arange(400) % 20
    seen = (labels != 7) | (np.arange(400) < 200)
    result = record(*sided(400, seen, 20))
    found = result["analyses"]["crops"]
    assert found["sizes_known"] == 0 and found["unseen"] is None and "wide" not in found["compared"]
    assert found["per_class"][0] | {"low": 0, "high": 0} == {
        "class": 7,
        "name": "class 7",
        "videos": 20,
        "centre": 0.5,
        "all_crops": 1.0,
        "low": 0,
        "high": 0,
    }
    assert found["compared"]["all"]["high"] < 0  # ten of 400
    rare = (labels != 7) | (np.arange(400) > 60)
    result = record(*sided(400, rare, 20))
    assert result["analyses"]["crops"]["compared"]["all"]["high"] == 0
    assert not result["notes"]


def test_classes_are_named_where_the_whole_hides_them():
    """What one class loses, others win."""
    logits, labels = sided(400, np.ones(400, bool), 20)
    lost = (labels == 7) & (np.arange(400) < 300)
    logits[lost, :, 1, 7], logits[lost, :, 1, 8] = 0, 3
    won = (labels < 5) & (np.arange(400) < 100)
    logits[won, :, 0] = 0
    logits[won, :, 0, 9] = 9
    result = record(logits, labels)
    (note,) = result["notes"]
    assert "loses against 3 crops in 1 of 20 classes that have 10 videos: class 7 25.0%" in note


def test_nothing_lost_is_not_said():
    logits, labels = sided(60, np.ones(60, bool))
    result = record(logits, labels, sizes=dict.fromkeys(range(60), WIDE))
    assert result["analyses"]["crops"]["compared"]["wide"]["high"] == 0 and not result["notes"]


def test_one_crop_says_what_it_never_sees():
    logits, labels = sided(12, np.ones(12, bool))
    sizes = {place: (240, 320) if place % 2 else (360, 640) for place in range(12)}
    result = record(logits[:, :, 1:2], labels, sizes=sizes)
    found = result["analyses"]["crops"]
    assert (found["crops"], found["wide"]) == (1, 6) and "compared" not in found
    (note,) = result["notes"]
    unseen = 1 - 224**2 / (256 * 455)
    assert note.startswith("Wide videos (one side at least 1.5 times the other): 6 of 12.")
    assert f"never sees {unseen:.0%} of their frames; TEST.NUM_SPATIAL_CROPS 3" in note
    narrow = record(logits[:, :, 1:2], labels, sizes=dict.fromkeys(range(12), (320, 240)))
    assert not narrow["notes"] and "crops" not in narrow["analyses"]


def test_a_crop_that_sees_all_says_nothing():
    logits, labels = sided(12, np.ones(12, bool))
    for crops in (slice(None), slice(1, 2)):
        own = logits[:, :, crops]
        protocol = protocol_of(2, own.shape[2], short_side=224)
        sizes = dict.fromkeys(range(12), SQUARE)
        result = record(own, labels, sizes=sizes, protocol=protocol)
        assert "crops" not in result["analyses"]
    unknown = record(logits[:, :, 1:2], labels)
    assert "crops" not in unknown["analyses"]


def test_several_labels_compare_average_precision():
    rng = np.random.default_rng(1)
    truth = rng.random((40, 3)) < [0.5, 0.4, 0.15]
    labels = [tuple(np.flatnonzero(row).tolist()) for row in truth]
    logits = (rng.normal(size=(40, 2, 3, 3)) + truth[:, None, None]).astype(np.float32)
    found = record(logits, labels, task=MultiLabel())["analyses"]["crops"]
    centre, every = logits[:, :, 1].mean(1), logits.reshape(40, 6, 3).mean(1)
    values = [average_precision(scores, truth) for scores in (centre, every)]
    compared = found["compared"]["all"]
    assert compared["centre"] == pytest.approx(values[0].mean())
    assert compared["all_crops"] == pytest.approx(values[1].mean())
    enough = [k for k in range(3) if truth[:, k].sum() >= 10]
    assert sorted(row["class"] for row in found["per_class"]) == enough == [0, 1]
    for row in found["per_class"]:
        k = row["class"]
        assert (row["centre"], row["all_crops"]) == pytest.approx((values[0][k], values[1][k]))
        drawn = [
            resampled_map(scores[:, [k]], truth[:, [k]], 1000, generator("paired", 40))
            for scores in (centre, every)
        ]
        expected = np.quantile(drawn[0] - drawn[1], (0.025, 0.975))
        assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
