"""What recomputing activations in the backward pass costs, in operations."""

from collections.abc import Callable, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from uniformer_video.models.contract import RecognitionModel


def recomputed_share(build: Callable[[bool], RecognitionModel], shape: Sequence[int]) -> float:
    """How much more work a training step is by recomputation: 0.25 = a quarter.

    build: (recomputes) -> the model. shape: of clips, `[B, 3, T, H, W]`, or of images. Operations are
    counted on the meta device, where nothing is computed; a backward pass counts as two forward passes.
    """
    forward, plain = _operations(build(False), shape)
    _, recomputing = _operations(build(True), shape)
    return (recomputing - plain) / (3 * forward)


def _operations(model: RecognitionModel, shape: Sequence[int]) -> tuple[int, int]:
    """Of a forward pass, and of that and the backward pass."""
    with FlopCounterMode(display=False) as counter:
        outputs = model.to("meta").train().training_outputs(torch.zeros(*shape, device="meta"))
        forward = counter.get_total_flops()
        torch.stack([logits.sum() for logits in outputs]).sum().backward()
    return forward, counter.get_total_flops()
