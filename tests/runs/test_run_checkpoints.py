"""What a run goes on from: its last checkpoint, the one before it, or its best weights."""

import json
import re
import shutil
import struct
import zipfile

import pytest
import torch
from tiny_run import copy_run, tiny_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.errors import CheckpointError, ConfigError, TrainingError
from uniformer_video.locks import folder_lock
from uniformer_video.runs import build_model, build_training, checkpoints
from uniformer_video.runs.folder import RunFolder
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint
from uniformer_video.weights.container import FORMAT, write_content
from uniformer_video.zoo.create import build_network

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
TRAIN_ONLY = {"TEST__ENABLE": False, "TRAIN__EVAL_PERIOD": 1}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def train(tiny, caplog):
    """A function: train only, with these settings; the weights of last.pt."""
    caplog.set_level("INFO")

    def go(from_best=False, **changes):
        cfg = load_config(overrides=tiny(**{**TRAIN_ONLY, **changes}))
        run(cfg, "tiny", from_best=from_best)
        return read_weights(f"{cfg.OUTPUT_DIR}/{LAST}")

    return go


@pytest.fixture(scope="module")
def template(demo, tmp_path_factory, interrupt_after):
    """A run of 3 epochs that was stopped in the third, with all three checkpoints; to be left unchanged."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    overrides = tiny_overrides(demo, folder, **TRAIN_ONLY, SOLVER__MAX_EPOCH=3)
    with interrupt_after(10), pytest.raises(Interrupted):
        run(load_config(overrides=overrides), "tiny")
    assert position(folder / LAST) == (2, 2)
    assert position(folder / PREVIOUS) == (2, 0)
    return folder


@pytest.fixture
def stopped(template, folder):
    """A copy of it."""
    return copy_run(template, folder)


@pytest.fixture(scope="module")
def whole(demo, tmp_path_factory):
    """The weights of the same run where nothing stopped it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    overrides = tiny_overrides(demo, folder, **TRAIN_ONLY, SOLVER__MAX_EPOCH=3)
    run(load_config(overrides=overrides), "tiny")
    return read_weights(folder / LAST)


def position(path):
    progress = read_weights(path).training["progress"]
    return progress["epoch"], progress["step"]


