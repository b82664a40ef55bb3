"""`MODEL.DEPTHWISE`: the way of each layer, recorded, measured once, and what is said where it differs."""

import re

import pytest
import torch
from processes import ROOT, by_hand

from uniformer_video.config.settings import load_config
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.models import depthwise
from uniformer_video.models.layers import DepthwiseConv
from uniformer_video.runs import build_depthwise
from uniformer_video.runs.build_depthwise import choose_depthwise
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.training.depthwise_times import shapes_in
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.zoo.create import build_network

SHORT = {"SOLVER__WARMUP_EPOCHS": 0, "SOLVER__WARMUP_START_LR": 0, "TEST__ENABLE": False}
CPU = torch.device("cpu")
ALONE = Ranks(0, 1, CPU)
ASKED = {"MODEL.DEPTHWISE": "measure"}
SMALL = {"embed_dims": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "head_dim": 8}
STAGE1 = "fp32, 2x8x8x8, 3x5x5"  # in a clip of 4 frames of 32x32


class Beside:
    """A process on a CPU that is not the main one; what that one answers and has."""

    device = CPU
    is_main = False

    def __init__(self, way="numba", times=None, possible=("numba", "mirrored", "torch")):
        self.way, self.times, self.possible = way, times, possible

    def exchange(self, own):
        if isinstance(own, str):
            return [self.way, own]
        return [dict.fromkeys(own, self.possible), own]

    def on_main(self, action):
        return self.times


@pytest.fixture(autouse=True)
def with_numba(monkeypatch):
    """As where numba is installed, also where it is not."""
    monkeypatch.setattr(depthwise, "numba_works", lambda: True)


@pytest.fixture
def measured(monkeypatch):
    """The names of shapes in the order in which they were measured: torch wins for kernels of 3x5x5."""
    names = []

    def measure(shape, slot, device, ways):
        names.append(str(shape))
        times = dict.fromkeys(ways, 1.0)
        times["torch"] = 0.5 if shape.kernel == (3, 5, 5) else 2.0
        return times

    monkeypatch.setattr(build_depthwise, "measure", measure)
    return names


def ways_in(model):
    return [layer.way for layer in model.modules() if isinstance(layer, DepthwiseConv)]


def build(name="uniformer_s"):
    return build_network(name, 4, **SMALL)


def choose(name="uniformer_s", before=None, ranks=ALONE, models=None, **settings):
    """The choice for a model in training, and its models."""
    settings = {"DATA.NUM_FRAMES": 4, "DATA.TRAIN_CROP_SIZE": 32, **settings}
    words = [str(word) for pair in settings.items() for word in pair]
    cfg = load_config(overrides=["MODEL.MODEL_NAME", name, *words])
    models = models or [build(name)]
    return choose_depthwise(cfg, models, 2, "fp32", ranks, before or {}), models


def said(choice):
    return " ".join(choice.lines)


def test_what_is_said(monkeypatch):
    monkeypatch.setattr(depthwise, "numba_works", lambda: False)
    choice, _ = choose()
    assert choice.record == {"depthwise": "mirrored"} and not choice.lines
    assert not choose(before={"depthwise": "mirrored"})[0].lines
    choice, [model] = choose(**{"MODEL.DEPTHWISE": "torch"})
    assert choice.ways == "torch" and set(ways_in(model)) == {"torch"}
    assert "by numba's gradients so far" in said(choose(before={"depthwise": "numba"})[0])
    choice, _ = choose(models=[torch.nn.Linear(2, 2)], **ASKED)
    assert not choice.record and "no effect: uniformer_s has no layer" in said(choice)


def test_processes_that_differ_are_named():
    choice, _ = choose(ranks=Beside(way="torch"))
    assert choice.ways == "numba+torch"
    assert "numba's gradients and torch alone" in said(choice)
    assert "MODEL.DEPTHWISE torch" in said(choice)


def test_each_shape_is_measured_once_and_all_models_follow(measured):
    models = [build() for _ in range(2)]  # as with averaged weights
    choice, _ = choose(models=models, **ASKED)
    assert len(measured) == len(set(measured)) and STAGE1 in measured
    for model in models:
        assert ways_in(model) == [
            "torch" if layer.kernel == (3, 5, 5) else "numba"
            for layer in model.modules()
            if isinstance(layer, DepthwiseConv)
        ]
    assert choice.ways == "numba+torch" and choice.measured[STAGE1] == "torch"
    assert "different ways" not in said(choice)  # between processes
    line = next(line for line in choice.lines if STAGE1 in line)
    assert re.search(r"numba 1e\+03, mirrored 1e\+03, torch 500; torch is taken in 1 layer\.", line)


def test_another_process_takes_what_the_main_one_measured(monkeypatch):
    monkeypatch.setattr(build_depthwise, "measure", None)  # which would fail

    shapes = shapes_in(build(), (1, 3, 4, 32, 32), "fp32").values()
    beside = Beside(
        times={shape: {"numba": 2.0, "torch": 1.0} for shape in shapes},
        possible=("numba", "torch"),
    )
    _, [model] = choose(ranks=beside, **ASKED)
    assert set(ways_in(model)) == {"torch"}


