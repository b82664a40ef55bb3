"""Whole runs on videos with several labels or none: trained, resumed, and kept apart from one label."""

import json

import numpy as np
import pytest
import torch

from uniformer_video.bench.loader import measure
from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.prepare.demo import write_video
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.training.state import Progress
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.registry import count_classes

# Of the demo's eight motions, "move left" shows classes 0 and 1; some show one, and the last two none.
CELLS = ("0 1", "0", "1 2", "2", "0 1 2", "1", "", "")


@pytest.fixture
def several(tiny, tmp_path, demo):
    """A function: overrides of a tiny run on demo videos that have up to three labels of three."""
    for split, count in (("train", 16), ("val", 8), ("test", 8)):
        lines = [f"{demo}/{split}/{i:05d}.mp4,{CELLS[i % 8]}" for i in range(count)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,label", *lines]))
    (tmp_path / "classes.txt").write_text("left\nmoves\nslow\n")

    def overrides(**changes):
        folder = {"DATA__PATH_TO_DATA_DIR": tmp_path, "DATA__MULTI_LABEL": True}
        return tiny(**{**folder, "TEST__ENABLE": False, **changes})

    return overrides


def go(overrides, **changes):
    extra = [
        part for key, value in changes.items() for part in (key.replace("__", "."), str(value))
    ]
    return run(load_config(overrides=[*overrides, *extra]), "tiny")


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write_colours(folder):
    """Videos whose red, green and blue are bright or dark, in every combination: three classes."""
    rng, rows = np.random.default_rng(0), []
    for index in range(16):
        shown = [colour for colour in range(3) if index >> colour & 1]
        frames = rng.integers(0, 90, (8, 40, 48, 3), np.uint8)
        frames[..., shown] += 140
        write_video(folder / f"{index}.mp4", frames, fps=25)
        rows.append(f"{index}.mp4,{' '.join(map(str, shown))}")
    for split in ("train", "val"):
        (folder / f"{split}.csv").write_text("\n".join(["path,label", *rows]))


def test_a_run_learns_and_says_how_well_by_map(several, tmp_path, call):
    """Bright colours in any combination are learned in seconds; by chance mAP would be near 0.5."""
    write_colours(tmp_path)
    (tmp_path / "empty.yaml").write_text("")
    epochs = {"SOLVER__MAX_EPOCH": 12, "SOLVER__BASE_LR": 3e-3, "TRAIN__EVAL_PERIOD": 4}
    plain = {"AUG__ENABLE": False, "MIXUP__ENABLE": False, "MIXUP__LABEL_SMOOTH_VALUE": 0.0}
    settings = several(**epochs, **plain, SOLVER__CLASS_BALANCE=0.5, DATA__BALANCE=0.5)
    status, _, said = call("run", "--cfg", tmp_path / "empty.yaml", *settings)
    assert status == 0, said
    assert "hit@1" in said and "validation mAP" in said and "top-1" not in said
    records = lines(tmp_path / "run")
    trained = [line for line in records if line["kind"] == "train"]
    validated = [line for line in records if line["kind"] == "val"]
    assert all(0 <= line["hit1"] <= 1 for line in trained)
    first, last = (sum(line["loss"] for line in part) for part in (trained[:4], trained[-4:]))
    assert last < 0.7 * first
    assert [line["epoch"] for line in validated] == [4, 8, 12]
    assert all(0 < line["map"] <= 1 for line in validated) and validated[-1]["map"] > 0.9
    best = read_weights(tmp_path / "run" / "best.pt")
    progress = read_weights(tmp_path / "run" / "last.pt").training["progress"]
    assert best.metadata["task"] == "multi-label" and count_classes(best) == 3
    assert progress["best_score"] == max(line["map"] for line in validated)
    assert best.metadata["epoch"] == progress["best_at"]


@pytest.mark.parametrize("stop_after", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_resume_equals_uninterrupted(several, tmp_path, interrupt_after, stop_after):
    options = {"AUG__NUM_SAMPLE": 2, "SOLVER__CLASS_BALANCE": 1.0, "DATA__BALANCE": 0.5}
    go(several(**options), OUTPUT_DIR=tmp_path / "whole")
    with interrupt_after(stop_after), pytest.raises(Interrupted):
        go(several(**options), OUTPUT_DIR=tmp_path / "parts")
    go(several(**options), OUTPUT_DIR=tmp_path / "parts", DATA_LOADER__NUM_WORKERS=1)
    whole, parts = (read_weights(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert all(torch.equal(whole.state[key], parts.state[key]) for key in whole.state)
    scores = [
        [line["map"] for line in lines(tmp_path / name) if line["kind"] == "val"]
        for name in ("whole", "parts")
    ]
    assert scores[0] == scores[1] and len(scores[0]) == 2


def test_classes_without_names_are_counted_over_all_labels(several, tmp_path):
    (tmp_path / "classes.txt").unlink()
    go(several(SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0))
    assert count_classes(read_weights(tmp_path / "run" / "best.pt")) == 3


def test_a_validation_without_a_label_chooses_nothing(several, tmp_path, demo, caplog):
    caplog.set_level("INFO")
    (tmp_path / "val.csv").write_text(f"path,label\n{demo}/val/00000.mp4,\n")
    go(several(SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0))
    assert "no validation video has a label" in caplog.text
    assert read_weights(tmp_path / "run" / "last.pt").training["progress"]["best_at"] == 0
    assert (tmp_path / "run" / "best.pt").is_file()


def test_what_cannot_work_is_said_before_anything_is_done(several, tmp_path):
    with pytest.raises(
        DataError, match=r"train\.csv:2: .*00000\.mp4 has 2 labels.*TASK multi-label"
    ):
        go(several(DATA__MULTI_LABEL=False))
    with pytest.raises(ConfigError, match="2 weights and there are 3 classes"):
        go(several(SOLVER__CLASS_WEIGHTS="[1, 2]"))
    assert not (tmp_path / "run").exists()
    (tmp_path / "val.csv").write_text("path,label\na.mp4,0 3\n")
    with pytest.raises(DataError, match=r"val\.csv:2: label 3 of a\.mp4 is outside 0\.\.2"):
        go(several())
    assert not (tmp_path / "run" / "last.pt").exists()


def test_weights_of_one_kind_start_the_other_and_are_not_tested_on_it(several, tiny, tmp_path):
    one = {"OUTPUT_DIR": tmp_path / "one", "TEST__ENABLE": False}
    short = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0}
    go(tiny(**one, **short))
    go(several(**short, UNIFORMER__PRETRAIN_NAME=tmp_path / "one" / "best.pt"))
    tested = {"TRAIN__ENABLE": False, "TEST__ENABLE": True}
    message = (
        "was trained for TRAIN.TASK multi-label, and TRAIN.TASK is single-label; set it to multi"
    )
    with pytest.raises(CheckpointError, match=message):
        go(tiny(**tested, TEST__CHECKPOINT_FILE_PATH=tmp_path / "run" / "best.pt"))
    with pytest.raises(
        CheckpointError, match=r"trained for TRAIN\.TASK single-label, .* set it to single"
    ):
        go(several(**tested, TEST__CHECKPOINT_FILE_PATH=tmp_path / "one" / "best.pt"))


def test_a_checkpoint_of_the_time_of_top1_goes_on():
    values = {"epoch": 3, "step": 1, "best_top1": 0.5, "best_epoch": 2, "seconds": 9.0}
    progress = Progress.from_dict({**values, "bad_videos": {}})
    assert (progress.best_score, progress.best_at, progress.epoch) == (0.5, 2, 3)
    assert Progress.from_dict(vars(progress)) == progress
    with pytest.raises(TypeError):
        Progress.from_dict({"best": 1})


def test_the_loader_is_measured_on_several_labels(several):
    times = measure(load_config(overrides=several()), clips=4, rounds=1, workers=(0,))
    assert times.rates[0] > 0 and times.ours["collate"] > 0


def test_a_training_list_without_any_label_is_refused(several, tmp_path):
    rows = (tmp_path / "train.csv").read_text().splitlines()[1:]
    empty = [f"{row.partition(',')[0]}," for row in rows]
    (tmp_path / "train.csv").write_text("\n".join(["path,label", *empty]))
    with pytest.raises(DataError, match="no video of the training list has a label"):
        go(several(), OUTPUT_DIR=tmp_path / "run")