def flip_a_bit(path):
    """In the largest tensor: between the members of the archive there is padding, which is nobody's."""
    with zipfile.ZipFile(path) as archive:
        tensors = [member for member in archive.infolist() if "/data/" in member.filename]
    largest = max(tensors, key=lambda member: member.file_size)
    content = bytearray(path.read_bytes())
    # of the member's name and of its extra field, behind which its content begins
    lengths = struct.unpack_from("<HH", content, largest.header_offset + 26)
    content[largest.header_offset + 30 + sum(lengths) + largest.file_size // 2] ^= 16
    path.write_bytes(content)


def assert_same(a, b):
    assert a.state.keys() == b.state.keys()
    for key in a.state:
        assert torch.equal(a.state[key], b.state[key]), key


@pytest.mark.parametrize("harm", ["flip", "truncate", "text", "delete"])
def test_a_damaged_last_checkpoint_falls_back_loudly_to_the_one_before(
    stopped, whole, train, caplog, harm
):
    last = stopped / LAST
    if harm == "flip":
        flip_a_bit(last)
    elif harm == "truncate":
        last.write_bytes(last.read_bytes()[:-2000])
    elif harm == "text":
        last.write_bytes(b"hello")
    else:
        last.unlink()
    caplog.clear()
    resumed = train(SOLVER__MAX_EPOCH=3)
    loud = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(loud) == 1 and "going on from" in loud[0].getMessage()
    assert str(last) in loud[0].getMessage() and str(stopped / PREVIOUS) in loud[0].getMessage()
    assert "Resuming at epoch 2.00" in caplog.text
    assert_same(resumed, whole)


def test_the_damaged_one_never_takes_the_place_of_the_one_before(stopped, train, interrupt_after):
    flip_a_bit(stopped / LAST)
    with interrupt_after(1), pytest.raises(Interrupted):
        train(SOLVER__MAX_EPOCH=3)
    assert position(stopped / LAST) == (2, 1)
    assert position(stopped / PREVIOUS) == (2, 0)


@pytest.mark.parametrize(
    ("harm_last", "harm_previous", "reason"),
    [
        ("flip", "flip", r"last\.pt is damaged: the tensor"),
        ("flip", "delete", r"last\.pt is damaged: the tensor"),
        ("delete", "flip", r"last\.pt is missing"),
    ],
)
def test_with_neither_whole_the_run_cannot_go_on_and_nothing_is_touched(
    stopped, train, harm_last, harm_previous, reason
):
    for name, harm in ((LAST, harm_last), (PREVIOUS, harm_previous)):
        flip_a_bit(stopped / name) if harm == "flip" else (stopped / name).unlink()
    before = {path.name: path.read_bytes() for path in stopped.glob("*.pt")}
    message = rf"{reason}.*so the run cannot go on; delete last\.pt and previous\.pt to start over"
    with pytest.raises(CheckpointError, match=message):
        train(SOLVER__MAX_EPOCH=3)
    assert before == {path.name: path.read_bytes() for path in stopped.glob("*.pt")}


def test_a_checkpoint_of_a_newer_version_is_not_called_damaged(stopped, train):
    content = {"format": FORMAT, "version": 99, "metadata": {}, "model": {}, "training": {}}
    write_content(stopped / LAST, content)
    with pytest.raises(CheckpointError, match="written by a newer uniformer-video") as caught:
        train(SOLVER__MAX_EPOCH=3)
    assert "damaged" not in str(caught.value) and "delete" not in str(caught.value)


def test_too_little_memory_is_not_called_damage(stopped, train, monkeypatch):
    def load(path):
        raise MemoryError

    monkeypatch.setattr("uniformer_video.weights.unpickle.load", load)
    with pytest.raises(CheckpointError, match="not enough memory to read") as caught:
        train(SOLVER__MAX_EPOCH=3)
    assert "damaged" not in str(caught.value) and "delete" not in str(caught.value)


@pytest.mark.parametrize("deleted", [True, False])
def test_other_settings_are_refused_by_the_checkpoint_alone(stopped, train, deleted):
    config = stopped / "config.yaml"
    if deleted:
        config.unlink()
    else:
        config.write_text(config.read_text().replace("WEIGHT_DECAY: 0.05", "WEIGHT_DECAY: 0.1"))
    with pytest.raises(ConfigError, match=r"SOLVER\.WEIGHT_DECAY was 0\.05, is 0\.1"):
        train(SOLVER__MAX_EPOCH=3, SOLVER__WEIGHT_DECAY=0.1)
    assert config.exists() != deleted
    if deleted:  # and with the old ones it goes on
        train(SOLVER__MAX_EPOCH=3)


@pytest.mark.parametrize("damaged", [False, True])
def test_lost_best_weights_are_said_and_the_best_of_what_follows_takes_their_place(
    stopped, train, caplog, damaged
):
    best = read_weights(stopped / LAST).training["progress"]["best_at"]
    flip_a_bit(stopped / BEST) if damaged else (stopped / BEST).unlink()
    caplog.clear()
    train(SOLVER__MAX_EPOCH=3)
    lost = rf"{re.escape(str(stopped / BEST))} is (missing|damaged: the tensor .*)"
    assert re.search(rf"{lost}, the weights of epoch {best}: from now on", caplog.text)
    assert read_weights(stopped / BEST).metadata["epoch"] == 3


def test_without_validation_the_best_weights_are_the_latest(train, folder):
    last = train(TRAIN__EVAL_PERIOD=0)
    assert_same(read_weights(folder / BEST), last)


def test_a_file_system_without_hard_links(train, folder, monkeypatch):
    def refuse(*_args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(checkpoints.os, "link", refuse)
    train()
    assert (position(folder / PREVIOUS), position(folder / LAST)) == ((1, 0), (2, 0))
    assert not list(folder.glob(".*.tmp"))


def test_a_full_disk_costs_neither_checkpoint(train, folder, monkeypatch):
    train(SOLVER__MAX_EPOCH=2, OUTPUT_DIR=folder / "whole")

    def full(path, *args):
        if path.name == LAST and position_before:
            raise OSError(28, "No space left on device", str(path))
        position_before.append(1)
        return write(path, *args)

    position_before, write = [], checkpoints.write_checkpoint
    monkeypatch.setattr(checkpoints, "write_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        train(SOLVER__MAX_EPOCH=2)
    monkeypatch.undo()
    assert_same(train(SOLVER__MAX_EPOCH=2), read_weights(folder / "whole" / LAST))


def best_epoch(folder):
    return read_weights(folder / BEST).metadata["epoch"]


def test_from_best_starts_at_the_epoch_after_it_with_fresh_moments(
    stopped, train, monkeypatch, caplog
):
    """With settings of the solver that may be other ones from there on."""
    score = {"score": 0.9, "seconds": 1.0}
    weights = read_weights(stopped / BEST)
    metadata = {**weights.metadata, "epoch": 1, "training": score}
    write_content(
        stopped / BEST,
        {"format": FORMAT, "version": 1, "metadata": metadata, "model": weights.state},
    )
    starts, build_state = [], build_training.build_train_state
    monkeypatch.setattr(
        build_training, "build_train_state", lambda *a: starts.append(build_state(*a)) or starts[-1]
    )
    changed = {"SOLVER__MAX_EPOCH": 3, "SOLVER__BASE_LR": "5e-4", "SOLVER__CLIP_GRADIENT": 1}
    with pytest.raises(ConfigError, match="--from best goes on from its best weights with the new"):
        train(**changed)
    train(from_best=True, **changed)
    assert "Going on from" in caplog.text and "epoch 1, with fresh moments" in caplog.text
    steps = {int(values["step"]) for values in starts[-1].optimizer.state.values()}
    assert steps == {8}  # of two epochs
    logged = [json.loads(line) for line in (stopped / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if line["kind"] == "train"] == list(range(1, 13))
    assert load_config(stopped / "config.yaml").SOLVER.BASE_LR == 5e-4
    assert read_weights(stopped / LAST).training["progress"]["best_score"] == 0.9
    train(**changed)  # the folder is that of the new settings
    with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR was 0\.0005"):
        train(**{**changed, "SOLVER__BASE_LR": "1e-3"})


def test_from_best_is_of_the_run_at_once_and_once_only(
    stopped, train, interrupt_after, monkeypatch
):
    """Also if it is stopped before its first checkpoint, or torchrun starts it again by the same words."""
    epoch = best_epoch(stopped)
    changed = {"SOLVER__MAX_EPOCH": 3, "SOLVER__BASE_LR": "5e-4"}
    monkeypatch.setattr("uniformer_video.runs.fit.Trainer.fit", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(from_best=True, **changed)
    assert position(stopped / LAST) == (epoch, 0)
    monkeypatch.undo()
    with interrupt_after(1), pytest.raises(Interrupted):
        train(**changed)
    done = position(stopped / LAST)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with interrupt_after(1), pytest.raises(Interrupted):
        train(from_best=True, **changed)
    assert position(stopped / LAST) == (done[0], done[1] + 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"DATA__NUM_FRAMES": 6, "SOLVER__BASE_LR": "5e-4"}, r"DATA\.NUM_FRAMES was 4, is 6"),
        (
            {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0},
            r"no epoch is left to train; raise it",
        ),
    ],
)
def test_from_best_is_refused_where_it_makes_no_sense(stopped, train, changes, message):
    before = position(stopped / LAST)
    with pytest.raises(ConfigError, match=message):
        train(from_best=True, **{"SOLVER__MAX_EPOCH": 3, **changes})
    assert position(stopped / LAST) == before


def test_settings_without_effect_tell_no_runs_apart(tmp_path):
    recorded = load_config(overrides=["AUG.ENABLE", "False", "DATA.SAMPLING", "segment"])
    others = recorded.clone()
    others.defrost()
    others.AUG.NUM_SAMPLE, others.DATA.SAMPLING_RATE = 2, 8
    others.DATA.TRAIN_JITTER_SCALES = [64, 64]
    folder = RunFolder(tmp_path)
    folder.check(others, recorded)
    others.DATA.SAMPLING = "dense"
    told = r"SAMPLING_RATE was 4, is 8; DATA\.SAMPLING was 'segment', is 'dense'\. Choose"
    with pytest.raises(ConfigError, match=told):
        folder.check(others, recorded)


def test_from_best_without_best_weights(train, folder):
    with pytest.raises(CheckpointError, match=r"there is no .*best\.pt to go on from"):
        train(from_best=True)
    assert not (folder / LAST).exists()


def test_from_best_through_the_command(stopped, call, tiny, tmp_path, monkeypatch):
    (tmp_path / "empty.yaml").write_text("")
    words = ["--cfg", tmp_path / "empty.yaml", *tiny(SOLVER__MAX_EPOCH=3), "TEST.ENABLE", "False"]
    words += ["--from", "best", "SOLVER.BASE_LR", "5e-4"]  # settings on both sides of it
    monkeypatch.setattr("sys.argv", ["tools/run_net.py"])
    status, _, errors = call(*words, "TRAIN.ENABLE", "False", "TEST.ENABLE", "True", command="run")
    assert status == 2 and "--from best trains on" in errors
    status, _, errors = call(*words, command="run")
    assert status == 0, errors
    assert "Going on from" in errors


def wildly_high(epoch):
    """A learning rate that no setting allows, for weights that soon are not finite."""
    return 1e30


def test_before_any_validation_there_is_nothing_to_go_on_from(train, folder, monkeypatch):
    monkeypatch.setattr(build_training, "build_schedule", lambda *_: wildly_high)
    with pytest.raises(TrainingError, match=r"no weights have been validated yet.*start over"):
        train(TRAIN__MAX_NONFINITE=2)
    monkeypatch.undo()
    assert not (folder / BEST).exists()
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)
    assert train().metadata["epoch"] == 2


def test_the_same_words_again_go_on_and_do_not_start_from_best_once_more(
    stopped, train, interrupt_after, caplog, monkeypatch
):
    """Nor is a large file read twice to find that out."""
    changed = {"SOLVER__MAX_EPOCH": 5, "SOLVER__BASE_LR": "5e-4"}
    read, original = [], checkpoints.read_weights
    monkeypatch.setattr(
        checkpoints, "read_weights", lambda path: read.append(path.name) or original(path)
    )
    with interrupt_after(3), pytest.raises(Interrupted):
        train(from_best=True, **changed)
    epoch, step = position(stopped / LAST)
    caplog.clear()
    read.clear()
    with interrupt_after(1), pytest.raises(Interrupted):
        train(from_best=True, **changed)
    assert read.count(LAST) == 1
    assert "gone on from best.pt already" in caplog.text
    assert position(stopped / LAST) == (epoch, step + 1)
    train(from_best=True, **changed)
    assert train(from_best=True, **changed).metadata["epoch"] == 5  # finished, and only said so


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": None}, "does not tell its epoch"),
        ({"epoch": 1, "nan": True}, "holds values that are not finite"),
    ],
)
def test_from_best_takes_no_foreign_and_no_broken_weights(stopped, train, content, message):
    weights = read_weights(stopped / BEST)
    state = {key: value * float("nan") for key, value in weights.state.items()}
    own = state if content.pop("nan", False) else weights.state
    metadata = {**weights.metadata, **content}
    write_content(
        stopped / BEST, {"format": FORMAT, "version": 1, "metadata": metadata, "model": own}
    )
    before = (stopped / LAST).read_bytes()
    with pytest.raises(CheckpointError, match=message):
        train(from_best=True, SOLVER__MAX_EPOCH=3)
    assert (stopped / LAST).read_bytes() == before