def test_what_was_measured_before_is_taken_and_new_shapes_alone_are_measured(measured):
    first, _ = choose(**ASKED)
    before, names = first.record, list(measured)
    measured.clear()
    again, [model] = choose(before=before, **ASKED)
    assert not measured and again.record == before and "torch" in ways_in(model)
    assert re.search(r"as this run has measured before, numba in 4 layers, torch in 2", said(again))
    larger, _ = choose(before=before, **ASKED, **{"DATA.TRAIN_CROP_SIZE": 64})
    assert measured and not set(measured) & set(names)
    assert set(larger.measured) == {*measured, "fp32, 2x4x4x16, 3x3x3"}  # which both have


def test_a_recorded_way_that_is_lost_stops_and_says_how_to_go_on(measured, monkeypatch):
    before = choose(**ASKED)[0].record
    monkeypatch.setattr(depthwise, "numba_works", lambda: False)
    with pytest.raises(ConfigError) as failure:
        choose(before=before, **ASKED)
    told = str(failure.value)
    assert "numba is the fastest" in told and "cpu: mirrored, torch" in told
    assert "uniformer-video[fast]" in told and "MODEL.DEPTHWISE auto or torch" in told
    of_a_gpu = dict.fromkeys(before["depthwise_measured"], "triton")
    with pytest.raises(ConfigError, match=r"triton is the fastest .*cpu: "):
        choose(before={"depthwise_measured": of_a_gpu}, **ASKED)
    choice, [model] = choose(before=before)
    assert set(ways_in(model)) == {"auto"} and choice.record == {"depthwise": "mirrored"}
    assert "so far, and are by torch's convolutions and mirrored kernels" in said(choice)


def test_images_and_frozen_layers(measured):
    choice, _ = choose("image_uniformer_s", **ASKED)
    assert "fp32, 8x8x8, 5x5" in choice.measured
    measured.clear()
    model = build()
    trained = [layer for layer in model.modules() if isinstance(layer, DepthwiseConv)][-1]
    for layer in model.modules():
        if layer is not trained and isinstance(layer, DepthwiseConv):
            layer.weight.requires_grad_(False)
    choose(models=[model], **ASKED)
    assert len(measured) == 1 and set(ways_in(model)[:-1]) == {"auto"}
    trained.weight.requires_grad_(False)
    choice, _ = choose(models=[model], **ASKED)
    assert len(measured) == 1 and "all depthwise convolutions are frozen" in said(choice)
    assert model.training


def test_a_model_that_needs_numbers_cannot_be_measured():
    class Looking(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = DepthwiseConv(3, (3, 3, 3))

        def forward(self, clips):
            return self.conv(clips.movedim(1, -1)).sum().item()

    with pytest.raises(ConfigError, match=r"set MODEL\.DEPTHWISE auto or torch"):
        choose(models=[Looking()], **ASKED)


def test_a_run_goes_on_by_what_it_measured_and_says_when_it_does_not(
    tiny, tmp_path, interrupt_after, measured, caplog, monkeypatch
):
    pytest.importorskip("numba", reason="needs numba (the extra `fast`)")
    caplog.set_level("INFO", "uniformer_video")

    def go(way):
        settings = {"MODEL__DEPTHWISE": way, "EMA__ENABLE": True, "SOLVER__MAX_EPOCH": 2, **SHORT}
        run(load_config(overrides=tiny(**settings)), "tiny")

    with interrupt_after(1), pytest.raises(Interrupted):
        go("measure")
    assert measured
    measured.clear()
    told = read_weights(tmp_path / "run" / "last.pt").metadata["training"]
    assert told["depthwise"] == "numba+torch"
    assert set(told["depthwise_measured"].values()) == {"numba", "torch"}
    with monkeypatch.context() as patch:
        patch.setattr(depthwise, "numba_works", lambda: False)
        with pytest.raises(ConfigError, match="this run has measured that numba"):
            go("measure")
    with interrupt_after(2), pytest.raises(Interrupted):
        go("measure")
    assert not measured and "as this run has measured before" in caplog.text
    assert "computed by" not in caplog.text
    go("torch")
    assert "computed by numba's gradients and torch alone so far" in caplog.text
    of_torch = read_weights(tmp_path / "run" / "last.pt").metadata["training"]
    assert of_torch["depthwise"] == "torch" and "depthwise_measured" not in of_torch


@pytest.mark.slow
def test_of_two_processes_the_main_one_measures_for_both(tiny, tmp_path):
    given = tiny(MODEL__DEPTHWISE="measure", NUM_GPUS=2, SOLVER__MAX_EPOCH=1, **SHORT)
    (empty := tmp_path / "empty.yaml").write_text("")
    launches = by_hand(2, [ROOT / "tools" / "run_net.py", "--cfg", empty, *given], tmp_path / "log")
    try:
        assert [launch.wait() for launch in launches] == [0, 0], launches[0].text
    finally:
        for launch in launches:
            launch.kill()
    assert launches[0].text.count("MODEL.DEPTHWISE measure: forward pass") == 1
    assert "measure" not in launches[1].text
    told = read_weights(tmp_path / "run" / "last.pt").metadata["training"]
    assert (
        told["depthwise_measured"]
        and "+".join(sorted(set(told["depthwise_measured"].values()))) == told["depthwise"]
    )
