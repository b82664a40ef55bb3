"""Which arithmetic a run uses, and autocast for it."""

from collections.abc import Callable
from functools import partial

import torch

from uniformer_video.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(precision: str, device: torch.device) -> str:
    """ "auto" -> "bf16" on a CUDA device that has it, else "fp32"; other names as they are."""
    if precision != "auto":
        if precision == "fp16" and device.type != "cuda":
            raise ConfigError(
                "fp16 needs a CUDA device (TRAIN.PRECISION, TEST.PRECISION, --precision); use bf16, "
                "fp32 or auto"
            )
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def autocast_for(precision: str, device: torch.device) -> Callable[[], torch.autocast]:
    """A function that returns the autocast context of "fp32", "bf16" or "fp16"."""
    enabled = precision != "fp32"
    dtype = DTYPES[precision] if enabled else None
    return partial(torch.autocast, device.type, dtype=dtype, enabled=enabled)
