"""How fast training clips are made: by the step, by the number of workers, against the published way."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.bench.clock import PartClock
from uniformer_video.bench.figures import Figure
from uniformer_video.bench.progress import Progress, of_rounds
from uniformer_video.bench.published_images import PublishedImages
from uniformer_video.bench.published_loader import PublishedDataset
from uniformer_video.bench.some_data import some_data
from uniformer_video.data.clips.augment import ColorJitter, RandAugment
from uniformer_video.data.clips.auto_augment import AutoAugment
from uniformer_video.data.clips.images import ImageAugmentation
from uniformer_video.data.clips.packed import PackedClips, stack
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import TrainDataset, TrainSample
from uniformer_video.data.loading.loader import TrainLoader, TrainPlan, collate_train
from uniformer_video.errors import ConfigError, DataError, DecodeError
from uniformer_video.randomness import generator
from uniformer_video.runs.build_clips import build_train_dataset
from uniformer_video.words import name_some, one_line, plural

DECODE, COLLATE, DEVICE = "open and decode", "collate", "on the device"
_COLOURS = (RandAugment.step, AutoAugment.step, ColorJitter.step)  # one of them, or none
_AFTER = ("crop and resize", "flip", "normalise", "erasing")
STEPS = (DECODE, RandAugment.step, *_AFTER, COLLATE)  # by default
_ALL_STEPS = (DECODE, *_COLOURS, *_AFTER, "pack", COLLATE, DEVICE)
MOST_WORKERS = 256  # each is a process with some hundred MB; more do not start in any useful time
_BATCH = 4  # videos
Side = TrainDataset | PublishedDataset | PublishedImages
Sides = dict[str, Side]


@dataclass
class LoaderTimes:
    """What was measured. Seconds are medians over the rounds of the mean of a round, for one clip.

    broken: path -> reason of the videos that could not be decoded, in whose place the next ones came. images:
    clips are images, and the words for them. figures: the same times with their spread over the rounds.
    """

    # step -> seconds; DEVICE is what AUG.ON_DEVICE leaves to it, transfer included
    ours: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] | None = None  # likewise, of the published way
    rates: dict[int, float] = field(
        default_factory=dict
    )  # workers -> clips a second of the whole loader
    broken: dict[str, str] = field(default_factory=dict)
    images: bool = False
    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Take {side: {step: seconds a clip of each round}} in place of those of fewer rounds."""
        medians = {
            side: {step: statistics.median(each) for step, each in steps.items()}
            for side, steps in seconds.items()
        }
        self.ours, self.baseline = medians["ours"], medians.get("baseline")
        self.figures |= {
            f"{side}: {step}": Figure.of_seconds(each)
            for side, steps in seconds.items()
            for step, each in steps.items()
        }


def measure(
    cfg: CfgNode,
    clips: int = 24,
    rounds: int = 3,
    workers: Sequence[int] = (0, 1, 2),
    baseline: bool = False,
    times: LoaderTimes | None = None,
) -> LoaderTimes:
    """`LoaderTimes` of the training clips that a config asks for.

    Each round makes the same `clips` clips, ours and the published way in turn, by one thread; then
    the whole loader is timed over them once for each number of `workers`. A config that names no data
    gets generated videos, or JPEGs of 500 x 375 pixels where its format lists images. times: gets
    what is complete round by round, for whoever is interrupted; it is what is returned. Raises `DataError`
    where none of the videos can be decoded.
    """
    times = times or LoaderTimes()
    at = Progress()
    at("preparing the clips")
    with some_data(cfg) as data:
        dataset = build_train_dataset(cfg, data.train, data.class_names)
        sides: Sides = {"ours": dataset}
        if baseline:
            sides["baseline"] = _published(dataset)
        times.images = isinstance(dataset.augment, ImageAugmentation)
        with _one_thread():
            records = _decodable(sides, math.ceil(clips / dataset.copies), times.broken)
            for seconds in _time_steps(sides, records, rounds, at):
                times.add(seconds)
        for count in workers:
            name = f"loader, {plural(count, 'worker')}"
            at(name)
            times.rates[count] = _loader_rate(dataset, clips, count, times.broken)
            times.figures[name] = Figure.of([times.rates[count]], "clips/s")
    return times


