"""`MODEL.DEPTHWISE`: one way in all layers, recorded, and what is said where it differs."""

from pathlib import Path

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.models.layers import DepthwiseConv
from uniformer_video.runs import build_depthwise
from uniformer_video.runs.build_depthwise import choose_depthwise, depthwise_lines
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.create import build_network

SHORT = {"SOLVER__WARMUP_EPOCHS": 0, "SOLVER__WARMUP_START_LR": 0, "TEST__ENABLE": False}


class Ranks:
    """A process on a CPU beside `others`, which compute in these ways."""

    device = torch.device("cpu")

    def __init__(self, *others):
        self.others = others

    def exchange(self, value):
        return [value, *self.others]


@pytest.fixture
def lines(tiny):
    """A function: (the way, what is said) of a model by settings; before: the way of the run so far."""

    def of(name, before="", **settings):
        cfg = load_config(overrides=tiny(MODEL__MODEL_NAME=name, **settings))
        model = build_network(name, 4)
        way = choose_depthwise(cfg, model, Ranks())
        layers = [layer for layer in model.modules() if isinstance(layer, DepthwiseConv)]
        assert all(layer.by_torch == (way == "torch") for layer in layers)
        return way, " ".join(depthwise_lines(cfg, way, before))

    return of


def test_a_run_records_its_way_and_says_when_it_changes(tiny, interrupt_after, caplog):
    caplog.set_level("INFO", "uniformer_video")

    def go(way):
        cfg = load_config(overrides=tiny(MODEL__DEPTHWISE=way, SOLVER__MAX_EPOCH=2, **SHORT))
        run(cfg, "tiny")
        return cfg

    with interrupt_after(1), pytest.raises(Interrupted):
        go("torch")
    assert "computed by" not in caplog.text
    folder = Path(go("auto").OUTPUT_DIR)
    assert "computed by torch alone so far" in caplog.text
    told = [
        read_weights(folder / name).metadata["training"]["depthwise"]
        for name in ("previous.pt", "last.pt")
    ]
    assert "torch" not in told


def test_what_is_said(lines, monkeypatch):
    monkeypatch.setattr(build_depthwise, "gradients_by", lambda device: "mirrored")
    assert lines("uniformer_xxs") == ("mirrored", "")
    assert lines("uniformer_xxs", "mirrored") == ("mirrored", "")
    assert lines("uniformer_xxs", MODEL__DEPTHWISE="torch") == ("torch", "")
    assert "by numba's gradients so far" in lines("uniformer_xxs", "numba")[1]
    way, said = lines("x3d_xs", MODEL__DEPTHWISE="torch")
    assert way == "" and "no effect" in said


def test_processes_that_differ_are_named(monkeypatch):
    monkeypatch.setattr(build_depthwise, "gradients_by", lambda device: "numba")
    cfg, model = load_config(), build_network("uniformer_xxs", 4)
    way = choose_depthwise(cfg, model, Ranks("torch"))
    assert way == "numba+torch"
    said = " ".join(depthwise_lines(cfg, way, way))
    assert "numba's gradients and torch alone" in said and "MODEL.DEPTHWISE torch" in said
