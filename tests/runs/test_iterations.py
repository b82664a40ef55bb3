"""Runs that count iterations: they end, validate and save in mid-epoch, and go on from anywhere."""

import json
import os
import signal

import pytest
import torch
from tiny_run import tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.runs import build_model, fit, time_budget
from uniformer_video.runs.run import run
from uniformer_video.runs.time_budget import Costs
from uniformer_video.signals import Interrupted
from uniformer_video.training.trainer import Trainer
from uniformer_video.weights.checkpoint import read_weights

# Epochs have 4 steps: validations after 3, 6, 9 and 10, checkpoints after 5 and 10, the end in mid-epoch.
BY_ITERATIONS = {
    "SOLVER__MAX_EPOCH": None,
    "SOLVER__WARMUP_EPOCHS": None,
    "SOLVER__MAX_ITER": 10,
    "SOLVER__WARMUP_ITERS": 3,
    "SOLVER__WARMUP_RATIO": 0.1,
    "SOLVER__LR_POLICY": "poly",
    "TRAIN__EVAL_ITERS": 3,
    "TRAIN__CHECKPOINT_ITERS": 5,
    "TRAIN__CHECKPOINT_KEEP": "all",
    "TEST__ENABLE": False,
    "EMA__ENABLE": True,
    "EMA__DECAY": 0.5,
    "BN__USE_PRECISE_STATS": True,
    "BN__NUM_BATCHES_PRECISE": 2,
}


@pytest.fixture
def train(demo, tmp_path):
    """A function: a run of `BY_ITERATIONS` and these settings into a folder of this name; its path."""

    def go(name="run", from_best=False, **changes):
        changes = {**BY_ITERATIONS, **changes}
        given = tiny_overrides(demo, tmp_path / name, **changes)
        run(load_config(overrides=given), "tiny", from_best=from_best)
        return tmp_path / name

    return go


@pytest.fixture(scope="module")
def whole(demo, tmp_path_factory):
    """The folder of the run that nothing stopped, with its test; only to be read."""
    folder = tmp_path_factory.mktemp("iterations") / "run"
    given = tiny_overrides(demo, folder, **BY_ITERATIONS)
    run(load_config(overrides=[*given, "TEST.ENABLE", "True"]), "tiny")
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_times(line):
    timed = ("seconds", "step_seconds", "data_seconds", "memory_bytes")
    return {key: value for key, value in line.items() if key not in timed}


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [t for item in items for t in tensors_of(item)] if isinstance(value, dict | list) else []


