"""2D weights to 3D, and 3D kernels to another length in time.

Source of both inflation rules: Carreira & Zisserman, "Quo Vadis, Action Recognition?" (I3D), section
2, for the average; the centre rule puts the 2D kernel in the middle time step.
"""

import torch
from torch import Tensor

MODES = ("average", "center")


def inflate_kernel(weight: Tensor, time: int, mode: str = "average") -> Tensor:
    """`[O, I, h, w]` -> `[O, I, time, h, w]`.

    "average" repeats the kernel along time and divides by `time`: on a clip of one repeated frame the
    3D convolution then gives what the 2D one gives. "center" keeps it in the middle step, zeros
    elsewhere.
    """
    if mode not in MODES:
        raise ValueError(f"the inflation mode is one of {', '.join(MODES)}, got {mode!r}")
    if mode == "average":
        return weight.unsqueeze(2).repeat(1, 1, time, 1, 1) / time
    inflated = weight.new_zeros(*weight.shape[:2], time, *weight.shape[2:])
    inflated[:, :, time // 2] = weight
    return inflated


def fit_kernel_in_time(weight: Tensor, time: int) -> Tensor:
    """`[O, I, t, h, w]` -> `[O, I, time, h, w]` about the middle step; odd t and time.

    A longer kernel gets zeros around it and computes the same; a shorter one loses its outer steps.
    """
    extra = (time - weight.shape[2]) // 2
    if extra >= 0:
        return torch.nn.functional.pad(weight, (0, 0, 0, 0, extra, extra))
    return weight[:, :, -extra : weight.shape[2] + extra].clone()