def test_the_remedy_for_a_rate_that_is_too_high_works_in_the_same_folder(
    train, folder, monkeypatch
):
    """Weights that are not finite are neither saved nor the best, and the message tells the way on."""
    train(SOLVER__MAX_EPOCH=2)
    shutil.copytree(folder, folder.with_name("kept"))
    wild = {"SOLVER__MAX_EPOCH": 6, "SOLVER__BASE_LR": "1e3", "TRAIN__MAX_NONFINITE": 3}
    monkeypatch.setattr(build_training, "build_schedule", lambda *_: wildly_high)
    with pytest.raises(TrainingError, match="--from best") as caught:
        train(from_best=True, **wild)
    assert re.search(r"not (saved|finite)", str(caught.value))
    for name in (LAST, PREVIOUS, BEST):
        weights = read_weights(folder / name)
        assert all(value.isfinite().all() for value in weights.state.values()), name
    assert best_epoch(folder) <= 2
    monkeypatch.undo()
    gentle = {"SOLVER__MAX_EPOCH": 6, "SOLVER__BASE_LR": "1e-4"}
    finished = train(from_best=True, **gentle)
    assert finished.training["progress"]["epoch"] == 6
    assert all(value.isfinite().all() for value in finished.state.values())


def test_one_training_a_folder_beside_any_number_of_tests(train, folder):
    train()
    with folder_lock(folder / ".lock"):
        with pytest.raises(ConfigError, match="is in use by this process itself"):
            train()
        train(TRAIN__ENABLE=False, TEST__ENABLE=True)
    assert (folder / "results.json").exists()
    train()  # the lock is free again


