"""Depthwise convolution by the Triton kernels of `depthwise_kernels.py`, with its gradients.

The forward pass is one `convolve`. In the backward pass the gradient for the tokens is a `convolve` of the
output's gradient with the mirrored kernel, and those for weight and bias come from `correlate`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from uniformer_video.models.depthwise_kernels import convolve, correlate


class Tile(NamedTuple):
    """What one Triton program works on, a block of tokens, and by how many warps.

    times: at most so many positions in time; places: positions in a frame, row by row; channels.
    """

    times: int
    places: int
    channels: int
    warps: int


# The fastest over all shapes that the published models have, see `benchmarks/README.md`.
CONVOLVE, CORRELATE = Tile(8, 8, 64, 4), Tile(8, 16, 32, 4)
# The sum over all tokens is made in so many partial sums, which are added up at the end. A constant, not a
# property of the GPU, so that the order of summation, and with it rounding, does not depend on the GPU.
PARTS = 64
# A program of `correlate` holds a sum in registers for each tap (weight of a kernel) of one row of the
# kernel at all of its times, KT * KW of them. With more taps than this, registers would not suffice.
_MOST_TAPS = 25


def fits(kernel: Sequence[int]) -> bool:
    """Whether the Triton kernels take a convolution of this size, `(KT, KH, KW)`."""
    return kernel[0] * kernel[2] <= _MOST_TAPS


class Depthwise(torch.autograd.Function):
    """`apply(tokens, weight, bias, kernel, dtype)`: `[B, T, H, W, C]` -> the same shape, zeros around.

    weight: `[C, 1, *kernel]`; bias: `[C]` or None; kernel: its odd size `(KT, KH, KW)`. Tokens are converted
    to `dtype`, which is that of the output too; weight and bias stay in their own. There is no second
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
    ) -> Tensor:
        ctx.kernel, ctx.has_bias = kernel, bias is not None
        ctx.dtypes = tokens.dtype, weight.dtype
        tokens = tokens.to(dtype).contiguous()
        taps = weight.flatten(1).t().contiguous()
        ctx.save_for_backward(tokens, taps)
        return _convolve(tokens, taps, bias, kernel, mirror=False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tokens, taps = ctx.saved_tensors
        for_tokens = for_weight = for_bias = None
        gradient = gradient.contiguous()
        if ctx.needs_input_grad[0]:
            for_tokens = _convolve(gradient, taps, None, ctx.kernel, mirror=True).to(ctx.dtypes[0])
        if any(ctx.needs_input_grad[1:3]):
            sums = _correlate(tokens, gradient, ctx.kernel).to(ctx.dtypes[1])
            for_weight = sums[:-1].t().contiguous().view(-1, 1, *ctx.kernel)
            for_bias = sums[-1] if ctx.has_bias else None
        return for_tokens, for_weight, for_bias, None, None


def _convolve(
    tokens: Tensor, taps: Tensor, bias: Tensor | None, kernel: tuple[int, ...], mirror: bool
) -> Tensor:
    """Launch `convolve` on tokens `[B, T, H, W, C]`; the same shape.

    taps: the weights, `[KT * KH * KW, C]`. mirror: reverse the kernel on all axes.
    """
    samples, times, height, width, channels = tokens.shape
    out = torch.empty_like(tokens)
    column = _column(times, CONVOLVE.times)
    grid = (
        triton.cdiv(height * width, CONVOLVE.places),
        triton.cdiv(channels, CONVOLVE.channels),
        samples * triton.cdiv(times, column),
    )
    convolve[grid](
        tokens,
        taps,
        taps if bias is None else bias,
        out,
        times,
        height,
        width,
        channels,
        KERNEL_T=kernel[0],
        KERNEL_H=kernel[1],
        KERNEL_W=kernel[2],
        TIMES=column,
        PLACES=CONVOLVE.places,
        CHANNELS=CONVOLVE.channels,
        MIRROR=mirror,
        HAS_BIAS=bias is not None,
        DOUBLE=tokens.dtype == torch.float64,
        num_warps=CONVOLVE.warps,
    )
    return out


def _correlate(tokens: Tensor, gradient: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Launch `correlate`: the gradients for the taps and, as the last row, for the bias.

    gradient: that of the output, `[B, T, H, W, C]` as the tokens. Gives `[KT * KH * KW + 1, C]`, in float64
    for float64 tokens, else in float32.
    """
    samples, times, height, width, channels = tokens.shape
    double = tokens.dtype == torch.float64
    parts = torch.empty(
        (PARTS, kernel[0] * kernel[1] * kernel[2] + 1, channels),
        dtype=torch.float64 if double else torch.float32,
        device=tokens.device,
    )
    correlate[(triton.cdiv(channels, CORRELATE.channels), kernel[1], PARTS)](
        tokens,
        gradient,
        parts,
        samples,
        times,
        height,
        width,
        channels,
        PARTS=PARTS,
        KERNEL_T=kernel[0],
        KERNEL_H=kernel[1],
        KERNEL_W=kernel[2],
        TIMES=_column(times, CORRELATE.times),
        PLACES=CORRELATE.places,
        CHANNELS=CORRELATE.channels,
        DOUBLE=double,
        num_warps=CORRELATE.warps,
    )
    return parts.sum(0)


def _column(times: int, most: int) -> int:
    """How many positions in time a program has: `times` in columns of about one length, `most` at most.

    12 positions, 8 at most, make two columns of 6, where 8 + 4 would leave half of the second one idle.
    """
    return triton.cdiv(times, triton.cdiv(times, most))
