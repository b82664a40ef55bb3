"""How a training computes depthwise convolutions: by a config, and by what each process finds."""

from collections.abc import Iterator

from fvcore.common.config import CfgNode

from uniformer_video.distributed.ranks import Ranks
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.depthwise import gradients_by
from uniformer_video.models.layers import DepthwiseConv

_SETTING = "MODEL.DEPTHWISE"
_TORCH = "torch"
_IN_WORDS = {
    "triton": "Triton's kernels",
    "numba": "numba's gradients",
    "mirrored": "torch's convolutions and mirrored kernels",
    _TORCH: "torch alone",
}


def choose_depthwise(cfg: CfgNode, model: RecognitionModel, ranks: Ranks) -> str:
    """Have the model compute as `MODEL.DEPTHWISE` says.

    Returns the ways of all processes, as `gradients_by` names them, with "+" between those that differ; ""
    where the model has no such layer.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, DepthwiseConv)]
    for layer in layers:
        layer.by_torch = cfg.MODEL.DEPTHWISE == _TORCH
    own = _TORCH if cfg.MODEL.DEPTHWISE == _TORCH else gradients_by(ranks.device)
    return "+".join(sorted(set(ranks.exchange(own)))) if layers else ""


def depthwise_lines(cfg: CfgNode, ways: str, before: str) -> Iterator[str]:
    """What is said of it before a training; ways: of its processes; before: of the run so far, "" = unknown.

    All ways give the same numbers up to rounding.
    """
    if not ways and cfg.MODEL.DEPTHWISE != "auto":
        yield f"{_SETTING} has no effect: {cfg.MODEL.MODEL_NAME} has no layer that asks for it."
    if "+" in ways:
        yield (
            f"Processes compute depthwise convolutions in different ways ({_in_words(ways)}): each step "
            "takes as long as the slowest, and another run's numbers differ by rounding; "
            f"{_SETTING} {_TORCH} is one way for all."
        )
    if ways and before and ways != before:
        yield (
            f"Depthwise convolutions were computed by {_in_words(before)} so far, and are by "
            f"{_in_words(ways)} from here on: the numbers differ by rounding from a run that is not "
            f"interrupted ({_SETTING})."
        )


def _in_words(ways: str) -> str:
    return " and ".join(_IN_WORDS.get(way, way) for way in ways.split("+"))
