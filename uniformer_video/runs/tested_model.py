"""What a test runs: the model of a checkpoint, or an exported file in its place, and what is said of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config.setting import value_in_words
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.protocol import Protocol
from uniformer_video.export.formats import is_export
from uniformer_video.export.runtime import (
    ExportedModel,
    check_shape,
    digest_of,
    metadata_of,
    open_exported,
    runtime_of,
)
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs import build_model
from uniformer_video.runs.build_task import build_task, check_same_task
from uniformer_video.runs.view_cost import counted_gflops
from uniformer_video.weights.checkpoint import CALIBRATION, Weights, file_sha256
from uniformer_video.zoo.create import count_parameters
from uniformer_video.zoo.published import known_protocol
from uniformer_video.zoo.registry import find_model

_UNCALIBRATED = (
    "The checkpoint holds a temperature, which predictions apply and a test does not: these scores are those "
    "of the model itself."
)
_Figures = tuple[dict[str, Any], list[str]]


@dataclass(frozen=True)
class TestedModel:
    """A model to test, as it was trained.

    weights: what its file says of itself. digest: SHA-256 of the file. name: of the architecture. figures:
    by a protocol, what the record's "model" tells of its size and family, and notes; asked before the model
    is prepared for inference, which leaves it fewer layers. notes: of preparation that differs. precision:
    that it computes in, whatever is asked for; or None. libraries: whose versions count beside the usual.
    """

    model: RecognitionModel
    weights: Weights
    digest: str
    name: str
    figures: Callable[[Protocol], _Figures]
    notes: Sequence[str] = ()
    precision: str | None = None
    libraries: tuple[str, ...] = ()


def open_tested_model(cfg: CfgNode, path: str | Path, select: str = "model") -> TestedModel:
    """The `TestedModel` of the file at `path`; select: which weights of a checkpoint, as `read_weights`.

    Raises `CheckpointError` and `ConfigError` for a file of another task, and an exported one of other clips.
    """
    found = _of_export(cfg, path) if is_export(path) else _of_checkpoint(cfg, path, select)
    uncalibrated = [_UNCALIBRATED] if CALIBRATION in found.weights.metadata else []
    notes = [*found.notes, *uncalibrated, *_other_pixels(cfg, found.weights)]
    return replace(found, notes=notes)


def _of_checkpoint(cfg: CfgNode, path: str | Path, select: str) -> TestedModel:
    model, weights = build_model.load_tested_model(cfg, path, select)

    def figures(protocol: Protocol) -> _Figures:
        gflops, uncounted = counted_gflops(model, protocol)
        facts = find_model(cfg.MODEL.MODEL_NAME).family.facts(model)
        return {"parameters": count_parameters(model), **gflops, **facts}, uncounted

    return TestedModel(model, weights, file_sha256(path), cfg.MODEL.MODEL_NAME, figures)


def _of_export(cfg: CfgNode, path: str | Path) -> TestedModel:
    model = open_exported(path)
    info = model.info
    # Of the weights there is but a classifier's shape, by which the order of classes is told.
    classifier = find_model(cfg.MODEL.MODEL_NAME).family.classifier
    rows = {f"{classifier}.weight": torch.empty(model.num_classes, 0)}
    weights = Weights(str(path), rows, metadata_of(info))
    check_same_task(weights, build_task(cfg))
    check_shape(model, Protocol.from_cfg(cfg))
    runtime, libraries = runtime_of(info)

    def figures(_: Protocol) -> _Figures:
        told = {
            "parameters": info.parameters,
            "runtime": runtime,
            "exported_from": info.fingerprint,
        }
        return told, [
            f"Tested by {runtime}, from an exported file, {'' if info.quantization else 'in float32 '}on the "
            "CPU; its multiply-adds are not counted, and times are not those of torch."
        ]

    return TestedModel(
        cast(RecognitionModel, model),  # a test asks it for logits alone
        weights,
        digest_of(path),
        info.model,
        figures,
        _other_preparation(cfg, model),
        "fp32",
        libraries,
    )


def _other_preparation(cfg: CfgNode, model: ExportedModel) -> list[str]:
    """Notes on what this test does to clips otherwise than the file was exported for."""
    own, asked = model.info.protocol, Protocol.from_cfg(cfg)
    pairs = {
        "frame stride (DATA.SAMPLING_RATE)": (
            own.sampling.frame_stride,
            asked.sampling.frame_stride,
        ),
        "sampling (DATA.SAMPLING)": (own.sampling.rule, asked.sampling.rule),
        "pixels (DATA.MEAN, DATA.STD, DATA.CHANNEL_ORDER)": (
            own.views.normalise,
            asked.views.normalise,
        ),
    }
    differs = [words for words, (known, wanted) in pairs.items() if known != wanted]
    if not differs:
        return []
    return [f"This test differs from what the file was exported for in: {', '.join(differs)}."]


def _other_pixels(cfg: CfgNode, weights: Weights) -> list[str]:
    """A note where images are prepared otherwise for the test than they were for the weights."""
    known, own = known_protocol(weights), Protocol.from_cfg(cfg)
    if known is None or known.medium != IMAGE.name or known.views.normalise == own.views.normalise:
        return []
    pixels = known.views.normalise
    return [
        f"The weights are for images with DATA.MEAN {value_in_words(list(pixels.mean))} and DATA.STD "
        f"{value_in_words(list(pixels.std))}, and this test takes "
        f"{value_in_words(cfg.DATA.MEAN)} and {value_in_words(cfg.DATA.STD)}."
    ]
