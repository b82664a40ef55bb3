"""The record of a multi-label test, each figure against a plain loop."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from pages import PROTOCOL, in_views

from uniformer_video.errors import DataError
from uniformer_video.evaluation.parts import proportion
from uniformer_video.evaluation.results import (
    build_results,
    save_results,
)
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.registry import load_tested

NAMES = ["sit", "run", "eat", "fly"]
# The last video failed; video 3 has no label; nobody flies.
LABELS = [(0, 1), (1,), (0, 2), (), (2,), (0,)]
LOGITS = np.array(
    [
        [2, 1, -1, -3],
        [1, 2, -2, -3],
        [3, -1, -2, 0.5],
        [1.5, -2, 0.1, -3],
        [0, -1, -2, -3],
        [0] * 4,
    ],
    np.float32,
)


def make(labels=LABELS, scores=LOGITS, failures=None, score="logits", **changes):
    count = len(labels)
    arguments = {
        "title": "run",
        "names": [f"{i}.mp4" for i in range(count)],
        "paths": [f"/data/{i}.mp4" for i in range(count)],
        "class_names": NAMES[: scores.shape[1]],
        "protocol": replace(PROTOCOL, score=score),
        "model": {"name": "m", "parameters": 5},
        "task": MultiLabel(),
    }
    failures = {5: "cut"} if failures is None else failures
    return build_results(
        labels=labels, view_scores=in_views(scores), failures=failures, **{**arguments, **changes}
    )


def precision_of(pairs):
    """Average precision of (score, is true) pairs: precision at each score times added recall."""
    positives = sum(true for _, true in pairs)
    area = 0.0
    for level in sorted({score for score, _ in pairs}, reverse=True):
        chosen = [true for score, true in pairs if score >= level]
        added = sum(true for score, true in pairs if score == level)
        area += sum(chosen) / len(chosen) * added / positives
    return area


def by_class(labels, scores):
    """{class: its average precision} of the classes that occur."""
    return {
        k: precision_of([(row[k], k in own) for row, own in zip(scores, labels, strict=True)])
        for k in range(len(scores[0]))
        if any(k in own for own in labels)
    }


def random_test(videos=60, classes=6, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random((videos, classes)) < 0.25
    labels = [tuple(np.flatnonzero(row).tolist()) for row in truth]
    scores = np.round(rng.normal(size=(videos, classes)) + truth, 1)  # with ties
    return labels, scores


def test_summary_against_loops():
    labels, scores = random_test()
    failures = {3: "cut", 7: "gone"}
    names = [str(k) for k in range(6)]
    summary = make(labels, scores, failures, class_names=names)["summary"]
    good = [i for i in range(60) if i not in failures]
    own, rows = [labels[i] for i in good], [scores[i].tolist() for i in good]
    precision = by_class(own, rows)
    counts = {k: sum(k in one for one in own) for k in precision}
    assert (summary["videos"], summary["decoded"], summary["failed"]) == (60, 58, 2)
    assert summary["unlabelled"] == sum(not one for one in own) > 0
    assert summary["classes"] == len(precision) == 6
    assert summary["map"]["value"] == pytest.approx(np.mean(list(precision.values())))
    weighted = sum(precision[k] * counts[k] for k in precision) / sum(counts.values())
    assert summary["weighted_map"] == pytest.approx(weighted)
    pairs = [(r[k], k in one) for r, one in zip(rows, own, strict=True) for k in range(6)]
    assert summary["micro_ap"] == pytest.approx(precision_of(pairs))
    hits = sum(
        bool(one) and max(r[k] for k in one) > max(r[k] for k in range(6) if k not in one)
        for r, one in zip(rows, own, strict=True)
    )
    assert summary["hit1"] == proportion(hits, sum(bool(one) for one in own))
    assert summary["hit1_all"] == proportion(hits, sum(bool(one) for one in labels))
    last = [[-99.0] * 6 if i in failures else scores[i].tolist() for i in range(60)]
    everything = by_class(labels, last)
    assert summary["map_all"]["value"] == pytest.approx(np.mean(list(everything.values())))
    assert summary["map_all"]["value"] < summary["map"]["value"]


def test_the_interval_holds_the_value_and_is_the_same_each_time():
    labels, scores = random_test()
    names = [str(k) for k in range(6)]
    found = make(labels, scores, {}, class_names=names)["summary"]
    assert found["map"]["low"] < found["map"]["value"] < found["map"]["high"]
    assert found["map"]["resamples"] == 1000
    assert found["map_all"] == found["map"]
    assert make(labels, scores, {}, class_names=names)["summary"] == found


def test_a_wider_test_draws_fewer_resamples(monkeypatch):
    monkeypatch.setattr("uniformer_video.tasks.multi_label._RESAMPLED_SCORES", 500 * 20)
    assert make()["summary"]["map"]["resamples"] == 500
    monkeypatch.setattr("uniformer_video.tasks.multi_label._RESAMPLED_SCORES", 1)
    assert make()["summary"]["map"]["resamples"] == 100


def test_rows_of_classes():
    results = make()
    assert results["task"] == "multi-label"
    assert "confusion" not in results
    chosen = [[k for k in range(4) if row[k] >= 0] for row in LOGITS[:5]]
    expected = by_class(LABELS[:5], LOGITS[:5].tolist())
    for k, row in enumerate(results["per_class"]):
        picked = [i for i in range(5) if k in chosen[i]]
        videos = [i for i in range(5) if k in LABELS[i]]
        both = len(set(picked) & set(videos))
        assert (row["class"], row["name"], row["videos"]) == (k, NAMES[k], len(videos))
        assert (row["chosen"], row["correct"]) == (len(picked), both)
        assert row["precision"] == (both / len(picked) if picked else None)
        assert row["recall"] == (both / len(videos) if videos else None)
        assert row["average_precision"] == (pytest.approx(expected[k]) if k in expected else None)
    assert results["per_class"][3]["average_precision"] is None
    assert results["per_class"][0]["chosen"] == 5  # a score of exactly one half is chosen


def test_videos_with_their_labels_and_scores_of_each_class_by_itself():
    results = make(segments=[(1.0, 2.0), *[(0.0, None)] * 5])
    first, *_, failed = results["videos"]
    assert (first["labels"], first["start"], first["end"]) == ([0, 1], 1.0, 2.0)
    assert [entry["class"] for entry in first["top5"]] == [0, 1, 2, 3]
    for entry, logit in zip(first["top5"], (2, 1, -1, -3), strict=True):
        assert entry["score"] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
    assert first["label_scores"] == [entry["score"] for entry in first["top5"][:2]]
    assert results["videos"][3]["labels"] == results["videos"][3]["label_scores"] == []
    assert (failed["labels"], failed["top5"], failed["label_scores"]) == ([0], [], [])
    assert results["failures"] == [
        {"name": "5.mp4", "path": "/data/5.mp4", "labels": [0], "reason": "cut"}
    ]


def test_mean_probabilities_are_listed_as_they_are():
    shares = np.full((2, 2), -math.log(3))  # whose sigmoid is 0.25
    results = make([(0,), (1,)], shares, {}, score="sigmoid")
    assert results["videos"][0]["label_scores"] == [0.25]
    assert results["per_class"][0]["chosen"] == 0


def test_round_trip(tmp_path):
    save_results(tmp_path, make(), LOGITS[:, None], MultiLabel())
    loaded, task = load_tested(tmp_path)
    assert type(task) is MultiLabel
    assert loaded == json.loads(json.dumps(make() | {"created": loaded["created"]}))
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as arrays:
        assert arrays["labels"].dtype == bool
        assert arrays["labels"].tolist() == [[k in own for k in range(4)] for own in LABELS]
        assert arrays["scores"].shape == (6, 1, 4)


def test_a_record_without_its_headline_is_damaged(tmp_path):
    results = make()
    del results["summary"]["map"]
    save_results(tmp_path, results, LOGITS[:, None], MultiLabel())
    with pytest.raises(DataError, match="lacks map"):
        load_tested(tmp_path)


def assert_nothing_measured(summary):
    assert summary["map"] == {"value": None, "low": None, "high": None, "resamples": 0}
    assert summary["weighted_map"] is None and summary["micro_ap"] is None
    assert summary["hit1"]["value"] is None and summary["classes"] == 0


def test_no_video_has_a_label(tmp_path):
    results = make([()] * 6)
    assert_nothing_measured(results["summary"])
    assert results["summary"]["unlabelled"] == 5
    assert results["summary"]["hit1_all"]["of"] == 0
    save_results(tmp_path, results, LOGITS[:, None], MultiLabel())
    assert load_tested(tmp_path)[0]["summary"] == results["summary"]


def test_all_videos_failed():
    summary = make(failures=dict.fromkeys(range(6), "gone"), scores=np.full((6, 4), np.nan))[
        "summary"
    ]
    assert_nothing_measured(summary)
    assert summary["hit1_all"] == proportion(0, 5)
    assert summary["map_all"]["value"] == pytest.approx((3 + 2 + 2) / 6 / 3)  # as by no opinion


def test_one_class():
    summary = make([(0,), (), (0,)], np.array([[2.0], [1.0], [-1.0]]), {})["summary"]
    assert summary["map"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert summary["hit1"] == proportion(2, 2)


def test_one_video_has_no_interval():
    summary = make([(0, 2)], LOGITS[:1], {})["summary"]
    assert summary["map"]["value"] is not None
    assert summary["map"]["low"] is summary["map"]["high"] is None


def test_scores_that_are_not_finite_rank_last_and_are_mentioned():
    scores = LOGITS.copy()
    scores[0] = np.nan
    results = make(scores=scores)
    lowest = np.where(np.isnan(scores), -99, scores)[:5].tolist()
    expected = by_class(LABELS[:5], lowest)
    assert results["summary"]["map"]["value"] == pytest.approx(np.mean(list(expected.values())))
    assert "1 of 5" in results["notes"][0]
    assert results["videos"][0]["label_scores"] == [None, None]