def test_from_best_beside_a_damaged_last_checkpoint_keeps_the_one_before(
    train, folder, monkeypatch
):
    """What is damaged never takes its place."""
    train()
    (folder / LAST).write_bytes(b"damaged")
    kept, original = [], checkpoints._keep

    def keep(last, previous):
        kept.append(last.read_bytes())
        original(last, previous)

    monkeypatch.setattr(checkpoints, "_keep", keep)
    train(from_best=True, SOLVER__MAX_EPOCH=9)
    assert kept and b"damaged" not in kept


@pytest.fixture
def image_weights(tmp_path):
    """2D weights with attention heads of 4 channels, which no setting of the run tells."""
    torch.manual_seed(1)
    sizes = {"embed_dims": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "head_dim": 4}
    image = build_network("image_uniformer_s", 7, **sizes)
    recorded = {"model": {"name": "image_uniformer_s", "arguments": image.arguments}}
    write_checkpoint(tmp_path / "image.pt", image.state_dict(), recorded)
    return tmp_path / "image.pt"


def test_what_a_training_started_from_is_needed_once(
    train, folder, tmp_path, image_weights, interrupt_after, monkeypatch
):
    """Nor is a large checkpoint read twice to tell its model."""
    start = {
        "UNIFORMER__HEAD_DIM": 0,
        "UNIFORMER__PRETRAIN_NAME": image_weights,
        "OUTPUT_DIR": tmp_path / "a",
    }
    whole = train(**start)
    assert whole.metadata["model"]["arguments"]["head_dim"] == 4
    with interrupt_after(6), pytest.raises(Interrupted):
        train(**{**start, "OUTPUT_DIR": folder})
    image_weights.unlink()
    read, original = [], checkpoints.read_weights
    monkeypatch.setattr(
        checkpoints, "read_weights", lambda path: read.append(path.name) or original(path)
    )
    resumed = train(**{**start, "OUTPUT_DIR": folder})
    assert read.count(LAST) == 1
    assert_same(resumed, whole)
    train(**{**start, "OUTPUT_DIR": folder})  # finished, and only said so
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        train(**{**start, "OUTPUT_DIR": folder, "SOLVER__BASE_LR": "3e-4"})
    with pytest.raises(CheckpointError, match="there is no weights file"):
        train(**{**start, "OUTPUT_DIR": tmp_path / "c"})


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"SOLVER__BASE_LR": "5e-5"}, True),
        ({"SOLVER__BASE_LR": "5e-4"}, False),
        ({"SOLVER__BASE_LR": "5e-5", "UNIFORMER__PRETRAIN_NAME": "image.pt"}, False),
    ],
)
def test_fine_tuning_without_weights_says_so_once(
    train, tmp_path, image_weights, monkeypatch, caplog, interrupt_after, changes, warned
):
    monkeypatch.chdir(tmp_path)
    changes = {"UNIFORMER__HEAD_DIM": 4, **changes}
    with interrupt_after(2), pytest.raises(Interrupted):
        train(**changes)
    loud = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(loud) == warned
    if warned:
        assert "uniformer_s trains from scratch, at a learning rate for fine-tuning" in loud[0]
        assert "SOLVER.BASE_LR 5e-05" in loud[0]
    caplog.clear()
    train(**changes)
    assert "from scratch" not in caplog.text


@pytest.mark.parametrize(
    "recipe", ["finetune/folder", "ucf101/uniformer_s_16x4_k400", "ssv2/uniformer_b_16_k400"]
)
def test_recipes_that_want_weights_say_so(recipe):
    cfg = load_config(f"configs/{recipe}.yaml", ["UNIFORMER.PRETRAIN_NAME", ""])
    assert "No weights to start from" in build_model.note_from_scratch(cfg)
    for demo in ("uniformer_demo", "overfit"):
        assert build_model.note_from_scratch(load_config(f"configs/demo/{demo}.yaml")) == ""


def test_slower_first_layers_without_weights_are_told():
    words = ["UNIFORMER.PRETRAIN_NAME", "", "SOLVER.BASE_LR", "1e-3"]
    note = build_model.note_from_scratch(load_config("finetune/tiny", words))
    assert "from scratch, at lower rates for the first layers" in note
    assert "SOLVER.LAYER_DECAY 0.65" in note and note.endswith("; or set SOLVER.LAYER_DECAY 1.")
    assert "SOLVER.BASE_LR" not in note
    named = load_config("finetune/tiny", [*words, "UNIFORMER.PRETRAIN_NAME", "k400.pth"])
    assert build_model.note_from_scratch(named) == ""
