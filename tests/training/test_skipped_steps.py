"""A step that is left out leaves no trace, is decided without waiting for the device, and is counted."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from uniformer_video.config.settings import load_config
from uniformer_video.errors import TrainingError
from uniformer_video.runs import build_training, score_views
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.readings import StepReadings
from uniformer_video.training.trainer import Trainer
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint


@pytest.fixture
def train(tiny, tmp_path, caplog):
    """A function: train only, with these settings; the weights of last.pt."""
    caplog.set_level("INFO")

    def go(**changes):
        changes = {"TEST__ENABLE": False, **changes}
        cfg = load_config(overrides=tiny(**changes))
        run(cfg, "tiny")
        return read_weights(f"{cfg.OUTPUT_DIR}/last.pt")

    return go


@pytest.fixture
def poison(monkeypatch):
    """A function: one pixel of one clip is infinite in these steps, counted from 1."""

    def make(*steps):
        original = Trainer._backward

        def poisoned(self, batch, progress, slot, last):
            if self.finished_steps + 1 in steps and slot == 0:
                clips = batch.clips.clone()
                clips[0, 0, 0, 0, 0] = float("inf")
                batch = copy.copy(batch)
                object.__setattr__(batch, "clips", clips)
            return original(self, batch, progress, slot, last)

        monkeypatch.setattr(Trainer, "_backward", poisoned)

    return make


@pytest.fixture
def states(monkeypatch):
    """A list of the whole training state after each step."""
    found, original = [], Trainer._update

    def update(self, progress, rows):
        values = original(self, progress, rows)
        optimizer = copy.deepcopy(self.state.optimizer.state_dict()["state"])
        found.append((copy.deepcopy(self.model.state_dict()), optimizer))
        return values

    monkeypatch.setattr(Trainer, "_update", update)
    return found


def assert_equal(a, b):
    for key, value in a[0].items():
        assert torch.equal(value, b[0][key]), key
    for parameter, values in a[1].items():
        for name, value in values.items():
            assert torch.equal(value, b[1][parameter][name]), (parameter, name)


@pytest.mark.parametrize("slots", [1, 2])
def test_one_infinite_pixel_changes_neither_weights_nor_buffers_nor_moments(
    train, poison, states, slots, caplog
):
    poison(3)
    last = train(NUM_GPUS=slots)
    assert len(states) == 8
    assert_equal(states[1], states[2])
    assert not torch.equal(states[2][0]["head.weight"], states[3][0]["head.weight"])
    assert states[-1][0]["norm.num_batches_tracked"] == 7 * slots
    assert {int(values["step"]) for values in states[-1][1].values()} == {7}
    assert all(value.isfinite().all() for value in last.state.values())
    assert caplog.text.count("non-finite gradients (1 in a row), step left out") == 1
    assert int(last.training["nonfinite_in_a_row"]) == 0


def test_the_videos_of_the_slot_that_failed_are_named(train, poison, caplog, demo):
    poison(2)
    train(NUM_GPUS=2)
    line = next(text for text in caplog.messages if "step left out" in text)
    assert line.count(str(demo / "train")) == 2  # both of the slot, and none of the other one


def test_training_stops_after_so_many_in_a_row_and_a_repeated_command_does_not_move_on(
    train, poison, caplog
):
    """The count is part of the state: a run that is stopped in the middle goes on counting."""
    poison(*range(3, 100))
    options = {"SOLVER__MAX_EPOCH": 4, "TRAIN__MAX_NONFINITE": 4}
    with pytest.raises(
        TrainingError, match=r"not finite for 4 steps in a row, the last with .*\.mp4"
    ):
        train(**options)
    steps = caplog.text.count("step left out")
    assert steps == 4
    with pytest.raises(
        TrainingError, match="not finite for 4 steps in a row; run the same command"
    ):
        train(**options)
    with pytest.raises(TrainingError, match="not finite for 6 steps in a row"):
        train(**{**options, "TRAIN__MAX_NONFINITE": 6})
    assert caplog.text.count("step left out") == 6


def test_a_count_survives_a_stop(train, poison, interrupt_after):
    poison(2, 3, 4)
    with interrupt_after(3), pytest.raises(Interrupted):
        train(TRAIN__MAX_NONFINITE=3)
    with pytest.raises(TrainingError, match="not finite for 3 steps in a row"):
        train(TRAIN__MAX_NONFINITE=3)


class Waits(TorchDispatchMode):
    """Counts how often a number is fetched from the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


