"""Tasks whose model classifies pixels: whole pictures are scored, and their pixels counted."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.output_names import output_names
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.loading.pixel_dataset import PixelDataset
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.class_colours import class_colours, full_palette
from uniformer_video.evaluation.pixel_scoring import Keep, PixelScores, score_pictures
from uniformer_video.evaluation.pixel_strips import pixel_strip
from uniformer_video.evaluation.scoring import Validation
from uniformer_video.models.among import AmongClasses
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_masks import build_mask_reader, mask_classes_of
from uniformer_video.runs.progress import video_bar
from uniformer_video.tasks.prediction import save_classes
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import autocast_for, choose_precision

PREDICTIONS = "predictions"  # the folder of the predicted classes, in that of the results
_VERB = "read"  # pictures and their masks, which may be what is wrong


def validate(
    cfg: CfgNode, task: Task, models: Mapping[str, RecognitionModel], data: Data, ranks: Ranks
) -> Validation:
    """Each of the `models` on the validation pictures in one size, which are read once for all."""
    protocol = Protocol.from_cfg(cfg)
    protocol = replace(protocol, views=_in_one_size(protocol.views))
    found = _score(cfg, models, data, "val", protocol, ranks, False, with_loss=True)
    scores = next(iter(found.values()))
    failed, decoded = len(scores.failures), scores.decoded
    if not decoded.any():
        return Validation({}, failed, verb=_VERB)
    is_finite = all(np.isfinite(own.losses[decoded]).all() for own in found.values())
    pictures = [record for record, good in zip(data.val, decoded, strict=True) if good]
    measured = {}
    pixels = np.array([wide * high for _, (wide, high) in sorted(scores.sizes.items())])
    for name, own in found.items() if is_finite else ():
        score, _ = task.validate(own.areas[decoded], pictures)
        measured[name] = (score, float((own.losses[decoded] * pixels).sum() / pixels.sum()))
    return Validation(measured, failed, is_finite, _VERB)


def score(
    cfg: CfgNode,
    task: Task,
    model: RecognitionModel | AmongClasses,
    data: Data,
    protocol: Protocol,
    ranks: Ranks,
    show_bars: bool | None,
    playback: str,
    folder: Path,
) -> PixelScores:
    """The `PixelScores` of the test pictures; what is predicted of each is written into `folder`."""
    names = output_names(data.test)
    files = [f"{PREDICTIONS}/{names[record.segment]}.png" for record in data.test]
    colours = full_palette(class_colours(data.class_names, mask_classes_of(cfg).palette))

    def keep(index: int, picture: np.ndarray, mask: np.ndarray, classes: np.ndarray) -> bytes:
        path = folder / files[index]
        path.parent.mkdir(parents=True, exist_ok=True)
        save_classes(path, classes, colours)
        return pixel_strip(picture, mask, classes) if cfg.TEST.STRIPS else b""

    found = _score(cfg, {"model": model}, data, "test", protocol, ranks, show_bars, keep=keep)
    return replace(found["model"], predictions=files, colours=colours[: data.num_classes])


def _score(
    cfg: CfgNode,
    models: Mapping[str, RecognitionModel | AmongClasses],
    data: Data,
    split: str,
    protocol: Protocol,
    ranks: Ranks,
    show_bars: bool | None,
    with_loss: bool = False,
    keep: Keep | None = None,
) -> dict[str, PixelScores]:
    records: list[VideoRecord] = getattr(data, split)
    reader = build_mask_reader(cfg, data.num_classes, split)
    dataset = PixelDataset(
        records, _pixel_views(protocol.views), reader.read, protocol.decoder, data.faults
    )
    precision = choose_precision(protocol.precision, ranks.device)
    with video_bar(len(records), ranks, show_bars, protocol.medium) as progress:
        return score_pictures(
            models,
            dataset,
            data.num_classes,
            ranks,
            resolve_workers(cfg.DATA_LOADER.NUM_WORKERS),
            autocast_for(precision, ranks.device),
            with_loss=with_loss,
            keep=keep,
            progress=progress,
            timeout=cfg.DATA_LOADER.TIMEOUT,
        )


def _pixel_views(views: EvalViews) -> PixelViews:
    assert isinstance(views, PixelViews)  # as `Protocol.from_cfg` has it for lists of masks
    return views


def _in_one_size(views: EvalViews) -> PixelViews:
    return replace(_pixel_views(views), ratios=(1.0,), flip=False)
