"""Which way of a depthwise convolution is the fastest, for the shapes that a training has."""

import pytest
import torch

from uniformer_video.models.layers import DepthwiseConv
from uniformer_video.training import depthwise_times, turns
from uniformer_video.training.depthwise_times import Shape, fastest, measure, shapes_in
from uniformer_video.zoo.create import build_network

CPU = torch.device("cpu")
SHAPE = Shape((2, 3, 3), 4, (3, 3, 3), "bf16")


def test_shapes_are_found_without_numbers():
    model = build_network("uniformer_xxs", 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = shapes_in(model, (1, 3, 4, 32, 32), "fp32")
    layers = [name for name, layer in model.named_modules() if isinstance(layer, DepthwiseConv)]
    assert list(found) == layers and model.training
    expected = {}

    def note(layer, inputs, name):
        _, *grid, channels = inputs[0].shape
        expected[name] = Shape(tuple(grid), channels, layer.kernel, "fp32")

    for name in layers:
        model.get_submodule(name).register_forward_pre_hook(
            lambda layer, inputs, name=name: note(layer, inputs, name)
        )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not expected
    model.eval()(torch.zeros(1, 3, 4, 32, 32))
    assert found == expected


@pytest.fixture
def clock(monkeypatch):
    """A clock of the works' own: every convolution by a way takes as long as it says here, in turn."""
    taken, asked = {"numba": [9, 2, 3, 2, 2, 2], "torch": [1, 4, 4, 4, 1, 4]}, []
    own = depthwise_times.depthwise_conv
    now = [0.0]

    def convolve(tokens, weight, bias, kernel, way):
        now[0] += taken[way][sum(other == way for other, _ in asked)]
        asked.append((way, len(tokens)))
        return own(tokens, weight, bias, kernel, "torch")

    monkeypatch.setattr(depthwise_times, "depthwise_conv", convolve)
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    return asked


def test_ways_take_turns_and_the_least_counts(clock):
    before = torch.get_rng_state()
    found = measure(SHAPE, 2, CPU, ("numba", "torch"))
    assert found == {"numba": 1.0, "torch": 0.5}  # of two clips; the first round does not count
    assert clock == [("numba", 2), ("torch", 2)] * 6
    assert torch.equal(torch.get_rng_state(), before)


def test_short_works_get_more_rounds(clock, monkeypatch):
    monkeypatch.setattr(depthwise_times, "_SECONDS", 18)
    monkeypatch.setattr(depthwise_times, "_ROUNDS", 1)
    assert measure(SHAPE, 1, CPU, ("numba", "torch")) == {"numba": 2.0, "torch": 4.0}
    assert len(clock) == 2 * 2 * 3  # rounds of 6 s, each after one that does not count


def test_a_large_layer_gets_few_clips(clock, monkeypatch):
    monkeypatch.setattr(depthwise_times, "_VALUES", {"cpu": 5 * 3 * 3 * 4})
    measure(SHAPE, 8, CPU, ("torch",))
    assert {batch for _, batch in clock} == {2}
    monkeypatch.setattr(depthwise_times, "_VALUES", {"cpu": 1})
    clock.clear()
    measure(SHAPE, 8, CPU, ("torch",))
    assert {batch for _, batch in clock} == {1}


def test_the_fastest_known_keeps_its_place_among_equals():
    assert fastest({"numba": 1.0, "mirrored": 0.96, "torch": 2.0}) == "numba"
    assert fastest({"numba": 1.0, "mirrored": 0.94, "torch": 0.9}) == "torch"
    assert fastest({"torch": 1.0}) == "torch"


def test_each_way_is_what_a_layer_is_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(
        depthwise_times,
        "depthwise_conv",
        lambda tokens, weight, bias, kernel, way: asked.append(way) or tokens * weight.sum() + bias,
    )
    for work in depthwise_times.layer_work(SHAPE, 2, CPU, ("torch", "mirrored")).values():
        work()
    assert asked == ["torch", "mirrored"]


def test_works_are_timed_by_the_clock_that_is_given():
    ticks = iter([0, 5, 8, 10, 14])
    assert turns.in_turn({"one": lambda: None}, CPU, 2, lambda: next(ticks)) == {"one": [3, 4]}
