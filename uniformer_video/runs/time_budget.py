"""TRAIN.MINUTES: as many epochs, or iterations, as go into a time, by timing steps and a validation first."""

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import config_from_text
from uniformer_video.config.settings import flat_config, with_settings
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_training import build_timetable, counts_iterations, length_setting
from uniformer_video.runs.check import settings_without_effect
from uniformer_video.runs.checkpoints import read_begun
from uniformer_video.runs.folder import CONFIG_FILE, LAST_FILE, PREVIOUS_FILE, RunFolder
from uniformer_video.runs.frame_cache import fill_frame_cache
from uniformer_video.runs.rehearsal import rehearse
from uniformer_video.training.trainer import Trainer
from uniformer_video.words import duration, plural

WARM_UP_STEPS, TIMED_STEPS = 5, 20
_FETCHED_AHEAD = 2  # batches of each worker, torch's default
# What is set: the length, and what happens at a share of it.
_SCALED = (
    "SOLVER.MAX_EPOCH",
    "SOLVER.MAX_ITER",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.COOLDOWN_EPOCHS",
    "SOLVER.STEPS",
)
_MOST = 1_000_000_000  # iterations, or epochs


@dataclass(frozen=True)
class Costs:
    """Seconds that the parts of a training take. What the run counts, epochs or iterations, is a unit.

    start: until the first step begins; unit: all steps of one; validation; save: of a checkpoint.
    eval_period, checkpoint_period: units between two of these, 0 = no validation at all. statistics:
    measuring those of BatchNorm, before validations and checkpoints.
    """

    start: float
    unit: float
    validation: float
    save: float
    eval_period: int
    checkpoint_period: int
    statistics: float = 0.0

    def seconds(self, units: int) -> float:
        """Of a training of so many units. The last one is validated in any case, if any is."""
        validations = math.ceil(units / self.eval_period) if self.eval_period else 0
        # each validation may find the best weights, which are saved
        ends = self._validated_or_saved(units) * (self.statistics + self.save)
        return self.start + units * self.unit + validations * self.validation + ends

    def _validated_or_saved(self, units: int) -> int:
        """How many of so many units end with a validation or a checkpoint; the last one does."""
        periods = [period for period in (self.eval_period, self.checkpoint_period) if period]
        both = units // math.lcm(*periods) if len(periods) > 1 else 0
        last = all(units % period for period in periods)
        return sum(units // period for period in periods) - both + last

    def within(self, seconds: float, multiple: int = 1) -> int:
        """The most multiples of so many units that take no longer; at least 1."""
        most = range(1, _MOST // multiple + 1)
        return max(1, bisect_right(most, seconds, key=lambda count: self.seconds(count * multiple)))


def fit_into_minutes(
    cfg: CfgNode, data: Data, folder: RunFolder, ranks: Ranks, show_bars: bool | None = None
) -> CfgNode:
    """`cfg` with the SOLVER.MAX_EPOCH, or MAX_ITER, that goes into TRAIN.MINUTES, if that is set.

    What DATA.CACHE_GB decodes once is decoded first: it counts, and the steps are timed with it. The warm-up,
    the cool-down and the steps of the learning rate keep their share of the training. A run that has begun
    keeps what it began with. The same on all processes, of which the slowest decides.
    """
    minutes = cfg.TRAIN.MINUTES
    if not minutes:
        return cfg
    kept = ranks.on_main(lambda: _recorded_lengths(cfg, folder))
    if kept is not None:
        cfg = with_settings(cfg, kept)
        length, _ = length_setting(cfg)
        ranks.say(
            f"TRAIN.MINUTES {minutes:g}: the run keeps {length} {flat_config(cfg)[length]}, which it "
            "began with."
        )
        return cfg
    decoding = fill_frame_cache(cfg, data, ranks, show_bars)
    ranks.say(f"TRAIN.MINUTES {minutes:g}: timing steps and a validation on a copy of the model.")
    costs, steps = _measure(cfg, data, folder, ranks)
    costs = replace(costs, start=costs.start + decoding)
    # where costs are those of iterations and the length is set in epochs, an epoch is so many of them
    multiple = steps if _by_iterations(cfg) and not cfg.SOLVER.MAX_ITER else 1
    fitting = costs.within(minutes * 60, multiple)
    chosen = _scaled(cfg, fitting)
    ranks.say(*_findings(cfg, costs, steps, fitting * multiple, chosen, ranks))
    return with_settings(cfg, chosen)


def _by_iterations(cfg: CfgNode) -> bool:
    """Whether something may happen inside an epoch, so that iterations are what is added up."""
    return counts_iterations(cfg) or cfg.TRAIN.CHECKPOINT_ITERS > 0


def _recorded_lengths(cfg: CfgNode, folder: RunFolder) -> dict[str, Any] | None:
    """What the run in `folder` has chosen, by key; None where there is none, or another one's leavings."""
    recorded = _recorded_config(folder)
    if recorded is None:
        return None
    idle = settings_without_effect(recorded)
    chosen = {key: flat_config(recorded)[key] for key in _SCALED if key not in idle}
    if any((folder / name).is_file() for name in (LAST_FILE, PREVIOUS_FILE)):
        return chosen  # whatever else is another one now, `fit` will say
    try:
        folder.check(with_settings(cfg, chosen), recorded)
    except ConfigError:
        return None
    return chosen


def _recorded_config(folder: RunFolder) -> CfgNode | None:
    """The settings of the run in `folder` by its own file, else by its checkpoint."""
    path = folder / CONFIG_FILE
    try:
        return config_from_text(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, ConfigError):
        begun = read_begun(folder)
    text = begun.weights.metadata.get("config") if begun else None
    return config_from_text(text, str(begun.path)) if begun and isinstance(text, str) else None


def _scaled(cfg: CfgNode, length: int) -> dict[str, Any]:
    """The settings of lengths for a training of so many epochs, or iterations if those are what is set."""
    key, _ = length_setting(cfg)
    share = length / flat_config(cfg)[key]
    warmup = {"SOLVER.WARMUP_EPOCHS": cfg.SOLVER.WARMUP_EPOCHS * share}
    if cfg.SOLVER.WARMUP_ITERS:
        iterations = int(cfg.SOLVER.WARMUP_ITERS * share)
        warmup = {"SOLVER.WARMUP_ITERS": iterations}
        if not iterations:  # there would be one in epochs
            warmup["SOLVER.WARMUP_EPOCHS"] = 0.0
    return {
        key: length,
        **warmup,
        "SOLVER.COOLDOWN_EPOCHS": cfg.SOLVER.COOLDOWN_EPOCHS * share,
        "SOLVER.STEPS": [step * share for step in cfg.SOLVER.STEPS],
    }


def _findings(
    cfg: CfgNode, costs: Costs, steps: int, units: int, chosen: dict[str, Any], ranks: Ranks
) -> Iterator[str]:
    slowest = f" of the slowest of {ranks.size} processes" if ranks.size > 1 else ""
    validation = (
        f", a validation {duration(costs.validation, 1)}"
        if costs.eval_period
        else ", no validation"
    )
    if costs.statistics:
        validation += f", BatchNorm's statistics {duration(costs.statistics, 1)}"
    idle = settings_without_effect(cfg)
    set_to = ", ".join(
        f"{key} {_short(value)} (was {_short(old)})"
        for key, value in chosen.items()
        if (old := flat_config(cfg)[key]) and key not in idle
    )
    epoch = costs.unit * steps if _by_iterations(cfg) else costs.unit
    yield (
        f"An epoch{slowest} takes {duration(epoch, 1)} ({plural(steps, 'step')}){validation}, a "
        f"checkpoint {duration(costs.save, 1)}: {set_to}, about {duration(costs.seconds(units))}."
    )
    one = "iteration" if cfg.SOLVER.MAX_ITER else "epoch"
    if costs.seconds(units) > cfg.TRAIN.MINUTES * 60:
        yield f"TRAIN.MINUTES {cfg.TRAIN.MINUTES:g} is too short for one {one}, which is trained anyway."
    patience = cfg.TRAIN.PATIENCE
    key = "TRAIN.EVAL_ITERS" if cfg.TRAIN.EVAL_ITERS else "TRAIN.EVAL_PERIOD"
    if units <= costs.eval_period and (units > 1 or patience):
        yield (
            f"With {key} {flat_config(cfg)[key]} the only validation is after the last {one}"
            + (f", so TRAIN.PATIENCE {patience} has no effect." if patience else ".")
        )


def _short(value: Any) -> str:
    numbers = value if isinstance(value, list) else [value]
    words = [f"{number:.4g}" if isinstance(number, float) else str(number) for number in numbers]
    return f"[{', '.join(words)}]" if isinstance(value, list) else words[0]


def _measure(cfg: CfgNode, data: Data, folder: RunFolder, ranks: Ranks) -> tuple[Costs, int]:
    """The `Costs` of the slowest process, and the steps of an epoch."""
    period = cfg.TRAIN.EVAL_PERIOD
    often = {"TRAIN.EVAL_ITERS": min(period, 1), "TRAIN.EVAL_PERIOD": min(period, 1)}
    often |= {"TRAIN.CHECKPOINT_ITERS": 1, "TRAIN.PATIENCE": 0}
    trial, sample = with_settings(cfg, often), replace(data, notes=[])
    workers = resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)
    found: list[tuple[float, ...]] = []
    steps: list[int] = []

    def use(trainer: Trainer) -> None:
        ahead = math.ceil(_FETCHED_AHEAD * workers / len(trainer.own_slots))
        start, step = _time_steps(trainer, max(WARM_UP_STEPS, ahead))
        statistics = _time_statistics(trainer)
        batch = ranks.size * max(2, cfg.TEST.BATCH_SIZE * max(1, workers))
        validation, save = _time_epoch_ends(trainer, sample, data.val, batch)
        steps.append(trainer.plan.steps_per_epoch)
        found.extend(ranks.exchange((start, step, validation, save, statistics)))

    rehearse(trial, sample, folder, ranks, use)
    start, step, validation, save, statistics = map(max, zip(*found, strict=True))
    timetable = build_timetable(cfg, steps[0])
    unit = 1 if _by_iterations(cfg) else steps[0]
    periods = timetable.eval_steps // unit, timetable.checkpoint_steps // unit
    return Costs(start, step * unit, validation, save, *periods, statistics), steps[0]


def _time_steps(trainer: Trainer, warm_up: int) -> tuple[float, float]:
    """(seconds before the first step, seconds of a step) of the pace after `warm_up` steps.

    By then what the workers had fetched ahead while the model warmed up is used up.
    """
    marks = [time.monotonic()]

    def mark() -> bool:
        if len(marks) in (1, warm_up, warm_up + TIMED_STEPS):
            trainer.readings.read()  # waits for the device
        marks.append(time.monotonic())
        return True

    trainer.try_steps(warm_up + TIMED_STEPS, mark)
    step = (marks[-1] - marks[warm_up]) / TIMED_STEPS
    return max(0.0, marks[1] - marks[0] - step), step


def _time_statistics(trainer: Trainer) -> float:
    """Seconds that BN.USE_PRECISE_STATS takes after an epoch; 0 without it. Of many batches `TIMED_STEPS` are
    timed, and one beside them: that tells what it takes however few they are.
    """
    settings = trainer.settings
    batches = min(settings.precise_batches, trainer.plan.steps_per_epoch)
    if not batches:
        return 0.0

    def time_batches(number: int) -> float:
        trainer.settings = replace(settings, precise_batches=number)
        started = time.monotonic()
        trainer.measure_statistics(trainer.state.progress)
        return time.monotonic() - started

    timed = min(batches, TIMED_STEPS)
    seconds = time_batches(timed)
    if batches > timed:
        one = max(0.0, seconds - time_batches(1)) / (timed - 1)
        seconds += one * (batches - timed)
    trainer.settings = settings
    return seconds


def _time_epoch_ends(
    trainer: Trainer, sample: Data, videos: Sequence[VideoRecord], batch: int
) -> tuple[float, float]:
    """(seconds of a validation of all `videos`, seconds of saving).

    Of many videos a `batch` is timed, and one for each process beside it: that tells what a validation
    takes however few its videos are. sample: whose `val` is validated.
    """
    progress, timetable = trainer.state.progress, trainer.timetable
    few, many = videos[: trainer.ranks.size], videos[:: max(1, len(videos) // batch)][:batch]

    def time_end(validated: Sequence[VideoRecord]) -> float:
        sample.val = validated
        trainer.timetable = replace(timetable, eval_steps=1 if validated else 0)
        trainer.saver.saved = None  # so that it saves again
        started = time.monotonic()
        trainer.finish_stage(progress)
        return time.monotonic() - started

    if videos:
        time_end(few)  # the first one warms up
    save = time_end([])
    if not videos:
        return 0.0, save
    whole = time_end(many) - save
    if len(videos) > len(many):
        least = time_end(few) - save
        one = max(0.0, whole - least) / (len(many) - len(few))
        whole = least + one * (len(videos) - len(few))
    return max(0.0, whole), save
