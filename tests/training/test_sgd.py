"""SGD is torch's, also where a step is left out, and a run with it is one run however it is cut up."""

import copy
import itertools

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.training.optim import SGD, parameter_groups
from uniformer_video.training.trainer import Trainer
from uniformer_video.weights.checkpoint import read_weights

KINDS = [
    {"momentum": 0.9, "dampening": 0.0, "nesterov": True},
    {"momentum": 0.9, "dampening": 0.0, "nesterov": False},
    {"momentum": 0.8, "dampening": 0.3, "nesterov": False},
    {"momentum": 0.0, "dampening": 0.3, "nesterov": False},
]


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 7), torch.nn.BatchNorm1d(7), torch.nn.Linear(7, 3)
    )


def go(optimizer, network, steps, skipped=()):
    """Steps with drawn gradients; those of the numbers in `skipped` have infinite ones, and the flag."""
    for number in steps:
        generator = torch.Generator().manual_seed(number)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if number in skipped:
                parameter.grad.fill_(float("inf"))
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + number)
        optimizer.found_inf = torch.tensor(float(number in skipped))
        optimizer.step()


def reference(network, kind, steps):
    optimizer = torch.optim.SGD(parameter_groups(network, 0.05), lr=0.0, foreach=False, **kind)
    for number in steps:
        generator = torch.Generator().manual_seed(number)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + number)
        optimizer.step()


def uninitialised(monkeypatch):
    """Memory that nobody has filled holds NaN."""
    for name in ("empty_like", "empty"):
        original = getattr(torch, name)
        monkeypatch.setattr(
            torch,
            name,
            lambda *args, make=original, **more: make(*args, **more).fill_(float("nan")),
        )


@pytest.mark.parametrize("skipped", [(), (0,), (0, 1, 3)], ids=["all", "first", "several"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_is_torchs_over_the_steps_that_are_taken(kind, skipped, monkeypatch):
    ours, theirs = model(), model()
    reference(theirs, kind, [number for number in range(6) if number not in skipped])
    uninitialised(monkeypatch)
    optimizer = SGD(parameter_groups(ours, 0.05), **kind)
    go(optimizer, ours, range(6), skipped)
    for found, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
def test_a_first_step_that_is_left_out_leaves_no_trace(kind, monkeypatch):
    uninitialised(monkeypatch)
    network, before = model(), model()
    optimizer = SGD(parameter_groups(network, 0.05), **kind)
    go(optimizer, network, [0], skipped=(0,))
    for parameter, known in zip(network.parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, known)
        assert torch.equal(optimizer.state[parameter]["momentum_buffer"], torch.zeros_like(known))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_it_goes_on_from_its_state_to_the_bit(kind):
    whole, first = model(), model()
    uncut = SGD(parameter_groups(whole, 0.05), **kind)
    go(uncut, whole, range(6), skipped=(0,))
    cut = SGD(parameter_groups(first, 0.05), **kind)
    go(cut, first, range(3), skipped=(0,))
    second = copy.deepcopy(first)
    resumed = SGD(parameter_groups(second, 0.05), **kind)
    resumed.load_state_dict(copy.deepcopy(cut.state_dict()))
    go(resumed, second, range(3, 6))
    for found, expected in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(found, expected)


STEPWISE = {
    "SOLVER__OPTIMIZING_METHOD": "sgd",
    "SOLVER__BASE_LR": 0.05,
    "SOLVER__LR_POLICY": "steps_with_relative_lrs",
    "SOLVER__STEPS": "[0,1.5]",
    "SOLVER__LRS": "[1,0.1]",
    "BN__MOMENTUM": 0.3,
    "NUM_GPUS": 2,
    "TEST__ENABLE": False,
}
DAMPENED = {"SOLVER__NESTEROV": False, "SOLVER__DAMPENING": 0.2}


@pytest.mark.parametrize("changes", [{}, DAMPENED], ids=["nesterov", "dampened"])
def test_a_run_that_leaves_out_its_first_step_and_is_stopped_is_the_uninterrupted_one(
    changes, tiny, tmp_path, monkeypatch, interrupt_after
):
    rates, update = [], Trainer._update

    def poisoned(self, progress, rows):
        rates.append(self.state.optimizer.param_groups[0]["lr"])
        if self.finished_steps == 0:
            rows = rows.clone()
            rows[:] = float("nan")
        return update(self, progress, rows)

    monkeypatch.setattr(Trainer, "_update", poisoned)
    last = []
    for name, stops in (("whole", [None]), ("cut", [1, 2, None])):
        cfg = load_config(overrides=tiny(**STEPWISE, **changes, OUTPUT_DIR=tmp_path / name))
        for stop in stops:
            if stop is None:
                run(cfg, "tiny")
            else:
                with interrupt_after(stop), pytest.raises(Interrupted):
                    run(cfg, "tiny")
        last.append(read_weights(tmp_path / name / "last.pt"))
    steps = len(rates) // 2
    assert rates[:steps] == rates[steps:]
    first, second = (
        [
            value
            for state in part.training["optimizer"]["state"].values()
            for value in state.values()
        ]
        for part in last
    )
    tensors = itertools.chain(
        zip(first, second, strict=True),
        zip(last[0].state.values(), last[1].state.values(), strict=True),
    )
    assert all(torch.equal(a, b) and a.isfinite().all() for a, b in tensors)
    assert any(value.any() for value in first)
    assert last[0].state["norm.num_batches_tracked"] == 2 * (steps - 1)
