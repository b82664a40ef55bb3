"""Gradients of several batches before an update, and statistics of BatchNorm that are measured."""

import pytest
import torch
from same import assert_same
from torch import nn
from train_float64 import main as train_float64

from uniformer_video.config.settings import load_config
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.runs import build_clips, build_model, build_training
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.run import run
from uniformer_video.training.precise_statistics import recompute_statistics
from uniformer_video.weights.checkpoint import read_weights

# what a batch of any size does not change: no draw for each part of a step, no statistics of a part
BY_CLIP = {
    "MIXUP__ENABLE": False,
    "UNIFORMER__DROP_DEPTH_RATE": 0,
    "MODEL__FROZEN_BN": True,
    "TRAIN__EVAL_PERIOD": 0,
}


def trained(path, *words):
    train_float64(path, *words)
    return torch.load(path)


def test_batches_that_are_added_up_equal_one_of_their_size(tiny, tmp_path):
    parts = {"SOLVER__ACCUMULATION_STEPS": 2, "TRAIN__BATCH_SIZE": 2}
    added = trained(tmp_path / "added.pt", *tiny(**parts, **BY_CLIP))
    whole = trained(tmp_path / "whole.pt", *tiny(**BY_CLIP))
    assert len(added["losses"]) == len(whole["losses"]) == 8
    for one, other in zip(added["losses"], whole["losses"], strict=True):
        assert one == pytest.approx(other, abs=1e-9)
    for key, value in whole["state"].items():
        torch.testing.assert_close(added["state"][key], value, rtol=0, atol=1e-7, msg=key)


def test_a_step_of_several_batches_has_the_parts_of_a_recipe_for_several_processes(tiny, tmp_path):
    """To the last bit, BatchNorm and random draws included."""
    given = {"SOLVER__ACCUMULATION_STEPS": 2, "TRAIN__BATCH_SIZE": 2}
    added = trained(tmp_path / "added.pt", *tiny(**given, TRAIN__EVAL_PERIOD=0))
    shared = trained(tmp_path / "shared.pt", *tiny(NUM_GPUS=2, TRAIN__EVAL_PERIOD=0))
    assert_same(added, shared)


def test_what_is_said_of_a_step(tiny, caplog):
    caplog.set_level("INFO")
    words = tiny(
        SOLVER__ACCUMULATION_STEPS=2,
        TRAIN__BATCH_SIZE=2,
        NUM_GPUS=2,
        SOLVER__BASE_LR_BATCH_SIZE=16,
        SOLVER__LAYER_DECAY=0.5,
        SOLVER__MAX_EPOCH=1,
        SOLVER__WARMUP_EPOCHS=0,
        MODEL__FREEZE="[stem]",
        TEST__ENABLE=False,
    )
    run(load_config(overrides=words), "tiny")
    said = [record.getMessage() for record in caplog.records]
    assert any(" 4 videos a step" in line for line in said)
    assert any("Gradients of 2 batches are added up for each update" in line for line in said)
    assert any(": 4 parts of 1 video, each of which" in line for line in said)
    assert any("is for 2 processes (NUM_GPUS 2" in line and "4 x 1 video," in line for line in said)
    assert any("multiplied by 0.25 (a step has 4 videos" in line for line in said)
    assert (
        "SOLVER.LAYER_DECAY 0.5 over 6 layers: of the 5 that are trained the last learns at 1 of the "
        "learning rate, the first at 0.062."
    ) in said
    assert any(line.startswith("MODEL.FREEZE [stem]: ") for line in said)
    assert any("MODEL.FREEZE [stem] keeps as it is what was never trained" in line for line in said)


@pytest.mark.parametrize(
    "frozen, said",
    [
        ("[]", "over 6 layers: the head learns at the learning rate, the stem at 0.031 of it."),
        ("[all-but-head]", "has no effect: only the head is trained."),
        ("[stem,head]", "over 6 layers: of the 4 that are trained the last learns at 0.5 of the "
                        "learning rate, the first at 0.062."),
    ],
)  # fmt: skip
def test_what_is_said_of_the_rates_of_layers(tiny, frozen, said):
    cfg = load_config(overrides=tiny(SOLVER__LAYER_DECAY=0.5, MODEL__FREEZE=frozen))
    model, _ = build_model.build_model(cfg, 8)
    build_training.build_freezing(cfg).apply(model)
    assert build_training.decay_line(cfg, model) == f"SOLVER.LAYER_DECAY 0.5 {said}"


def test_more_batches_than_there_are_videos_is_an_error(tiny):
    with pytest.raises(ConfigError, match=r"36 videos .*SOLVER\.ACCUMULATION_STEPS\).* has 16"):
        run(load_config(overrides=tiny(SOLVER__ACCUMULATION_STEPS=9)), "tiny")


def test_without_validations_statistics_are_measured_before_the_last_checkpoint_too(tiny, caplog):
    caplog.set_level("INFO")
    words = tiny(BN__USE_PRECISE_STATS=True, TRAIN__CHECKPOINT_PERIOD=2, TEST__ENABLE=False)
    run(load_config(overrides=[*words, "TRAIN.EVAL_PERIOD", 0, "SOLVER.MAX_EPOCH", 3]), "tiny")
    said = caplog.text.splitlines()
    measured = [i for i, line in enumerate(said) if "BatchNorm's statistics measured" in line]
    third = next(i for i, line in enumerate(said) if "epoch 3.00/3" in line)
    assert len(measured) == 2 and measured[0] < third < measured[1]


def test_statistics_that_nothing_changes_are_told_of_once(tiny, caplog):
    caplog.set_level("INFO")
    words = tiny(BN__USE_PRECISE_STATS=True, MODEL__FREEZE="[all-but-head]", TEST__ENABLE=False)
    run(load_config(overrides=[*words, "TRAIN.EVAL_PERIOD", "1"]), "tiny")
    assert caplog.text.count("validation top-1") == 2
    assert caplog.text.count("BN.USE_PRECISE_STATS has nothing to measure") == 1


def test_statistics_are_measured_before_validations_and_what_is_saved(tiny, tmp_path, caplog):
    caplog.set_level("INFO")
    words = tiny(BN__USE_PRECISE_STATS=True, BN__NUM_BATCHES_PRECISE=3, TEST__ENABLE=False)
    cfg = load_config(overrides=words)
    run(cfg, "tiny")
    assert caplog.text.count("BatchNorm's statistics measured on 12 clips") == 2
    data = build_data(cfg)
    model, _ = build_model.build_model(cfg, data.num_classes)
    weights = read_weights(tmp_path / "run/last.pt").state
    model.load_state_dict(weights)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
    loader = build_clips.build_train_loader(cfg, data, Ranks(0, 1, torch.device("cpu")))
    clips = [loader.finish(batch.clips) for batch in loader.epoch(1, 0, 3)]
    recompute_statistics(model.train(), clips)
    for key, value in model.state_dict().items():
        if "num_batches" not in key:
            torch.testing.assert_close(value, weights[key], rtol=1e-6, atol=1e-7, msg=key)
