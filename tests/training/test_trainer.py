"""Exactness of training: resume, accumulation, processes; and what stops a run."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from processes import ROOT, alone
from tiny_run import tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.data.loading.dataset import EvalDataset, TrainDataset, TrainKey
from uniformer_video.errors import ConfigError, DecodeError, TrainingError, WorkerError
from uniformer_video.runs import fit
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.tasks import single_label
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.monitor import Monitor
from uniformer_video.training.saver import Saver
from uniformer_video.training.trainer import Trainer
from uniformer_video.weights.checkpoint import read_weights


def train(overrides, folder, **changes):
    """Train only, into `folder`; returns the weights of last.pt."""
    changes = {"OUTPUT_DIR": str(folder), "TEST.ENABLE": "False", **changes}
    extra = [part for pair in changes.items() for part in pair]
    run(load_config(overrides=[*overrides, *extra]), "tiny")
    return last_weights(folder)


@pytest.fixture(scope="module")
def whole(demo, tmp_path_factory):
    """A function: the folder of an uninterrupted tiny run of these settings, made once; only read it."""
    made = {}

    def get(**changes):
        key = json.dumps(changes, sort_keys=True)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole")
            train(tiny_overrides(demo, made[key], **changes), made[key])
        return made[key]

    return get


def last_weights(folder):
    return read_weights(folder / "last.pt")


def logged_lines(folder):
    return (folder / "metrics.jsonl").read_text().splitlines()


def assert_same(a, b):
    assert a.state.keys() == b.state.keys()
    for key in a.state:
        assert torch.equal(a.state[key], b.state[key]), key


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tiny, tmp_path, whole):
    first = last_weights(whole())
    assert_same(first, train(tiny(), tmp_path / "b", **{"DATA_LOADER.NUM_WORKERS": "2"}))
    other = train(tiny(), tmp_path / "c", RNG_SEED="1")
    assert not torch.equal(first.state["head.weight"], other.state["head.weight"])


@pytest.mark.parametrize(
    ("stop_after", "on_device"), [(1, "off"), (4, "off"), (6, "off"), (3, "normalise"), (3, "all")]
)
def test_resume_equals_uninterrupted(tiny, tmp_path, interrupt_after, whole, stop_after, on_device):
    """8 steps in 2 epochs, interrupted in mid-epoch and at the end of one."""
    options = {"UNIFORMER__DROP_DEPTH_RATE": 0.3, "AUG__NUM_SAMPLE": 2, "AUG__ON_DEVICE": on_device}
    for kind in ("DROPOUT", "ATTENTION_DROPOUT", "HEAD_DROPOUT"):
        options[f"UNIFORMER__{kind}_RATE"] = 0.2
    expected = last_weights(whole(**options))
    with interrupt_after(stop_after), pytest.raises(Interrupted):
        train(tiny(**options), tmp_path / "parts")
    resumed = train(tiny(**options), tmp_path / "parts")
    assert_same(expected, resumed)
    assert expected.training["progress"]["epoch"] == resumed.training["progress"]["epoch"] == 2
    assert len(logged_lines(whole(**options))) == len(logged_lines(tmp_path / "parts"))


def test_where_clips_are_augmented_changes_no_loss(tiny, tmp_path):
    """Without the noise of erasing, which is drawn where it is needed."""
    losses, weights = {}, {}
    for on_device, workers in (("off", "0"), ("normalise", "1"), ("all", "2")):
        folder = tmp_path / on_device
        changes = {"AUG.ON_DEVICE": on_device, "DATA_LOADER.NUM_WORKERS": workers}
        weights[on_device] = train(tiny(AUG__RE_PROB=0), folder, **changes)
        lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
        losses[on_device] = [line["loss"] for line in lines]
    assert len(losses["off"]) == len(losses["all"]) > 8
    assert_same(weights["all"], weights["off"])
    assert losses["all"] == losses["off"]
    assert losses["normalise"] == pytest.approx(losses["off"], abs=0.01)
    assert losses["normalise"] != losses["off"]


@pytest.mark.parametrize("epoch", [1, 2])
def test_ctrl_c_during_a_validation_stops_the_run_after_it(
    tiny, tmp_path, monkeypatch, whole, epoch
):
    original = fit._validate

    def interrupted(*args):
        if args[-1] == 4 * epoch:  # steps
            os.kill(os.getpid(), signal.SIGINT)
        return original(*args)

    monkeypatch.setattr(fit, "_validate", interrupted)
    with pytest.raises(Interrupted):
        train(tiny(), tmp_path / "a", **{"TEST.ENABLE": "True"})
    assert not (tmp_path / "a" / "results.json").exists()
    assert read_weights(tmp_path / "a" / "last.pt").training["progress"]["epoch"] == epoch
    monkeypatch.undo()
    assert_same(train(tiny(), tmp_path / "a"), last_weights(whole()))


def test_a_stop_that_ends_the_workers_of_a_validation_too_is_a_stop(
    tiny, tmp_path, monkeypatch, whole
):
    """As `timeout` and batch systems do, which send SIGTERM to the whole group of processes."""
    original = EvalDataset.__getitem__

    def ended(self, key):
        if key == 3:
            os.kill(os.getppid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, key)

    monkeypatch.setattr(EvalDataset, "__getitem__", ended)
    options = {"DATA_LOADER__NUM_WORKERS": 1}
    with pytest.raises(Interrupted):
        train(tiny(**options), tmp_path / "parts")
    monkeypatch.undo()
    assert_same(train(tiny(**options), tmp_path / "parts"), last_weights(whole(**options)))


@pytest.mark.parametrize("dataset", [TrainDataset, EvalDataset])
def test_a_killed_worker_costs_no_finished_step(tiny, tmp_path, monkeypatch, whole, dataset):
    """Before the third step of the second epoch, or in the first validation, which is then repeated."""
    original = dataset.__getitem__

    def deadly(self, key):
        if key in (3, TrainKey(1, 9, getattr(key, "index", None))):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, key)

    monkeypatch.setattr(dataset, "__getitem__", deadly)
    options = {"DATA_LOADER__NUM_WORKERS": 1, "TRAIN__CHECKPOINT_PERIOD": 10}
    with pytest.raises(WorkerError, match="was killed, perhaps for want of memory"):
        train(tiny(**options), tmp_path / "parts")
    progress = read_weights(tmp_path / "parts" / "last.pt").training["progress"]
    logged = logged_lines(tmp_path / "parts")
    assert progress["epoch"] * 4 + progress["step"] == json.loads(logged[-1])["step"] >= 4
    monkeypatch.undo()
    assert_same(train(tiny(**options), tmp_path / "parts"), last_weights(whole(**options)))
    assert len(logged_lines(whole(**options))) == len(logged_lines(tmp_path / "parts"))


def test_ctrl_c_is_answered_while_the_run_waits_for_a_video(tiny, tmp_path, monkeypatch, whole):
    original = TrainDataset.__getitem__

    def slow(self, key):
        if key.position == 8:
            time.sleep(30)
        return original(self, key)

    def step(self, progress, batches):
        take_step(self, progress, batches)
        if progress.step == 2:  # the next one waits for the slow video
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

    take_step = Trainer._train_step
    monkeypatch.setattr(Trainer, "_train_step", step)
    monkeypatch.setattr(TrainDataset, "__getitem__", slow)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        train(tiny(DATA_LOADER__NUM_WORKERS=1), tmp_path / "a")
    assert time.monotonic() - began < 15
    progress = read_weights(tmp_path / "a" / "last.pt").training["progress"]
    assert (progress["epoch"], progress["step"]) == (0, 2)
    monkeypatch.undo()
    assert_same(train(tiny(), tmp_path / "a"), last_weights(whole()))


def test_too_many_broken_videos_do_not_cost_finished_steps(tiny, tmp_path, monkeypatch):
    original = TrainDataset.decode

    def failing(self, record, rng):
        if steps:
            raise DecodeError(f"{record.path} is broken")
        return original(self, record, rng)

    monkeypatch.setattr(TrainDataset, "decode", failing)
    steps = []
    monkeypatch.setattr(Monitor, "step", lambda self, **values: steps.append(values))
    with pytest.raises(TrainingError, match=r"MAX_BAD_RATIO"):
        train(tiny(), tmp_path / "a")
    progress = read_weights(tmp_path / "a" / "last.pt").training["progress"]
    assert (progress["epoch"], progress["step"], len(steps)) == (0, 1, 1)


def test_accumulated_gradients_are_those_of_the_whole_step(tiny, tmp_path, monkeypatch):
    """Two slots of two videos give the mean of both slots' gradients."""
    seen = []
    original = Trainer._update

    def record(self, progress, rows):
        seen.append({n: p.grad.clone() for n, p in self.model.named_parameters()})
        return original(self, progress, rows)

    monkeypatch.setattr(Trainer, "_update", record)
    slot_gradients = []
    backward = Trainer._backward

    def alone(self, batch, progress, slot, last):
        kept = [p.grad.clone() if p.grad is not None else 0 for p in self.model.parameters()]
        result = backward(self, batch, progress, slot, last)
        grown = [p.grad - k for p, k in zip(self.model.parameters(), kept, strict=True)]
        slot_gradients.append(grown)
        return result

    monkeypatch.setattr(Trainer, "_backward", alone)
    train(tiny(NUM_GPUS=2, SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0), tmp_path / "a")
    assert len(slot_gradients) == 2 * len(seen) == 8
    for i, gradients in enumerate(seen):
        total = [a + b for a, b in zip(*slot_gradients[2 * i : 2 * i + 2], strict=True)]
        for value, expected in zip(gradients.values(), total, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-6)


