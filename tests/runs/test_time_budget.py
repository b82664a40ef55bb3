"""TRAIN.MINUTES: how many epochs go into a time, and that a run keeps them."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from processes import ROOT, by_hand

from uniformer_video.config.recorded import config_from_text
from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.locks import folder_lock, temporary_folder
from uniformer_video.runs import rehearsal, time_budget
from uniformer_video.runs.folder import LOCK_FILE, RunFolder
from uniformer_video.runs.rehearsal import rehearse, remove_leavings
from uniformer_video.runs.run import run
from uniformer_video.runs.time_budget import Costs
from uniformer_video.signals import Interrupted
from uniformer_video.training.trainer import Trainer
from uniformer_video.weights.checkpoint import read_weights

# With 4 epochs: 1 + 4 * 10 + 2 * 3 + 4 * 0.5
COSTS = Costs(1.0, 10.0, 3.0, 0.5, eval_period=2, checkpoint_period=1)


def go(overrides, **changes):
    extra = [part for key, value in changes.items() for part in (key.replace("__", "."), value)]
    return run(load_config(overrides=[*overrides, *map(str, extra)]), "tiny")


def recorded(folder):
    return config_from_text((folder / "config.yaml").read_text())


def last(folder):
    return read_weights(folder / "last.pt")


@pytest.fixture
def costs(monkeypatch):
    """No time is taken: a training has these `Costs`; how often they were asked for."""
    asked = []

    def measure(cfg, *rest):
        asked.append(cfg.TRAIN.MINUTES)
        return COSTS, 4

    monkeypatch.setattr(time_budget, "_measure", measure)
    return asked


def test_all_parts_of_a_training_count():
    assert [COSTS.seconds(epochs) for epochs in (1, 2, 3, 4)] == [14.5, 25, 38.5, 49]
    assert [COSTS.within(seconds) for seconds in (48.9, 49, 1)] == [3, 4, 1]
    assert replace(COSTS, eval_period=0, checkpoint_period=9).seconds(4) == 41.5
    assert replace(COSTS, checkpoint_period=9).seconds(4) == 48  # the best weights are saved too
    # statistics are measured where an epoch is validated or saved: of 4 after 2, 3 and 4
    with_statistics = replace(COSTS, checkpoint_period=3, statistics=2.0)
    assert with_statistics.seconds(4) == 1 + 4 * 10 + 2 * 3 + 3 * (0.5 + 2)


def test_a_cool_down_keeps_its_share():
    """So that the cosine before it does, too: SOLVER.MAX_EPOCH has them all."""
    words = ["SOLVER.MAX_EPOCH", "310", "SOLVER.COOLDOWN_EPOCHS", "10"]
    chosen = time_budget._scaled(load_config(overrides=words), 31)
    assert set(chosen) == {
        f"SOLVER.{key}" for key in ("MAX_EPOCH", "WARMUP_EPOCHS", "COOLDOWN_EPOCHS", "STEPS")
    }
    assert (chosen["SOLVER.MAX_EPOCH"], chosen["SOLVER.COOLDOWN_EPOCHS"]) == (31, 1.0)


def test_the_length_is_set_and_recorded_and_the_schedule_keeps_its_shape(
    costs, tiny, tmp_path, caplog
):
    caplog.set_level("INFO")
    steps = ["SOLVER.LR_POLICY", "steps_with_relative_lrs", "SOLVER.STEPS", "[0, 6]"]
    given = [*tiny(SOLVER__MAX_EPOCH=8, SOLVER__WARMUP_EPOCHS=5), *steps, "SOLVER.LRS", "[1, 0.1]"]
    go(given, TRAIN__MINUTES=0.5)  # 30 s
    solver = recorded(tmp_path / "run").SOLVER
    assert (solver.MAX_EPOCH, solver.WARMUP_EPOCHS, solver.STEPS) == (2, 1.25, [0, 1.5])
    assert last(tmp_path / "run").training["progress"]["epoch"] == 2
    assert (
        "An epoch takes 10.0 s (4 steps), a validation 3.0 s, a checkpoint 0.5 s: SOLVER.MAX_EPOCH 2 "
        "(was 8), SOLVER.WARMUP_EPOCHS 1.25 (was 5), SOLVER.STEPS [0, 1.5] (was [0, 6]), about 25 s."
    ) in caplog.text
    assert "of TRAIN.MINUTES 0.5" in caplog.text and costs == [0.5]

    # the same command again, another setting, another time
    caplog.clear()
    go(given, TRAIN__MINUTES=0.5)
    assert "the run keeps SOLVER.MAX_EPOCH 2" in caplog.text and "finished" in caplog.text
    with pytest.raises(ConfigError, match=r"settings: SOLVER.BASE_LR was 0.001, is 0.002\. "):
        go(given, TRAIN__MINUTES=0.5, SOLVER__BASE_LR="2e-3")
    with pytest.raises(ConfigError, match=r"settings: TRAIN.MINUTES was 0.5, is 1.0\. "):
        go(given, TRAIN__MINUTES=1)
    assert costs == [0.5]


def test_one_epoch_is_trained_and_an_overrun_is_told(costs, tiny, tmp_path, caplog):
    caplog.set_level("INFO")
    go(tiny(TRAIN__PATIENCE=1, TEST__ENABLE=False), TRAIN__MINUTES=1e-5)
    assert recorded(tmp_path / "run").SOLVER.MAX_EPOCH == 1
    assert "TRAIN.MINUTES 1e-05 is too short for one epoch" in caplog.text
    assert "% of TRAIN.MINUTES 1e-05: it needs one epoch at least." in caplog.text
    assert "is after the last epoch, so TRAIN.PATIENCE 1 has no effect." in caplog.text

    # a test that comes later has it on its page
    go(tiny(TRAIN__PATIENCE=1), TRAIN__MINUTES=1e-5)
    notes = json.loads((tmp_path / "run/results.json").read_text())["notes"]
    assert any("% of TRAIN.MINUTES 1e-05: it needs one epoch at least." in note for note in notes)


@pytest.mark.parametrize("batches", [2, 20])
def test_precise_statistics_are_timed_too(tiny, monkeypatch, batches):
    """Those of 4 batches, by 1 and 2 of them or by all; with averages beside the weights."""
    found, clock, measure = [], [0.0], Trainer.measure_statistics

    def slow(self, progress):
        measure(self, progress)
        clock[0] += 5 + 10 * min(self.settings.precise_batches, 4)

    monkeypatch.setattr(time_budget, "TIMED_STEPS", batches)
    monkeypatch.setattr(time_budget, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Trainer, "measure_statistics", slow)
    monkeypatch.setattr(Costs, "within", lambda self, *_: found.append(self) or 1)
    changes = {"BN__USE_PRECISE_STATS": True, "BN__NUM_BATCHES_PRECISE": 9, "EMA__ENABLE": True}
    go(tiny(TEST__ENABLE=False, **changes), TRAIN__MINUTES=1, SOLVER__WARMUP_EPOCHS=0)
    assert found[0].statistics == 45 and found[0].save == found[0].unit == 0


def test_what_a_killed_process_has_tried_out_is_removed(tiny, tmp_path):
    place = tmp_path / "run/.rehearsal"
    place.mkdir(parents=True)
    (place / "last.pt").write_bytes(b"of a killed process")
    remove_leavings(RunFolder(tmp_path / "run"))
    assert not place.exists()


def test_what_another_process_tries_out_stays(tmp_path):
    place = tmp_path / ".rehearsal"
    place.mkdir()
    with folder_lock(place / LOCK_FILE):
        remove_leavings(RunFolder(tmp_path))
    assert place.exists()


def test_a_trial_has_its_folder_before_it_begins_and_until_it_is_gone(tmp_path, monkeypatch):
    """Else two could remove each other's, between one's look at the folder and its `fit`."""

    def fit(*_, **__):
        with (
            pytest.raises(ConfigError, match="in use by this process"),
            temporary_folder(tmp_path / ".rehearsal" / LOCK_FILE, "another"),
        ):
            pass
        tried.append((tmp_path / ".rehearsal").exists())

    tried = []
    monkeypatch.setattr(rehearsal, "fit", fit)
    alone = SimpleNamespace(on_main=lambda action: action())
    rehearse(load_config(), None, RunFolder(tmp_path), alone, None)
    assert tried == [True] and not (tmp_path / ".rehearsal").exists()


def test_a_run_keeps_its_length_from_before_its_first_step(
    costs, tiny, tmp_path, monkeypatch, interrupt_after
):
    given = tiny(TRAIN__MINUTES=0.7, SOLVER__MAX_EPOCH=9, TEST__ENABLE=False)  # 3 epochs
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go(given)
    assert not (tmp_path / "run/last.pt").exists()
    monkeypatch.setattr(time_budget, "_measure", None)  # from here on nothing is timed
    with interrupt_after(2), pytest.raises(Interrupted):
        go(given)
    (tmp_path / "run/config.yaml").unlink()  # the checkpoint knows it too
    go(given)
    assert last(tmp_path / "run").training["progress"]["epoch"] == 3
    with pytest.raises(ConfigError, match=r"settings: TRAIN.MINUTES was 0.7, is 0.0; "):
        go(given, TRAIN__MINUTES=0)
    assert costs == [0.7]


def test_what_a_run_with_other_settings_has_left_is_timed_anew(costs, tiny, tmp_path):
    go(tiny(TRAIN__MINUTES=0.7, TEST__ENABLE=False))
    for name in ("last.pt", "previous.pt"):
        (tmp_path / "run" / name).unlink()
    go(tiny(TRAIN__MINUTES=0.3, SOLVER__BASE_LR="2e-3", TEST__ENABLE=False))
    assert costs == [0.7, 0.3] and recorded(tmp_path / "run").SOLVER.MAX_EPOCH == 1


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_timing_leaves_no_trace(tiny, tmp_path, caplog, monkeypatch, workers):
    """Weights are those of the same run without it, and its folder is gone, a killed one's too."""
    caplog.set_level("INFO")
    (tmp_path / "run/.rehearsal").mkdir(parents=True)
    (tmp_path / "run/.rehearsal/last.pt").write_bytes(b"of a killed process")
    given = tiny(TEST__ENABLE=False, DATA_LOADER__NUM_WORKERS=workers, TEST__BATCH_SIZE=2)
    found = []
    monkeypatch.setattr(Costs, "within", lambda self, *_: found.append(self) or 3)
    monkeypatch.setattr(time_budget, "WARM_UP_STEPS", 2)
    monkeypatch.setattr(time_budget, "TIMED_STEPS", 6)
    go(given, TRAIN__MINUTES=1)
    assert min(found[0].unit, found[0].validation, found[0].save) > 0 and found[0].start >= 0
    assert caplog.text.count("Training 0.") == 1  # what is tried out is not told
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {".lock", "config.yaml", "metrics.jsonl", "last.pt", "previous.pt", "best.pt"}
    solver = recorded(tmp_path / "run").SOLVER
    assert (solver.MAX_EPOCH, solver.WARMUP_EPOCHS) == (3, 1.5)
    shutil.copytree(tmp_path / "run", tmp_path / "timed")
    shutil.rmtree(tmp_path / "run")
    go(given, SOLVER__MAX_EPOCH=3, SOLVER__WARMUP_EPOCHS=1.5)
    timed, plain = last(tmp_path / "timed").state, last(tmp_path / "run").state
    assert all(torch.equal(timed[key], plain[key]) for key in plain)


