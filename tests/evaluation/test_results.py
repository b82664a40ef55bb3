"""The result record: what it says, and that it survives the disk."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from pages import PROTOCOL

from uniformer_video.config.settings import config_text, load_config
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DataError
from uniformer_video.evaluation.results import (
    SCHEMA_VERSION,
    build_results,
    load_results,
    proportion,
    save_results,
    summarise,
)

# Predictions 0, 1, 1, 2; the last video failed. Class 3 has no decoded video.
SCORES = np.array(
    [[3, 1, 0, 0], [1, 3, 0, 0], [0, 3, 2, 0], [0, 0, 9, 0], [np.nan] * 4], np.float32
)
LABELS = [0, 0, 1, 2, 3]


def make(**changes):
    arguments = {
        "title": "run",
        "names": [f"{i}.mp4" for i in range(len(LABELS))],
        "paths": [f"/data/{i}.mp4" for i in range(len(LABELS))],
        "labels": LABELS,
        "scores": SCORES,
        "class_names": ["a", "b", "c", "d"],
        "protocol": PROTOCOL,
        "model": {"name": "m", "parameters": 5},
        "failures": {4: "cut\n  short"},
    }
    return build_results(**{**arguments, **changes})


def views(scores=SCORES, count=2):
    return np.repeat(np.asarray(scores, np.float32)[:, None], count, axis=1)


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
    assert results["schema_version"] == SCHEMA_VERSION == 2
    assert results["confusion"] == [[0, 0, 1], [0, 1, 1], [1, 1, 1], [2, 2, 1]]
    first, *_, last = results["per_class"]
    assert first == {
        "class": 0,
        "name": "a",
        "videos": 2,
        "correct": 1,
        "accuracy": 0.5,
        "confused_with": {"class": 1, "count": 1},
    }
    assert (last["videos"], last["accuracy"], last["confused_with"]) == (0, None, None)


def test_every_video_is_listed_and_a_failed_one_has_no_scores():
    results = make()
    assert [video["name"] for video in results["videos"]] == [f"{i}.mp4" for i in range(5)]
    assert results["videos"][4]["top5"] == []
    assert results["failures"] == [
        {"name": "4.mp4", "path": "/data/4.mp4", "label": 3, "reason": "cut short"}
    ]


def test_listed_scores_are_probabilities_either_way():
    top = make()["videos"][0]["top5"]
    total = math.e**3 + math.e**1 + 2
    assert [entry["class"] for entry in top][:2] == [0, 1]
    assert top[0]["score"] == pytest.approx(math.e**3 / total, abs=1e-6)
    means = np.array([[0.7, 0.2, 0.1, 0.0]] * 5)
    as_given = make(scores=means, protocol=replace(PROTOCOL, score="softmax"))
    assert [entry["score"] for entry in as_given["videos"][0]["top5"]] == [0.7, 0.2, 0.1, 0.0]


def test_a_constant_model_earns_nothing_anywhere():
    results = make(scores=np.zeros((5, 4)))
    assert results["summary"]["top1"]["correct"] == 0
    assert sum(row["correct"] for row in results["per_class"]) == 0
    assert all(true != predicted for true, predicted, _ in results["confusion"])
    assert all(v["top5"][0]["class"] != v["label"] for v in results["videos"] if v["top5"])


def test_scores_that_are_not_finite_count_as_wrong_and_are_mentioned():
    scores = SCORES.copy()
    scores[0] = np.nan
    results = make(scores=scores)
    assert results["summary"]["top1"]["correct"] == 2
    assert "1 of 4" in results["notes"][0]


def test_round_trip(tmp_path):
    motion = {"forward": proportion(3, 4), "opposites": {"a": "b"}}
    results = make(title="päth", motion=motion, training={"epochs": np.int64(3), "loss": math.nan})
    folder = tmp_path / "new" / "folder"
    save_results(folder, results, views())
    loaded = load_results(folder)
    assert loaded["training"] == {"epochs": 3, "loss": None}
    assert {**loaded, "training": None} == {**results, "training": None}
    assert "päth" in (folder / "results.json").read_text("utf-8")
    assert sorted(file.name for file in folder.iterdir()) == ["results.json", "scores.npz"]


def test_results_of_schema_1_are_completed_from_their_settings(tmp_path):
    """Their protocol had names of its own and lacked offset, mean, std and precision."""
    settings = load_config(
        overrides=["DATA.MEAN", "[0.5, 0.5, 0.5]", "DATA.USE_OFFSET_SAMPLING", "False"]
    )
    results = make(settings=config_text(settings))
    save_results(tmp_path, results, views())
    earlier = {
        key: value for key, value in results.items() if key not in ("playback", "videos_sha256")
    }
    earlier["schema_version"] = 1
    earlier["protocol"] = {
        "num_frames": 8,
        "sampling_rate": 2,
        "sampling": "dense",
        "clips": 4,
        "crops": 3,
        "short_side": 64,
        "crop_size": 56,
        "score": "softmax",
        "channel_order": "BGR",
        "playback": "reverse",
        "videos_sha256": "ab",
    }
    (tmp_path / "results.json").write_text(json.dumps(earlier))
    loaded = load_results(tmp_path)
    assert (loaded["playback"], loaded["videos_sha256"], loaded["schema_version"]) == (
        "reverse",
        "ab",
        2,
    )
    assert Protocol.from_dict(loaded["protocol"]) == Protocol(
        ClipSampling(8, 2, offset=False),
        EvalViews(64, 56, 3, Normalisation((0.5,) * 3, channel_order="BGR")),
        num_clips=4,
        score="softmax",
    )


def test_the_file_is_strict_json(tmp_path):
    save_results(tmp_path, make(), views())

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "results.json").read_text("utf-8"), parse_constant=refuse)


def test_scores_file(tmp_path):
    save_results(tmp_path, make(names=["ü.mp4", "b", "c", "d", "e"]), views().astype(np.float64))
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["labels", "names", "scores"]
        assert arrays["scores"].dtype == np.float32
        np.testing.assert_array_equal(arrays["scores"], views())
        assert np.isnan(arrays["scores"][4]).all()
        assert arrays["labels"].tolist() == LABELS
        assert arrays["names"].tolist() == ["ü.mp4", "b", "c", "d", "e"]


def test_a_segment_is_told_where_there_is_one():
    assert set(make()["videos"][0]) == {"name", "path", "label", "top5"}
    segments = [(0.0, None), (1.5, None), (0.0, 2.0), (1.0, 3.0), (2.0, 4.0)]
    results = make(segments=segments)
    told = [(v.get("start"), v.get("end")) for v in results["videos"]]
    assert told == [(None, None), (1.5, None), (None, 2.0), (1.0, 3.0), (2.0, 4.0)]
    assert (results["failures"][0]["start"], results["failures"][0]["end"]) == (2.0, 4.0)


def test_a_file_name_that_is_no_utf8_survives(tmp_path):
    name = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    save_results(tmp_path, make(names=[name, "b", "c", "d", "e"]), views())
    assert load_results(tmp_path)["videos"][0]["name"] == name


def test_a_value_that_is_no_json_keeps_the_old_results(tmp_path):
    save_results(tmp_path, make(title="old"), views())
    with pytest.raises(TypeError, match="object cannot be written"):
        save_results(tmp_path, make(title="new", training={"x": object()}), views())
    assert load_results(tmp_path)["title"] == "old"


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "finished evaluation"),
        (b'{"schema_version": 2, "tit', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[1, 2]", "schema version None"),
        (b'{"schema_version": 3}', "schema version 3"),
    ],
)
def test_load_errors_are_plain(tmp_path, content, message):
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_results(tmp_path)
