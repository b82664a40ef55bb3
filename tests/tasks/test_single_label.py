"""The record of a test where each video has one label."""

import math
from dataclasses import replace

import numpy as np
import pytest
from five_videos import LABELS, SCORES, make
from pages import PROTOCOL

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.evaluation.parts import proportion
from uniformer_video.evaluation.results import load_results, save_results
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.single_label import SingleLabel, summarise


def test_summary_counts_failures_apart_and_as_wrong():
    summary = summarise(SCORES, np.array(LABELS), np.array([True] * 4 + [False]))
    assert (summary["videos"], summary["decoded"], summary["failed"]) == (5, 4, 1)
    assert summary["top1"] == proportion(3, 4)
    assert summary["top1_all"] == proportion(3, 5)
    assert summary["top5"] == proportion(4, 4)  # four classes: k is clamped
    assert summary["top5_all"] == proportion(4, 5)
    assert summary["mean_class_accuracy"] == pytest.approx((0.5 + 1 + 1) / 3)


def test_summary_when_everything_failed():
    summary = summarise(np.full((2, 3), np.nan), np.array([0, 1]), np.array([False, False]))
    assert summary["top1"] == {"correct": 0, "of": 0, "value": None, "low": 0.0, "high": 1.0}
    assert summary["top1_all"]["value"] == 0.0
    assert summary["mean_class_accuracy"] is None


def test_record_of_classes_and_confusions():
    results = make()
    assert results["confusion"] == [[0, 0, 1], [0, 1, 1], [1, 1, 1], [2, 2, 1]]
    first, *_, last = results["per_class"]
    assert first == {
        "class": 0,
        "name": "a",
        "videos": 2,
        "correct": 1,
        "accuracy": 0.5,
        "predicted": 1,
        "precision": 1.0,
        "f1": 2 / 3,
        "confused_with": {"class": 1, "count": 1},
    }
    assert (last["videos"], last["accuracy"], last["confused_with"]) == (0, None, None)


def test_listed_scores_are_probabilities_either_way():
    top = make()["videos"][0]["top5"]
    total = math.e**3 + math.e**1 + 2
    assert [entry["class"] for entry in top][:2] == [0, 1]
    assert top[0]["score"] == pytest.approx(math.e**3 / total, abs=1e-6)
    means = np.array([[0.6, 0.2, 0.15, 0.05]] * 5)
    as_given = make(scores=np.log(means), protocol=replace(PROTOCOL, score="softmax"))
    assert [entry["score"] for entry in as_given["videos"][0]["top5"]] == [0.6, 0.2, 0.15, 0.05]


def test_a_constant_model_earns_nothing_anywhere():
    results = make(scores=np.zeros((5, 4)))
    assert results["summary"]["top1"]["correct"] == 0
    assert sum(row["correct"] for row in results["per_class"]) == 0
    assert all(true != predicted for true, predicted, _ in results["confusion"])
    assert all(v["top5"][0]["class"] != v["label"] for v in results["videos"] if v["top5"])


@pytest.mark.parametrize("key", ["per_class", "confusion", "top1"])
def test_a_record_without_the_tasks_part_is_damaged(tmp_path, key):
    results = make()
    save_results(tmp_path, results, SCORES[:, None], SingleLabel())
    assert type(load_tested(tmp_path)[1]) is SingleLabel and "task" not in results
    del (results["summary"] if key == "top1" else results)[key]
    save_results(tmp_path, results, SCORES[:, None], SingleLabel())
    assert load_results(tmp_path)["title"] == "run"
    with pytest.raises(DataError, match=rf"results\.json is damaged: it lacks {key}; delete it"):
        load_tested(tmp_path)


@pytest.mark.parametrize(("labels", "count"), [((), "no"), ((3, 17), "2")])
def test_every_video_has_just_one_label(labels, count):
    records = [VideoRecord("/a.mp4", "a.mp4", (1,)), VideoRecord("/b", "b", labels, "t.csv:3")]
    SingleLabel().check_records(records[:1], 2)
    with pytest.raises(DataError, match=rf"^t\.csv:3: b has {count} labels; .*TASK multi-label"):
        SingleLabel().check_records(records, 20)
    with pytest.raises(DataError, match=r"label 1 of a\.mp4 is outside 0\.\.0"):
        SingleLabel().check_records(records[:1], 1)
