"""Every picture of a test through a segmentation model, each counted once, and its pixels by class."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from uniformer_video.data.decoding.masks import IGNORED
from uniformer_video.data.loading.loader import sample_loader
from uniformer_video.data.loading.pixel_dataset import PixelDataset
from uniformer_video.data.loading.workers import HANGING_SECONDS
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import UserError
from uniformer_video.evaluation.cost import MeasuredTimes
from uniformer_video.evaluation.parts import RecordingTask
from uniformer_video.evaluation.pixel_logits import PixelLogits, whole_logits
from uniformer_video.evaluation.results import Segment, build_record, entries_of, save_record
from uniformer_video.evaluation.scoring import check_decoded
from uniformer_video.evaluation.strips import Strips

# What is done with each tested picture: its place, pixels uint8 [H, W, 3], mask and classes uint8 [H, W] ->
# a small copy of all three for the page, or b"".
Keep = Callable[[int, np.ndarray, np.ndarray, np.ndarray], bytes]


@dataclass
class PixelScores:
    """What a model said of the pixels of pictures.

    areas: of each picture, int64 `[N, 3, K]`, see `evaluation/areas.py`; 0 where one failed. confusion: of
    all, int64 `[K, K]`, row true and column predicted. losses: of each the cross entropy of its pixels that
    count, divided by all as in training, float64 `[N]`, where it was asked for, else NaN. failures: {place:
    why a picture or its mask cannot be read}. sizes: {place: (width, height)}. strips: {place: what the
    page shows}. predictions: names of the files of predicted classes, where they are kept. colours: of
    the classes, uint8 `[K, 3]`.
    """

    areas: np.ndarray
    confusion: np.ndarray
    losses: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    strips: dict[int, bytes] = field(default_factory=dict)
    predictions: Sequence[str] = ()
    colours: np.ndarray | None = None
    times: MeasuredTimes = field(default_factory=MeasuredTimes)

    @property
    def decoded(self) -> np.ndarray:
        """bool `[N]`."""
        return np.array([index not in self.failures for index in range(len(self.areas))], bool)

    def check(self, path: Path | str, noun: str) -> None:
        """Raise `DataError` where no picture could be read."""
        check_decoded(self.decoded, self.failures, noun)

    def notes(self, protocol: Protocol) -> list[str]:
        """Nothing: no view of a picture repeats another."""
        return []

    def results(
        self,
        *,
        task: RecordingTask,
        names: Sequence[str],
        paths: Sequence[str],
        labels: Sequence[Any],
        segments: Sequence[Segment],
        sizes: Mapping[int, tuple[int, int]],
        **facts: Any,
    ) -> dict[str, Any]:
        """The record of the test; `facts` are the other arguments of `build_record`."""
        entries = entries_of(names, paths, map(task.label_entry, labels), segments, sizes)
        for entry, prediction, good in zip(entries, self.predictions, self.decoded, strict=False):
            entry["prediction"] = prediction if good else None
        class_names, score = facts["class_names"], facts["protocol"].score
        found = task.results(entries, labels, self, self.decoded, class_names, score)
        if self.colours is not None:
            found["palette"] = self.colours.tolist()
        return build_record(task=task, entries=entries, found=found, **facts)

    def save(self, folder: Path, results: Mapping[str, Any], task: RecordingTask) -> None:
        """Write the record, and the areas and small pictures beside it."""
        Strips.of(self.strips, len(self.areas)).save(folder)
        save_record(folder, results, task, areas=self.areas)


@torch.inference_mode()
def score_pictures(
    models: Mapping[str, nn.Module],
    dataset: PixelDataset,
    num_classes: int,
    ranks: Ranks,
    num_workers: int,
    autocast: Callable[[], AbstractContextManager],
    *,
    with_loss: bool = False,
    keep: Keep | None = None,
    progress: Callable[[int, int], None] | None = None,
    timeout: float = HANGING_SECONDS,
) -> dict[str, PixelScores]:
    """The `PixelScores` of each of the `models`; a picture is read once for all of them.

    Each process takes every size-th picture; every picture is counted once, whatever the number of processes
    or workers. keep: called for the pictures of the own process, with what the first model says.
    `progress(pictures, failed)` is called as they come. A picture that hangs, for `timeout` seconds, is a
    failure.
    """
    own = range(ranks.rank, len(dataset), ranks.size)
    judges = [
        _Judge(model, dataset, num_classes, ranks.device, autocast) for model in models.values()
    ]
    rows: list[_Judged | tuple[int, str]] = []
    error: UserError | None = None
    try:
        for sample in sample_loader(dataset, own, num_workers, timeout):
            if sample.picture is None or sample.mask is None:
                rows.append((sample.index, sample.reason))
            else:
                answers = [judge(sample.picture, sample.mask, with_loss) for judge in judges]
                strip = b""
                if keep:
                    strip = keep(sample.index, sample.picture, sample.mask, answers[0].classes)
                height, width = sample.mask.shape
                measured = [(answer.areas, answer.loss) for answer in answers]
                rows.append(_Judged(sample.index, (width, height), measured, strip))
            if progress:
                progress(1, int(sample.picture is None))
    except UserError as failure:  # the others wait for this process' share
        error = failure
    rows = ranks.gather(rows, error)
    confusions = ranks.exchange([judge.confusion for judge in judges])
    return {
        name: _collect(
            rows, place, np.sum([each[place] for each in confusions], axis=0), len(dataset)
        )
        for place, name in enumerate(models)
    }


class _Judged(NamedTuple):
    """A picture that was read; measured: its areas and its loss, by each model."""

    place: int
    size: tuple[int, int]
    measured: list[tuple[np.ndarray, float]]
    strip: bytes


class _Answer(NamedTuple):
    classes: np.ndarray  # uint8 [H, W]
    areas: np.ndarray  # int64 [3, K]
    loss: float


@dataclass
class _Judge:
    """A model, and the `confusion` of all that it was asked, int64 `[K, K]`."""

    model: nn.Module
    dataset: PixelDataset
    num_classes: int
    device: torch.device
    autocast: Callable[[], AbstractContextManager]

    def __post_init__(self) -> None:
        self.model.eval()
        self.confusion = np.zeros((self.num_classes, self.num_classes), np.int64)

    def __call__(self, picture: np.ndarray, mask: np.ndarray, with_loss: bool) -> _Answer:
        logits = whole_logits(self.model, self.dataset.views, picture, self.device, self.autocast)
        classes, loss = (
            _classes_and_loss(logits, mask) if with_loss else (logits.classes(), math.nan)
        )
        asked = mask != IGNORED
        pairs = mask[asked].astype(np.int64) * self.num_classes + classes[asked]
        counts = np.bincount(pairs, minlength=self.num_classes**2)
        confusion = counts.reshape(self.num_classes, self.num_classes)
        self.confusion += confusion
        areas = np.stack([confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1)])
        return _Answer(classes, areas, loss)


def _classes_and_loss(logits: PixelLogits, mask: np.ndarray) -> tuple[np.ndarray, float]:
    """The best class of each pixel, uint8 `[H, W]`, and the cross entropy of those that count, over all."""
    parts, total = [], 0.0
    for start, stop in logits.blocks():
        rows = logits.rows(start, stop)
        truth = torch.from_numpy(mask[start:stop].astype(np.int64)).to(rows.device)
        total += float(
            F.cross_entropy(rows[None], truth[None], ignore_index=IGNORED, reduction="sum")
        )
        parts.append(rows.argmax(0).to(torch.uint8).cpu())
    return torch.cat(parts).numpy(), total / mask.size


def _collect(
    rows: Sequence[_Judged | tuple[int, str]], place: int, confusion: np.ndarray, pictures: int
) -> PixelScores:
    """What the model at `place` was measured at."""
    areas = np.zeros((pictures, 3, len(confusion)), np.int64)
    found = PixelScores(areas, confusion, np.full(pictures, np.nan))
    for row in rows:
        if not isinstance(row, _Judged):
            found.failures[row[0]] = row[1]
            continue
        found.areas[row.place], found.losses[row.place] = row.measured[place]
        found.sizes[row.place] = row.size
        if row.strip:
            found.strips[row.place] = row.strip
    return found
