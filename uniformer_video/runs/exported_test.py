"""A test of an exported file in place of a checkpoint: the same views, another runtime."""

from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.data.protocol import Protocol
from uniformer_video.export.runtime import (
    ExportedModel,
    check_shape,
    metadata_of,
    open_exported,
    runtime_of,
)
from uniformer_video.runs.build_task import build_task, check_same_task
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.zoo.registry import find_model


def load_exported(cfg: CfgNode, path: str | Path) -> tuple[ExportedModel, Weights]:
    """The model in an exported file, and `Weights` that tell what it says of itself.

    The weights hold none but the rows of a classifier, one a class, which is what the order of classes is
    told by. Raises `CheckpointError` and `ConfigError` for a file of another task, and of other clips.
    """
    model = open_exported(path)
    metadata = metadata_of(model.info)
    rows = torch.empty(model.num_classes, 0)
    classifier = find_model(cfg.MODEL.MODEL_NAME).family.classifier
    weights = Weights(str(path), {f"{classifier}.weight": rows}, metadata)
    check_same_task(weights, build_task(cfg))
    check_shape(model, Protocol.from_cfg(cfg))
    return model, weights


def exported_figures(model: ExportedModel) -> tuple[dict[str, Any], list[str]]:
    """What the record's "model" tells of an exported model, and notes."""
    info = model.info
    runtime, _ = runtime_of(info)
    notes = [
        f"Tested by {runtime}, from an exported file, in float32 on the CPU; its multiply-adds are not "
        "counted, and times are not those of torch."
    ]
    figures = {"parameters": info.parameters, "runtime": runtime, "exported_from": info.fingerprint}
    return figures, notes


def differing_preparation(cfg: CfgNode, model: ExportedModel) -> list[str]:
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
