"""Depthwise convolution of channels-last tokens: every channel has a kernel of its own.

All ways give the same numbers but for rounding: on CUDA devices the Triton kernels of `depthwise_op.py`,
where they can be compiled and take the data type and the kernel's size; in training on a CPU torch's
convolution with the gradients of `depthwise_cpu.py`; else torch's convolution. `way_of` chooses.
"""

import functools
import importlib.util
import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from uniformer_video.models.depthwise_cpu import DepthwiseOnCpu, convolve, numba_works
from uniformer_video.words import one_line

log = logging.getLogger(__name__)

TRITON, NUMBA, MIRRORED, TORCH = WAYS = ("triton", "numba", "mirrored", "torch")
AUTO = "auto"
# The ways of each kind of device, the fastest first, as measured on one GPU and on processors with AVX-512 or
# AVX2 (`benchmarks/README.md`). One order for all data types, kernels and shapes, since the first of them won
# for each. "mirrored" is ours without a compiled loop.
_BY_SPEED = {"cuda": (TRITON, TORCH), "cpu": (NUMBA, MIRRORED, TORCH)}


def depthwise_conv(
    tokens: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel: Sequence[int],
    way: str = AUTO,
) -> Tensor:
    """Convolve `[B, *grid, C]` -> `[B, *grid, C]`, contiguous; zeros around the grid keep its size.

    kernel: its size, an odd number for each axis of the grid, (T, H, W) or (H, W). weight: `[C, 1, *kernel]`.
    bias: `[C]` or None. way: one of `WAYS`, or `AUTO`; what it comes to, `way_of` says.
    """
    dtype, sides = _computed_in(tokens), tuple(kernel)
    learns = tokens.device.type == "cpu" and torch.is_grad_enabled()
    # A trace (`torch.jit.trace`), as it is made to count FLOPs or to export, needs torch's own operations.
    if way != TORCH and not torch.jit.is_tracing():
        if tokens.is_cuda and way_of(way, tokens.device, dtype, sides) == TRITON:
            return _by_kernels(tokens, weight, bias, sides, dtype)
        if learns:  # whether numba works is asked by the backward pass, the first to need it
            return DepthwiseOnCpu.apply(tokens, weight, bias, sides, dtype, way != MIRRORED)
    if tokens.is_cuda or (learns and dtype == torch.bfloat16):
        # In the plain layout: for channels-last cuDNN takes up to fifty times as long, and on a CPU torch's
        # gradients in bfloat16 are wrong, see `depthwise_cpu.py`.
        tokens = tokens.movedim(-1, 1).contiguous().movedim(1, -1)
    return convolve(tokens, weight, bias, sides)


def way_of(wanted: str, device: torch.device, dtype: torch.dtype, kernel: tuple[int, ...]) -> str:
    """The way in which a training computes a convolution: the `wanted` one, of `WAYS`, where that is possible
    here; else, and for `AUTO`, the fastest known.
    """
    ways = _BY_SPEED.get(device.type, (TORCH,))
    tried = (wanted, *ways) if wanted in ways else ways
    return next(way for way in tried if _is_possible(way, device, dtype, kernel))


# What `torch.compiler.assume_constant_result` does; that imports the compiler, of 70 MB and a second.
way_of._dynamo_marked_constant = True  # type: ignore[attr-defined]


def possible_ways(
    device: torch.device, dtype: torch.dtype, kernel: tuple[int, ...]
) -> tuple[str, ...]:
    """The ways that the device, the data type and the kernel's size allow, the fastest known first.

    torch's own, the last, is among them always. Where one is missing, the log says once why.
    """
    ways = _BY_SPEED.get(device.type, (TORCH,))
    return tuple(way for way in ways if _is_possible(way, device, dtype, kernel))


def _is_possible(
    way: str, device: torch.device, dtype: torch.dtype, kernel: tuple[int, ...]
) -> bool:
    if way == TRITON:
        return _has_kernels(device, dtype, kernel)
    return way != NUMBA or numba_works()


def _computed_in(tokens: Tensor) -> torch.dtype:
    """The data type that torch would compute a convolution in: autocast's, or that of the tokens."""
    if tokens.is_meta or tokens.dtype == torch.float64:  # which autocast leaves alone
        return tokens.dtype
    device = tokens.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tokens.dtype


def _by_kernels(
    tokens: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    kernel: tuple[int, ...],
    dtype: torch.dtype,
) -> Tensor:
    from uniformer_video.models.depthwise_op import Depthwise

    if len(kernel) == 3:
        return Depthwise.apply(tokens, weight, bias, kernel, dtype)
    tokens, weight = tokens.unsqueeze(2), weight.unsqueeze(3)  # [B, H, W, C] -> [B, H, 1, W, C]
    return Depthwise.apply(tokens, weight, bias, _in_three(kernel), dtype).squeeze(2)


def _in_three(kernel: tuple[int, ...]) -> tuple[int, ...]:
    """A kernel's size as (T, H, W). Of (H, W) the rows take the place of time, along which the Triton kernels
    read a token once for several outputs.
    """
    return kernel if len(kernel) == 3 else (kernel[0], 1, kernel[1])


def _has_kernels(device: torch.device, dtype: torch.dtype, kernel: tuple[int, ...]) -> bool:
    """Whether the Triton kernels can be used on the device, for the data type and the kernel's size.

    Where the device cannot run them, the log says once why.
    """
    if dtype not in (torch.float32, torch.bfloat16, torch.float16) or not _triton_works(device):
        return False
    from uniformer_video.models.depthwise_op import fits

    return fits(_in_three(kernel))


@functools.cache
def _triton_works(device: torch.device) -> bool:
    """Whether a small convolution runs and is right: Triton needs a C compiler and a GPU that it supports."""
    if importlib.util.find_spec("triton") is None:
        _say_torch("Triton is not installed")
        return False
    try:
        from uniformer_video.models.depthwise_op import Depthwise

        tokens = torch.ones(1, 2, 3, 3, 16, device=device)
        weight = tokens.new_ones(16, 1, 3, 3, 3)
        middle = Depthwise.apply(tokens, weight, None, (3, 3, 3), tokens.dtype)[0, 0, 1, 1]
        right = bool((middle == 18).all())  # 2 frames x 3 x 3 positions of ones
    except Exception as error:  # of the compiler, the driver or Triton itself: many kinds
        _say_torch(f"Triton failed, {type(error).__name__}: {one_line(error)[:200]}")
        return False
    if not right:
        _say_torch("Triton's result is wrong on this device")
    return right


def _say_torch(reason: str) -> None:
    log.warning("Depthwise convolutions are computed by torch, which is slower: %s.", reason)
