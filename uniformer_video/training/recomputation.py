"""What recomputing activations in the backward pass costs, and what memory it saves."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def measure_recomputation(
    build: Callable[[bool], nn.Module],
    clip: Tensor,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
) -> str:
    """One line on the cost and the gain, measured by a forward and a backward pass of one clip.

    build: (recomputes) -> a model in training mode, on the device of `clip` `[1, 3, T, H, W]`, that gives a
    tuple of logits. Operations are counted, not timed, so that the line is the same on every machine; only
    kept activations count as memory. The global random numbers are as before.
    """
    with torch.random.fork_rng(devices=[clip.device] if clip.is_cuda else []):
        plain_work, plain_bytes = _pass(build(False), clip, autocast)
        work, kept_bytes = _pass(build(True), clip, autocast)
    return (
        f"Activation checkpointing: recomputing makes a step {work / plain_work - 1:.0%} more work, and keeps "
        f"{kept_bytes / 2**20:.0f} MB of activations a clip in place of {plain_bytes / 2**20:.0f} MB."
    )


def _pass(
    model: nn.Module, clip: Tensor, autocast: Callable[[], AbstractContextManager]
) -> tuple[int, int]:
    """(floating-point operations of forward and backward pass, bytes that the backward pass was kept)."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, int] = {}  # storage -> bytes: several operations may keep one tensor
    alive: list[Tensor] = []  # so that no storage takes the place of another

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor.detach())
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast():
            outputs = model(clip)
        total = sum(kept.values())  # what recomputing keeps for a moment comes later
        alive.clear()
        torch.stack([logits.float().sum() for logits in outputs]).sum().backward()
    return counter.get_total_flops(), total