def assert_same_runs(found, expected):
    """To the bit: weights, moments, averages, what was the best, and the log."""
    names = {path.name for path in expected.glob("*.pt")} - {"previous.pt"}
    assert names == {path.name for path in found.glob("*.pt")} - {"previous.pt"}
    for name in names:
        ours, theirs = read_weights(found / name), read_weights(expected / name)
        for key, value in theirs.state.items():
            assert torch.equal(ours.state[key], value), (name, key)
        assert ours.place == theirs.place
        assert ours.metadata.get("weights") == theirs.metadata.get("weights")
    ours, theirs = (read_weights(folder / "last.pt").training for folder in (found, expected))
    for part in ("optimizer", "parts"):
        pairs = zip(tensors_of(ours[part]), tensors_of(theirs[part]), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert {**ours["progress"], "seconds": 0} == {**theirs["progress"], "seconds": 0}
    assert [*map(without_times, lines(found))] == [*map(without_times, lines(expected))]


def test_what_a_run_of_iterations_does_and_writes(whole):
    logged = lines(whole)
    assert [line["step"] for line in logged if line["kind"] == "train"] == [*range(1, 11)]
    assert [line["step"] for line in logged if line["kind"] == "val"] == [3, 6, 9, 10]
    assert [line["epoch"] for line in logged if line["kind"] == "val"] == [0.75, 1.5, 2.25, 2.5]
    # poly times the warm-up's share: 1 - it / 10, and 0.1, 0.4, 0.7 before iteration 3
    rates = [line["lr"] / 1e-3 for line in logged if line["kind"] == "train"]
    expected = [0.1, 0.9 * 0.4, 0.8 * 0.7, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    assert rates == pytest.approx(expected, rel=1e-12)
    assert sorted(path.name for path in whole.glob("*.pt")) == [
        "best.pt",
        "iter_000005.pt",
        "iter_000010.pt",
        "last.pt",
        "previous.pt",
    ]
    last, best = read_weights(whole / "last.pt"), read_weights(whole / "best.pt")
    progress = last.training["progress"]
    assert (progress["epoch"], progress["step"], progress["open_end"]) == (2, 2, False)
    assert progress["best_at"] in (3, 6, 9, 10)
    assert last.metadata["iteration"] == 10 and "epoch" not in last.metadata
    assert best.place == ("iteration", progress["best_at"])
    assert last.metadata["training"]["iterations"] == 10
    results = json.loads((whole / "results.json").read_text())
    assert results["model"]["iteration"] == progress["best_at"]
    assert results["model"]["epoch"] is None
    page = (whole / "report.html").read_text()
    assert f"weights of iteration {progress['best_at']}" in page
    assert "Loss over iterations" in page and "over epochs" not in page


def test_a_new_run_from_its_last_weights_says_where_they_stood(whole, demo, tmp_path):
    cfg = load_config(
        overrides=tiny_overrides(demo, tmp_path, UNIFORMER__PRETRAIN_NAME=whole / "last.pt")
    )
    names = read_weights(whole / "last.pt").metadata["class_names"]
    _, report = build_model.build_model(cfg, len(names), names)
    assert "its training stood at iteration 10; this one begins at 0" in "\n".join(report.lines())


@pytest.mark.parametrize(
    "stop_after", [2, 3, 4, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 6, 8, 10))]
)
def test_resume_equals_uninterrupted(train, whole, interrupt_after, stop_after):
    """In mid-epoch, before a validation there and at an epoch's end, where nothing is due."""
    with interrupt_after(stop_after), pytest.raises(Interrupted):
        train()
    assert_same_runs(train(), whole)


@pytest.mark.parametrize("steps", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (6, 10))])
def test_a_stop_in_a_validation_in_mid_epoch(train, whole, monkeypatch, steps):
    original = fit._validate

    def interrupted(*args):
        if args[-1] == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(fit, "_validate", interrupted)
    with pytest.raises(Interrupted):
        train()
    monkeypatch.undo()
    assert_same_runs(train(), whole)


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.slow), True])
def test_killed_around_a_validation_in_mid_epoch(train, whole, monkeypatch, tmp_path, after):
    """With all of its steps saved it is done again, and is in the log once."""
    original = fit._validate

    def killed(*args):
        if args[-1] != 6:
            return original(*args)
        if after:
            original(*args)
        raise KeyError("killed")

    monkeypatch.setattr(fit, "_validate", killed)
    with pytest.raises(KeyError):
        train(TRAIN__CHECKPOINT_MINUTES=0)
    monkeypatch.undo()
    progress = read_weights(tmp_path / "run" / "last.pt").training["progress"]
    assert (progress["epoch"], progress["step"], progress["open_end"]) == (1, 2, True)
    assert_same_runs(train(), whole)


def test_a_finished_run_is_left_as_it_is(train, caplog):
    caplog.set_level("INFO")
    folder = train(SOLVER__MAX_ITER=6)
    before = (folder / "last.pt").read_bytes()
    caplog.clear()
    train(SOLVER__MAX_ITER=6)
    assert "Training is finished" in caplog.text
    assert (folder / "last.pt").read_bytes() == before


def test_patience_ends_a_run_in_mid_epoch(train, monkeypatch, caplog):
    caplog.set_level("INFO")
    scores = {3: 0.5, 6: 0.25, 9: 0.25}
    monkeypatch.setattr(fit, "_validate", lambda *args: {"raw": scores[args[-1]], "ema": 0.1})
    folder = train(SOLVER__MAX_ITER=40, TRAIN__PATIENCE=2)
    assert "Training ended early, after iteration 9 of 40: 2 validations in a row" in caplog.text
    assert read_weights(folder / "last.pt").place == ("iteration", 9)
    assert read_weights(folder / "best.pt").place == ("iteration", 3)
    assert (folder / "iter_000009.pt").is_file()
    caplog.clear()
    train(SOLVER__MAX_ITER=40, TRAIN__PATIENCE=2)
    assert "Training is finished" in caplog.text


