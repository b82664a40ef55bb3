"""TRAIN.PATIENCE: a training ends when its validations bring no better score, and goes on to the test."""

import json

import pytest
import torch
from processes import by_hand
from tiny_run import tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.runs import fit
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.training.state import Progress
from uniformer_video.weights.checkpoint import read_weights

SCORES = [0.25, 0.5, 0.5, 0.25, 0.75, 0.9]  # of the epochs, of 4 steps: a tie is no better score


@pytest.fixture
def scored(monkeypatch):
    """Validations give SCORES, whatever the weights."""
    monkeypatch.setattr(fit, "_validate", lambda *args: {"raw": SCORES[args[-1] // 4 - 1]})


def go(overrides, **changes):
    extra = [part for key, value in changes.items() for part in (key.replace("__", "."), value)]
    return run(load_config(overrides=[*overrides, *map(str, extra)]), "tiny")


def progress(folder):
    return Progress.from_dict(read_weights(folder / "last.pt").training["progress"])


def last_weights(folder):
    return read_weights(folder / "last.pt").state


def test_a_training_ends_early_and_the_best_weights_are_tested(scored, tiny, tmp_path, caplog):
    caplog.set_level("INFO")
    given, folder = tiny(SOLVER__MAX_EPOCH=6, TRAIN__CHECKPOINT_PERIOD=5), tmp_path / "run"
    assert go(given, TRAIN__PATIENCE=2) == folder
    assert (progress(folder).epoch, progress(folder).stale_validations) == (4, 2)
    said = (
        "Training ended early, after epoch 4 of 6: 2 validations in a row were no better than 50.0% "
        "(TRAIN.PATIENCE 2)."
    )
    assert said in caplog.text
    results = json.loads((folder / "results.json").read_text())
    assert results["model"]["epoch"] == 3 and said in results["notes"]

    # the same command only says so again
    caplog.clear()
    weights, step = last_weights(folder), (folder / "metrics.jsonl").read_text()
    assert go(given, TRAIN__PATIENCE=2) == folder
    assert "Training is finished" in caplog.text and said in caplog.text
    assert "Resuming" not in caplog.text and (folder / "metrics.jsonl").read_text() == step

    # with more patience it goes on, as if it had never ended: the schedule knows nothing of patience
    other = tmp_path / "whole"
    go(given, OUTPUT_DIR=other)
    go(given, TRAIN__PATIENCE=3)
    assert progress(folder).epoch == progress(other).epoch == 6
    resumed, whole = last_weights(folder), last_weights(other)
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    assert not all(torch.equal(weights[key], whole[key]) for key in whole)


def test_a_better_score_of_the_average_alone_counts(tiny, tmp_path, monkeypatch):
    scores = [(0.5, 0.1), (0.4, 0.6), (0.3, 0.7), (0.6, 0.7), (0.7, 0.6)]
    said = lambda *args: dict(zip(("raw", "ema"), scores[args[-1] // 4 - 1], strict=True))  # noqa: E731
    monkeypatch.setattr(fit, "_validate", said)
    averaged = {"EMA__ENABLE": True, "TEST__ENABLE": False}
    go(tiny(SOLVER__MAX_EPOCH=5, TRAIN__PATIENCE=2, **averaged))
    found = progress(tmp_path / "run")
    assert (found.epoch, found.stale_validations) == (5, 2)
    assert (found.best_weights, found.best_score) == ("raw", 0.7)


def test_one_validation_without_a_better_score_is_told_as_one(scored, tiny, caplog):
    caplog.set_level("INFO")
    go(tiny(SOLVER__MAX_EPOCH=6, TRAIN__PATIENCE=1, TEST__ENABLE=False))
    assert "after epoch 3 of 6: the last validation was no better than 50.0%" in caplog.text


def test_what_is_counted_is_resumed(scored, tiny, tmp_path, interrupt_after):
    given = tiny(SOLVER__MAX_EPOCH=6, TRAIN__PATIENCE=2, TEST__ENABLE=False)
    with interrupt_after(14), pytest.raises(Interrupted):  # in the fourth epoch
        go(given)
    assert progress(tmp_path / "run").stale_validations == 1
    go(given)
    assert progress(tmp_path / "run").epoch == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TRAIN.EVAL_PERIOD": 0}, "there are none (TRAIN.EVAL_PERIOD 0); set TRAIN.EVAL_PERIOD 1"),
        ({"TRAIN.EVAL_PERIOD": 2}, "the only one is after the last epoch (TRAIN.EVAL_PERIOD 2, "),
    ],
)
def test_patience_without_a_validation_is_an_error(tiny, tmp_path, call, changes, message):
    words = [part for pair in changes.items() for part in pair]
    (tmp_path / "empty.yaml").write_text("")
    given = ["--cfg", tmp_path / "empty.yaml", *tiny(TRAIN__PATIENCE=3), *words]
    status, _, errors = call("run", *given)
    assert status == 2 and f"TRAIN.PATIENCE 3 counts validations, and {message}" in errors
    assert not (tmp_path / "run").exists()


def test_patience_where_no_validation_video_has_a_label_is_an_error(demo, tmp_path, call):
    lists = {"train": "0", "val": ""}
    for split, label in lists.items():
        lines = [f"{demo}/{split}/{i:05d}.mp4,{label}" for i in range(8)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["path,label", *lines]))
    (tmp_path / "empty.yaml").write_text("")
    given = tiny_overrides(
        tmp_path, tmp_path / "run", TRAIN__TASK="multi-label", TEST__ENABLE=False
    )
    given += ["MODEL.NUM_CLASSES", 2, "TRAIN.PATIENCE", 3]
    status, _, errors = call("run", "--cfg", tmp_path / "empty.yaml", *given)
    assert status == 2 and "no validation video has a label" in errors.splitlines()[-1]
    assert "Traceback" not in errors


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_all_processes_end_together(tiny, tmp_path, size):
    """A rate of 0 never brings a better score than the first."""
    (tmp_path / "empty.yaml").write_text("")
    script = fit.__file__.replace("uniformer_video/runs/fit.py", "tools/run_net.py")
    options = {"TRAIN__BATCH_SIZE": 6, "NUM_GPUS": 6, "TRAIN__PATIENCE": 2, "SOLVER__MAX_EPOCH": 9}
    rates = ["SOLVER.BASE_LR", 0, "SOLVER.WARMUP_START_LR", 0, "SOLVER.COSINE_END_LR", 0]
    given = [*tiny(**options, BN__MOMENTUM=1e-9), *rates]
    launches = by_hand(size, [script, "--cfg", tmp_path / "empty.yaml", *given], tmp_path / "log")
    for launch in launches:
        assert launch.wait() == 0, launch.text
    assert "Training ended early, after epoch 3 of 9" in launches[0].text
    assert progress(tmp_path / "run").epoch == 3 and (tmp_path / "run/results.json").exists()
