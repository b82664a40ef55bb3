"""Synchronised BatchNorm: several processes compute what one does with the joined batch."""

import pytest
import torch
from joined_norms import CASES, STEPS, batches, make_norm, pass_through
from processes import ROOT, by_hand
from torch import nn

from uniformer_video.models.sync_batch_norm import SYNCHRONISED, synchronise
from uniformer_video.training.precise_statistics import recompute_statistics

SCRIPT = ROOT / "tests/support/joined_norms.py"


def joined(tmp_path_factory, size, device):
    folder = tmp_path_factory.mktemp("joined")
    launches = by_hand(size, [SCRIPT, folder / "found", device], folder / "log")
    try:
        for launch in launches:
            assert launch.wait() == 0, launch.text
    finally:
        for launch in launches:
            launch.kill()
    return [torch.load(f"{folder}/found.{rank}") for rank in range(size)]


@pytest.fixture(
    scope="module",
    params=[
        (2, "cpu"),
        (3, "cpu"),
        pytest.param((2, "cuda"), marks=pytest.mark.gpu),
    ],
    ids=lambda param: f"{param[0]} processes on {param[1]}",
)
def found(request, tmp_path_factory):
    """[rank] -> what that process found."""
    return joined(tmp_path_factory, *request.param)


def assert_close(found, expected):
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", CASES)
def test_outputs_gradients_and_statistics_are_those_of_the_joined_batch(found, name):
    model = make_norm(name)
    for step, parts in enumerate(batches(name, len(found))):
        expected = pass_through(model, torch.cat(parts))
        passes = [process[name]["passes"][step] for process in found]
        for key in ("output", "input"):
            assert_close(torch.cat([part[key].cpu() for part in passes]), expected[key])
        for key, gradient in expected["gradients"].items():
            assert_close(sum(part["gradients"][key].cpu() for part in passes), gradient)
    for process in found:
        state = process[name]["state"]
        for key, value in model.state_dict().items():
            assert_close(state[key], value)
            assert torch.equal(state[key], found[0][name]["state"][key])  # ranks are equal
    if "0.num_batches_tracked" in model.state_dict():
        assert model[0].num_batches_tracked == STEPS
    assert_close(
        found[0][name]["evaluated"], model.eval()(batches(name, len(found))[0][0]).detach()
    )


WITH_STATISTICS = [name for name in CASES if name != "without statistics"]


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_the_runs_statistics_count_a_joined_batch_once(found, name):
    model = make_norm(name)
    parts = batches(name, len(found))
    model(torch.cat(parts[0]))
    for process in found:
        for key, value in model.state_dict().items():
            assert_close(process[name]["folded"][key], value)


@pytest.mark.parametrize("name", WITH_STATISTICS)
def test_measured_statistics_count_each_value_once(found, name):
    model = make_norm(name)
    parts = batches(name, len(found))
    model(torch.cat(parts[0]))
    clips = [torch.cat(step) for step in parts]
    count = recompute_statistics(model, clips)
    for process in found:
        assert process[name]["measured"][0] == count
        for key, value in model.state_dict().items():
            assert_close(process[name]["measured"][1][key], value)


def test_what_is_spared_or_of_another_class_stays_as_it_is():
    class Own(nn.BatchNorm2d):
        pass

    model = nn.Sequential(nn.BatchNorm2d(4), nn.Sequential(nn.BatchNorm3d(4), Own(4)))
    spared, weight = model[0], model[1][0].weight
    assert synchronise(model, torch.device("cpu"), {spared}) == (1, ["1.1"])
    assert model[0] is spared and type(model[1][1]) is Own
    assert isinstance(model[1][0], SYNCHRONISED) and model[1][0].weight is weight
    clips = torch.randn(3, 4, 2, 2, 2)
    plain = nn.BatchNorm3d(4)
    assert torch.equal(model[1][0](clips), plain(clips))  # in one process it is plain
    assert torch.equal(model[1][0].running_var, plain.running_var)
