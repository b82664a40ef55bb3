"""Predictions of many videos: one by one, as a loop over files does it, against batches with workers."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from torch import Tensor

from uniformer_video.bench.progress import Progress, of_rounds
from uniformer_video.data.clips.transforms import (
    EvalViews,
    crop_offsets,
    resize_short_side,
    to_channels_first,
)
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.errors import DecodeError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.tasks.prediction import Prediction
from uniformer_video.words import name_some, one_line, plural

Times = tuple[float, float]  # seconds by the clock, and of all processors, workers included


class _WholeClips(EvalViews):
    """The same views, for which every pixel of a clip becomes a float at once."""

    def crops(self, frames: np.ndarray) -> list[Tensor]:
        clip = resize_short_side(to_channels_first(frames), self.short_side)
        height, width = clip.shape[-2:]
        corners = crop_offsets(height, width, self.crop_size, self.num_crops)
        side = self.crop_size
        return [clip[..., top : top + side, left : left + side] for top, left in corners]


@dataclass
class Rounds:
    """Of each complete round: what one by one, and batches took, and the largest difference of both.

    videos: how many a round has. broken: why others were left out.
    """

    videos: int = 0
    broken: list[str] = field(default_factory=list)
    alone: list[Times] = field(default_factory=list)
    batched: list[Times] = field(default_factory=list)
    differences: list[float] = field(default_factory=list)


def run(
    predictor: Predictor,
    videos: Sequence[Path],
    workers: int,
    rounds: int,
    so_far: Rounds | None = None,
) -> list[str]:
    """Lines on the seconds that both ways take, in turn, on the same videos; medians of some rounds.

    workers: as of `Predictor.predict_records`. so_far: gets each round, for whoever is interrupted. A video
    that cannot be decoded is left out and named; `DecodeError` where none is left.
    """
    so_far = so_far or Rounds()
    at = Progress()
    at("reading the videos once")
    records = []
    for video in map(str, videos):
        try:
            _clips(predictor, video)
            records.append(VideoRecord(video, video, ()))
        except DecodeError as error:
            so_far.broken.append(one_line(error))
    if not records:
        raise DecodeError(so_far.broken[0])
    so_far.videos = len(records)
    for number in range(1, rounds + 1):
        at(f"one by one, {of_rounds(number, rounds)}")
        before, alone = _timed(lambda: _one_by_one(predictor, records))
        at(f"predict, {of_rounds(number, rounds)}")
        others, batched = _timed(lambda: _together(predictor, records, workers))
        pairs = zip(before, others, strict=True)
        so_far.differences.append(max(float(np.abs(a - b).max()) for a, b in pairs))
        so_far.alone.append(alone)
        so_far.batched.append(batched)
    return lines(predictor, workers, so_far)


def lines(predictor: Predictor, workers: int, found: Rounds) -> list[str]:
    """What was found in the rounds, and what was left out."""
    alone, batched = found.alone, found.batched
    clock, cpu = (median(a[k] for a in alone) / median(b[k] for b in batched) for k in (0, 1))
    told = [
        f"{plural(found.videos, 'video')}, {plural(predictor.protocol.num_views, 'view')} of each, "
        f"{plural(resolve_workers(workers), 'worker')}, {predictor.device}, "
        f"{plural(os.cpu_count() or 1, 'core')}, medians of {plural(len(batched), 'round')}",
        _line("one by one", alone),
        _line("predict", batched),
        f"ratio: {clock:.2f} by the clock, {cpu:.2f} of processor seconds",
        f"largest difference of a probability: {max(found.differences):.2g}",
    ]
    if found.broken:
        count = plural(len(found.broken), "video")
        told.append(f"{count} left out as broken: {name_some(found.broken)}")
    return told


def _clips(predictor: Predictor, path: str) -> np.ndarray:
    protocol = predictor.protocol
    return decode_test_clips(
        path,
        protocol.sampling,
        protocol.num_clips,
        backend=protocol.decoder,
        decode_short_side=protocol.decode_short_side,
    )[0]


def _one_by_one(predictor: Predictor, records: Sequence[VideoRecord]) -> list[np.ndarray]:
    """All frames of a video's clips, then its views, then the model."""
    protocol = predictor.protocol
    views, found = protocol.views, []
    if type(views) is EvalViews:
        views = _WholeClips(views.short_side, views.crop_size, views.num_crops, views.normalise)
    for record in records:
        scores = predictor.view_logits(views(_clips(predictor, record.path)))
        found.append(predictor.answer(record.path, scores).probabilities)
    return found


def _together(
    predictor: Predictor, records: Sequence[VideoRecord], workers: int
) -> list[np.ndarray]:
    outcomes = predictor.predict_records(records, workers)
    return [found.probabilities for found in outcomes if isinstance(found, Prediction)]


def _timed(work: Callable[[], list[np.ndarray]]) -> tuple[list[np.ndarray], Times]:
    begin, used = time.perf_counter(), os.times()
    found = work()
    end, after = time.perf_counter(), os.times()
    return found, (end - begin, sum(after[:4]) - sum(used[:4]))


def _line(name: str, times: Sequence[Times]) -> str:
    clock, cpu = (median(each[k] for each in times) for k in (0, 1))
    return f"{name:<12} {clock:8.2f} s by the clock, {cpu:8.2f} s of processors"
