"""Runs with a moving average: which weights are chosen, tested, kept and gone on from."""

import json
import random
import signal
import time

import pytest
import torch
from processes import alone
from same import assert_same
from tiny_run import copy_run, tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs import build_training, fit
from uniformer_video.runs.epoch_weights import EpochWeights
from uniformer_video.runs.folder import RunFolder
from uniformer_video.runs.run import run
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.state import Progress
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint

AVERAGED = {"EMA__ENABLE": True, "EMA__DECAY": 0.9, "SOLVER__MAX_EPOCH": 3}
BEST, LAST = "best.pt", "last.pt"
# raw and average in turn, epoch by epoch: each is the best in another epoch
SCORES = [0.5, 0.1, 0.3, 0.7, 0.2, 0.6]


def scored(patch, scores):
    """Have validations say `scores`, one after the other."""
    left = iter(scores)
    patch.setattr(SingleLabel, "validate", lambda *args: (next(left), 1.0))


def words(changes):
    return {key: str(value) for key, value in changes.items()}


@pytest.fixture(scope="module")
def template(demo, tmp_path_factory):
    """The folder of a finished run whose raw weights were best after epoch 1, the average after epoch 2."""
    folder = tmp_path_factory.mktemp("averaged") / "run"
    with pytest.MonkeyPatch.context() as patch:
        scored(patch, SCORES)
        changes = {**AVERAGED, "TRAIN__CHECKPOINT_KEEP": "all", "TEST__ENABLE": False}
        run(load_config(overrides=tiny_overrides(demo, folder, **words(changes))), "tiny")
    return folder


@pytest.fixture
def go(template, tiny, tmp_path, caplog):
    """A function: a copy of that run goes on with these settings; its folder."""
    caplog.set_level("INFO")
    folder = copy_run(template, tmp_path / "run")

    def go_on(**changes):
        cfg = load_config(overrides=tiny(**words({**AVERAGED, **changes})))
        return run(cfg, "tiny") or folder

    return go_on


def same(found, expected):
    assert_same(dict(found), dict(expected))


def test_best_holds_the_best_of_both_and_says_which_won(template):
    progress = read_weights(template / LAST).training["progress"]
    assert progress["best_of"] == {"raw": [0.5, 1], "ema": [0.7, 2]}
    best = read_weights(template / BEST)
    assert best.metadata["weights"] == {
        "chosen": "ema",
        "sets": {"raw": {"score": 0.5, "epoch": 1}, "ema": {"score": 0.7, "epoch": 2}},
    }
    assert best.metadata["epoch"] == 2 and best.metadata["training"]["score"] == 0.7
    first, second = template / "epoch_0001.pt", template / "epoch_0002.pt"
    same(read_weights(template / BEST, "raw").state, read_weights(first).state)
    same(read_weights(template / BEST, "ema").state, read_weights(second, "ema").state)
    same(best.state, read_weights(second, "ema").state)
    assert read_weights(template / BEST, "raw").metadata["epoch"] == 1
    assert best.choice == "the ema weights (raw 50.0% after epoch 1, ema 70.0% after epoch 2)"
    lines = [json.loads(line) for line in (template / "metrics.jsonl").read_text().splitlines()]
    found = [(line["top1"], line["ema_top1"]) for line in lines if line["kind"] == "val"]
    assert found == [(0.5, 0.1), (0.3, 0.7), (0.2, 0.6)]


@pytest.mark.parametrize(
    ("name", "file", "kind"),
    [
        ("best", BEST, "ema"),
        ("best-raw", BEST, "raw"),
        ("best-ema", BEST, "ema"),
        ("last", LAST, "raw"),
        ("last-ema", LAST, "ema"),
    ],
)
def test_each_of_the_weights_can_be_tested(go, monkeypatch, name, file, kind):
    tested, load = [], fit.build_model.load_tested_model

    def watched(*args):
        model, weights = load(*args)
        tested.append({key: value.clone() for key, value in model.state_dict().items()})
        return model, weights

    monkeypatch.setattr(fit.build_model, "load_tested_model", watched)
    folder = go(TRAIN__ENABLE=False, TEST__WEIGHTS=name)
    expected = read_weights(folder / file, kind)
    same(tested[0], expected.state)
    recorded = json.loads((folder / "results.json").read_text())["model"]
    assert recorded["weights"] == kind
    assert recorded["epoch"] == expected.metadata["epoch"]


def test_predictions_and_fine_tuning_take_what_won(go, template, tmp_path, caplog):
    won = read_weights(template / BEST, "ema").state
    caplog.set_level("INFO")
    predictor = Predictor.from_checkpoint(template / BEST, fold=False)
    same({key: value.cpu() for key, value in predictor.model.state_dict().items()}, won)
    expected = predictor.model.for_inference().state_dict()
    same(Predictor.from_checkpoint(template / BEST).model.state_dict(), expected)
    assert "best.pt: the ema weights (raw 50.0% after epoch 1" in caplog.text
    caplog.clear()
    start = {"UNIFORMER__PRETRAIN_NAME": template / BEST, "OUTPUT_DIR": tmp_path / "tuned"}
    go(**start, SOLVER__MAX_EPOCH=2, TEST__ENABLE=False, SOLVER__BASE_LR=0)
    assert "taken: the ema weights (raw 50.0%" in caplog.text


