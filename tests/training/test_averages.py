"""The moving average of the weights, step by step."""

import copy

import pytest
import torch
from same import assert_same
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_module
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.training.averages import AveragedWeights
from uniformer_video.training.state import Progress, TrainState

DECAY = 0.75


def make_state(warmup=False, decay=DECAY, device="cpu"):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainState(
        model=model,
        network=model,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        parts={"ema": AveragedWeights(model, decay, warmup)},
    )


def take_step(state, taken=True):
    device = state.model[0].weight.device
    if taken:
        state.model(torch.randn(4, 2, device=device)).square().sum().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
    state.after_step(torch.full((), taken, device=device))


def average_of(state):
    return copy.deepcopy(state.tested_weights()["ema"])


def test_it_is_the_average_of_torch():
    state = make_state()
    reference = AveragedModel(state.model, avg_fn=get_ema_avg_fn(DECAY), use_buffers=True)
    for _ in range(5):
        take_step(state)
        reference.update_parameters(state.model)
        for (key, value), (_, expected) in zip(
            average_of(state).items(), reference.module.state_dict().items(), strict=True
        ):
            if value.is_floating_point():
                torch.testing.assert_close(value, expected)
            else:
                assert value == state.model.state_dict()[key]  # an integer is copied


def test_without_a_warm_up_it_is_the_published_average():
    """e <- d e + (1 - d) w after every step, buffers included; from the weights of the first step on.

    The published average starts at the weights before it. What that leaves is `d ** n` of the first step.
    """
    decay = 0.99996
    state = make_state(decay=decay)
    before = {key: value.double() for key, value in copy.deepcopy(state.model.state_dict()).items()}
    from_first, from_before = None, before
    for _ in range(60):
        take_step(state)
        now = {key: value.double() for key, value in state.model.state_dict().items()}
        if from_first is None:
            from_first = first = now
        else:
            from_first = {key: decay * from_first[key] + (1 - decay) * now[key] for key in now}
        from_before = {key: decay * from_before[key] + (1 - decay) * now[key] for key in now}
    averaged = average_of(state)
    for key in ("0.weight", "0.bias", "1.weight", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(averaged[key].double(), from_first[key], rtol=1e-6, atol=1e-7)
        left = decay**60 * (first[key] - before[key])
        torch.testing.assert_close(from_first[key] - from_before[key], left)


def test_a_warm_up_keeps_less_of_the_first_weights():
    state, expected = make_state(warmup=True, decay=0.3), None
    for decay in (0.0, 2 / 11, 3 / 12, 0.3, 0.3):  # (1 + n) / (10 + n), then what is set
        take_step(state)
        now = state.model[0].weight.detach()
        expected = now.clone() if expected is None else decay * expected + (1 - decay) * now
        torch.testing.assert_close(average_of(state)["0.weight"], expected)


@pytest.mark.parametrize("warmup", [True, False])
def test_steps_that_are_left_out_change_nothing_and_count_for_nothing(warmup):
    state, without = make_state(warmup), make_state(warmup)
    torch.manual_seed(1)
    for taken in (False, True, False, False, True, True):
        before = average_of(state)
        take_step(state, taken)
        if not taken:
            assert_same(average_of(state), before)
    torch.manual_seed(1)
    for _ in range(3):
        take_step(without)
    assert_same(average_of(state), average_of(without))
    assert state.parts["ema"].state_dict()["left_out"] == 3


def test_integers_too_stay_where_a_step_is_left_out():
    state = make_state()
    take_step(state)
    before = average_of(state)
    state.model[1].num_batches_tracked.fill_(77)
    take_step(state, taken=False)
    assert_same(average_of(state), before)


def test_it_goes_on_from_what_is_saved():
    state, other = make_state(warmup=True), make_state(warmup=True)
    for taken in (True, False, True):
        take_step(state, taken)
    assert other.load_state_dict(copy.deepcopy(state.state_dict())) == []
    for each in (state, other):
        torch.manual_seed(1)
        take_step(each)
    assert_same(other.state_dict(), state.state_dict())


@pytest.mark.parametrize(
    "changes", [{"steps": -1}, {"steps": 2.0}, {"left_out": 9}, {"steps": "3"}]
)
def test_counts_that_no_training_can_have_are_damage(changes):
    state = make_state()
    saved = state.parts["ema"].state_dict()
    with pytest.raises((TypeError, ValueError)):
        state.parts["ema"].load_state_dict({**saved, **changes})


def test_a_sharded_model_is_refused():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model = make_state().model
        distribute_module(model, init_device_mesh("cpu", (1,)))
        with pytest.raises(ConfigError, match=r"EMA\.ENABLE True needs the whole model"):
            AveragedWeights(model, DECAY, True)
    finally:
        dist.destroy_process_group()


@pytest.mark.gpu
def test_no_step_waits_for_the_device():
    state = make_state(warmup=True, device="cuda")
    take_step(state)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            state.after_step(torch.ones((), dtype=torch.bool, device="cuda").logical_not())
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("decay", ["1", "-0.1", "1.5", "nan", "x"])
def test_a_decay_that_never_moves_is_refused(decay):
    with pytest.raises(ConfigError, match=r"EMA\.DECAY is .*at least 0 and below 1"):
        load_config(overrides=["EMA.ENABLE", "True", "EMA.DECAY", decay])


def test_the_best_of_each_kind_and_of_all():
    progress = Progress(epoch=1)
    assert progress.note_scores({"raw": 0.5, "ema": 0.25}, 1) == {"raw", "ema"}
    assert (progress.best_weights, progress.best_score, progress.best_at) == ("raw", 0.5, 1)
    assert progress.note_scores({"raw": 0.25, "ema": 0.4}, 2) == {"ema"}
    assert (progress.best_weights, progress.best_at) == ("raw", 1)
    progress.epoch = 3
    assert progress.note_scores({"raw": 0.5, "ema": 0.5}, 3) == {
        "raw",
        "ema",
    }  # the average, of equals
    assert (progress.best_weights, progress.best_at) == ("ema", 3)
    assert progress.best_of == {"raw": [0.5, 3], "ema": [0.5, 3]}
    progress.forget_best()
    assert progress == Progress(epoch=3)