def test_patience_needs_a_validation_before_the_end(train):
    """Where validations and length are counted in different units, the steps of an epoch tell."""
    changes = {"TRAIN__PATIENCE": 2, "TRAIN__EVAL_ITERS": None}
    said = (
        "only one is after the last of 10 iterations, since TRAIN.EVAL_PERIOD 3 is one each 12; "
        "lower TRAIN.EVAL_PERIOD"
    )
    with pytest.raises(ConfigError, match=said):
        train(**changes, TRAIN__EVAL_PERIOD=3)
    changes = {"TRAIN__PATIENCE": 2, "SOLVER__MAX_ITER": None, "SOLVER__MAX_EPOCH": 2}
    with pytest.raises(ConfigError, match=r"8 iterations, since TRAIN.EVAL_ITERS 8 is one each 8"):
        train(**changes, TRAIN__EVAL_ITERS=8)


def test_what_differs_is_told_in_the_unit_that_counts(train):
    train(SOLVER__MAX_ITER=4)
    with pytest.raises(ConfigError) as caught:
        train(SOLVER__MAX_ITER=None, SOLVER__MAX_EPOCH=2, TRAIN__EVAL_ITERS=None)
    assert "TRAIN.EVAL_ITERS was 3, is 0; SOLVER.MAX_ITER was 4, is 0. " in str(caught.value)
    changes = {"SOLVER__BASE_LR": 1e-4, "SOLVER__POWER": 2.0, "SOLVER__WARMUP_ITERS": 2}
    with pytest.raises(ConfigError, match=r"is 0\.0001; .* and 1 more\. Choose"):
        train(SOLVER__MAX_ITER=5, **changes)


def test_the_best_weights_are_gone_on_from_in_mid_epoch(
    train, monkeypatch, caplog, interrupt_after
):
    caplog.set_level("INFO")
    monkeypatch.setattr(fit, "_validate", lambda *args: {"raw": 1 / args[-1], "ema": 0.01})
    with interrupt_after(8), pytest.raises(Interrupted):
        train()
    folder = train(from_best=True, SOLVER__BASE_LR="5e-4")
    assert f"Going on from {folder / 'best.pt'}, iteration 3, with fresh moments." in caplog.text
    assert [line["step"] for line in lines(folder) if line["kind"] == "train"] == [*range(1, 11)]
    with pytest.raises(
        ConfigError, match=r"of iteration 3, and SOLVER.MAX_ITER is 3: no iteration is"
    ):
        train(from_best=True, SOLVER__MAX_ITER=3, SOLVER__WARMUP_ITERS=2, SOLVER__BASE_LR="3e-4")


def test_the_newest_numbered_checkpoints_are_kept(train):
    folder = train(TRAIN__CHECKPOINT_KEEP=2, TRAIN__CHECKPOINT_ITERS=3, TRAIN__EVAL_ITERS=5)
    assert sorted(path.name for path in folder.glob("iter_*.pt")) == [
        "iter_000009.pt",
        "iter_000010.pt",
    ]


def test_numbered_checkpoints_of_a_run_of_epochs_tell_their_iteration(train):
    changes = {"SOLVER__MAX_ITER": None, "SOLVER__MAX_EPOCH": 2, "TRAIN__EVAL_ITERS": None}
    folder = train(**changes, TRAIN__CHECKPOINT_ITERS=3)
    places = [read_weights(path).place for path in sorted(folder.glob("iter_*.pt"))]
    assert places == [("iteration", 3), ("iteration", 6), ("iteration", 8)]
    assert read_weights(folder / "last.pt").place == ("epoch", 2)


def test_epochs_may_be_validated_in_a_run_of_iterations(train):
    folder = train(TRAIN__EVAL_ITERS=None, TRAIN__CHECKPOINT_ITERS=None)
    assert [line["step"] for line in lines(folder) if line["kind"] == "val"] == [4, 8, 10]


def test_iterations_may_be_validated_in_a_run_of_epochs(train, caplog):
    caplog.set_level("INFO")
    changes = {"SOLVER__MAX_ITER": None, "SOLVER__MAX_EPOCH": 2}
    folder = train(**changes, TRAIN__EVAL_ITERS=3, TRAIN__CHECKPOINT_ITERS=None)
    assert [line["step"] for line in lines(folder) if line["kind"] == "val"] == [3, 6, 8]
    assert read_weights(folder / "last.pt").training["progress"]["epoch"] == 2