def test_the_loss_of_a_light_model_is_the_mean_of_both_heads(tiny, tmp_path, monkeypatch):
    """Its gradients too: each head gets half of what its own loss gives."""
    steps = []
    original = Trainer._backward

    def observe(self, batch, progress, slot, last):
        state = {key: value.clone() for key, value in self.model.state_dict().items()}
        row = original(self, batch, progress, slot, last)
        loss, hits = row[:2].tolist()
        gradients = [p.grad.clone() for p in self.model.parameters()]
        self.model.load_state_dict(state)
        self.model.zero_grad(set_to_none=True)
        outputs = self.model.training_outputs(batch.clips)
        classes = torch.nn.functional.one_hot(batch.labels, outputs[0].shape[1]).float()
        targets = 0.9 * classes + 0.1 / classes.shape[1]
        both = [-(targets * logits.log_softmax(1)).sum(1).mean() for logits in outputs]
        (sum(both) / 2).backward()
        expected = [p.grad.clone() for p in self.model.parameters()]
        steps.append((loss, [float(value) for value in both]))
        torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-6)
        assert self.model.head_cls.weight.grad.norm() > 0
        assert self.model.cls_token.grad.norm() > 0
        assert hits == int((outputs[0].argmax(1) == batch.labels).sum())
        return row

    monkeypatch.setattr(Trainer, "_backward", observe)
    options = {"MODEL__MODEL_NAME": "uniformer_xxs", "UNIFORMER__DROP_DEPTH_RATE": 0}
    train(
        tiny(**options, MIXUP__ENABLE=False, SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0), tmp_path
    )
    assert len(steps) == 4
    for loss, both in steps:
        assert len(both) == 2 and both[0] != both[1]
        assert loss == pytest.approx(sum(both) / 2, rel=1e-5)