def worker_counts(text: str) -> list[int]:
    """`0,1,2` -> [0, 1, 2]; 1 is always among them, because suggestions rest on it."""
    try:
        counts = sorted({1, *(int(count) for count in text.split(","))})
    except ValueError:
        counts = [-1]
    if counts[0] < 0 or counts[-1] > MOST_WORKERS:
        raise ConfigError(
            f"--workers is {text!r}; give whole numbers from 0 to {MOST_WORKERS}, such as 0,1,4"
        )
    return counts


def suggest_workers(rates: Mapping[int, float], needed: float) -> int:
    """Workers for `needed` clips a second, from the rate of one; each is taken to have a core."""
    return max(1, math.ceil(needed / rates[1]))


def _published(dataset: TrainDataset) -> PublishedDataset | PublishedImages:
    if isinstance(dataset.augment, ImageAugmentation):
        return PublishedImages(dataset, dataset.augment)
    return PublishedDataset(dataset)


def report(times: LoaderTimes, needed: float = 0.0) -> list[str]:
    """The tables as text lines."""
    clip, video = ("image", "image") if times.images else ("clip", "video")
    digits = 2 if times.images else 1
    ms_a_clip = f"ms {'an' if times.images else 'a'} {clip}, one thread"
    lines = [f"{ms_a_clip:24s}{'ours':>9s}" + ("published" * bool(times.baseline)).rjust(11)]
    sides = {"ours": (times.ours, 9), "published": (times.baseline or {}, 11)}
    made = [step for step in _ALL_STEPS if any(step in steps for steps, _ in sides.values())]
    workers = [step for step in made if step != DEVICE]
    for step in (*workers, "all", "all but decoding", *made[len(workers) :]):
        row = f"{step:24s}"
        for steps, width in sides.values():
            known = steps and (step in steps or step.startswith("all"))
            row += f"{1e3 * _seconds(steps, step):{width}.{digits}f}" if known else " " * width
        lines.append(row.rstrip())
    for name, step in (("", "all"), (" without decoding", "all but decoding")):
        row = f"{clip}s/s per core{name}: {1 / _seconds(times.ours, step):.1f}"
        if times.baseline:
            other = _seconds(times.baseline, step)
            row += f", published {1 / other:.1f}, {other / _seconds(times.ours, step):.2f}x"
        lines.append(row)
    lines += [
        f"loader, {count} workers: {rate:.1f} {clip}s/s" for count, rate in times.rates.items()
    ]
    if needed and 1 in times.rates:  # not in those of one that was interrupted
        lines.append(
            f"For {needed:g} {clip}s/s: DATA_LOADER.NUM_WORKERS {suggest_workers(times.rates, needed)}, "
            "each with a core of its own"
        )
    if times.broken:
        named = [
            f"{path}: {reason.removeprefix(f'{path} ')}" for path, reason in times.broken.items()
        ]
        lines.append(f"{plural(len(named), video)} left out as broken: {name_some(named)}")
    return lines


def _seconds(times: Mapping[str, float], step: str) -> float:
    """Of a step, or of all that a worker does."""
    workers = sum(times.values()) - times.get(DEVICE, 0.0)
    return {"all": workers, "all but decoding": workers - times[DECODE], **times}[step]


def _decodable(sides: Sides, count: int, broken: dict[str, str]) -> list[VideoRecord]:
    """For each of `count` positions a record whose clip all sides decode; the others go to `broken`."""
    records = sides["ours"].records
    chosen: list[VideoRecord] = []
    candidates = itertools.cycle(records)
    while len(chosen) < count:
        record = next(candidates)
        if record.path not in broken:
            try:
                for dataset in sides.values():
                    _decode(dataset, record, len(chosen))
                chosen.append(record)
            except (DecodeError, OSError) as error:
                broken[record.path] = one_line(error)
        if broken and all(record.path in broken for record in records):
            path, reason = next(iter(broken.items()))
            raise DataError(
                f"none of the {len(records)} videos can be decoded; the first is {path}: {reason}"
            )
    return chosen