def test_an_error_while_timing_is_the_run_s(tiny, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ConfigError("as in the run itself")

    monkeypatch.setattr(rehearsal, "fit", fail)
    with pytest.raises(ConfigError, match="as in the run itself"):
        go(tiny(TRAIN__MINUTES=1))
    assert not (tmp_path / "run").exists()


SLOW_RANKS = """
import os
from uniformer_video.runs import time_budget

real = time_budget._time_steps
time_budget.WARM_UP_STEPS = time_budget.TIMED_STEPS = 2


def slow(trainer, warm_up):
    real(trainer, warm_up)
    return 0.0, 1.0 + int(os.environ.get("RANK", 0))


time_budget._time_steps = slow
"""


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_slowest_process_decides_for_all(tiny, tmp_path, size):
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "slow_ranks.py").write_text(SLOW_RANKS)
    given = tiny(NUM_GPUS=6, TRAIN__BATCH_SIZE=6, TRAIN__MINUTES=0.31, TEST__ENABLE=False)
    command = [ROOT / "tools/run_net.py", "--cfg", tmp_path / "empty.yaml", *given]
    command += ["--plugins", tmp_path / "slow_ranks.py"]
    launches = by_hand(size, command, tmp_path / "log")
    for launch in launches:
        assert launch.wait() == 0, launch.text
    # 18.6 s, 2 steps an epoch, and less than half a second beside them
    assert f"of the slowest of {size} processes" in launches[0].text
    epochs = int(18.6 / (2 * size))
    assert last(tmp_path / "run").training["progress"]["epoch"] == epochs
    assert epochs == recorded(tmp_path / "run").SOLVER.MAX_EPOCH
