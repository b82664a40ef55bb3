"""BatchNorm's statistics, measured over all clips."""

import copy

import pytest
import torch
from torch import nn

from tests.support.same import assert_same
from uniformer_video.models.layers import TokenBatchNorm
from uniformer_video.training.batch_statistics import BatchStatistics
from uniformer_video.training.precise_statistics import recompute_statistics


def _model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.BatchNorm3d(3), nn.Dropout(0.5), nn.Flatten(1), nn.Linear(24, 5), nn.BatchNorm1d(5)
    ).train()


def _batches(*sizes):
    torch.manual_seed(1)
    return [3 + 2 * torch.randn(size, 3, 2, 2, 2) for size in sizes]


def _statistics(layer):
    return layer.running_mean, layer.running_var


def test_they_are_those_of_all_clips_each_counted_once():
    model, batches = _model(), _batches(4, 2, 7)
    assert recompute_statistics(model, batches) == 13
    values = torch.cat(batches).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(model[0].running_mean, values.mean(1).float(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(model[0].running_var, values.var(1).float(), rtol=1e-6, atol=1e-6)


def test_a_later_layer_sees_batches_that_are_normalised_by_themselves_and_no_dropout():
    model, batches = _model(), _batches(4, 2, 7)
    recompute_statistics(model, batches)
    first = nn.BatchNorm3d(3).train()
    seen = torch.cat([model[3](first(batch).flatten(1)) for batch in batches])
    torch.testing.assert_close(model[4].running_mean, seen.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model[4].running_var, seen.var(0), rtol=1e-5, atol=1e-6)


def test_the_rest_of_the_model_is_left_as_it_is():
    model = _model()
    model(_batches(4)[0]).sum().backward()
    model[0].eval()  # frozen
    before = copy.deepcopy(model)
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    batches, state = _batches(4, 4), torch.random.get_rng_state()
    recompute_statistics(model, batches)
    assert [module.training for module in model.modules()] == [m.training for m in before.modules()]
    assert_same([*model.parameters()], [*before.parameters()])
    assert_same([parameter.grad for parameter in model.parameters()], gradients)
    assert_same(torch.random.get_rng_state(), state)
    assert_same(model[0].state_dict(), before[0].state_dict())
    assert model[4].num_batches_tracked == before[4].num_batches_tracked
    assert not torch.equal(model[4].running_mean, before[4].running_mean)


def test_channels_may_stand_last():
    torch.manual_seed(2)
    tokens = 5 + 3 * torch.randn(4, 3, 3, 3, 3)
    layer = TokenBatchNorm(3).train()
    recompute_statistics(layer, tokens.split([1, 3]))
    torch.testing.assert_close(layer.running_mean, tokens.flatten(0, -2).mean(0))
    torch.testing.assert_close(layer.running_var, tokens.flatten(0, -2).var(0))
    assert layer.momentum == 0.1


def test_without_layers_in_training_mode_no_batch_is_read():
    def refuse():
        raise AssertionError
        yield

    assert recompute_statistics(_model().eval(), refuse()) == 0


def test_without_batches_they_stay():
    model = _model()
    before = copy.deepcopy(model.state_dict())
    assert recompute_statistics(model, []) == 0
    assert_same(model.state_dict(), before)


def test_after_an_error_they_are_as_before():
    model = _model()
    before = copy.deepcopy(model.state_dict())

    def batches():
        yield from _batches(4)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        recompute_statistics(model, batches())
    assert_same(model.state_dict(), before)


def test_old_values_that_are_not_finite_are_gone():
    model = _model()
    model[0].running_mean.fill_(float("nan"))
    recompute_statistics(model, _batches(4))
    assert all(torch.isfinite(value).all() for value in _statistics(model[0]))


def test_a_large_mean_costs_no_digits():
    model = nn.BatchNorm3d(3).train()
    (clips,) = _batches(8)
    recompute_statistics(model, [4096 + clips])
    torch.testing.assert_close(
        model.running_var, clips.transpose(0, 1).flatten(1).var(1), rtol=1e-3, atol=0
    )


def test_it_works_within_a_training():
    alone, within = _model(), _model()
    recompute_statistics(alone, _batches(4, 4))
    with BatchStatistics(within).attach():
        recompute_statistics(within, _batches(4, 4))
    assert_same(within.state_dict(), alone.state_dict())


def test_processes_that_share_the_batches_get_the_same():
    alone, *parts = _model(), _model(), _model()
    batches = _batches(4, 2, 7)
    recompute_statistics(alone, batches)
    shares = []

    def note(sums):
        shares.append(sums)
        return sums

    recompute_statistics(parts[0], batches[:1], reduce=note)
    counts = [
        recompute_statistics(parts[1], batches[1:], reduce=lambda sums: sums + shares[0]),
        recompute_statistics(parts[0], [], reduce=lambda _: torch.zeros_like(shares[0])),
    ]
    assert counts == [13, 0]
    for now, then in zip(_statistics(parts[1][0]), _statistics(alone[0]), strict=True):
        torch.testing.assert_close(now, then, rtol=1e-6, atol=0)


def test_another_forward_pass_may_be_given():
    model = _model()
    assert recompute_statistics(model, _batches(4), forward=lambda clips: model[0](2 * clips)) == 4
    (clips,) = _batches(4)
    torch.testing.assert_close(model[0].running_mean, 2 * clips.mean((0, 2, 3, 4)))
    assert torch.equal(model[4].running_mean, torch.zeros(5))  # not reached