def test_the_same_in_iterations_and_in_epochs_is_the_same_training(train):
    """8 iterations are 2 epochs: a warm-up of one, validations and checkpoints after each."""
    plain = {"SOLVER__LR_POLICY": "cosine", "SOLVER__WARMUP_RATIO": 0}
    in_epochs = {"SOLVER__MAX_ITER": None, "SOLVER__WARMUP_ITERS": None, "SOLVER__MAX_EPOCH": 2}
    in_epochs |= {"SOLVER__WARMUP_EPOCHS": 1, "TRAIN__EVAL_ITERS": None}
    in_epochs |= {"TRAIN__CHECKPOINT_ITERS": None}
    epochs = train("epochs", **plain, **in_epochs)
    lengths = {"SOLVER__MAX_ITER": 8, "SOLVER__WARMUP_ITERS": 4, "TRAIN__EVAL_ITERS": 4}
    iterations = train("iterations", **plain, **lengths, TRAIN__CHECKPOINT_ITERS=4)
    ours, theirs = (read_weights(folder / "last.pt").state for folder in (iterations, epochs))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert [line["lr"] for line in lines(iterations) if "lr" in line] == [
        line["lr"] for line in lines(epochs) if "lr" in line
    ]


def test_minutes_set_the_iterations_and_scale_the_warm_up(train, monkeypatch, caplog):
    caplog.set_level("INFO")
    costs = Costs(1.0, 0.5, 2.0, 0.25, eval_period=3, checkpoint_period=5)
    monkeypatch.setattr(time_budget, "_measure", lambda *_: (costs, 4))
    # 5 iterations: 1 + 2.5 + 2 validations 4 + 2 saves 0.5 = 8; 6: 1 + 3 + 4 + 3 saves 0.75 = 8.75
    folder = train(TRAIN__MINUTES=8.5 / 60)
    assert "SOLVER.MAX_ITER 5 (was 10), SOLVER.WARMUP_ITERS 1 (was 3), about 8" in caplog.text
    assert read_weights(folder / "last.pt").place == ("iteration", 5)
    caplog.clear()
    train(TRAIN__MINUTES=8.5 / 60)
    assert "the run keeps SOLVER.MAX_ITER 5, which it began with" in caplog.text


def test_minutes_are_timed_for_iterations(train, monkeypatch):
    monkeypatch.setattr(time_budget, "TIMED_STEPS", 2)
    monkeypatch.setattr(time_budget, "WARM_UP_STEPS", 2)
    found, within = [], Costs.within

    def note(self, seconds, multiple=1):
        found.append(self)
        return min(5, within(self, seconds, multiple))

    monkeypatch.setattr(Costs, "within", note)
    folder = train(TRAIN__MINUTES=1)
    (costs,) = found
    assert (costs.eval_period, costs.checkpoint_period) == (3, 5)
    assert min(costs.unit, costs.validation, costs.save, costs.statistics) > 0
    assert read_weights(folder / "last.pt").place == ("iteration", 5)


def test_the_log_and_the_costs_count_iterations(train, caplog):
    caplog.set_level("INFO")
    train(EMA__ENABLE=False, EMA__DECAY=None)
    for words in (
        "M parameters for 10 iterations, epochs of 4, on ",
        "iteration 2/10  epoch 0.50  loss ",
        "iteration 6/10  validation top-1 ",
        "What this run costs: 3 iterations take ",
        "; 10 iterations: ",
    ):
        assert words in caplog.text, words


def test_the_loop_trains_no_step_twice(train, monkeypatch):
    taken, original = [], Trainer._train_step

    def step(self, progress, batches):
        taken.append((progress.epoch, progress.step))
        original(self, progress, batches)

    monkeypatch.setattr(Trainer, "_train_step", step)
    train()
    assert taken == [divmod(step, 4) for step in range(10)]


def test_a_step_to_trace_must_be_of_the_run(train):
    with pytest.raises(ConfigError, match=r"the steps 1 to 10 \(SOLVER.MAX_ITER 10\)"):
        train(TRAIN__PROFILE="[9, 3]")