def test_averaged_weights_that_no_run_keeps_are_asked_for_in_vain(tiny, go, tmp_path):
    with pytest.raises(
        ConfigError, match=r"TEST\.WEIGHTS last-ema .*the run keeps none; set EMA\.E"
    ):
        load_config(overrides=tiny(TEST__WEIGHTS="last-ema"))
    for name in (BEST, LAST):
        path = tmp_path / "run" / name
        weights = read_weights(path, "raw")
        metadata = {key: value for key, value in weights.metadata.items() if key != "weights"}
        write_checkpoint(path, weights.state, metadata)
        with pytest.raises(
            CheckpointError, match=r"holds no averaged \(EMA\) weights.*EMA\.ENABLE"
        ):
            go(TRAIN__ENABLE=False, TEST__WEIGHTS=f"{name.removesuffix('.pt')}-ema")


def test_without_validation_the_raw_weights_are_taken_and_both_are_there(tiny, tmp_path):
    changes = {**AVERAGED, "TRAIN__EVAL_PERIOD": 0, "TEST__ENABLE": False}
    run(load_config(overrides=tiny(**words(changes))), "tiny")
    best = read_weights(tmp_path / "run" / BEST)
    assert best.chosen == "raw" and best.choice == "the raw weights"
    same(best.state, read_weights(tmp_path / "run" / LAST).state)
    same(
        read_weights(tmp_path / "run" / BEST, "ema").state,
        read_weights(tmp_path / "run" / LAST, "ema").state,
    )


def test_a_kept_set_that_is_lost_is_said(tiny, tmp_path, monkeypatch, caplog):
    """best.pt vanishes between two epochs of a run: what was best before is gone."""
    scored(monkeypatch, [0.5, 0.1, 0.3, 0.2])
    folder, validate = tmp_path / "run", fit._validate

    def lose(*args):
        (folder / BEST).unlink(missing_ok=True)
        return validate(*args)

    monkeypatch.setattr(fit, "_validate", lose)
    changes = {**AVERAGED, "SOLVER__MAX_EPOCH": 2, "TEST__ENABLE": False}
    run(load_config(overrides=tiny(**words(changes))), "tiny")
    assert "the best raw weights are lost: there is no weights file" in caplog.text
    best = read_weights(folder / BEST)
    assert best.chosen == "ema" and best.metadata["epoch"] == 2
    with pytest.raises(CheckpointError, match="holds no raw weights, only ema"):
        read_weights(folder / BEST, "raw")


def test_from_best_goes_on_from_the_average_that_won(template, tiny, tmp_path, monkeypatch):
    folder = copy_run(template, tmp_path / "run")
    scored(monkeypatch, [0.6, 0.1])
    overrides = tiny(**words({**AVERAGED, "TEST__ENABLE": False}))
    run(load_config(overrides=overrides), "tiny", from_best=True)
    progress = read_weights(folder / LAST).training["progress"]
    assert progress["best_of"] == {"raw": [0.6, 3], "ema": [0.7, 2]}
    assert progress["best_weights"] == "ema"
    same(read_weights(folder / BEST).state, read_weights(template / BEST, "ema").state)
    same(read_weights(folder / BEST, "raw").state, read_weights(folder / LAST).state)


@pytest.mark.parametrize(
    ("keep", "period", "expected"),
    [("0", 1, []), ("2", 1, [4, 5]), ("all", 2, [2, 4, 5]), ("1", 3, [5])],
)
def test_which_numbered_checkpoints_are_kept(tmp_path, keep, period, expected):
    cfg = load_config(
        **{"TRAIN.CHECKPOINT_KEEP": keep, "TRAIN.CHECKPOINT_PERIOD": period, "SOLVER.MAX_EPOCH": 5},
        **{"SOLVER.WARMUP_EPOCHS": 0},
    )
    epochs = EpochWeights(RunFolder(tmp_path), cfg, build_training.build_timetable(cfg, 4))
    for epoch, step in ((0, 1), (1, 0), (2, 0), (2, 3), (3, 0), (4, 0), (5, 0)):
        progress = Progress(epoch=epoch, step=step)
        epochs.write(progress, {"raw": {"a": torch.ones(1)}}, {"epoch": epoch})
        epochs.remove_surplus(progress)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == [f"epoch_{epoch:04d}.pt" for epoch in expected]