SGD = {"SOLVER__OPTIMIZING_METHOD": "sgd"}
DAMPENED = {**SGD, "SOLVER__NESTEROV": False, "SOLVER__DAMPENING": 0.2}
STEPS = [
    ("off", {}),
    pytest.param("normalise", {}, marks=pytest.mark.slow),
    ("all", {}),
    ("off", SGD),
    pytest.param("off", DAMPENED, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("on_device", "solver"), STEPS, ids=str)
def test_nothing_waits_for_the_device_inside_a_step(train, monkeypatch, poison, on_device, solver):
    """With the shortcut of CPUs off, one step left out. With the first batch of an epoch torch's loader
    draws a seed on the CPU, so the first step is not counted.
    """
    waits, add, train_step = [], StepReadings.add, Trainer._train_step
    if on_device == "off":
        poison(5)

    def step(self, progress, batches):
        first = progress.step == 0
        with Waits() as mode:
            train_step(self, progress, batches)
        waits.extend([] if first else [mode.count])

    monkeypatch.setattr(
        StepReadings, "add", lambda self, reading, at_once=False: add(self, reading)
    )
    monkeypatch.setattr(Trainer, "_train_step", step)
    options = {"AUG__ON_DEVICE": on_device, "AUG__NUM_SAMPLE": 2, "NUM_GPUS": 2, **solver}
    train(**options, TRAIN__BATCH_SIZE=2, LOG_PERIOD=100, TRAIN__MAX_NONFINITE=100)
    assert waits == [0] * 14


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(("on_device", "solver"), STEPS, ids=str)
def test_on_a_gpu_torch_finds_no_wait_either(
    train, monkeypatch, poison, on_device, solver, precision
):
    waited, train_step = [], Trainer._train_step
    add, read = StepReadings.add, StepReadings.read
    if on_device == "off":
        poison(5)

    def step(self, progress, batches):
        watched = progress.step > 0
        torch.cuda.set_sync_debug_mode("error" if watched else "default")
        try:
            train_step(self, progress, batches)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        waited.extend([progress.step] if watched else [])

    def reading(self):  # at the last step, the place that may wait
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("default")
        read(self)
        torch.cuda.set_sync_debug_mode(mode)

    monkeypatch.setattr(Trainer, "_train_step", step)
    monkeypatch.setattr(StepReadings, "read", reading)
    monkeypatch.setattr(
        StepReadings, "add", lambda self, reading, at_once=False: add(self, reading)
    )
    options = {"AUG__ON_DEVICE": on_device, "TRAIN__PRECISION": precision, "NUM_GPUS": 2, **solver}
    train(**options, TRAIN__BATCH_SIZE=2, LOG_PERIOD=100, TRAIN__MAX_NONFINITE=100)
    assert len(waited) == 14


def test_the_count_of_waits_counts():
    with Waits() as mode:
        assert float(torch.ones(()) + 1) == 2
    assert mode.count == 1


def test_numbers_are_read_when_a_line_is_due_or_after_so_many_steps(train, monkeypatch):
    read, add, original = [], StepReadings.add, StepReadings.read

    def reading(self):
        if self._pending:
            read.append([step.step for step in self._pending])
        original(self)

    monkeypatch.setattr(
        StepReadings, "add", lambda self, reading, at_once=False: add(self, reading)
    )
    monkeypatch.setattr(StepReadings, "read", reading)
    train(LOG_PERIOD=6, TRAIN__MAX_NONFINITE=3, SOLVER__MAX_EPOCH=3, TRAIN__EVAL_PERIOD=0)
    assert read == [[1, 2, 3], [4], [5, 6], [7, 8], [9, 10, 11], [12]]


def test_late_readings_stop_the_run_all_the_same(train, poison, monkeypatch, caplog):
    add = StepReadings.add
    monkeypatch.setattr(
        StepReadings, "add", lambda self, reading, at_once=False: add(self, reading)
    )
    poison(*range(2, 100))
    with pytest.raises(TrainingError, match="not finite for 3 steps in a row"):
        train(LOG_PERIOD=100, TRAIN__MAX_NONFINITE=3, SOLVER__MAX_EPOCH=8)
    assert caplog.text.count("step left out") == 3


def test_a_checkpoint_from_before_the_fused_step_goes_on_with_it(
    train, poison, interrupt_after, tmp_path
):
    """It records `fused: None`, with which nothing could be left out on the device."""
    with interrupt_after(4), pytest.raises(Interrupted):
        train()
    path = tmp_path / "run" / "last.pt"
    weights = read_weights(path)
    training = dict(weights.training)
    del training["nonfinite_in_a_row"]
    for group in training["optimizer"]["param_groups"]:
        group["fused"] = None
    write_checkpoint(path, weights.state, weights.metadata, training)
    poison(6)
    resumed = train()
    assert all(value.isfinite().all() for value in resumed.state.values())
    assert all(group["fused"] for group in resumed.training["optimizer"]["param_groups"])
    steps = {int(values["step"]) for values in resumed.training["optimizer"]["state"].values()}
    assert steps == {7}


def test_an_overflow_of_float16_only_lowers_the_scale(train, monkeypatch, caplog):
    """It counts neither as a failed step nor against the learning rate, and leaves no trace."""
    states, build_state = [], build_training.build_train_state

    def scaled(*args):
        state = build_state(*args)
        state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
        states.append(state)
        return state

    loss = SingleLabel.loss
    monkeypatch.setattr(SingleLabel, "loss", lambda *args: 64 * loss(*args))
    monkeypatch.setattr(build_training, "build_train_state", scaled)
    last = train(TRAIN__MAX_NONFINITE=2, SOLVER__MAX_EPOCH=6, SOLVER__WARMUP_EPOCHS=1)
    assert "non-finite gradients" not in caplog.text
    overflows = caplog.text.count("beyond the range of float16: step left out")
    assert 2 < overflows < 24
    assert states[0].scaler.get_scale() == 2.0 ** (127 - overflows)
    steps = {int(values["step"]) for values in last.training["optimizer"]["state"].values()}
    assert steps == {24 - overflows}
    assert last.state["norm.num_batches_tracked"] == 24 - overflows


def test_a_loss_that_is_not_finite_counts_whatever_the_scale(train, poison, monkeypatch):
    build_state = build_training.build_train_state

    def scaled(*args):
        state = build_state(*args)
        state.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
        return state

    monkeypatch.setattr(build_training, "build_train_state", scaled)
    poison(*range(2, 100))
    with pytest.raises(TrainingError, match="not finite for 2 steps in a row"):
        train(TRAIN__MAX_NONFINITE=2)


def test_a_validation_that_is_not_finite_stops_the_run_and_is_never_the_best(
    train, monkeypatch, tmp_path
):
    scores = score_views.score_records

    def broken(*args, **kwargs):
        found = scores(*args, **kwargs)
        found.scores[0] = float("nan")
        return found

    monkeypatch.setattr(score_views, "score_records", broken)
    with pytest.raises(
        TrainingError,
        match=r"validation after epoch 1 are not finite; no weights have been validated",
    ):
        train()
    progress = read_weights(tmp_path / "run" / "last.pt").training["progress"]
    assert (progress["epoch"], progress["step"], progress["best_at"]) == (0, 4, 0)
    monkeypatch.undo()
    assert train().metadata["epoch"] == 2
