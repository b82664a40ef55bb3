"""What a machine could do at most: the rate of its matrix products, and the operations of a model."""

import time
from collections.abc import Callable

import torch

from uniformer_video.bench.figures import Figure, Measured
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.training.precision import DTYPES
from uniformer_video.training.turns import wait_for
from uniformer_video.words import one_line

# Rows of the square matrices: a product of 0.1 s on a processor's core, of some ms on a GPU.
_SIDE, _SIDE_ON_GPU = 2048, 8192
RATE = "matrix products, "  # before the precision: the names of these figures
BACKWARD = 2  # times the operations of the forward pass: gradients of what goes in, and of weights


def product_seconds(
    dtype: torch.dtype,
    side: int,
    device: torch.device,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds, by `clock`, of each product of two random `[side, side]`, after three that do not count."""
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    found = []
    for _ in range(3 + repeats):
        wait_for(device)
        started = clock()
        left @ right
        wait_for(device)
        found.append(clock() - started)
    return found[3:]


def matrix_rate(precision: str, device: torch.device, repeats: int = 7) -> Figure:
    """Operations a second of matrix products in "fp32", "bf16" or "fp16", a product and a sum being two."""
    side = _SIDE_ON_GPU if device.type == "cuda" else _SIDE
    seconds = product_seconds(DTYPES[precision], side, device, repeats)
    return Figure.of([2 * side**3 / value / 1e9 for value in seconds], "GFLOP/s")


def rate_in(found: Measured, precision: str, device: torch.device) -> Figure:
    """The figure of `matrix_rate` in `found`, measured where it is not there yet.

    So all limits of one call rest on the rate that stands beside them.
    """
    if (name := RATE + precision) not in found.figures:
        found.figures[name] = matrix_rate(precision, device)
    return found.figures[name]


def forward_operations(
    model: RecognitionModel, shape: tuple[int, ...], say: Callable[[str], None]
) -> float | None:
    """Operations of a forward pass on an input of `shape`; None, and why to `say`, where nobody can tell."""
    # here, for fvcore compiles losses when it is imported
    from uniformer_video.models.flops import count_flops

    try:
        return 2.0 * count_flops(model, shape)
    except Exception as error:  # of a traced model, which may be anybody's
        say(
            f"The operations of this model cannot be counted ({one_line(error)}), so no limit is told."
        )
        return None


def learns_all(model: torch.nn.Module, say: Callable[[str], None]) -> bool:
    """Whether a backward pass has `BACKWARD` times the operations; else why no limit of it is told is said.

    Norms that are frozen change nothing: their operations are next to none.
    """
    frozen = any(not each.requires_grad for each in model.parameters() if each.ndim > 1)
    if frozen:
        say("Parts of the model are frozen, so no limit of the backward pass is told.")
    return not frozen
