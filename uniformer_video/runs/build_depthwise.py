"""How a training computes depthwise convolutions: by a config, by what each process finds, as measured."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.depthwise import AUTO, MIRRORED, NUMBA, TORCH, TRITON, way_of
from uniformer_video.models.layers import DepthwiseConv
from uniformer_video.program import install
from uniformer_video.runs.build_clips import clip_shape
from uniformer_video.training.depthwise_times import Shape, fastest, measure, shapes_in
from uniformer_video.training.precision import DTYPES
from uniformer_video.words import duration, one_line, plural

_SETTING = "MODEL.DEPTHWISE"
_MEASURE = "measure"
_ASKED = f"{_SETTING} {_MEASURE}"
_WAYS, _MEASURED = "depthwise", "depthwise_measured"  # in the record of a checkpoint
_IN_WORDS = {
    TRITON: "Triton's kernels",
    NUMBA: "numba's gradients",
    MIRRORED: "torch's convolutions and mirrored kernels",
    TORCH: "torch alone",
}


@dataclass(frozen=True)
class DepthwiseChoice:
    """What was chosen.

    ways: those of all layers and processes, with "+" between them; "" where the model has no such layer.
    measured: {name of a shape: its way}, as measured. lines: what is said of it before a training.
    """

    ways: str = ""
    measured: Mapping[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """What checkpoints keep of it."""
        told = {_WAYS: self.ways, _MEASURED: dict(self.measured)}
        return {key: value for key, value in told.items() if value}


def choose_depthwise(
    cfg: CfgNode,
    models: Sequence[RecognitionModel],
    slot: int,
    precision: str,
    ranks: Ranks,
    before: Mapping[str, Any],
) -> DepthwiseChoice:
    """Have all layers compute as `MODEL.DEPTHWISE` says, the same on all processes where it is measured.

    models: the one that is trained, and averages of it. slot: clips that a process computes at once.
    precision: of the training. before: the `record` of the run so far, {} = unknown; what was measured then
    is not measured again. Raises `ConfigError` where that is a way that this machine has not.
    """
    layers = _layers(models[0])
    if not layers:
        return DepthwiseChoice(lines=tuple(_lines_without_layers(cfg)))
    lines: list[str] = []
    measured: dict[str, str] = {}
    wanted = dict.fromkeys(layers, cfg.MODEL.DEPTHWISE)
    if cfg.MODEL.DEPTHWISE == _MEASURE:
        shapes = _shapes_of_trained(cfg, models[0], layers, precision)
        measured = _measured(shapes, slot, ranks, before.get(_MEASURED, {}), lines)
        wanted = {name: measured[str(shapes[name])] if name in shapes else AUTO for name in layers}
    for model in models:
        for name, layer in _layers(model).items():
            layer.way = wanted[name]
    own = {
        way_of(layer.way, ranks.device, DTYPES[precision], layer.kernel)
        for layer in layers.values()
    }
    of_all = ranks.exchange(_join(own))
    ways = _join({way for ways in of_all for way in ways.split("+")})
    lines += _lines(ways, str(before.get(_WAYS, "")), len(set(of_all)) > 1)
    return DepthwiseChoice(ways, measured, tuple(lines))


def _layers(model: RecognitionModel) -> dict[str, DepthwiseConv]:
    return {
        name: layer for name, layer in model.named_modules() if isinstance(layer, DepthwiseConv)
    }


def _shapes_of_trained(
    cfg: CfgNode, model: RecognitionModel, layers: Mapping[str, DepthwiseConv], precision: str
) -> dict[str, Shape]:
    """{name: shape} of the layers that learn; what is frozen is computed by the fastest known way."""
    try:
        shapes = shapes_in(model, clip_shape(cfg), precision)
    except (RuntimeError, NotImplementedError) as error:  # a model that looks at its numbers
        raise ConfigError(
            f"{_ASKED} must know the shapes in {cfg.MODEL.MODEL_NAME}, which does not give them "
            f"without numbers ({one_line(error)}); set {_SETTING} {AUTO} or {TORCH}"
        ) from None
    return {name: shape for name, shape in shapes.items() if layers[name].weight.requires_grad}


def _measured(
    shapes: Mapping[str, Shape],
    slot: int,
    ranks: Ranks,
    recorded: Mapping[str, str],
    lines: list[str],
) -> dict[str, str]:
    """{name of a shape: its way}, as `recorded`, else as the main process measures it; adds to `lines`."""
    layers = Counter(shapes.values())
    own = {str(shape): shape.possible_ways(ranks.device) for shape in layers}
    of_all = ranks.exchange(own)
    possible = {
        name: [way for way in ways if all(way in other[name] for other in of_all)]
        for name, ways in own.items()
    }
    known = {name: recorded[name] for name in possible if name in recorded}
    for name, way in known.items():
        if way not in possible[name]:
            raise ConfigError(_lost(name, way, possible[name], ranks))
    new = {shape: possible[str(shape)] for shape in layers if str(shape) not in known}
    if not layers:
        lines.append(f"{_ASKED} has no effect: all depthwise convolutions are frozen.")
    if known:
        ways = Counter(known[str(shape)] for shape in shapes.values() if str(shape) in known)
        told = ", ".join(f"{way} in {plural(ways[way], 'layer')}" for way in sorted(ways))
        lines.append(f"{_ASKED}: as this run has measured before, {told}.")
    if not new:
        return known
    started = time.monotonic()
    times = ranks.on_main(
        lambda: {shape: measure(shape, slot, ranks.device, ways) for shape, ways in new.items()}
    )
    seconds = duration(time.monotonic() - started, 1)
    chosen = {shape: fastest(times[shape]) for shape in new}
    lines.append(
        f"{_ASKED}: forward pass and gradients, ms a clip, by shape (grid x channels, kernel), measured "
        f"in {seconds}:"
    )
    for shape, way in chosen.items():
        told = ", ".join(f"{way} {1000 * own:.3g}" for way, own in times[shape].items())
        lines.append(f"  {shape}: {told}; {way} is taken in {plural(layers[shape], 'layer')}.")
    return known | {str(shape): way for shape, way in chosen.items()}


def _lost(name: str, way: str, possible: Sequence[str], ranks: Ranks) -> str:
    """What is said where a recorded way is not possible any more, and how to go on."""
    hint = ""
    if way == NUMBA and ranks.device.type == "cpu":
        hint = f"install it ({install('fast')}), "
    return (
        f"{_ASKED}: this run has measured that {way} is the fastest for {name}, which not all processes "
        f"can do here ({ranks.device.type}: {', '.join(possible)}); {hint}go on where they can, or set "
        f"{_SETTING} {AUTO} or {TORCH}, whose numbers differ by rounding"
    )


def _lines_without_layers(cfg: CfgNode) -> Iterator[str]:
    if cfg.MODEL.DEPTHWISE != AUTO:
        yield f"{_SETTING} has no effect: {cfg.MODEL.MODEL_NAME} has no layer that asks for it."


def _lines(ways: str, before: str, differ: bool) -> Iterator[str]:
    """What is said of the ways of all, and of the run so far ("" = unknown). differ: between processes."""
    if differ:
        yield (
            f"Processes compute depthwise convolutions in different ways ({_in_words(ways)}): each step "
            "takes as long as the slowest, and another run's numbers differ by rounding; "
            f"{_SETTING} {TORCH} is one way for all."
        )
    if before and ways != before:
        yield (
            f"Depthwise convolutions were computed by {_in_words(before)} so far, and are by "
            f"{_in_words(ways)} from here on: the numbers differ by rounding from a run that is not "
            f"interrupted ({_SETTING})."
        )


def _join(ways: set[str]) -> str:
    return "+".join(sorted(ways))


def _in_words(ways: str) -> str:
    return " and ".join(_IN_WORDS.get(way, way) for way in ways.split("+"))