def test_broken_training_videos_are_named_and_too_many_stop_the_run(tiny, tmp_path, demo, caplog):
    caplog.set_level("INFO")
    (tmp_path / "bad.mp4").write_bytes(b"broken")
    good = [f"{demo}/train/{i:05d}.mp4,{i % 8}" for i in range(16)]
    bad = [f"{tmp_path}/bad.mp4,0"] * 2
    (tmp_path / "train.csv").write_text("\n".join([*good, *bad]) + "\n")
    (tmp_path / "val.csv").write_text(
        (demo / "test.csv").read_text().replace("test/", f"{demo}/test/")
    )
    options = {"DATA__PATH_TO_DATA_DIR": tmp_path, "TRAIN__BATCH_SIZE": 6}
    weights = train(tiny(**options, DATA__MAX_BAD_RATIO=0.1), tmp_path / "ok")
    assert list(weights.training["progress"]["bad_videos"]) == [f"{tmp_path}/bad.mp4"]
    assert caplog.text.count("broken video, replaced by another") == 1
    assert "bad.mp4" in (tmp_path / "ok" / "bad_videos.csv").read_text()
    with pytest.raises(TrainingError, match=r"MAX_BAD_RATIO 0\.01"):
        train(tiny(**options, DATA__MAX_BAD_RATIO=0.01), tmp_path / "stop")


