"""Trainings whose BatchNorm is synchronised over processes."""

import logging

import pytest
import torch
from processes import ROOT, by_hand
from tiny_run import TINY
from torch import nn
from train_float64 import main as train_float64

from uniformer_video.config.settings import load_config
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.models.sync_batch_norm import SYNCHRONISED
from uniformer_video.runs import build_norms
from uniformer_video.runs.run import run
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.create import build_network

ON = "sync_batchnorm"
# what the number of parts of a step does not change: no draw for each of them
BY_CLIP = {"MIXUP__ENABLE": False, "UNIFORMER__DROP_DEPTH_RATE": 0}


class TwoProcesses(Ranks):
    def __init__(self, size=2):
        super().__init__(0, size, torch.device("cpu"))


def test_two_processes_train_as_one_with_their_joined_batch(tiny, tmp_path):
    """Weights, losses, BatchNorm's statistics (measured ones too) and averaged weights, in float64."""
    given = {
        **BY_CLIP,
        "TRAIN__BATCH_SIZE": 4,
        "BN__NORM_TYPE": ON,
        "BN__USE_PRECISE_STATS": True,
        "BN__NUM_BATCHES_PRECISE": 2,
        "SOLVER__MAX_EPOCH": 2,
        "SOLVER__WARMUP_EPOCHS": 0,
        "MODEL__USE_CHECKPOINT": True,
        "MODEL__CHECKPOINT_NUM": [1, 0, 0, 0],
        "EMA__ENABLE": True,
    }
    train_float64(tmp_path / "one.pt", *tiny(**given))
    words = tiny(**given, NUM_GPUS=2)
    launches = by_hand(
        2, [ROOT / "tests/support/train_float64.py", tmp_path / "two.pt", *words], tmp_path / "log"
    )
    for launch in launches:
        assert launch.wait() == 0, launch.text
    one, two = torch.load(tmp_path / "one.pt"), torch.load(tmp_path / "two.pt")
    assert len(one["losses"]) == len(two["losses"]) > 2
    for found, expected in zip(two["losses"], one["losses"], strict=True):
        assert found == pytest.approx(expected, abs=1e-9)
    for key, value in one["state"].items():
        torch.testing.assert_close(two["state"][key], value, rtol=0, atol=1e-7, msg=key)
    for key, value in one["parts"]["ema"]["weights"].items():
        torch.testing.assert_close(
            two["parts"]["ema"]["weights"][key], value, rtol=0, atol=1e-7, msg=key
        )


def norms(model, kind):
    return {name for name, layer in model.named_modules() if isinstance(layer, kind)}


def synchronised(model, *, size=2, resting=(), **settings):
    """The names of the layers that are synchronised, and what is said of them."""
    words = [
        part for key, value in settings.items() for part in (key.replace("__", "."), str(value))
    ]
    cfg = load_config(overrides=["BN.NORM_TYPE", ON, *words])
    ranks = TwoProcesses(size)
    build_norms.synchronise_norms(cfg, model, resting, ranks)
    return norms(model, SYNCHRONISED), " ".join(build_norms.norm_lines(cfg, model, ranks))


SIZES = {"embed_dims": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "head_dim": 8}


def test_of_a_video_model_all_that_train_are_synchronised():
    model = build_network("uniformer_s", 4, **SIZES)
    every = norms(model, nn.modules.batchnorm._BatchNorm)
    keys = list(model.state_dict())
    found, said = synchronised(model, NUM_GPUS=2)
    assert found == every and list(model.state_dict()) == keys
    assert "5 BatchNorm layers by the joined batch of 2 processes" in said
    model = build_network("uniformer_s", 4, **SIZES)
    found, said = synchronised(model, NUM_GPUS=2, resting=[model.blocks1])
    assert found == {name for name in every if not name.startswith("blocks1.")} < every
    assert "not (frozen" in said


def test_of_a_segmentation_model_the_heads_are():
    for name in ("semantic_fpn_uniformer_s", "upernet_uniformer_s"):
        model = build_network(name, 4, embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1], head_dim=8)
        every = norms(model, nn.modules.batchnorm._BatchNorm)
        found, said = synchronised(model, NUM_GPUS=2)
        assert found == {name for name in every if not name.startswith("backbone.")}
        assert found and found != every and "not (those of backbone)" in said


@pytest.mark.parametrize(
    ("size", "settings", "said"),
    [
        (1, {}, "has no effect: one process has the whole batch"),
        (1, {"NUM_GPUS": 2}, "takes 2 parts of each step in turn"),
        (
            2,
            {"NUM_GPUS": 2, "SOLVER__ACCUMULATION_STEPS": 2},
            "normalises each part by itself; 4 processes would join their statistics",
        ),
    ],
)
def test_a_process_with_several_parts_of_a_step_keeps_their_own_statistics(size, settings, said):
    model = build_network("uniformer_s", 4, **SIZES)
    found, line = synchronised(model, size=size, **settings)
    assert not found and said in line


def test_off_nothing_is_said_and_nothing_changed():
    model = build_network("uniformer_s", 4, **SIZES)
    found, line = synchronised(model, NUM_GPUS=2, BN__NORM_TYPE="batchnorm")
    assert not found and not line


def test_compiling_is_left_off_and_named():
    _, line = synchronised(
        build_network("uniformer_s", 4, **SIZES), NUM_GPUS=2, MODEL__COMPILE=True
    )
    assert "MODEL.COMPILE is left off" in line


def test_a_run_says_so(tiny, caplog):
    caplog.set_level(logging.INFO)
    run(load_config(overrides=tiny(BN__NORM_TYPE=ON, NUM_GPUS=2)), "t")
    assert caplog.text.count("takes 2 parts of each step in turn") == 1


@pytest.mark.slow
def test_a_process_that_dies_inside_is_named_and_the_run_goes_on_to_the_same_bits(demo, tmp_path):
    """Also where it dies while the others wait for it inside a layer; the rest resume."""
    values = {
        **TINY,
        "DATA.PATH_TO_DATA_DIR": demo,
        "NUM_GPUS": 2,
        "BN.NORM_TYPE": ON,
        "SOLVER.MAX_EPOCH": 12,
        "TRAIN.EVAL_PERIOD": 6,
        "TEST.ENABLE": "False",
        "DISTRIBUTED.TIMEOUT": 1,
    }
    (tmp_path / "empty.yaml").write_text("")
    words = [
        "--cfg",
        tmp_path / "empty.yaml",
        *(str(word) for pair in values.items() for word in pair),
    ]

    def start(folder):
        script = ROOT / "tools/run_net.py"
        return by_hand(
            2, [script, *words, "OUTPUT_DIR", tmp_path / folder], f"{tmp_path / folder}.log"
        )

    whole = start("whole")
    assert [launch.wait() for launch in whole] == [0, 0], whole[0].text
    broken = start("broken")
    try:
        broken[0].wait_for(r"step \d\d/")
        broken[1].process.kill()
        assert broken[0].wait(30) == 2
    finally:
        for launch in broken:
            launch.kill()
    assert "error: process 1 of 2 no longer answers" in broken[0].text
    again = start("broken")
    assert [launch.wait() for launch in again] == [0, 0], again[0].text
    assert "Resuming at epoch" in again[0].text
    expected = read_weights(tmp_path / "whole" / "last.pt").state
    found = read_weights(tmp_path / "broken" / "last.pt").state
    assert int(expected["norm.num_batches_tracked"]) == 12 * 4
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
