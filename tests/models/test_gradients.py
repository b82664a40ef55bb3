"""Gradients of every parameter, of every kind of model in training, against finite differences."""

import pytest
import torch
from plain_blocks import KINDS, small_input, small_model

STEP = 1e-5


def objective(model, clip):
    """A smooth number that depends on every logit of every head."""
    outputs = torch.cat(model.training_outputs(clip), 1)
    weights = torch.arange(1, outputs.numel() + 1, dtype=outputs.dtype).view_as(outputs).cos()
    return (outputs.sin() * weights).sum()


def vanishing(model):
    """Parameters that batch statistics take out again: what is added to a whole channel before one."""
    arguments = model.arguments
    names = {f"patch_embed{stage}.proj.0.bias" for stage in range(1, 5)} | {
        "patch_embed1.proj.3.bias"
    }
    if not hasattr(model, "cls_token"):
        names.add(f"blocks4.{arguments['depths'][3] - 1}.mlp.fc2.bias")
    return names


def slope(model, clip, parameter, direction):
    """The derivative along `direction`, by central differences."""
    start = parameter.detach().clone()
    values = []
    with torch.no_grad():
        for step in (STEP, -STEP):
            parameter.copy_(start + step * direction)
            values.append(objective(model, clip))
        parameter.copy_(start)
    return (values[0] - values[1]) / (2 * STEP)


@pytest.mark.parametrize("kind", KINDS)
def test_finite_differences(kind):
    model, clip = small_model(kind).train(), small_input(kind, batch=4, frames=3, size=(32, 48))
    objective(model, clip).backward()
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        direction = torch.randn(gradient.shape, dtype=gradient.dtype, generator=generator)
        direction += gradient / gradient.norm().clamp_min(1e-9) * direction.norm()
        direction /= direction.norm()
        expected = (gradient * direction).sum().item()
        found = slope(model, clip, parameter, direction).item()
        assert found == pytest.approx(expected, rel=1e-6, abs=2e-9), name
        if name not in vanishing(model):
            assert gradient.norm() > 1e-5, name


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "light" in kind])
def test_importance_carries_gradients_to_the_blocks_that_made_it(kind):
    """Through the shares of the merged token alone: nothing else tells a key of an earlier block."""
    model, clip = small_model(kind).train(), small_input(kind)
    block = model.blocks3[1]
    tokens = torch.randn(2, *clip.shape[2:3] * (model.ndim - 2), 4, 4, 8, dtype=torch.float64)
    importance = torch.rand(2, tokens[0, ..., 0].numel(), dtype=torch.float64, requires_grad=True)
    cls = torch.randn(2, 1, 8, dtype=torch.float64)
    out, *_ = block(tokens, cls, importance)
    out.square().sum().backward()
    order = importance.detach().argsort(1, descending=True)
    kept, dropped = order.tensor_split([order.shape[1] // 2], 1)
    assert importance.grad.gather(1, kept).count_nonzero() == 0
    assert (importance.grad.gather(1, dropped) != 0).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "light" in kind])
def test_dropped_tokens_carry_gradients(kind):
    model, clip = small_model(kind).train(), small_input(kind)
    clip.requires_grad_(True)
    model(clip).square().sum().backward()
    assert (clip.grad.abs().amax(1) > 0).all()
