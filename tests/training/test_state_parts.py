"""A part of the state that the package knows nothing of, an average of the weights, through whole runs."""

import copy
import random
import signal
import time

import pytest
import torch
from processes import ROOT, by_hand
from same import assert_same
from toy_average import KEEP, ToyAverage, keep_average

from uniformer_video.config.settings import load_config
from uniformer_video.errors import TrainingError
from uniformer_video.runs import score_views
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.training.trainer import Trainer
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint

LONGER = {"SOLVER__MAX_EPOCH": 12, "TRAIN__EVAL_PERIOD": 4}  # 48 steps


@pytest.fixture
def train(tiny, tmp_path, caplog):
    """A function: train only, with these settings; the weights of last.pt."""
    caplog.set_level("INFO")

    def go(**changes):
        cfg = load_config(overrides=tiny(TEST__ENABLE=False, **changes))
        run(cfg, "tiny")
        return read_weights(f"{cfg.OUTPUT_DIR}/last.pt")

    return go


def test_a_step_that_is_left_out_leaves_the_average_untouched(train, monkeypatch):
    """The host does not know: its hook runs after each step, and the device decides."""
    keep_average(monkeypatch)
    seen, original, backward = [], Trainer._update, Trainer._backward

    def poisoned(self, *args):
        row = backward(self, *args)
        if self.finished_steps in (2, 4):
            row[0] = float("nan")
        return row

    def update(self, progress, rows):
        values = original(self, progress, rows)
        seen.append(copy.deepcopy([*self.state.tested_weights().values()]))
        return values

    monkeypatch.setattr(Trainer, "_backward", poisoned)
    monkeypatch.setattr(Trainer, "_update", update)
    last = train()
    assert_same(seen[2], seen[1])
    assert_same(seen[4], seen[3])
    for step in (1, 3, 5, 6, 7):
        (model, average), before = seen[step], seen[step - 1][1]["head.weight"]
        expected = before + (1 - KEEP) * (model["head.weight"] - before)
        assert torch.equal(average["head.weight"], expected)
        assert not torch.equal(expected, before)
    assert last.training["parts"]["average"]["steps"] == 6


def test_the_average_is_validated_beside_the_weights_and_the_better_one_is_the_best(
    train, monkeypatch, tmp_path
):
    keep_average(monkeypatch)
    validated, score = [], score_views.score_records

    def watched(cfg, together, *args, **options):
        validated.append([copy.deepcopy(model.state_dict()) for model in together.models])
        return score(cfg, together, *args, **options)

    monkeypatch.setattr(score_views, "score_records", watched)
    last, path = train(), tmp_path / "run" / "best.pt"
    best, progress = read_weights(path), last.training["progress"]
    kinds = ["raw", "average"]
    for kind, (value, epoch) in progress["best_of"].items():
        found = read_weights(path, kind)
        assert_same(dict(found.state), dict(validated[epoch - 1][kinds.index(kind)]))
        assert found.metadata["epoch"] == epoch
        assert best.metadata["weights"]["sets"][kind] == {"score": value, "epoch": epoch}
    assert_same(dict(best.state), dict(read_weights(path, best.chosen).state))
    assert best.chosen == progress["best_weights"]
    average = last.training["parts"]["average"]["weights"]
    assert_same(dict(validated[-1][1]), dict(average))
    assert not torch.equal(last.state["head.weight"], average["head.weight"])


def test_a_run_tells_of_parts_that_come_and_go(
    train, interrupt_after, caplog, monkeypatch, tmp_path
):
    path = tmp_path / "run" / "last.pt"
    with interrupt_after(2), pytest.raises(Interrupted):
        train()
    weights = read_weights(path)  # as written before there were any parts
    training = {key: value for key, value in weights.training.items() if key != "parts"}
    write_checkpoint(path, weights.state, weights.metadata, training)
    with monkeypatch.context() as patch, interrupt_after(1), pytest.raises(Interrupted):
        keep_average(patch)
        train()
    line = f"{path} holds no 'average', which starts from its weights"
    assert caplog.messages.count(line) == 1
    average = read_weights(path).training["parts"]["average"]
    assert average["steps"] == 1
    expected = weights.state["head.weight"]
    expected = expected + (1 - KEEP) * (read_weights(path).state["head.weight"] - expected)
    assert torch.equal(average["weights"]["head.weight"], expected)
    assert "parts" in train().training
    assert (
        caplog.messages.count(f"{path} holds 'average', which this run does not keep: left out")
        == 1
    )


def test_a_part_whose_numbers_are_not_finite_is_not_saved(train, monkeypatch, tmp_path):
    class Wild(ToyAverage):
        def after_step(self, state, taken):
            self.tested_model.head.weight.data.fill_(float("inf"))

    keep_average(monkeypatch, Wild)
    with pytest.raises(TrainingError, match="not finite after step 4, and not saved"):
        train(TRAIN__EVAL_PERIOD=0)
    assert not (tmp_path / "run" / "last.pt").exists()


@pytest.fixture
def start(tiny, tmp_path):
    """A function: start `size` processes of a run of 48 steps with an average, into a folder of this name."""
    (tmp_path / "empty.yaml").write_text("")
    settings = tiny(NUM_GPUS=2, **LONGER, DISTRIBUTED__TIMEOUT=1)
    script, launches = ROOT / "tests/support/toy_average.py", []

    def launch(size, folder, *words):
        command = [script, "--cfg", tmp_path / "empty.yaml", *settings, *words]
        command += ["OUTPUT_DIR", tmp_path / folder]
        started = by_hand(size, command, tmp_path / f"log{len(launches)}")
        launches.extend(started)
        return started

    yield launch
    for launched in launches:
        launched.kill()


def kill_last_on_the_way(launches):
    launches[0].wait_for(r"step 8/")
    time.sleep(random.uniform(0, 0.2))
    launches[-1].process.send_signal(signal.SIGKILL)


def finished_steps(folder):
    progress = read_weights(folder / "last.pt").training["progress"]
    return progress["epoch"] * 4 + progress["step"]


def assert_same_runs(folder, other):
    for name in ("last.pt", "best.pt"):
        found, expected = read_weights(folder / name), read_weights(other / name)
        assert_same(dict(found.state), dict(expected.state))
        assert_same(found.training, expected.training)
    assert read_weights(folder / "last.pt").training["parts"]["average"]["steps"] == 48


@pytest.mark.slow  # as the averaged weights of the toolkit, which are such a part
def test_killed_at_any_moment_and_resumed_the_average_is_that_of_a_whole_run(
    start, train, monkeypatch, tmp_path
):
    launches = start(1, "parts", "TRAIN.CHECKPOINT_MINUTES", 0)
    kill_last_on_the_way(launches)
    launches[0].wait()
    assert 0 < finished_steps(tmp_path / "parts") < 48
    keep_average(monkeypatch)
    for folder in ("parts", "whole"):
        train(NUM_GPUS=2, **LONGER, DISTRIBUTED__TIMEOUT=1, OUTPUT_DIR=tmp_path / folder)
    assert_same_runs(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
def test_the_average_is_saved_by_whoever_is_left_when_a_process_is_lost(start, tmp_path):
    launches = start(2, "parts")
    kill_last_on_the_way(launches)
    assert launches[0].wait(30) == 2
    assert 0 < finished_steps(tmp_path / "parts") < 48
    for folder in ("parts", "whole"):
        for launch in start(2, folder):
            assert launch.wait() == 0, launch.text
    assert_same_runs(tmp_path / "parts", tmp_path / "whole")
