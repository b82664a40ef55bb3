"""What `predict` does with a classifier, and with a segmentation model: the same rows of other answers."""

import logging
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, UserError
from uniformer_video.inference.overlay_folder import OverlayFolder
from uniformer_video.inference.prediction_file import asked_of
from uniformer_video.inference.prediction_rows import Outcome, ShareRows, TableRows
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.records import records_at
from uniformer_video.inference.segmented_places import is_video, pictures_and_videos_at
from uniformer_video.inference.segmented_records import segment_records
from uniformer_video.inference.segmented_video import SegmentedVideo
from uniformer_video.inference.segmenter import Segmenter
from uniformer_video.tasks.segmentation import Segmentation
from uniformer_video.words import name_some, plural

log = logging.getLogger("uniformer_video")


@dataclass
class Job:
    """What is predicted, and how it is told.

    noun: what messages call one of the `records`. asked: by what rows are made. predict: the outcomes of some
    of the records, in their order; its second argument is told (frames of a video done, of how many).
    is_kept: whether all that is written about a record, beside its row, is there. broken: names of videos of
    which frames were lost.
    """

    records: list[VideoRecord]
    repeats: int
    noun: str
    marks: dict[str, object]
    table: TableRows
    asked: Mapping[str, Any]
    note: str
    predict: Callable[[Sequence[VideoRecord], Callable[[int, int], object]], Iterator[Outcome]]
    is_kept: Callable[[VideoRecord], bool] = lambda record: True
    broken: list[str] = field(default_factory=list)

    @property
    def is_of_frames(self) -> bool:
        """Whether it is one video through a segmentation model, which is followed frame by frame."""
        is_one = len(self.records) == 1 and isinstance(self.table, ShareRows)
        return is_one and is_video(self.records[0])

    def tell(self, record: VideoRecord, outcome: Outcome) -> None:
        """Log what is to be known of one outcome."""
        if not isinstance(outcome, SegmentedVideo):
            return
        for note in outcome.notes:
            log.warning("%s: %s", record.name, note)
        if outcome.broken:
            self.broken.append(record.name)


def classify(args: Namespace, predictor: Predictor) -> Job:
    """Of a classifier of videos or images."""
    given = {"--overlay": args.overlay, "--masks": args.masks, "--steady": args.steady}
    if words := [word for word, value in given.items() if value]:
        raise ConfigError(
            f"{args.checkpoint} is a classifier: it says what a whole {predictor.medium.name} shows, nothing "
            f"of single pixels; leave out {', '.join(words)}, or take a segmentation model"
        )
    if args.cuda_graph:
        predictor.use_cuda_graphs()
    records, repeats = records_at(args.videos, predictor.medium)
    marks: dict[str, object] = dict(predictor.task.mark())
    if predictor.calibration:
        marks["temperature"] = predictor.applied.temperature if predictor.applied else None
    top = min(args.top, len(predictor.class_names))
    return Job(
        records,
        repeats,
        predictor.medium.name,
        marks,
        TableRows(top),
        asked_of(args.checkpoint, predictor.used_protocol, predictor.class_names, top),
        predictor.task.prediction_note,
        lambda left, progress: predictor.predict_records(left, args.workers),
    )


def segment(args: Namespace, segmenter: Segmenter, stack: ExitStack) -> Job:
    """Of a segmentation model. The folder that is written into is held until `stack` ends."""
    if args.workers > 0:
        raise ConfigError(
            f"{args.checkpoint} is a segmentation model, whose pictures and videos are decoded one by one as "
            "they are looked at, without worker processes; leave out --workers"
        )
    if args.cuda_graph:
        raise ConfigError(
            f"{args.checkpoint} is a segmentation model, whose pictures have many sizes, and --cuda-graph is "
            "for classifiers; leave it out"
        )
    overlay = Path(args.overlay) if args.overlay else None
    records, repeats, inside = pictures_and_videos_at(args.videos, overlay)
    if inside:
        log.info(
            "%s in %s, which is written into, left out: %s",
            plural(len(inside), "file"),
            overlay,
            name_some(inside),
        )
    if args.steady and not any(map(is_video, records)):
        raise UserError(
            "--steady is an average over the frames of a video, and these are pictures, each by itself; "
            "leave it out, or give a video, such as folder/img_{:05d}.jpg where pictures are its frames"
        )
    top = min(args.top, len(segmenter.class_names))
    asked = asked_of(args.checkpoint, segmenter.protocol, segmenter.class_names, top)
    asked["averaging over time (--steady)"] = args.steady
    folder = None
    if overlay:
        made_by = {key: value for key, value in asked.items() if "--top" not in key}
        folder = stack.enter_context(
            OverlayFolder(overlay, records, made_by, args.videos, args.masks)
        )
    return Job(
        records,
        repeats,
        "file",
        dict(Segmentation().mark()),
        ShareRows(top),
        asked,
        "" if folder else "The shares of the pixels of each class; --overlay FOLDER draws them.",
        lambda left, progress: segment_records(segmenter, left, folder, args.steady, progress),
        folder.has if folder else lambda record: True,
    )
