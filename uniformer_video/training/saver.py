"""When a training is saved and how far it is; and who writes, also where another process is lost."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import TrainingError
from uniformer_video.training.settings import TrainSettings
from uniformer_video.training.state import TrainState
from uniformer_video.training.timetable import Timetable

_LOCK_SECONDS = 5.0


class Saver:
    """Saves the finished steps of a training, and knows which are saved.

    All processes give their share of the state, and the main one writes. Where a process is lost, one of the
    others does it alone, from any thread.

    Args:
        state: a `TrainState`.
        settings: a `TrainSettings`.
        timetable: a `Timetable`.
        ranks: this process among all.
        write: (saved, weights, improved) -> None, has this process write `state.state_dict()`, and of
            `state.tested_weights()` the sets named in `improved`, which are the best of their kind.
        remedy: () -> what to do when weights are not finite, for messages.
    """

    def __init__(
        self,
        *,
        state: TrainState,
        settings: TrainSettings,
        timetable: Timetable,
        ranks: Ranks,
        write: Callable[[dict[str, Any], dict[str, dict[str, Any]], set[str]], None],
        remedy: Callable[[], str],
    ):
        self.state, self.settings, self.timetable = state, settings, timetable
        self.ranks, self.write, self.remedy = ranks, write, remedy
        # Held where the state changes or is written: outside, any thread may save the finished steps.
        self.lock = threading.RLock()
        # the finished steps, and whether what is due after them is still to be done
        self.saved: tuple[int, bool] | None = self._place() if self.finished_steps else None
        self.last_save = time.monotonic()
        # which weights are the best of their kind so far, where best.pt does not hold them yet
        self.unsaved_best: set[str] = set()

    @property
    def finished_steps(self) -> int:
        """Steps from the beginning of the training, those that were left out included."""
        return self.timetable.finished_steps(self.state.progress)

    def note_scores(self, scores: Mapping[str, float]) -> None:
        """Hear of the scores in 0..1 of the validation after the last step, by set of weights."""
        progress = self.state.progress
        if scores:  # as good as before is no progress, though its weights are kept
            better = max(scores.values()) > progress.best_score
            progress.stale_validations = 0 if better else progress.stale_validations + 1
        self.unsaved_best |= progress.note_scores(scores, self.timetable.count(self.finished_steps))

    def is_due(self, seconds: float) -> bool:
        """Whether the last time is longer ago than `seconds`, by this process' clock."""
        return time.monotonic() - self.last_save > seconds

    def is_due_after(self, steps: int) -> bool:
        """Whether this number of finished steps is to be saved in any case."""
        done = self.state.progress.is_out_of_patience(self.settings.patience)
        return done or bool(self.unsaved_best) or self.timetable.is_saved(steps)

    def save(self) -> None:
        """On all processes: write the finished steps, unless they are saved; none goes on before that.

        Raises `TrainingError` for weights that are not finite.
        """
        self.last_save = time.monotonic()
        if self.saved == self._place() and not self.unsaved_best:
            return
        if not self.state.is_finite():
            raise TrainingError(
                f"the weights are not finite after step {self.finished_steps}, and not saved; {self.remedy()}"
            )
        saved, weights = self.state.state_dict(), self.state.tested_weights()
        self.ranks.on_main(lambda: self._write(saved, weights))
        self._note_saved()

    def position(self) -> int | None:
        """The last finished step, for a process that has lost another; None where it cannot be saved.

        A GPU may wait for the lost process for ever, and whoever asks it for the weights with it; and of a
        sharded state a share is lost.
        """
        alone = self.ranks.device.type == "cpu" and not self.state.is_sharded
        if not alone or not self.lock.acquire(timeout=_LOCK_SECONDS):
            return None
        try:
            return self.finished_steps
        finally:
            self.lock.release()

    def rescue(self, save: bool) -> str:
        """Where the run goes on after a process is lost; the finished steps are saved first if `save`.

        Asks no other process for anything.
        """
        if save:
            with self.lock:
                if self.saved != self._place() and self.state.is_finite():
                    self._write(self.state.state_dict(), self.state.tested_weights())
        if self.saved is None:
            return "nothing was saved yet, and the same command starts from the beginning"
        return f"all up to step {self.saved[0]} is saved, and the same command goes on from there"

    def _place(self) -> tuple[int, bool]:
        return self.finished_steps, self.timetable.has_open_end(self.state.progress)

    def _write(self, saved: dict[str, Any], weights: dict[str, dict[str, Any]]) -> None:
        with self.lock:
            self.write(saved, weights, self.unsaved_best)
            self._note_saved()

    def _note_saved(self) -> None:
        self.saved, self.unsaved_best = self._place(), set()
        self.last_save = time.monotonic()
