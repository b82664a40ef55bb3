"""How a training comes to its end: before its last epoch (TRAIN.PATIENCE), within TRAIN.MINUTES or not."""

from collections.abc import Iterator

from fvcore.common.config import CfgNode

from uniformer_video.config.settings import flat_config
from uniformer_video.data.lists.records import noun_of
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_task import build_task
from uniformer_video.runs.build_training import length_setting
from uniformer_video.training.state import Progress
from uniformer_video.training.timetable import Timetable
from uniformer_video.words import duration, plural

_OVERRUN = 1.1  # times the budget; what is more needs a word of explanation


def check_patience(cfg: CfgNode, data: Data) -> None:
    """Raise `DataError` where no validation can have a score, so that patience would never run out."""
    if cfg.TRAIN.PATIENCE and not any(map(build_task(cfg).is_labelled, data.val)):
        raise DataError(
            f"TRAIN.PATIENCE {cfg.TRAIN.PATIENCE} counts validations without a better score, and no "
            f"validation {noun_of(data.val)} has a label to give one; label some, or set TRAIN.PATIENCE 0"
        )


def check_validations(cfg: CfgNode, timetable: Timetable) -> None:
    """Raise `ConfigError` where the only validation is at the end, so that patience could never run out.

    The rules of settings say so too, where both are set in epochs or both in iterations.
    """
    # TRAIN.MINUTES says it of the length that it chooses
    if cfg.TRAIN.PATIENCE and not cfg.TRAIN.MINUTES and timetable.validations() == 1:
        key = "TRAIN.EVAL_ITERS" if cfg.TRAIN.EVAL_ITERS else "TRAIN.EVAL_PERIOD"
        raise ConfigError(
            f"TRAIN.PATIENCE {cfg.TRAIN.PATIENCE} counts validations, and the only one is after the last of "
            f"{plural(timetable.last_step, 'iteration')}, since {key} {flat_config(cfg)[key]} is one each "
            f"{timetable.eval_steps}; lower {key}, or set TRAIN.PATIENCE 0"
        )


def note_early_end(
    cfg: CfgNode, timetable: Timetable, progress: Progress, data: Data
) -> Iterator[str]:
    """The sentence about an early end, where there is one; it joins the notes of `data` for the report."""
    patience = cfg.TRAIN.PATIENCE
    if not progress.is_out_of_patience(patience) or timetable.is_at_end(progress):
        return
    stale = progress.stale_validations
    validations = "the last validation was" if stale == 1 else f"{stale} validations in a row were"
    done = timetable.count(timetable.finished_steps(progress))
    planned = timetable.count(timetable.last_step)
    note = (
        f"Training ended early, after {timetable.unit} {done} of {planned}: {validations} no better than "
        f"{progress.best_score:.1%} (TRAIN.PATIENCE {patience})."
    )
    data.notes.append(note)
    yield note


def note_time(cfg: CfgNode, progress: Progress, data: Data) -> Iterator[str]:
    """What a training took of its TRAIN.MINUTES, if it has some; an overrun joins the notes of `data`."""
    minutes = cfg.TRAIN.MINUTES
    if not minutes:
        return
    share = progress.seconds / (minutes * 60)
    note = (
        f"Training and validations took {duration(progress.seconds)}, {share:.0%} of "
        f"TRAIN.MINUTES {minutes:g}"
    )
    if share <= _OVERRUN:
        yield f"{note}."
        return
    key, length = length_setting(cfg)
    note += (
        f": the steps that were timed for {key} {length} went faster; was the "
        "machine busy with something else?"
        if length > 1
        else f": it needs one {'iteration' if cfg.SOLVER.MAX_ITER else 'epoch'} at least."
    )
    data.notes.append(note)
    yield note
