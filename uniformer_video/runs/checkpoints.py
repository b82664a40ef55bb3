"""The checkpoints of a training run: `last.pt`, `previous.pt` and `best.pt`, written and gone on from."""

import contextlib
import csv
import io
import logging
import os
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import config_from_text
from uniformer_video.data.lists.records import list_digest
from uniformer_video.errors import (
    AbsentError,
    CheckpointError,
    ConfigError,
    DamagedError,
    DataError,
)
from uniformer_video.files import atomic_write
from uniformer_video.runs import build_model
from uniformer_video.runs.best_weights import write_best
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_training import length_setting
from uniformer_video.runs.epoch_weights import EpochWeights
from uniformer_video.runs.folder import (
    BAD_VIDEOS_FILE,
    BEST_FILE,
    LAST_FILE,
    PREVIOUS_FILE,
    RunFolder,
)
from uniformer_video.training.costs import RunCosts
from uniformer_video.training.state import RAW, Progress, TrainState
from uniformer_video.training.timetable import Timetable
from uniformer_video.weights.checkpoint import (
    ITERATION,
    Weights,
    read_weights,
    write_checkpoint,
)

log = logging.getLogger(__name__)

# What is said of a download, and is no use for a file of one's own run.
_GET_IT_AGAIN = re.compile(r"(: its download failed or was cut off)?; get it again.*$")


@dataclass(frozen=True)
class Begun:
    """A checkpoint of a training that is begun: its path, what it holds, and which file that was."""

    path: Path
    weights: Weights
    stamp: tuple[int, int, int]


