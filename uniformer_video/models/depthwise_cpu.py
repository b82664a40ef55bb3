"""Depthwise convolution on a CPU, with gradients that are several times as fast as torch's own.

The forward pass is torch's. The gradient for the tokens is the forward pass of the output's gradient with the
mirrored kernel, which torch computes ten times as fast as its own form of that gradient. That of the weights
is made by the loops of `depthwise_loop.py`, where numba is installed (the extra `fast`), else by torch.
`benchmarks/README.md` has what was measured.
"""

import functools
import importlib.util
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor, library
from torch.nn import functional as F

from uniformer_video.program import install
from uniformer_video.words import one_line

log = logging.getLogger(__name__)

# The weight's gradient is made in parts, side by side: at most so many, of at least so many products.
_PARTS, _WORTH_A_PART = 32, 4_000_000

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def convolve(
    tokens: Tensor, weight: Tensor, bias: Tensor | None, kernel: tuple[int, ...]
) -> Tensor:
    """torch's convolution of `[B, *grid, C]` -> `[B, *grid, C]`, contiguous, as `depthwise_conv` says."""
    features = tokens.movedim(-1, 1)  # [B, C, *grid], a view: in torch's words channels-last
    padding = tuple(size // 2 for size in kernel)
    features = _CONV[len(kernel)](features, weight, bias, padding=padding, groups=len(weight))
    return features.movedim(1, -1).contiguous()


class DepthwiseOnCpu(torch.autograd.Function):
    """`apply(tokens, weight, bias, kernel, dtype, by_numba)`: `[B, *grid, C]` -> that shape, zeros around.

    weight: `[C, 1, *kernel]`; bias: `[C]` or None; kernel: its odd sides. All is computed in `dtype`, which
    is that of the output too. by_numba: the gradient of the weight, where numba works. There is no second
    derivative.
    """

    @staticmethod
    def forward(
        ctx: Any,
        tokens: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        kernel: tuple[int, ...],
        dtype: torch.dtype,
        by_numba: bool,
    ) -> Tensor:
        ctx.kernel, ctx.dtypes, ctx.by_numba = kernel, (tokens.dtype, weight.dtype), by_numba
        tokens, weight = tokens.to(dtype), weight.to(dtype)
        ctx.save_for_backward(tokens, weight)
        with torch.autocast("cpu", enabled=False):
            return convolve(tokens, weight, None if bias is None else bias.to(dtype), kernel)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight = ctx.saved_tensors
        for_tokens = for_weight = for_bias = None
        gradient = gradient.contiguous()
        if ctx.needs_input_grad[0]:
            mirrored = weight.flip([*range(2, weight.dim())])
            for_tokens = convolve(gradient, mirrored, None, ctx.kernel).to(ctx.dtypes[0])
        if ctx.needs_input_grad[1]:
            sums = weight_gradient(tokens, gradient, ctx.kernel, ctx.by_numba)
            for_weight = sums.to(ctx.dtypes[1])
        if ctx.needs_input_grad[2]:
            sums = gradient.flatten(0, -2).sum(0, dtype=_summed_in(gradient))
            for_bias = sums.to(ctx.dtypes[1])
        return for_tokens, for_weight, for_bias, None, None, None


def _summed_in(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def weight_gradient(
    tokens: Tensor, gradient: Tensor, kernel: Sequence[int], by_numba: bool
) -> Tensor:
    """The gradient of a depthwise convolution for its weight, `[C, 1, *kernel]`, in float32 or wider.

    tokens, gradient: the input and the output's gradient, `[B, *grid, C]`. by_numba: by a compiled loop
    where that works, else by torch. With p = kernel // 2 and zeros around the grid, of each channel

        gradient_of_weight[k] = sum over places x of gradient[x] * tokens[x + k - p].

    An operator of torch of its own, which a compiler takes as it is.
    """
    gradient_of: Callable[..., Tensor] = torch.ops.uniformer_video.depthwise_weight_gradient
    return gradient_of(tokens, gradient, list(kernel), by_numba)


def _weight_gradient(tokens: Tensor, gradient: Tensor, kernel: list[int], by_numba: bool) -> Tensor:
    dtype = _summed_in(tokens)
    if not (by_numba and numba_works()):
        return _by_torch(tokens, gradient, kernel).to(dtype)
    sides = (*[1] * (3 - len(kernel)), *kernel)  # a picture is a video of one frame
    channels = tokens.shape[-1]
    tokens, gradient = (_as_loops_take_it(values) for values in (tokens, gradient))
    sums = _sums_of_parts(tokens, gradient, sides).sum(0)
    weights = torch.from_numpy(sums).to(dtype).movedim(-1, 0)[:channels]
    return weights.reshape(channels, 1, *kernel).contiguous()


def _like_weight_gradient(
    tokens: Tensor, gradient: Tensor, kernel: list[int], by_numba: bool
) -> Tensor:
    return tokens.new_empty((tokens.shape[-1], 1, *kernel), dtype=_summed_in(tokens))


# What torch's `custom_op` does; but calling one of those imports the compiler, of 65 MB and a second.
_OPERATOR = "uniformer_video::depthwise_weight_gradient"
library.define(
    _OPERATOR,
    "(Tensor tokens, Tensor gradient, SymInt[] kernel, bool by_numba) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)
library.impl(_OPERATOR, "default", _weight_gradient)
library.register_fake(_OPERATOR, _like_weight_gradient)


def _by_torch(tokens: Tensor, gradient: Tensor, kernel: list[int]) -> Tensor:
    inputs = [values.movedim(-1, 1) for values in (tokens, gradient)]
    if tokens.dtype == torch.bfloat16:
        # Up to torch 2.13 this gradient reads memory that was never written where memory is channels-last and
        # the grid a few pixels wide; it then changes from call to call, or is not finite.
        inputs = [values.contiguous() for values in inputs]
    features, gradient = inputs
    channels, axes = features.shape[1], len(kernel)
    weight = features.new_empty((channels, 1, *kernel))
    padding = [side // 2 for side in kernel]
    geometry = ([1] * axes, padding, [1] * axes, False, [0] * axes, channels)
    mask = [False, True, False]
    return torch.ops.aten.convolution_backward(gradient, features, weight, None, *geometry, mask)[1]


def _as_loops_take_it(values: Tensor) -> Tensor:
    """`[B, *grid, C]` -> `[B, T, H, W, C]`, contiguous, of a type and with channels that the loops can take.

    Zeros fill up the channels to a multiple of `LANES`.
    """
    from uniformer_video.models.depthwise_loop import LANES

    dtype = values.dtype if values.dtype == torch.bfloat16 else _summed_in(values)
    values = values.to(dtype).reshape(len(values), *[1] * (5 - values.dim()), *values.shape[1:])
    if uneven := -values.shape[-1] % LANES:
        values = F.pad(values, (0, uneven))
    return values.contiguous()


def _sums_of_parts(tokens: Tensor, gradient: Tensor, sides: tuple[int, ...]) -> np.ndarray:
    """What each part of the rows adds to the gradient, `[parts, *sides, C]`, float64.

    How many parts there are depends on the shapes alone, so that the number of threads changes no bit.
    """
    samples, *grid, channels = tokens.shape
    rows = samples * grid[0] * grid[1]
    parts = max(1, min(_PARTS, rows, tokens.numel() * math.prod(sides) // _WORTH_A_PART))
    sums = np.zeros((parts, *sides, channels))
    flat = [_as_numbers(values) for values in (tokens, gradient)]
    type_of_products = flat[0].dtype if flat[0].dtype != np.uint16 else np.dtype(np.float32)
    add_rows, shifts = _compiled(), tuple(range(sides[-1]))

    def add(part: int) -> None:
        own = rows * part // parts, rows * (part + 1) // parts
        add_rows(
            *flat, tuple(grid), own, shifts, np.zeros(sums.shape[1:], type_of_products), sums[part]
        )

    _run_side_by_side([functools.partial(add, part) for part in range(parts)])
    return sums


def _as_numbers(values: Tensor) -> np.ndarray:
    """All of a contiguous tensor, flat; of bfloat16, which numpy lacks, the bits as uint16."""
    if values.dtype == torch.bfloat16:
        return values.view(torch.int16).numpy().reshape(-1).view(np.uint16)
    return values.numpy().reshape(-1)


def _compiled() -> Callable[..., None]:
    """The loops over rows; each type and each width of a kernel is compiled when it first comes."""
    from uniformer_video.models.depthwise_loop import add_rows

    return add_rows


@functools.cache
def numba_works() -> bool:
    """Whether the compiled loop runs and is right; else the log says once why, and torch computes."""
    if importlib.util.find_spec("numba") is None:
        log.info(
            "Gradients of depthwise convolutions are computed by torch; numba does it faster: %s",
            install("fast"),
        )
        return False
    try:
        from numba import config

        if config.DISABLE_JIT:
            raise RuntimeError("it compiles nothing where NUMBA_DISABLE_JIT is set")
        ones = torch.ones(1, 1, 2, 3, 16)
        sums = _sums_of_parts(ones, ones, (1, 1, 3)).sum(0)
        # 2 rows of 2, 3 and 2 pairs of neighbours
        right = bool((sums[0, 0] == [[4], [6], [4]]).all())
    except Exception as error:  # of a compiler: many kinds
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
    else:
        if right:
            return True
        reason = "its result is wrong on this processor"
    log.warning(
        "Gradients of depthwise convolutions are computed by torch, as numba failed: %s", reason
    )
    return False


def _run_side_by_side(tasks: list[Callable[[], None]]) -> None:
    """Run all by as many threads as torch uses."""
    threads = min(torch.get_num_threads(), len(tasks))
    if threads == 1:
        for task in tasks:
            task()
        return
    for done in [_pool(threads).submit(task) for task in tasks]:
        done.result()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="depthwise")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # its threads stay in the parent
