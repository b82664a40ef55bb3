"""Every view of every video through the model, once each, and views to video scores."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uniformer_video.data.loading.dataset import EvalDataset, VideoRead
from uniformer_video.data.loading.loader import eval_loader
from uniformer_video.data.loading.workers import HANGING_SECONDS
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import CheckpointError, DataError, UserError
from uniformer_video.evaluation.cost import MeasuredTimes, PassTimer
from uniformer_video.evaluation.parts import RecordingTask
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.words import plural

_HELD_LOGITS = 2**22  # 16 MB; on a GPU then once every few hundred videos
# Of a video at an index: its logits `[view, class]`, why it failed, how many of its views are repeated, what
# reading it has shown, or a small picture of it.
Outcome = tuple[int, np.ndarray | str | int | VideoRead | bytes]


@dataclass
class ViewScores:
    """Logits of all views, float32 `[video, view, class]`; NaN where a video failed.

    failures: {index of a video: why it could not be decoded}. repeats: {index of a video: how many of its
    views show the frames of another one once more}, for those that have any. sizes: {index of a decoded
    video: (width, height) of its frames}. times: where the time went. strips: {index of a video: a JPEG file
    of a few of its frames}, where the dataset makes them.
    """

    scores: np.ndarray
    failures: dict[int, str] = field(default_factory=dict)
    repeats: dict[int, int] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    times: MeasuredTimes = field(default_factory=MeasuredTimes)
    strips: dict[int, bytes] = field(default_factory=dict)

    @property
    def decoded(self) -> np.ndarray:
        """bool `[video]`."""
        return np.array([index not in self.failures for index in range(len(self.scores))], bool)

    def check(self, path: Path | str, noun: str) -> None:
        """Raise unless something was measured: a test of nothing is an error, not a result of 0 %.

        path: of the weights, and noun: of what is tested, for the message.
        """
        check_decoded(self.decoded, self.failures, noun)
        if not np.isfinite(self.scores[self.decoded]).all():
            raise CheckpointError(
                f"{path} gives scores that are not finite; try TRAIN.PRECISION fp32, or other weights"
            )

    def notes(self, protocol: Protocol) -> list[str]:
        """A note where views of short videos show the same frames, for the log and the report."""
        if not self.repeats:
            return []
        decoded, repeated = self.decoded.sum(), sum(self.repeats.values())
        return [
            f"{repeated} of {decoded * protocol.num_views} views show the frames of another one once more: "
            f"{len(self.repeats)} of {plural(decoded, 'video')} are too short for "
            f"{protocol.num_clips} different clips. They count again in the mean of their video and tell "
            "nothing new; with fewer TEST.NUM_ENSEMBLE_VIEWS the test takes less time."
        ]

    def results(self, **facts: Any) -> dict[str, Any]:
        """The record of the test; `facts` are the other arguments of `build_results`."""
        return build_results(view_scores=self.scores, **facts)

    def save(self, folder: Path, results: Mapping[str, Any], task: RecordingTask) -> None:
        """Write the record, and the scores and small pictures beside it."""
        Strips.of(self.strips, len(self.scores)).save(folder)
        save_results(folder, results, self.scores, task)


@dataclass(frozen=True)
class Validation:
    """What a validation has measured.

    measured: {name of the weights: (score in 0..1 or NaN, unweighted loss)}, empty where nothing could be
    decoded. failed: how many could not. is_finite: whether all that the models gave is; else nothing is
    measured. verb: what could not be done with those that failed.
    """

    measured: dict[str, tuple[float, float]]
    failed: int
    is_finite: bool = True
    verb: str = "decoded"


def check_decoded(decoded: np.ndarray, failures: Mapping[int, str], noun: str) -> None:
    """Raise `DataError` where nothing of a test could be decoded."""
    if not decoded.any():
        reason = next(iter(failures.values()))
        raise DataError(f"none of the test {noun}s can be decoded; the first: {reason}")


class SideBySide(nn.Module):
    """Several models of the same classes on the same clips, which are decoded once: `[B, models * K]`."""

    def __init__(self, models: Sequence[RecognitionModel]):
        super().__init__()
        self.models = nn.ModuleList(models)
        self.num_classes = sum(model.num_classes for model in models)

    def forward(self, clips: Tensor) -> Tensor:
        return torch.cat([model(clips) for model in self.models], dim=1)

    def split(self, scores: np.ndarray) -> list[np.ndarray]:
        """`[..., models * K]` -> of each model `[..., K]`."""
        return np.split(scores, len(self.models), axis=-1)


@torch.inference_mode()
def score_videos(
    model: nn.Module,
    dataset: EvalDataset,
    num_classes: int,
    ranks: Ranks,
    batch_size: int,
    num_workers: int,
    autocast: Callable[[], AbstractContextManager],
    progress: Callable[[int, int], None] | None = None,
    timeout: float = HANGING_SECONDS,
    mark: Callable[[str], None] = lambda part: None,
) -> ViewScores:
    """The `ViewScores` of a `EvalDataset`.

    Each process takes every size-th video; every (video, view) is counted once, whatever the number
    of processes, workers, or `batch_size` (views of a forward pass). `progress(videos, failed)` is called
    with the number of videos just finished, and how many of them failed. A video that hangs, for
    `timeout` seconds, is a failure. mark: called with the name of a part of the work when that has been done.
    """
    model.eval()
    own = range(ranks.rank, len(dataset), ranks.size)
    num_views = dataset.num_clips * dataset.views.views_of_clip
    per_batch = max(1, batch_size // num_views)
    logits, timer, error = _DeviceLogits(num_views), PassTimer(ranks.device), None
    results: list[Outcome] = []
    try:
        for samples in eval_loader(dataset, own, per_batch, num_workers, timeout):
            mark("waiting for data")
            good = [sample for sample in samples if sample.views is not None]
            results += [(s.index, s.reason) for s in samples if s.views is None]
            results += [(s.index, s.repeats) for s in good if s.repeats]
            results += [(s.index, s.read) for s in good if s.read]
            results += [(s.index, s.strip) for s in good if s.strip]
            if good:
                views = torch.cat([sample.views for sample in good if sample.views is not None])
                if ranks.device.type == "cuda":
                    views = views.pin_memory()  # only such memory is copied without a wait
                mark("join views")
                passes = _forward(model, views, batch_size, ranks.device, autocast, timer, mark)
                logits.add([sample.index for sample in good], passes)
            if progress:
                progress(len(samples), len(samples) - len(good))
            mark("logging")
        results += logits.read()
    except UserError as failure:  # the others wait for this process' share
        error = failure
    found = _collect(ranks.gather(results, error), len(dataset), num_views, num_classes)
    found.times.passes = ranks.gather([timer.read()])
    return found


def _forward(
    model: nn.Module,
    views: Tensor,
    batch_size: int,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
    timer: PassTimer,
    mark: Callable[[str], None],
) -> Tensor:
    """Float32 logits `[views, class]` on the device, in passes of at most `batch_size` views."""
    parts = []
    for part in views.split(batch_size):
        with timer.timing(len(part)), autocast():
            sent = part.to(device, non_blocking=True)
            mark("transfer")
            parts.append(model(sent).float())
            mark("forward")
    return torch.cat(parts)


class _DeviceLogits:
    """Logits that stay on the device until they are many: fetching them waits for it."""

    def __init__(self, num_views: int):
        self._num_views, self._held = num_views, 0
        self._indices: list[int] = []
        self._parts: list[Tensor] = []
        self._results: list[tuple[int, np.ndarray]] = []

    def add(self, indices: Sequence[int], logits: Tensor) -> None:
        """Take the logits `[videos * views, class]` of the videos at `indices`."""
        self._indices += indices
        self._parts.append(logits)
        self._held += logits.numel()
        if self._held >= _HELD_LOGITS:
            self._fetch()

    def read(self) -> list[tuple[int, np.ndarray]]:
        """[(index of a video, float32 `[view, class]`)] of all."""
        self._fetch()
        return self._results

    def _fetch(self) -> None:
        if self._parts:
            logits = torch.cat(self._parts).reshape(len(self._indices), self._num_views, -1)
            self._results += zip(self._indices, logits.cpu().numpy(), strict=True)
        self._held, self._indices, self._parts = 0, [], []


def _collect(
    results: Iterable[Outcome], num_videos: int, num_views: int, num_classes: int
) -> ViewScores:
    scores = np.full((num_videos, num_views, num_classes), np.nan, np.float32)
    found = ViewScores(scores)
    for index, outcome in results:
        if isinstance(outcome, str):
            found.failures[index] = outcome
        elif isinstance(outcome, int):
            found.repeats[index] = outcome
        elif isinstance(outcome, VideoRead):
            found.sizes[index] = outcome.size
            found.times.reads.append(outcome)
        elif isinstance(outcome, bytes):
            found.strips[index] = outcome
        else:
            scores[index] = outcome
    return found
