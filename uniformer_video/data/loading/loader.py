"""Batches from datasets: order, workers, collation.

A training step has a fixed number of slots, as many as the recipe has processes. A slot's videos
depend on the seed, the epoch and the step alone; one process may work through all slots of a step
(gradient accumulation) or many processes may share them, and the run is the same.
"""

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from operator import itemgetter
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from uniformer_video.cores import usable_cores
from uniformer_video.data.clips.label_maps import TokenLabels, join_labels
from uniformer_video.data.clips.packed import PackedClips, join
from uniformer_video.data.lists.balance import rarest_totals
from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import (
    NO_TIME,
    ClipOrigin,
    EvalDataset,
    EvalSample,
    TimeOfClips,
    TrainDataset,
    TrainKey,
    TrainSample,
)
from uniformer_video.data.loading.watchdog import Watched
from uniformer_video.data.loading.workers import HANGING_SECONDS, WatchedLoader
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.randomness import generator, permutation
from uniformer_video.words import plural

Sample = TypeVar("Sample", covariant=True)

REPEATED_UNIT = 256  # views, see `TrainPlan`


@dataclass(frozen=True)
class TrainPlan:
    """Which videos make which step.

    videos: in the list; slots: shares of a step; slot_size: videos of a slot. What is left over at
    the end of an epoch, less than a step, waits for another epoch's order. weights: how often each
    video comes beside the others, float `[videos]`; None = each once an epoch. noun: what messages call one.

    repeats: how many times in a row a video stands in the order, each time augmented anew. Above 1 the
    places of a step are dealt out to its slots one by one, so that different slots see the same video, and
    an epoch is cut to whole `REPEATED_UNIT`s of views, unless the list is shorter than one. Source: Hoffer
    et al., "Augment Your Batch", in the form that DeiT and the published image runs gave it.
    """

    videos: int
    slots: int
    slot_size: int
    seed: int
    weights: np.ndarray | None = field(default=None, compare=False)
    repeats: int = 1
    noun: str = field(default="video", compare=False)

    def __post_init__(self) -> None:
        if self.steps_per_epoch < 1:
            raise ConfigError(
                f"a step takes {self.slots * self.slot_size} {self.noun}s (TRAIN.BATCH_SIZE x NUM_SHARDS x "
                "SOLVER.ACCUMULATION_STEPS) "
                f"and the training list has {self.videos}{self._kept_in_words()}; "
                f"set TRAIN.BATCH_SIZE {self.views} or less, with NUM_GPUS, NUM_SHARDS and "
                "SOLVER.ACCUMULATION_STEPS 1"
            )

    @property
    def steps_per_epoch(self) -> int:
        return self.views // (self.slots * self.slot_size)

    @property
    def views(self) -> int:
        """Of an epoch, before it is cut to whole steps."""
        if self.repeats == 1 or self.videos < REPEATED_UNIT:
            return self.videos
        return self.videos - self.videos % REPEATED_UNIT

    @property
    def distinct(self) -> int:
        """How many places of an epoch's order, without repeats, its steps come to."""
        return -(-self.steps_per_epoch * self.slots * self.slot_size // self.repeats)

    def repeats_line(self) -> str:
        """What an epoch is with repeats, and what of the list it leaves out; "" without."""
        if self.repeats == 1:
            return ""
        used = self.steps_per_epoch * self.slots * self.slot_size
        drawn = "draws by weight from" if self.weights is not None else "of"
        line = (
            f"AUG.REPEATED {self.repeats}: an epoch is {used} views of {self.distinct} {drawn} the "
            f"{self.videos} of the training list"
        )
        if used == self.videos:
            return f"{line}; none is left out."
        cuts = f"by cuts to whole {REPEATED_UNIT}s and to whole steps"
        if self.videos < REPEATED_UNIT:
            cuts = f"by the cut to whole steps; for that to whole {REPEATED_UNIT}s it is too short"
        return f"{line}; {plural(self.videos - used, 'view')} left out {cuts}."

    def _kept_in_words(self) -> str:
        return f", of which AUG.REPEATED keeps {self.views}" if self.views != self.videos else ""

    def batches(
        self, epoch: int, first_step: int, own_slots: Sequence[int], end_step: int | None = None
    ) -> Iterator[list[TrainKey]]:
        """Lists of `TrainKey`, one for each own slot of each step from `first_step` up to `end_step`."""
        order = self.order(epoch)
        for step in range(first_step, self.steps_per_epoch if end_step is None else end_step):
            for slot in own_slots:
                yield [
                    TrainKey(epoch, position, int(order[position]))
                    for position in self._positions(step, slot)
                ]

    def _positions(self, step: int, slot: int) -> range:
        """The places of a slot in the epoch's order."""
        first, size = step * self.slots * self.slot_size, self.slots * self.slot_size
        if self.repeats > 1:
            return range(first + slot, first + size, self.slots)
        return range(first + slot * self.slot_size, first + (slot + 1) * self.slot_size)

    def order(self, epoch: int) -> np.ndarray:
        """The videos of an epoch in turn: `int64 [videos]`, a function of the seed and the epoch.

        By weights, a video comes as often as its share of the epoch says, rounded up or down at random
        (systematic sampling): one that is due 2.3 times comes two or three times. Videos of one weight
        stand side by side for that, so that a class as a whole is rounded in the same way. With repeats,
        all this holds for what is repeated, as many videos as fit.
        """
        order = permutation(self.seed, epoch, self.videos)
        drawn = -(-self.videos // self.repeats)
        if self.weights is not None:
            order = self._by_weights(order, epoch, drawn)
        return np.repeat(order[:drawn], self.repeats)[: self.videos]

    def _by_weights(self, order: np.ndarray, epoch: int, count: int) -> np.ndarray:
        assert self.weights is not None
        order = order[np.argsort(self.weights[order], kind="stable")]
        rng = generator("weights", self.seed, epoch)
        due = np.cumsum(self.weights[order])
        ticks = (rng.random() + np.arange(count)) * (due[-1] / count)
        drawn = np.minimum(np.searchsorted(due, ticks, side="right"), np.argmax(due))
        return order[rng.permutation(drawn)]


def sampling_weights(records: Sequence[VideoRecord], balance: float) -> np.ndarray | None:
    """How often each record comes in training beside the others: float `[records]`, or None for alike.

    A record's own weight, times the weight of its class to the power -balance: 0 leaves classes as
    frequent as they are, 1 makes all equally frequent, 0.5 is square-root sampling (Mahajan et al.,
    "Exploring the Limits of Weakly Supervised Pretraining", section 2.2). Of several classes the rarest
    one counts, see `rarest_totals`. Raises `DataError` where all weights are 0.
    """
    weights = as_columns(records).weight.copy()
    if not weights.any():
        raise DataError("all weights of the training list are 0, so there is nothing to train on")
    if balance:
        totals = rarest_totals(records)
        weights = np.divide(weights, totals**balance, out=weights, where=weights > 0)
    with np.errstate(over="ignore"):
        if not np.isfinite(weights.sum()):
            weights /= weights.max()
    return None if (weights == weights[0]).all() else weights


@dataclass(frozen=True)
class TrainBatch:
    """The samples of one slot: copies of a video stand next to each other.

    clips is None when some sample could not be made from any video; `broken` says why.
    """

    clips: Tensor | PackedClips | None  # float32 [B * copies, 3, T, H, W]
    labels: Tensor | None  # [B * copies, ...], the task's
    paths: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]  # (path, reason)
    origins: tuple[ClipOrigin, ...] = ()  # of the clips
    token_labels: TokenLabels | None = None  # of the clips, where the dataset has label maps
    took: TimeOfClips = NO_TIME  # of all samples, whichever process made them

    def pin_memory(self) -> "TrainBatch":
        """As a tensor's; the loader's pinning thread calls it and leaves other classes unpinned."""
        if self.clips is None or self.labels is None:
            return self
        return replace(
            self,
            clips=self.clips.pin_memory(),
            labels=self.labels.pin_memory(),
            token_labels=self.token_labels.pin_memory() if self.token_labels else None,
        )


class _Batches:
    """A batch sampler of the steps `first` up to `end`, which count from the training's beginning."""

    def __init__(self, plan: TrainPlan, own_slots: Sequence[int]):
        self.plan, self.own_slots = plan, own_slots
        self.first = self.end = 0

    def __iter__(self) -> Iterator[list[TrainKey]]:
        return self.after(0)

    def after(self, done: int) -> Iterator[list[TrainKey]]:
        """Those behind the first `done` ones, which are not gone through: there may be millions."""
        steps, slots = divmod(done, len(self.own_slots))
        return islice(self._from(self.first + steps), slots, None)

    def _from(self, step: int) -> Iterator[list[TrainKey]]:
        each = self.plan.steps_per_epoch
        while step < self.end:
            epoch, first = divmod(step, each)
            last = min(each, first + self.end - step)
            yield from self.plan.batches(epoch, first, self.own_slots, last)
            step += last - first


class TrainLoader:
    """Batches of steps from any one on, by workers that live through the whole run.

    finish: what is left to do to the clips of a batch, once they are on the device. A video that hangs,
    for `timeout` seconds, or crashes its worker counts as broken: `WatchedLoader`.
    """

    def __init__(
        self,
        dataset: TrainDataset,
        plan: TrainPlan,
        own_slots: Sequence[int],
        num_workers: int,
        timeout: float = HANGING_SECONDS,
    ):
        self.plan, self.finish = plan, dataset.augment.finish
        self._batches = _Batches(plan, own_slots)
        self._loader = WatchedLoader(dataset, self._batches, collate_train, num_workers, timeout)
        self._pass: Generator[TrainBatch, None, None] | None = None
        self._delivered = 0  # batches of the pass

    def give_up_on(self, stop: threading.Event) -> None:
        """From now on raise `StopAsked` in place of waiting for a batch once the event `stop` is set."""
        self._loader.stop = stop

    def close(self) -> None:
        """End the workers, which otherwise wait for the next epoch."""
        self._end_pass()
        self._loader.close()

    def epoch(
        self, epoch: int, first_step: int = 0, end_step: int | None = None, ahead: int = 0
    ) -> Iterator[TrainBatch]:
        """Iterate `TrainBatch`es: one a slot, slot by slot, from `first_step` of `epoch` up to `end_step`.

        ahead: a step, counted from the training's beginning. Batches of the steps up to it are made while
        these are used, and while whoever has used them validates and saves: two for each worker at most wait
        at a time. What then goes on with the step behind these finds them.
        """
        each, slots = self.plan.steps_per_epoch, len(self._batches.own_slots)
        first = epoch * each + first_step
        end = epoch * each + (each if end_step is None else end_step)
        if not self._goes_on(first, end):
            self._begin_pass(first, max(end, ahead))
        for _ in range((end - first) * slots):
            yield self._next()

    def _goes_on(self, first: int, end: int) -> bool:
        """Whether the pass that is under way is at the step `first` and has those up to `end`."""
        place = self._batches.first * len(self._batches.own_slots) + self._delivered
        at_place = place == first * len(self._batches.own_slots)
        return self._pass is not None and at_place and end <= self._batches.end

    def _begin_pass(self, first: int, end: int) -> None:
        self._end_pass()
        self._batches.first, self._batches.end = first, end
        self._pass, self._delivered = iter(self._loader), 0

    def _next(self) -> TrainBatch:
        assert self._pass is not None  # the pass has as many batches as are asked for
        try:
            batch = next(self._pass)
        except BaseException:
            self._pass = None  # it has ended with the error
            raise
        self._delivered += 1
        steps = self._batches.end - self._batches.first
        if self._delivered == steps * len(self._batches.own_slots):
            self._end_pass()
        return batch

    def _end_pass(self) -> None:
        if self._pass is not None:
            self._pass.close()
            self._pass = None


def eval_loader(
    dataset: EvalDataset,
    indices: Sequence[int],
    videos_per_batch: int,
    num_workers: int,
    timeout: float = HANGING_SECONDS,
) -> WatchedLoader[list[EvalSample]]:
    """Lists of `EvalSample` for the records at `indices`, in their order.

    A video that hangs, for `timeout` seconds, or crashes its worker counts as broken: `WatchedLoader`.
    """
    batches = torch.utils.data.BatchSampler(indices, videos_per_batch, drop_last=False)
    return WatchedLoader(dataset, batches, list, num_workers, timeout, persistent=False)


class _Samples(Watched, Protocol[Sample]):
    """A dataset whose items are `Sample`s."""

    def __getitem__(self, index: int) -> Sample: ...


def sample_loader(
    dataset: _Samples[Sample],
    indices: Sequence[int],
    num_workers: int,
    timeout: float = HANGING_SECONDS,
) -> WatchedLoader[Sample]:
    """What `dataset` has of the records at `indices`, one by one in their order; else as `eval_loader`."""
    batches = [[index] for index in indices]
    return WatchedLoader(dataset, batches, itemgetter(0), num_workers, timeout, persistent=False)


def collate_train(samples: Sequence[TrainSample]) -> TrainBatch:
    """`TrainSample`s -> one `TrainBatch`."""
    clips = [sample.clips for sample in samples if sample.clips is not None]
    labels = [sample.labels for sample in samples if sample.labels is not None]
    maps = [sample.token_labels for sample in samples if sample.token_labels is not None]
    complete = len(clips) == len(labels) == len(samples)
    return TrainBatch(
        clips=join(clips) if complete else None,
        labels=torch.cat(labels) if complete else None,
        paths=tuple(sample.path for sample in samples),
        broken=tuple(item for sample in samples for item in sample.broken),
        origins=tuple(origin for sample in samples for origin in sample.origins),
        token_labels=join_labels(maps) if complete and maps else None,
        took=TimeOfClips(*map(sum, zip(*(sample.took for sample in samples), strict=True))),
    )


def resolve_workers(num_workers: int) -> int:
    """-1 -> one a usable core, at most 16."""
    return min(usable_cores(), 16) if num_workers < 0 else num_workers