def test_the_last_epoch_is_kept_where_patience_ends_the_training(tmp_path):
    settings = {"CHECKPOINT_KEEP": "all", "CHECKPOINT_PERIOD": 10, "PATIENCE": 2}
    cfg = load_config(**{f"TRAIN.{key}": value for key, value in settings.items()})
    epochs = EpochWeights(RunFolder(tmp_path), cfg, build_training.build_timetable(cfg, 4))
    for epoch, stale in ((2, 1), (3, 2)):
        progress = Progress(epoch=epoch, stale_validations=stale)
        epochs.write(progress, {"raw": {"a": torch.ones(1)}}, {})
    assert [path.name for path in tmp_path.iterdir()] == ["epoch_0003.pt"]


def test_those_of_a_course_that_was_left_push_none_out(tmp_path):
    """After --from best the training is at an earlier epoch than before."""
    cfg = load_config(**{"TRAIN.CHECKPOINT_KEEP": 1})
    epochs = EpochWeights(RunFolder(tmp_path), cfg, build_training.build_timetable(cfg, 4))
    for epoch in (7, 2, 3):
        epochs.write(Progress(epoch=epoch), {"raw": {"a": torch.ones(1)}}, {})
        epochs.remove_surplus(Progress(epoch=epoch))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch_0003.pt", "epoch_0007.pt"]


def test_numbered_checkpoints_hold_weights_alone(template):
    assert len(list(template.glob("epoch_*.pt"))) == 3
    weights = read_weights(template / "epoch_0003.pt")
    assert not weights.training and weights.metadata["epoch"] == 3
    for select in ("model", "ema"):
        found, last = (
            read_weights(template / name, select).state for name in ("epoch_0003.pt", LAST)
        )
        same(found, last)


def test_a_new_run_starts_from_any_training_checkpoint(
    template, tiny, tmp_path, monkeypatch, caplog
):
    """In the words of PySlowFast: at epoch 0, with the weights and nothing else."""
    caplog.set_level("INFO")
    starts = []
    monkeypatch.setattr(fit.Trainer, "fit", lambda self: starts.append(self.state))
    overrides = tiny(TEST__ENABLE=False, OUTPUT_DIR=tmp_path / "new", EMA__ENABLE=True)
    overrides += ["TRAIN.CHECKPOINT_FILE_PATH", str(template / LAST)]
    run(load_config(overrides=[*overrides, "TRAIN.CHECKPOINT_EPOCH_RESET", "True"]), "tiny")
    (state,) = starts
    for weights in state.tested_weights().values():
        same(weights, read_weights(template / LAST).state)
    assert state.progress == Progress() and not state.optimizer.state
    assert "its training stood at epoch 3; this one begins at 0, with fresh moments" in caplog.text


@pytest.mark.parametrize("value", ["-1", "some", "1.5", "", "True"])
def test_numbers_of_checkpoints_that_are_none(value):
    with pytest.raises(ConfigError, match=r"CHECKPOINT_KEEP is .*a whole number from 0, or all"):
        load_config(overrides=["TRAIN.CHECKPOINT_KEEP", value])


def test_a_number_of_checkpoints_from_a_file(tmp_path):
    (tmp_path / "a.yaml").write_text("TRAIN: {CHECKPOINT_KEEP: 3}\n")
    assert load_config(tmp_path / "a.yaml").TRAIN.CHECKPOINT_KEEP == "3"


def test_killed_at_any_moment_and_resumed_all_weights_are_those_of_a_whole_run(tiny, tmp_path):
    changes = {
        **AVERAGED,
        "SOLVER__MAX_EPOCH": 4,
        "TEST__ENABLE": False,
        "TRAIN__CHECKPOINT_KEEP": 2,
    }
    (tmp_path / "empty.yaml").write_text("")
    command = ["-m", "uniformer_video", "run", "--cfg", tmp_path / "empty.yaml"]
    command += [*tiny(**words(changes)), "TRAIN.CHECKPOINT_MINUTES", "0"]
    launch = alone(command, tmp_path / "log")
    try:
        launch.wait_for(r"step 3/")
        time.sleep(random.uniform(0, 0.3))
        launch.process.send_signal(signal.SIGKILL)
        launch.wait()
    finally:
        launch.kill()
    done = read_weights(tmp_path / "run" / LAST).training["parts"]["ema"]["steps"]
    assert 0 < done < 16
    for name in ("run", "whole"):
        overrides = tiny(**words({**changes, "OUTPUT_DIR": tmp_path / name}))
        run(load_config(overrides=overrides), "tiny")
    for name in (LAST, BEST, "epoch_0003.pt", "epoch_0004.pt"):
        for select in ("model", "ema"):
            found, expected = (
                read_weights(tmp_path / each / name, select) for each in ("run", "whole")
            )
            same(found.state, expected.state)
            assert_same(found.training, expected.training)
            assert found.chosen == expected.chosen
    assert torch.equal(expected.state["norm.num_batches_tracked"], torch.tensor(16))
