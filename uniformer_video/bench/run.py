"""Where the time of a whole training goes, and of a multi-view test: by the very loops that runs use.

A training is timed by some steps on a copy that is thrown away (`runs/rehearsal.py`), with a learning rate
of 0, which costs the same and keeps any weights finite. Each part is waited for, so that on a GPU it gets the
time of what it has asked for; there more steps follow without that, which tell what a step takes in a run.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.bench import limits
from uniformer_video.bench.clock import PartClock
from uniformer_video.bench.figures import Figure, Measured
from uniformer_video.bench.progress import Progress
from uniformer_video.bench.run_test import time_test
from uniformer_video.bench.some_data import NOTHING_BESIDE, left_out, some_data
from uniformer_video.config.settings import set_values, with_settings
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.distributed.ranks import Ranks, join_ranks
from uniformer_video.errors import ConfigError
from uniformer_video.memory import kept_for_the_next_step
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs.build_clips import clip_shape
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_model import name_model
from uniformer_video.runs.check import check_phases, check_settings
from uniformer_video.runs.folder import RunFolder
from uniformer_video.runs.rehearsal import rehearse
from uniformer_video.signals import Interrupted
from uniformer_video.training.monitor import Monitor
from uniformer_video.training.precision import choose_precision
from uniformer_video.training.trainer import Trainer
from uniformer_video.training.turns import wait_for
from uniformer_video.words import name_some, plural

_FETCHED_AHEAD = 2  # batches of each worker, torch's default
_IDLE = {  # what is no part of a step, or only says where results go
    "UNIFORMER.PRETRAIN_NAME": "",
    "TRAIN.PROFILE": [],
}


@dataclass
class Slice:
    """Steps of a training.

    laps: of each step {part: seconds}. free: seconds of a step, on a GPU, the mean of steps behind one
    another for whose parts nobody waits.
    decode, augment: seconds of each step that all processes spent on its clips. loader: clips a second that
    the loader gives where nobody trains. broken: {path: reason}. clips: of a step.
    """

    laps: list[dict[str, float]] = field(default_factory=list)
    free: float | None = None
    decode: list[float] = field(default_factory=list)
    augment: list[float] = field(default_factory=list)
    loader: Figure | None = None
    broken: dict[str, str] = field(default_factory=dict)
    clips: int = 0


def measure(
    cfg: CfgNode, steps: int, videos: int = 0, rounds: int = 3, found: Measured | None = None
) -> Measured:
    """Time so many `steps` of the training that a config asks for, and with `videos` the test of so many.

    A config that names no data gets generated videos. The figures are "train/PART", ms a step, and
    "test/PART", ms a video: medians over steps, and over `rounds` of the test. found: gets the figures of the
    training, and then of each round, for whoever is interrupted; it is what is returned. Raises what a run
    raises, and `ConfigError` for several processes.
    """
    if not cfg.TRAIN.ENABLE:
        raise ConfigError("`bench run` times a training, and TRAIN.ENABLE is False: set it to True")
    cfg = name_model(with_settings(cfg, {**NOTHING_BESIDE, **_IDLE, "TEST.ENABLE": videos > 0}))
    check_settings(cfg)
    check_phases(cfg)
    with join_ranks(cfg.DISTRIBUTED.TIMEOUT, cfg.DATA_LOADER.TIMEOUT or math.inf) as ranks:
        if ranks.size > 1:
            raise ConfigError(
                "`bench run` times one process; start it without torchrun, with the NUM_GPUS of the recipe"
            )
        found = found or Measured("run", {})
        found.what = {**set_values(cfg), "steps": steps, "test videos": videos}
        at = Progress()
        at("building the training")
        found.notes += left_out(cfg)
        with some_data(cfg, tested=videos > 0) as data:
            if not cfg.DATA.PATH_TO_DATA_DIR:
                found.notes.append(f"Generated {data.medium.name}s: the config names no data.")
                data.train = _repeated(data.train, cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS)
            model = _time_training(cfg, data, ranks, steps, found, at)
            if videos:
                records = _repeated(data.test, videos)[:videos]
                with kept_for_the_next_step(ranks.device.type == "cpu"):  # as `runs/run.py` does
                    time_test(cfg, model, records, ranks, rounds, found, at)
    return found


def _repeated(records: Sequence[VideoRecord], count: int) -> list[VideoRecord]:
    """So often that there are at least `count`."""
    return [*records] * math.ceil(count / len(records))


class _Heard(Monitor):
    """Writes as that of a run does, and keeps what processes spent on the clips of each step."""

    def __init__(self, found: Slice, folder: Path, log_period: int, shown: dict[str, str]):
        super().__init__(folder, log_period, 10**9, None, (), show_bar=False)
        self._found, self.shown = found, shown

    def step(self, **values: Any) -> None:
        self._found.decode.append(values["decode_seconds"])
        self._found.augment.append(values["augment_seconds"])
        super().step(**values)


def _time_training(
    cfg: CfgNode,
    data: Data,
    ranks: Ranks,
    steps: int,
    found: Measured,
    at: Callable[[str], None],
) -> RecognitionModel:
    """Add the figures of a training to `found`; the model that was trained, for whoever tests it."""
    part = Slice()
    models: list[RecognitionModel] = []
    with TemporaryDirectory() as folder:

        def use(trainer: Trainer) -> None:
            models.append(trainer.model)
            heard = _Heard(part, Path(folder), cfg.LOG_PERIOD, trainer.monitor.shown)
            trainer.monitor = trainer.readings.monitor = heard
            trainer.schedule = lambda _: 0.0
            try:
                _time_steps(cfg, trainer, steps, part, at)
                at("the loader alone")
                part.loader = _loader_alone(cfg, trainer, steps)
            finally:
                heard.close()
            part.broken = dict(trainer.state.progress.bad_videos)
            part.clips = trainer.plan.slots * trainer.plan.slot_size * _copies(cfg)

        try:
            rehearse(cfg, data, RunFolder(folder), ranks, use)
        except (Interrupted, KeyboardInterrupt):
            _add_parts(part, found)
            raise
    _report_training(cfg, part, models[0], ranks.device, found, at)
    return models[0]


def _copies(cfg: CfgNode) -> int:
    return cfg.AUG.NUM_SAMPLE if cfg.AUG.ENABLE else 1


def _time_steps(
    cfg: CfgNode, trainer: Trainer, steps: int, part: Slice, at: Callable[[str], None]
) -> None:
    """So many steps, once what the workers had made while the model warmed up is used up."""
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    on_gpu = trainer.ranks.device.type == "cuda"
    warm_up = max(2, math.ceil(_FETCHED_AHEAD * workers / len(trainer.own_slots)))
    clock = PartClock(trainer.ranks.device)
    trainer.mark = clock.mark
    started = time.perf_counter()

    def goes_on() -> bool:
        nonlocal started
        if len(part.laps) < warm_up + steps:
            part.laps.append(clock.lap())  # waits for a GPU
            if (done := len(part.laps) - warm_up) < steps:
                at(f"training: step {done + 1} of {steps}" if done >= 0 else "training: warming up")
            started = time.perf_counter()
        if len(part.laps) == warm_up + steps:  # what follows is waited for at its end alone
            trainer.mark = lambda name: None
        return True

    try:
        trainer.try_steps(warm_up + steps * (2 if on_gpu else 1), goes_on)
        trainer.readings.read()
        wait_for(trainer.ranks.device)
        if on_gpu:
            part.free = (time.perf_counter() - started) / steps
    finally:
        timed = slice(warm_up, warm_up + steps)
        part.laps = part.laps[timed]
        part.decode, part.augment = part.decode[timed], part.augment[timed]


def _loader_alone(cfg: CfgNode, trainer: Trainer, steps: int) -> Figure:
    """Clips a second of the loader where nobody trains, after the batches that workers make at first."""
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    skipped = _FETCHED_AHEAD * workers
    slots, each = len(trainer.own_slots), trainer.plan.steps_per_epoch
    counted = max(steps * slots, 3 * workers)
    first = trainer.state.progress.epoch + 1
    end = first + math.ceil((skipped + counted + 1) / (slots * each))
    batches = chain.from_iterable(
        trainer.loader.epoch(epoch, ahead=end * each) for epoch in range(first, end)
    )
    came = [time.perf_counter() for _ in islice(batches, skipped + counted + 1)]
    clips = counted * trainer.plan.slot_size * _copies(cfg)
    return Figure.of([clips / (came[-1] - came[skipped])], "clips/s")


def _add_parts(part: Slice, found: Measured) -> None:
    """Add what was measured of the steps, which is less after an interrupt."""
    if not part.laps:
        return
    found.add_seconds(
        {
            f"train/{name}": [lap.get(name, 0.0) for lap in part.laps]
            for name in dict.fromkeys(name for lap in part.laps for name in lap)
        }
    )
    whole = [sum(lap.values()) for lap in part.laps] if part.free is None else [part.free]
    found.add_seconds({"train/whole step": whole})
    for name, seconds in (("open and decode", part.decode), ("augment", part.augment)):
        if seconds:  # they are read some steps later
            found.add_seconds({f"train/processes: {name}": seconds})
    if part.loader:
        found.figures["train/loader alone"] = part.loader


def _report_training(
    cfg: CfgNode,
    part: Slice,
    model: RecognitionModel,
    device: torch.device,
    found: Measured,
    at: Callable[[str], None],
) -> None:
    _add_parts(part, found)
    precision = choose_precision(cfg.TRAIN.PRECISION, device)
    at(f"{limits.RATE}{precision}")
    rate = limits.rate_in(found, precision, device)
    forward = limits.forward_operations(model, clip_shape(cfg), found.notes.append)
    if forward:
        seconds = part.clips * forward / (1e9 * rate.high)
        found.figures["train/limit: forward"] = Figure.of_seconds([seconds])
        if limits.learns_all(model, found.notes.append):
            backward = limits.BACKWARD * seconds
            found.figures["train/limit: backward"] = Figure.of_seconds([backward])
    workers = plural(resolve_workers(cfg.DATA_LOADER.NUM_WORKERS), "worker")
    found.notes.append(
        f"Training: {plural(part.clips, 'clip')} a step, {precision}, {workers}; parts of "
        f"{plural(len(part.laps), 'step')}."
    )
    if part.broken:
        named = name_some([*part.broken.values()])
        found.notes.append(f"{plural(len(part.broken), 'video')} replaced as broken: {named}")