def read_begun(folder: Path | RunFolder) -> Begun | None:
    """The last checkpoint in the run's `folder` that can be read, or None.

    Whether it is of the run that goes on is for `RunCheckpoints` to say.
    """
    for name in (LAST_FILE, PREVIOUS_FILE):
        path = folder / name
        if path.is_file():
            with contextlib.suppress(CheckpointError):
                stamp = _stamp(path)
                return Begun(path, read_weights(path), stamp)
    return None


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class RunCheckpoints:
    """What `folder` keeps of a `TrainState`.

    last.pt holds all that resuming needs, previous.pt the last.pt before it, best.pt the weights alone that
    were best on validation; where no validation has chosen any, the latest. `EpochWeights` may
    stand beside them.
    """

    def __init__(
        self,
        folder: RunFolder,
        cfg: CfgNode,
        data: Data,
        state: TrainState,
        timetable: Timetable,
        begun: Begun | None = None,
    ):
        """begun: the `Begun` that is read already, so that a large file is not read twice."""
        self._begun = begun
        self.folder, self.cfg, self.data, self.state = folder, cfg, data, state
        self._train_list = list_digest(data.train)
        self.timetable, self._epochs = timetable, EpochWeights(folder, cfg, timetable)
        self._from_best = False  # this training has gone on from best.pt
        self._teacher: dict[str, Any] = {}  # what is recorded of the teacher
        # How depthwise convolutions are computed: of the run so far, then as it goes on.
        self.depthwise: dict[str, Any] = {}
        self._costs: RunCosts | None = None
        self._costs_before: dict[str, Any] = {}  # of the checkpoint that the run goes on from
        self._gone_on_from: Path | None = None
        # the content of last.pt, where it is to be loaded next
        self._last_read: Weights | None = None
        self._keeps_last = True  # False: last.pt is damaged, and must not take previous.pt's place

    def resume(self) -> Path | None:
        """Load the last checkpoint that is whole into the state; the path of it, None without any.

        Raises `CheckpointError` where none of those that are there can be used, `ConfigError` and `DataError`
        for another run's.
        """
        last, previous = self.folder / LAST_FILE, self.folder / PREVIOUS_FILE
        if last.is_file():
            try:
                self._load(last)
                return last
            except DamagedError as error:
                reason = _GET_IT_AGAIN.sub("", str(error))
            self._keeps_last = False
        elif previous.is_file():
            reason = f"{last} is missing"
        else:
            if (self.folder / BEST_FILE).is_file():
                log.warning("%s is missing: starting over; %s will be replaced", last, BEST_FILE)
            return None
        try:
            self._load(previous)
        except (DamagedError, AbsentError):
            raise DamagedError(
                f"{reason}, so the run cannot go on; delete {LAST_FILE} and {PREVIOUS_FILE} to start over, "
                f"add --from best if {BEST_FILE} is there, or choose another OUTPUT_DIR"
            ) from None
        log.warning("%s; going on from the checkpoint before it, %s", reason, previous)
        return previous

    def start_from_best(self) -> None:
        """Load the weights of best.pt into the state, and start the step after it with fresh moments."""
        path = self.folder / BEST_FILE
        self._begun = None
        if not path.is_file():
            raise CheckpointError(
                f"there is no {path} to go on from; leave --from best out to go on from {LAST_FILE}, or "
                "to start over"
            )
        weights = read_weights(path)
        self._check_run(path, weights, weights.metadata.get("train_list"), from_best=True)
        place, training = weights.place, weights.metadata.get("training", {})
        if place is None:
            raise CheckpointError(
                f"{path} does not tell its epoch, so it is not of a run; leave --from best out"
            )
        unit, count = place
        timetable = self.timetable
        steps = count if unit == ITERATION else count * timetable.steps_per_epoch
        if steps >= timetable.last_step:
            key, length = length_setting(self.cfg)
            raise ConfigError(
                f"{path} is of {unit} {count}, and {key} is {length}: no "
                f"{timetable.unit} is left to train; raise it, or leave --from best out"
            )
        at = max(1, timetable.count(steps))
        epoch, step = divmod(steps, timetable.steps_per_epoch)
        score = training.get("score")  # None: not validated, or from before it was recorded
        chosen = weights.chosen if weights.chosen in self.state.tested_models else RAW
        progress = Progress(
            epoch=epoch,
            step=step,
            best_score=-1.0 if score is None else score,
            best_at=0 if score is None else at,
            best_weights=chosen,
            best_of={} if score is None else {chosen: [score, at]},
            seconds=training.get("seconds", 0.0),
        )
        try:
            self.state.start_from(weights.state, progress)
        except RuntimeError:
            raise CheckpointError(f"{path} does not fit the model of this run") from None
        if not self.state.is_finite():
            raise CheckpointError(f"{path} holds values that are not finite; leave --from best out")
        self._from_best = True
        self._note_past(path, weights)

    def take_teacher(self, teacher: Mapping[str, Any]) -> None:
        """What is recorded of the teacher of this run, {} without one: with `teacher` and `teacher_sha256`.

        Raises `ConfigError` where the checkpoint that the run goes on from had another teacher.
        """
        before, now = (str(told.get("teacher_sha256")) for told in (self._teacher, teacher))
        if self._gone_on_from and before != now:
            raise ConfigError(
                f"{self._gone_on_from} is of a run whose teacher, {self._teacher.get('teacher')}, had the "
                f"SHA-256 {before[:12]}, and {teacher.get('teacher')} has {now[:12]}: it is another one now; "
                "restore it, or choose another OUTPUT_DIR"
            )
        self._teacher = dict(teacher)

    def take_costs(self, costs: RunCosts) -> None:
        """Record with each checkpoint what this training costs, with what it has cost before."""
        costs.go_on_from(self._costs_before, self.state.progress.seconds)
        self._costs = costs

    def went_on_from_best(self) -> bool:
        """True where last.pt is of this run as it goes on from best.pt, and nothing is wrong with it.

        To go on from best.pt once more would repeat what is done.
        """
        path = self.folder / LAST_FILE
        try:
            weights = self._read(path)
        except CheckpointError:
            self._keeps_last = False
            return False
        try:
            self._check_run(path, weights, weights.training.get("train_list"))
        except (CheckpointError, ConfigError, DataError):
            return False
        failing = int(weights.training.get("nonfinite_in_a_row", 0))
        if failing or not weights.training.get("from_best"):
            return False
        self._last_read = weights
        return True

    def remedy(self) -> str:
        """What to do when steps, weights or scores are not finite, for messages."""
        if (self.folder / BEST_FILE).is_file():
            return (
                "run the same command with --from best, which goes on from the weights of best.pt, and a "
                "lower SOLVER.BASE_LR, SOLVER.CLIP_GRADIENT or TRAIN.PRECISION fp32"
            )
        return (
            "no weights have been validated yet to go on from; start over, in another OUTPUT_DIR or after "
            f"deleting {LAST_FILE} and {PREVIOUS_FILE}, with a lower SOLVER.BASE_LR, SOLVER.CLIP_GRADIENT "
            "or TRAIN.PRECISION fp32"
        )

    def fault_of_best(self) -> str:
        """What is wrong with the best weights that the progress speaks of, or ""."""
        path = self.folder / BEST_FILE
        if not self.state.progress.best_at:
            return ""
        if not path.is_file():
            return f"{path} is missing"
        try:
            read_weights(path)
        except DamagedError as error:
            return _GET_IT_AGAIN.sub("", str(error))
        return ""

    def forget_best(self, reason: str) -> None:
        """The best of what follows takes the place of the best weights, which are lost for this `reason`."""
        progress = self.state.progress
        log.warning(
            "%s, the weights of %s %d: from now on it is the best of what follows",
            reason,
            self.timetable.unit,
            progress.best_at,
        )
        progress.forget_best()

    def write(
        self,
        saved: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, Any]],
        improved: Collection[str] = (),
    ) -> None:
        """Write last.pt, keep the one before it, best.pt if weights are the best ones, and what is kept of
        epochs or iterations.

        saved, weights: `state_dict()` and `tested_weights()` of the state. improved: which of the weights are
        the best of their kind.
        """
        progress = Progress.from_dict(saved["progress"])
        metadata = self._metadata(progress)
        # Where nothing is ever validated, the latest weights are as good as any.
        last = self.timetable.is_at_end(progress)
        unchosen = not progress.best_at and (last or not self.timetable.eval_steps)
        if improved or unchosen:
            write_best(
                self.folder / BEST_FILE, weights, improved, progress, metadata, self.timetable.unit
            )
        self._epochs.write(progress, weights, metadata)
        if self._keeps_last:
            _keep(self.folder / LAST_FILE, self.folder / PREVIOUS_FILE)
        training = {key: value for key, value in saved.items() if key != "model"}
        training |= {"train_list": self._train_list, "from_best": self._from_best}
        write_checkpoint(self.folder / LAST_FILE, saved["model"], metadata, training)
        self._keeps_last = True
        self._epochs.remove_surplus(progress)
        if progress.bad_videos:
            self._write_bad_videos(progress.bad_videos)

    def _read(self, path: Path) -> Weights:
        """The `Weights` at `path`; those that are read already, if the file is still the same."""
        begun, self._begun = self._begun, None
        if begun and begun.path == path and begun.stamp == _stamp(path):
            return begun.weights
        return read_weights(path)

    def _load(self, path: Path) -> None:
        if not path.is_file():
            raise AbsentError(f"there is no {path}")
        weights, self._last_read = self._last_read or self._read(path), None
        if not weights.training:
            raise DamagedError(f"{path} holds no training state")
        self._check_run(path, weights, weights.training.get("train_list"))
        try:
            notes = self.state.load_state_dict({**weights.training, "model": weights.state})
        except (KeyError, RuntimeError, TypeError, ValueError):
            raise DamagedError(f"{path} holds no training state that fits this run") from None
        self._from_best = bool(weights.training.get("from_best"))
        self._note_past(path, weights)
        for note in notes:
            log.warning("%s %s", path, note)

    def _note_past(self, path: Path, weights: Weights) -> None:
        """Keep what the checkpoint that the run goes on from records of its training."""
        told = weights.metadata.get("training", {})
        self._teacher = {key: told[key] for key in told if key.startswith("teacher")}
        self._costs_before = told.get("costs", {})
        self.depthwise = {key: told[key] for key in told if key.startswith("depthwise")}
        self._gone_on_from = path

    def _check_run(
        self, path: Path, weights: Weights, train_list: str | None, from_best: bool = False
    ) -> None:
        """Raise `ConfigError` or `DataError` where the checkpoint is of other settings or another list."""
        recorded = weights.metadata.get("config")
        if isinstance(recorded, str):
            self.folder.check(self.cfg, config_from_text(recorded, str(path)), from_best)
        if train_list not in (None, self._train_list):
            raise DataError(
                f"the training list is not the one that {path} was trained on; restore it, or choose "
                "another OUTPUT_DIR"
            )

    def _metadata(self, progress: Progress) -> dict[str, Any]:
        metadata = build_model.build_metadata(self.cfg, self.state.model, self.data.class_names)
        steps = self.timetable.finished_steps(progress)
        done = steps if self.timetable.by_iterations else progress.epoch
        metadata[self.timetable.unit] = done
        metadata["train_list"] = self._train_list
        if len(self.state.tested_models) > 1:
            metadata["weights"] = {"chosen": RAW}
        between = not self.timetable.by_iterations and progress.step > 0
        at_best = done == progress.best_at and not (between or progress.open_end)
        validated = at_best and progress.best_at > 0
        metadata["training"] = {
            f"{self.timetable.unit}s": self.timetable.count(self.timetable.last_step),
            "seconds": round(progress.seconds, 1),
            "score": progress.best_score if validated else None,
            "train_videos": len(self.data.train),
            "broken_videos": len(progress.bad_videos),
            "seed": self.cfg.RNG_SEED,
            **({"costs": self._costs.record(progress.seconds)} if self._costs else {}),
            **self.depthwise,
            **self._teacher,
        }
        return metadata

    def _write_bad_videos(self, bad_videos: Mapping[str, str]) -> None:
        with atomic_write(self.folder / BAD_VIDEOS_FILE) as file:
            text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
            reasons = ((path, why.removeprefix(f"{path} ")) for path, why in bad_videos.items())
            csv.writer(text).writerows([("path", "reason"), *reasons])
            text.detach()


def _keep(last: Path, previous: Path) -> None:
    """Give `last` the name `previous` too, so that it is there until a new one takes its place."""
    if not last.is_file():
        return
    link = previous.with_name(f".{previous.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.link(last, link)
    except OSError:
        # a file system without hard links: `last` is gone for as long as the new one is written
        os.replace(last, previous)
        return
    try:
        os.replace(link, previous)  # nothing happens where both are the same file already
    finally:
        with contextlib.suppress(OSError):
            link.unlink()
