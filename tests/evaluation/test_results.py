"""The result record: what it says, and that it survives the disk."""

import json
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from five_videos import LABELS, SCORES, make

from uniformer_video.config.recorded import config_text
from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.transforms import EvalViews, Normalisation
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DataError
from uniformer_video.evaluation.analyses.registry import ANALYSES
from uniformer_video.evaluation.parts import failure_lines, proportion, telling_figures
from uniformer_video.evaluation.results import (
    SCHEMA_VERSION,
    load_results,
    save_results,
)
from uniformer_video.runs.multi_view_test import _show
from uniformer_video.tasks.single_label import SingleLabel


def views(scores=SCORES, count=2):
    return np.repeat(np.asarray(scores, np.float32)[:, None], count, axis=1)


def test_every_video_is_listed_and_a_failed_one_has_no_scores():
    results = make()
    assert results["schema_version"] == SCHEMA_VERSION == 2
    assert [video["name"] for video in results["videos"]] == [f"{i}.mp4" for i in range(5)]
    assert results["videos"][4]["top5"] == []
    assert results["failures"] == [
        {"name": "4.mp4", "path": "/data/4.mp4", "label": 3, "reason": "cut short"}
    ]


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
    save_results(folder, results, views(), SingleLabel())
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
    save_results(tmp_path, results, views(), SingleLabel())
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
    save_results(tmp_path, make(), views(), SingleLabel())

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    json.loads((tmp_path / "results.json").read_text("utf-8"), parse_constant=refuse)


def test_scores_file(tmp_path):
    save_results(
        tmp_path,
        make(names=["ü.mp4", "b", "c", "d", "e"]),
        views().astype(np.float64),
        SingleLabel(),
    )
    with np.load(tmp_path / "scores.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["labels", "names", "scores"]
        assert arrays["scores"].dtype == np.float32
        np.testing.assert_array_equal(arrays["scores"], views())
        assert np.isnan(arrays["scores"][4]).all()
        assert arrays["labels"].tolist() == LABELS
        assert arrays["names"].tolist() == ["ü.mp4", "b", "c", "d", "e"]


@pytest.mark.parametrize("classes", [2, 5, 6])
def test_top5_of_five_classes_is_not_told(classes):
    names = [f"class {i}" for i in range(classes)]
    record = make(labels=[0] * 5, scores=np.eye(5, classes), class_names=names)
    (line, *_) = SingleLabel().summary_lines(record)
    assert ("top-5" in line) == (classes > 5)
    assert ("top5_all" in telling_figures(record["summary"], classes)) == (classes > 5)
    assert "top1" in telling_figures(record["summary"], classes)
    shown = {}
    _show(record, SingleLabel(), SimpleNamespace(scalars=shown.update, picture=lambda *_: None))
    assert "test/top1" in shown and ("test/top5" in shown) == (classes > 5)


def test_failed_videos_are_named_once():
    failures = {i: f"/data/{i}.mp4 is cut" for i in range(7)} | {7: "takes\ntoo long"}
    shape = {"labels": [0] * 8, "scores": np.zeros((8, 4))}
    named = {"names": [f"{i}.mp4" for i in range(8)], "paths": [f"/data/{i}.mp4" for i in range(8)]}
    notes = ["2 of 8 test videos do not exist: /data/0.mp4, /data/1.mp4"]
    record = make(failures=failures, notes=notes, **shape, **named)
    lines = failure_lines(record)
    assert lines[0] == "failed: /data/2.mp4 is cut"
    assert lines[5] == "failed: 1 more, which the report and results.json name"
    assert len(lines) == 6
    record = make(failures={7: failures[7]}, **shape, **named)
    assert failure_lines(record) == ["failed: 7.mp4: takes too long"]
    assert failure_lines(make(failures={})) == []
    assert record["summary"]["failed"] == 1
    assert SingleLabel().summary_lines(record)[-1] == "failed: 7.mp4: takes too long"


def test_a_segment_is_told_where_there_is_one():
    assert set(make()["videos"][0]) == {"name", "path", "label", "top5", "true_score"}
    segments = [(0.0, None), (1.5, None), (0.0, 2.0), (1.0, 3.0), (2.0, 4.0)]
    results = make(segments=segments)
    told = [(v.get("start"), v.get("end")) for v in results["videos"]]
    assert told == [(None, None), (1.5, None), (None, 2.0), (1.0, 3.0), (2.0, 4.0)]
    assert (results["failures"][0]["start"], results["failures"][0]["end"]) == (2.0, 4.0)


def test_a_file_name_that_is_no_utf8_survives(tmp_path):
    name = b"caf\xe9.mp4".decode("utf-8", "surrogateescape")
    save_results(tmp_path, make(names=[name, "b", "c", "d", "e"]), views(), SingleLabel())
    assert load_results(tmp_path)["videos"][0]["name"] == name


def test_a_value_that_is_no_json_keeps_the_old_results(tmp_path):
    save_results(tmp_path, make(title="old"), views(), SingleLabel())
    with pytest.raises(TypeError, match="object cannot be written"):
        save_results(tmp_path, make(title="new", training={"x": object()}), views(), SingleLabel())
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


def test_the_document_of_the_record_names_every_analysis():
    text = (Path(__file__).parents[2] / "docs" / "results.md").read_text()
    assert re.findall(r"^\| \[`(\w+)`\]", text, re.M) == list(ANALYSES)