def test_steps_without_finite_gradients_are_left_out_and_counted(tiny, tmp_path, monkeypatch):
    original = single_label.F.cross_entropy
    calls = []

    def poisoned(logits, targets, weight=None):
        calls.append(1)
        return original(logits, targets) * (float("nan") if len(calls) >= 3 else 1)

    monkeypatch.setattr(single_label.F, "cross_entropy", poisoned)
    with pytest.raises(TrainingError, match=r"not finite for 3 steps in a row.*\.mp4.*BASE_LR"):
        train(tiny(TRAIN__MAX_NONFINITE=3, TRAIN__EVAL_PERIOD=0), tmp_path / "a")
    assert len(calls) == 5


def _steps_saved(path):
    """How many steps the run in a checkpoint had made; 0 without one."""
    if not path.exists():
        return 0
    progress = read_weights(path).training["progress"]
    return progress["epoch"] * 4 + progress["step"]


def test_killed_at_any_moment_a_run_can_go_on(tiny, tmp_path):
    """kill -9 in mid-run; the next call resumes from the last checkpoint and finishes."""
    (tmp_path / "empty.yaml").write_text("")
    changes = {"TRAIN__EVAL_PERIOD": 0, "TRAIN__CHECKPOINT_MINUTES": 0, "TEST__ENABLE": False}
    overrides = tiny(SOLVER__MAX_EPOCH=12, **changes)
    command = [ROOT / "tools/run_net.py", "--cfg", tmp_path / "empty.yaml", *overrides]
    launch = alone(command, tmp_path / "log")
    launch.wait_for("step 3/")
    launch.kill()
    assert 0 < _steps_saved(tmp_path / "run" / "last.pt") < 48
    seldom = {"TRAIN.CHECKPOINT_MINUTES": "10"}
    finished = train(overrides, tmp_path / "run", **seldom)
    assert finished.training["progress"]["epoch"] == 12


def test_a_training_that_compiles_nothing_imports_no_compiler(tiny, tmp_path):
    """torch's would take 65 MB and a second of every start."""
    (tmp_path / "empty.yaml").write_text("")
    short = tiny(TRAIN__EVAL_PERIOD=0, TEST__ENABLE=False)
    command = [ROOT / "tools/run_net.py", "--cfg", tmp_path / "empty.yaml", *short]
    ended = subprocess.run(
        [sys.executable, "-Ximporttime", *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(re.findall(r"\| +([\w.]+)$", ended.stderr, re.MULTILINE))
    assert "torch" in imported and not imported & {"torch._dynamo", "torch._inductor", "sympy"}


def test_best_weights_that_are_not_written_yet_are_saved_with_a_rescue(tiny, tmp_path, monkeypatch):
    """Another process is lost between a validation and the checkpoint that is due after it."""
    told, save = [], Saver.save

    def lost(self):
        if self.unsaved_best:
            told.append(self.rescue(True))
            raise TrainingError("a process is lost")
        save(self)

    monkeypatch.setattr(Saver, "save", lost)
    with pytest.raises(TrainingError, match="is lost"):
        train(tiny(), tmp_path / "a")
    monkeypatch.undo()
    assert told[0].startswith("all up to step 4 is saved")
    progress = read_weights(tmp_path / "a" / "last.pt").training["progress"]
    assert (progress["epoch"], progress["best_at"]) == (1, 1)
    assert read_weights(tmp_path / "a" / "best.pt").metadata["epoch"] == 1


def test_a_score_that_is_no_share_is_refused(tiny, tmp_path, monkeypatch):
    """It would choose no best weights, or the wrong ones."""
    monkeypatch.setattr(SingleLabel, "validate", lambda *args: (-0.5, 1.0))
    with pytest.raises(ConfigError, match=r"single-label gives .* 1 the score -0\.5; a score"):
        train(tiny(), tmp_path / "a")
