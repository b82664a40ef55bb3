"""Depthwise convolution of channels-last tokens, by the best way on the device at hand.

Every way gives the same numbers but for rounding; `benchmarks/README.md` says what was measured.
"""

import functools
import importlib.util
import logging
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger(__name__)


def depthwise_conv(
    tokens: Tensor, weight: Tensor, bias: Tensor | None, kernel: Sequence[int]
) -> Tensor:
    """`[B, *grid, C]` -> `[B, *grid, C]`, contiguous, "same" zero padding.

    kernel: an odd side for each axis of the grid, (T, H, W) or (H, W). weight: `[C, 1, *kernel]`.
    bias: `[C]` or None.
    """
    dtype = _computed_in(tokens)
    if tokens.is_cuda and _is_plain_run() and _has_kernels(tokens.device, dtype, tuple(kernel)):
        return _by_kernels(tokens, weight, bias, tuple(kernel), dtype)
    features = tokens.movedim(-1, 1)  # the same memory, which torch sees as channels-last
    if tokens.is_cuda or _has_wrong_gradients(tokens, dtype):
        features = features.contiguous()  # cuDNN takes up to fifty times as long for channels-last
    conv = F.conv3d if len(kernel) == 3 else F.conv2d
    padding = tuple(side // 2 for side in kernel)
    features = conv(features, weight, bias, padding=padding, groups=len(weight))
    return features.movedim(1, -1).contiguous()


def _computed_in(tokens: Tensor) -> torch.dtype:
    """The type that torch would compute a convolution in."""
    if tokens.is_meta:  # which has no autocast
        return tokens.dtype
    device = tokens.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tokens.dtype


def _has_wrong_gradients(tokens: Tensor, dtype: torch.dtype) -> bool:
    """Whether torch may read memory that nobody has written for the gradient of a depthwise kernel.

    Up to torch 2.13 it does so on CPUs in bfloat16, in three dimensions, where memory is channels-last and
    the grid is a few pixels wide: the gradient changes from call to call, or is not finite.
    """
    return tokens.device.type == "cpu" and torch.is_grad_enabled() and dtype == torch.bfloat16


def _is_plain_run() -> bool:
    """Whether nobody writes the operations down, to count them or for another runtime."""
    return not torch.jit.is_tracing()


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
    # A picture's rows take the place of time, along which a token is read once for several outputs.
    tokens, weight = tokens.unsqueeze(2), weight.unsqueeze(3)
    kernel = (kernel[0], 1, kernel[1])
    return Depthwise.apply(tokens, weight, bias, kernel, dtype).squeeze(2)


@torch.compiler.assume_constant_result
def _has_kernels(device: torch.device, dtype: torch.dtype, kernel: tuple[int, ...]) -> bool:
    """Whether the Triton kernels take this; a log line says once why they cannot be had."""
    if dtype not in (torch.float32, torch.bfloat16, torch.float16) or not _triton_works(device):
        return False
    from uniformer_video.models.depthwise_op import fits

    return fits((kernel[0], kernel[-2] if len(kernel) == 3 else 1, kernel[-1]))


@functools.cache
def _triton_works(device: torch.device) -> bool:
    """Whether a small convolution gets through: Triton needs a C compiler and a card that it knows."""
    if importlib.util.find_spec("triton") is None:
        _say_torch("Triton is not installed")
        return False
    try:
        from uniformer_video.models.depthwise_op import Depthwise

        tokens = torch.ones(1, 2, 3, 3, 16, device=device)
        weight = tokens.new_ones(16, 1, 3, 3, 3)
        middle = Depthwise.apply(tokens, weight, None, (3, 3, 3), tokens.dtype)[0, 0, 1, 1]
        right = bool((middle == 18).all())
    except Exception as error:  # of the compiler, the driver or Triton itself: many kinds
        _say_torch(f"Triton failed, {type(error).__name__}: {' '.join(str(error).split())[:200]}")
        return False
    if not right:
        _say_torch("Triton's result is wrong on this device")
    return right


def _say_torch(reason: str) -> None:
    log.warning("Depthwise convolutions are computed by torch, which is slower: %s.", reason)
