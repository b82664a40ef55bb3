"""Tasks whose model answers about a whole video, or image: every view is scored, and the answers averaged."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.scoring import SideBySide, Validation, ViewScores, score_videos
from uniformer_video.models.among import AmongClasses
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs import build_clips
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.progress import video_bar
from uniformer_video.runs.view_cost import views_of_pass
from uniformer_video.tasks.task import Task
from uniformer_video.training.precision import autocast_for, choose_precision


def validate(
    cfg: CfgNode, task: Task, models: Mapping[str, RecognitionModel], data: Data, ranks: Ranks
) -> Validation:
    """Each of the `models` on one centre view of the validation videos, which are decoded once for all."""
    protocol = Protocol.from_cfg(cfg).with_views(1, 1)
    together = SideBySide([*models.values()])
    found = score_records(
        cfg,
        together,
        data.val,
        protocol,
        ranks,
        False,
        faults=data.faults,
        frame_index=data.frame_index,
    )
    videos = [record for record, good in zip(data.val, found.decoded, strict=True) if good]
    if not videos:
        return Validation({}, len(found.failures))
    is_finite = bool(np.isfinite(found.scores[found.decoded]).all())
    measured = {}
    for name, part in zip(models, together.split(found.scores) if is_finite else (), strict=False):
        means = task.video_scores(part, "logits")
        measured[name] = task.validate(means[found.decoded], videos)
    return Validation(measured, len(found.failures), is_finite)


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
) -> ViewScores:
    """The `ViewScores` of the test videos."""
    return score_records(
        cfg,
        model,
        data.test,
        protocol,
        ranks,
        show_bars,
        playback,
        data.faults,
        cfg.TEST.STRIPS,
        data.frame_index,
    )


def score_records(
    cfg: CfgNode,
    model: RecognitionModel | AmongClasses | SideBySide,
    records: Sequence[VideoRecord],
    protocol: Protocol,
    ranks: Ranks,
    show_bars: bool | None = None,
    playback: str = "forward",
    faults: dict[str, str] | None = None,
    strips: bool = False,
    frame_index: IndexStore | None = None,
    mark: Callable[[str], None] = lambda part: None,
) -> ViewScores:
    """The `ViewScores` of `records`.

    show_bars: a bar of progress; None = on a terminal. faults, frame_index: as in `Data`. strips: whether
    to keep a small picture of each video. mark: as of `score_videos`.
    """
    precision = choose_precision(protocol.precision, ranks.device)
    dataset = build_clips.build_test_dataset(
        cfg, records, protocol, playback, faults, strips, frame_index
    )
    with video_bar(len(records), ranks, show_bars, protocol.medium) as progress:
        return score_videos(
            model,
            dataset,
            model.num_classes,
            ranks,
            views_of_pass(cfg, protocol),
            resolve_workers(cfg.DATA_LOADER.NUM_WORKERS),
            autocast_for(precision, ranks.device),
            progress,
            cfg.DATA_LOADER.TIMEOUT,
            mark,
        )
