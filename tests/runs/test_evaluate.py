"""A test as a run does it, where videos have several labels; what it keeps for the page."""

import io
import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from uniformer_video import cli
from uniformer_video.config.recorded import config_from_text
from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.strips import Strips
from uniformer_video.models import flops
from uniformer_video.runs import build_model, multi_view_test
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.folder import RunFolder
from uniformer_video.weights.checkpoint import write_checkpoint

NAMES = ["sit", "run", "eat"]


@pytest.fixture
def tested(tiny, tmp_path, make_video):
    """A function: test an untrained model on four videos, the last of them broken."""
    paths = [str(make_video(f"{i}.mp4", frames=40 + i)) for i in range(4)]
    (tmp_path / "3.mp4").write_bytes(b"broken")
    labels = [(0, 1), (), (1,), (0, 2)]
    ends = [None, None, 0.8, None]
    records = [
        VideoRecord(path, Path(path).name, own, end=end)
        for path, own, end in zip(paths, labels, ends, strict=True)
    ]
    weights = tmp_path / "weights.pt"

    def test(**changes):
        changes |= {"TRAIN__TASK": "multi-label", "TRAIN__ENABLE": False}
        cfg = load_config(overrides=tiny(TEST__CHECKPOINT_FILE_PATH=weights, **changes))
        torch.manual_seed(0)
        model, _ = build_model.build_model(cfg, 3)
        torch.nn.init.normal_(model.head.weight)
        metadata = build_model.build_metadata(cfg, model, NAMES) | {"task": "multi-label"}
        write_checkpoint(weights, model.state_dict(), metadata)
        ranks = Ranks(0, 1, torch.device("cpu"))
        data = Data(NAMES, test=records)
        return multi_view_test.evaluate(cfg, data, RunFolder(tmp_path / "run"), ranks, "tiny")

    return test


@pytest.mark.parametrize("score", ["logits", "sigmoid"])
def test_a_multi_label_test(tested, caplog, score):
    caplog.set_level("INFO")
    folder = tested(TEST__SCORE=score)
    results = json.loads((folder / "results.json").read_text())
    assert (results["task"], results["motion"]) == ("multi-label", None)
    assert [video["labels"] for video in results["videos"]] == [[0, 1], [], [1], [0, 2]]
    assert [video.get("end") for video in results["videos"]] == [None, None, 0.8, None]
    with np.load(folder / "scores.npz") as arrays:
        views = arrays["scores"][:3].astype(np.float64)
    if score == "logits":
        views = views.mean(1, keepdims=True)
    shares = (1 / (1 + np.exp(-views))).mean(1)
    for row, video in zip(shares, results["videos"], strict=False):
        assert video["top5"][0]["score"] == pytest.approx(row.max(), abs=1e-5)
        assert video["label_scores"] == pytest.approx(row[video["labels"]], abs=1e-5)
    summary = results["summary"]
    assert (summary["failed"], summary["unlabelled"], summary["classes"]) == (1, 1, 2)
    assert f"mAP {summary['map']['value']:.1%}" in caplog.text
    assert "over the 2 of 3 classes that occur, hit@1" in caplog.text
    assert f"scored lowest: mAP {summary['map_all']['value']:.1%}" in caplog.text
    assert "Mean average precision" in (folder / "report.html").read_text()
    assert tested(TEST__SCORE=score) == folder
    assert "tested already" in caplog.text


def test_the_record_tells_the_cost_of_a_view_and_the_sizes_of_frames(tested, caplog):
    caplog.set_level("INFO")
    folder = tested(TEST__NUM_SPATIAL_CROPS=3, DATA__TEST_SCALE=40, TEST__BATCH_SIZE=6)
    results = json.loads((folder / "results.json").read_text())
    cfg = config_from_text(results["settings"], "the results")
    model, _ = build_model.build_model(cfg, 3)
    view = flops.count_flops(model, (1, 3, 4, 32, 32)) / 1e9
    assert results["model"]["gflops_view"] == view > 0
    cost = results["cost"]
    assert (cost["processes"], cost["workers"], cost["videos"]) == (1, 0, 3)
    assert cost["device"].startswith("CPU") and cost["views"] == 12  # without the first pass
    assert [video.get("size") for video in results["videos"]] == [[64, 48]] * 3 + [None]
    rows = results["analyses"]["views"]["rows"]
    assert [row["views"] for row in rows] == [1, 2, 3, 6]
    assert rows[3]["gflops"] == pytest.approx(6 * view)
    seconds = cost["decode_seconds"] + cost["crop_seconds"] + 6 * cost["model_seconds"]
    assert rows[3]["seconds"] == pytest.approx(seconds)
    assert rows[3]["value"] == results["summary"]["map"]["value"]
    assert "How many views are enough" in (folder / "report.html").read_text()
    assert "fewer views" not in caplog.text  # three videos cannot tell


def test_a_model_that_cannot_be_counted_is_named(tested, monkeypatch):
    def fail(model, shape):
        raise RuntimeError("no trace of it")

    monkeypatch.setattr(flops, "count_flops", fail)
    results = json.loads((tested() / "results.json").read_text())
    assert "gflops_view" not in results["model"]
    assert results["analyses"]["views"]["rows"][0]["gflops"] is None
    assert any("could not be counted (RuntimeError: no trace" in note for note in results["notes"])


def test_views_that_repeat_another_are_told_once(tested, caplog):
    """The third video counts for 20 frames, so that all its clips begin at the first."""
    caplog.set_level("INFO")
    folder = tested(TEST__NUM_ENSEMBLE_VIEWS=20)
    told = "19 of 60 views show the frames of another one once more: 1 of 3 videos are too short for 20"
    assert caplog.text.count(told) == 1
    assert json.loads((folder / "results.json").read_text())["notes"][-1].startswith(told)
    caplog.clear()
    tested(TEST__NUM_ENSEMBLE_VIEWS=13)
    assert "once more" not in caplog.text


def test_strips_are_kept_of_what_was_decoded(tested, monkeypatch):
    """Of each video that could be read, by the same opening; the page opens none again."""
    folder = tested()
    videos = json.loads((folder / "results.json").read_text())["videos"]
    strips = Strips.load(folder, len(videos))
    assert [bool(strips[place]) for place in range(4)] == [bool(video["top5"]) for video in videos]
    with Image.open(io.BytesIO(strips[0])) as picture:
        assert picture.format == "JPEG" and picture.height == 64
    again = tested(TEST__NUM_ENSEMBLE_VIEWS=2, TEST__STRIPS=False)
    assert not (again / "strips.npz").exists() and (folder / "strips.npz").exists()
    assert "There are no frames" in (again / "report.html").read_text()


def test_without_the_pages_libraries_the_results_stand_alone(tested, caplog, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    folder = tested()
    assert (folder / "results.json").is_file() and not (folder / "report.html").exists()
    assert 'pip install "uniformer-video[report]"' in caplog.text
    again = re.search(r"Then `uniformer-video (report .*)` makes the page", caplog.text)[1]
    monkeypatch.undo()
    assert cli.main(shlex.split(again)) == 0
    assert (folder / "report.html").is_file()
