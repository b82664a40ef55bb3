"""Depthwise convolution on a processor: the ways to compute it, by layer and in a training step.

All ways take turns in one run; times are the processor's, of all threads, which a busy machine changes less
than those of a clock. `torch`: its convolution with its gradients; `mirrored`: ours without numba; `numba`:
ours.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import torch
from torch.nn import functional as F

from uniformer_video.bench.figures import Measured, short
from uniformer_video.bench.progress import Progress, of_rounds
from uniformer_video.errors import choice_error
from uniformer_video.models.depthwise import MIRRORED, NUMBA, TORCH, possible_ways
from uniformer_video.models.layers import DepthwiseConv
from uniformer_video.training.depthwise_times import Shape, layer_work
from uniformer_video.training.precision import autocast_for
from uniformer_video.training.turns import Work, in_turn
from uniformer_video.zoo.create import build_network

Layer = tuple[int, tuple[int, int, int], tuple[int, int, int]]  # channels, grid, kernel
# Of UniFormer-S at 16x224x224.
LAYERS: tuple[Layer, ...] = (
    (64, (8, 56, 56), (5, 5, 5)),
    (64, (8, 56, 56), (3, 5, 5)),
    (64, (8, 56, 56), (3, 3, 3)),
    (128, (8, 28, 28), (5, 5, 5)),
    (128, (8, 28, 28), (3, 3, 3)),
    (320, (8, 14, 14), (3, 3, 3)),
    (512, (8, 7, 7), (3, 3, 3)),
)
STEP = (16, 224)  # frames and side of the clips of the training step
SIDES = (TORCH, MIRRORED, NUMBA)
_CPU = torch.device("cpu")


def measure(
    precisions: Sequence[str] = ("fp32", "bf16"),
    rounds: int = 5,
    clips: int = 2,
    found: Measured | None = None,
) -> Measured:
    """Figures "PRECISION, LAYER: SIDE": ms of the processor, forward and backward of `clips`; and a step.

    Where numba is missing, or does not work, that side is left out, and the notes say so. found:
    gets the figures round by round, for whoever is interrupted; it is what is returned. Raises `ConfigError`
    for another precision than "fp32" and "bf16".
    """
    for name in precisions:
        if name not in (allowed := ("fp32", "bf16")):
            raise choice_error("--precisions", name, allowed)
    found = found or Measured("model --depthwise", {})
    found.what = {"clips": clips}
    at = Progress()
    at("finding the ways that work here")
    here = possible_ways(_CPU, torch.float32, LAYERS[0][2])
    sides = [side for side in SIDES if side in here]
    if NUMBA not in sides:
        found.notes.append("numba is missing or does not work here, and is left out.")

    def time_sides(name: str, works: Mapping[str, Work]) -> None:
        in_turn(
            {f"{name}: {side}": work for side, work in works.items()},
            _CPU,
            rounds,
            time.process_time,
            begins=lambda side, number: at(f"{side}, {of_rounds(number, rounds)}"),
            ends=found.add_seconds,
        )

    for precision in precisions:
        for channels, grid, kernel in LAYERS:
            shape = Shape(grid, channels, kernel, precision)
            time_sides(str(shape), layer_work(shape, clips, _CPU, sides))
        name = f"{precision}, training step, {'x'.join(map(str, LAYERS[0][2]))}"
        time_sides(name, _training_step(precision, sides, clips))
    return found


def lines(found: Measured) -> Iterator[str]:
    """A table in Markdown: a layer a row, the sides, and how many times as fast as torch ours is."""
    machine = found.machine
    yield f"{machine['processor']} ({machine['instructions']}), {machine['threads']} threads"
    yield f"| ms of the processor | {' | '.join(SIDES)} | torch / ours |"
    yield f"|{'---|' * (len(SIDES) + 2)}"
    for name in dict.fromkeys(name.rpartition(": ")[0] for name in found.figures):
        own = [found.figures.get(f"{name}: {side}") for side in SIDES]
        ours = own[-1] or own[-2]
        ratio = own[0].median / ours.median if own[0] and ours else float("nan")
        cells = [short(figure.median) if figure else "-" for figure in own]
        yield f"| {name} | {' | '.join(cells)} | {ratio:.2f} |"
    yield from found.notes


def _training_step(precision: str, sides: Sequence[str], count: int) -> dict[str, Work]:
    """{side: forward and backward pass of UniFormer-S with the kernel of the first layer}."""
    frames, side = STEP
    model = build_network("uniformer_s", 400, local_kernel=LAYERS[0][2]).train()
    layers = [layer for layer in model.modules() if isinstance(layer, DepthwiseConv)]
    clips, labels = torch.randn(count, 3, frames, side, side), torch.zeros(count).long()
    autocast = autocast_for(precision, _CPU)

    def run(way: str) -> None:
        for layer in layers:
            layer.way = way
        with autocast():
            loss = F.cross_entropy(model(clips).float(), labels)
        loss.backward()
        model.zero_grad()

    return {way: partial(run, way) for way in sides}
