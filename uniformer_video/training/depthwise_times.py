"""How long each way of a depthwise convolution takes on a device, for the shapes that a training has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from uniformer_video.models.depthwise import depthwise_conv, possible_ways
from uniformer_video.models.layers import DepthwiseConv
from uniformer_video.training.precision import DTYPES, autocast_for
from uniformer_video.training.turns import Work, in_turn

# So many rounds, and so many more until these seconds have gone by: short works need more of them.
_ROUNDS, _SECONDS = 5, 0.25
# A layer gets clips until it has so many values, enough to keep a device busy: one clip of 16x224x224 in the
# first stage of UniFormer-S on a processor, some tens on a GPU.
_VALUES = {"cpu": 2**21, "cuda": 2**26}
# A way that is not the fastest known takes its place where its time is at most this share of that one's, so
# that chance does not decide between equals.
_CLEARLY_FASTER = 0.95


@dataclass(frozen=True)
class Shape:
    """A depthwise convolution as a training computes it. grid: (T, H, W) or (H, W), as the kernel."""

    grid: tuple[int, ...]
    channels: int
    kernel: tuple[int, ...]
    precision: str  # "fp32", "bf16" or "fp16"

    def __str__(self) -> str:
        """By this name the choice for a shape is recorded."""
        grid, kernel = ("x".join(map(str, sides)) for sides in (self.grid, self.kernel))
        return f"{self.precision}, {grid}x{self.channels}, {kernel}"

    def possible_ways(self, device: torch.device) -> tuple[str, ...]:
        """The ways that there are for it, the fastest known first."""
        return possible_ways(device, DTYPES[self.precision], self.kernel)


def shapes_in(model: nn.Module, clips: Sequence[int], precision: str) -> dict[str, Shape]:
    """{name of a layer: its shape}, of the depthwise convolutions that a forward pass of `clips` comes to.

    clips: their shape, `[B, 3, T, H, W]` or `[B, 3, H, W]`. Nothing is computed, and the model stays as it
    is. Raises torch's errors where the model needs more than shapes.
    """
    found: dict[str, Shape] = {}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, DepthwiseConv):

            def note(layer: DepthwiseConv, inputs: tuple[Tensor], name: str = name) -> None:
                _, *grid, channels = inputs[0].shape
                found[name] = Shape(tuple(grid), channels, layer.kernel, precision)

            hooks.append(layer.register_forward_pre_hook(note))
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    without_memory = {name: torch.empty_like(value, device="meta") for name, value in held.items()}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            sample = torch.empty(*clips, device="meta")
            torch.func.functional_call(model, without_memory, (sample,))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return found


def layer_work(
    shape: Shape, batch: int, device: torch.device, ways: Sequence[str]
) -> dict[str, Work]:
    """{way: forward pass and all gradients of a layer of this shape}, for `batch` clips of random numbers."""
    kernel, channels = shape.kernel, shape.channels
    grid = (batch, *shape.grid, channels)
    tokens, gradient = torch.randn(2, *grid, device=device)
    weight = torch.randn(channels, 1, *kernel, device=device)
    bias = torch.randn(channels, device=device)
    leaves = tuple(value.requires_grad_() for value in (tokens, weight, bias))
    autocast = autocast_for(shape.precision, device)

    def run(way: str) -> None:
        with autocast():
            out = depthwise_conv(tokens, weight, bias, kernel, way)
        torch.autograd.grad(out, leaves, gradient.to(out.dtype))

    return {way: partial(run, way) for way in ways}


def measure(shape: Shape, slot: int, device: torch.device, ways: Sequence[str]) -> dict[str, float]:
    """{way: seconds for a clip}, the least of some rounds in which all `ways` take turns.

    The least, for what other processes of a busy machine add is no way's own. slot: clips that a training
    computes at once; of these as many are taken as keep the device busy.
    """
    busy = _VALUES.get(device.type, _VALUES["cpu"]) // (math.prod(shape.grid) * shape.channels)
    batch = max(1, min(slot, busy))
    # The generator of the training stays where it is.
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        works = layer_work(shape, batch, device, ways)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    while sum(map(sum, taken.values())) < _SECONDS:
        for way, seconds in in_turn(works, device, _ROUNDS).items():
            taken[way] += seconds
    return {way: min(seconds) / batch for way, seconds in taken.items()}


def fastest(seconds: Mapping[str, float]) -> str:
    """The way to take of {way: seconds}, in which the fastest known stands first."""
    known = next(iter(seconds))
    best = min(seconds, key=seconds.__getitem__)
    return best if seconds[best] <= _CLEARLY_FASTER * seconds[known] else known