def _time_steps(
    sides: Sides, records: Sequence[VideoRecord], rounds: int, at: Callable[[str], None]
) -> Iterator[dict[str, dict[str, list[float]]]]:
    """After each round {side: {step: seconds a clip of each so far}}; they take turns clip by clip.

    One clip before them is not measured. at: is told what is begun.
    """
    copies = sides["ours"].copies
    positions = range(len(records))
    measured: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for dataset in sides.values():
        _make_sample(dataset, records[0], 0, PartClock())
    for number in range(rounds):
        clocks = {side: PartClock() for side in sides}
        samples: dict[str, list[TrainSample]] = {side: [] for side in sides}
        for position in positions:
            at(f"clip {position + 1} of {len(records)}, {of_rounds(number + 1, rounds)}")
            for side, dataset in sides.items():
                samples[side].append(
                    _make_sample(dataset, records[position], position, clocks[side])
                )
                if len(samples[side]) == _BATCH or position == positions[-1]:
                    _make_batch(dataset, samples[side], clocks[side])
                    samples[side].clear()
        for side, clock in clocks.items():
            made = len(positions) * copies
            steps = [step for step in _ALL_STEPS if step in clock.seconds]
            measured[side].append({step: clock.seconds[step] / made for step in steps})
        yield {
            side: {step: [one[step] for one in each] for step in each[0]}
            for side, each in measured.items()
        }


def _decode(dataset: Side, record: VideoRecord, position: int) -> Any:
    """Frames, or what else the side's augmentation takes."""
    return dataset.decode(record, generator("clip", dataset.seed, 0, position, 0))


def _make_sample(
    dataset: Side, record: VideoRecord, position: int, clock: PartClock
) -> TrainSample:
    clock.start()
    frames = _decode(dataset, record, position)
    clock.mark(DECODE)
    label: Any = record.labels
    if isinstance(dataset, TrainDataset):
        label = dataset.read_label(record, frames.shape[1:3])
    clips = []
    for number in range(dataset.copies):
        rng = generator("augment", dataset.seed, 0, position, number)
        clips.append(dataset.augment(frames, label, rng, clock.mark)[0])
    clock.start()
    sample = TrainSample(stack(clips), torch.zeros(len(clips), dtype=torch.int64), record.path)
    clock.mark(COLLATE)
    return sample


def _make_batch(dataset: Side, samples: Sequence[TrainSample], clock: PartClock) -> None:
    """Collate, and what is left to do on the device, where something is."""
    clock.start()
    batch = collate_train(samples)
    clock.mark(COLLATE)
    if isinstance(batch.clips, PackedClips) and isinstance(dataset, TrainDataset):
        clips = batch.clips.to("cuda" if torch.cuda.is_available() else "cpu")
        dataset.augment.finish(clips).flatten()[0].item()  # waits for the device
        clock.mark(DEVICE)


def _loader_rate(dataset: TrainDataset, clips: int, workers: int, broken: dict[str, str]) -> float:
    """Clips a second over one epoch, after one that starts the workers; adds to `broken` what it met."""
    videos = max(math.ceil(clips / dataset.copies) // _BATCH, 1) * _BATCH
    repeated = [dataset.records[index % len(dataset.records)] for index in range(videos)]
    longer = copy(dataset)
    longer.records = repeated
    loader = TrainLoader(longer, TrainPlan(videos, 1, _BATCH, dataset.seed), (0,), workers)
    for epoch in range(2):
        started, made = time.perf_counter(), 0
        for batch in loader.epoch(epoch):
            made += 0 if batch.labels is None else len(batch.labels)
            broken |= {path: reason for path, reason in batch.broken if path not in broken}
    return made / (time.perf_counter() - started)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
