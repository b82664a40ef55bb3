"""Multiply-adds of one view, counted by fvcore with handlers for what it misses."""

import warnings
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape


def count_flops(model: torch.nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of `model` in evaluation mode on an input of `shape` (batch included).

    Linear layers, convolutions, both matrix products of attention, norms, pooling and the resizing of maps
    count (fvcore's convention, which the published figures use); additions and activations do not. The model
    runs once, traced, where its parameters lie; a model on the meta device is an error of torch's tracer.
    """
    return count_by_part(model, shape)[""]


def count_by_part(model: torch.nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """As `count_flops`, of each module by its name; "" is the whole model."""
    was_training = model.training
    sample = torch.zeros(shape, device=next(model.parameters()).device)
    analysis = FlopCountAnalysis(model.eval(), sample)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_flops)
    analysis.uncalled_modules_warnings(False).unsupported_ops_warnings(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # Shapes become constants of the trace, which is what counting wants.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            return dict(analysis.by_module())
    finally:
        model.train(was_training)


def _attention_flops(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """`Q K^T` and its product with `V`: queries `[B, heads, N, D]`, keys `[B, heads, M, D]`."""
    query, key, value = (get_shape(item) for item in inputs[:3])
    return prod(query) * key[-2] + prod(query[:-1]) * key[-2] * value[-1]
