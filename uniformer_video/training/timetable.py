"""When a training validates, saves and ends: all counted in steps, whatever its recipe counts."""

from dataclasses import dataclass

from uniformer_video.training.state import Progress


@dataclass(frozen=True)
class Timetable:
    """What is due after which step; steps are numbered from 1 on, and one that is left out counts too.

    steps_per_epoch: as the loader plans them. last_step: of the training, also in mid-epoch. eval_steps: from
    one validation to the next, 0 = none at all. checkpoint_steps: from one checkpoint to the next.
    by_iterations: the recipe counts iterations, which are steps, and so do messages, files and charts; else
    epochs.
    """

    steps_per_epoch: int
    last_step: int
    eval_steps: int
    checkpoint_steps: int
    by_iterations: bool = False

    @property
    def unit(self) -> str:
        """What the recipe counts: "iteration" or "epoch"."""
        return "iteration" if self.by_iterations else "epoch"

    def count(self, steps: int) -> int:
        """How many units are finished after so many steps."""
        return steps if self.by_iterations else steps // self.steps_per_epoch

    def steps(self, count: int) -> int:
        """The steps of so many units."""
        return count if self.by_iterations else count * self.steps_per_epoch

    def is_validated(self, steps: int) -> bool:
        """Whether a validation is due after so many steps; one is at the end, if there are any."""
        return self.eval_steps > 0 and (steps == self.last_step or steps % self.eval_steps == 0)

    def validations(self) -> int:
        """How many there are in the whole training."""
        return -(-self.last_step // self.eval_steps) if self.eval_steps else 0

    def epochs(self) -> int:
        """How many begin in the whole training."""
        return -(-self.last_step // self.steps_per_epoch)

    def is_saved(self, steps: int) -> bool:
        """Whether a checkpoint is due after so many steps; one is at the end."""
        return steps == self.last_step or steps % self.checkpoint_steps == 0

    def ends_stage(self, steps: int) -> bool:
        """Whether the loop leaves its steps after so many of them: something is due, or an epoch ends."""
        return steps % self.steps_per_epoch == 0 or self.is_validated(steps) or self.is_saved(steps)

    def stage_end(self, steps: int) -> int:
        """How many steps are finished where the stage ends in which so many are."""
        periods = (self.steps_per_epoch, self.eval_steps, self.checkpoint_steps)
        ends = [(steps // period + 1) * period for period in periods if period]
        return min([*ends, *([self.last_step] if steps < self.last_step else [])])

    def has_open_end(self, progress: Progress) -> bool:
        """Whether what is due after the last finished step is not done yet."""
        return progress.open_end or progress.step == self.steps_per_epoch

    def finished_steps(self, progress: Progress) -> int:
        """Steps from the beginning of the training, those that were left out included."""
        return progress.finished_steps(self.steps_per_epoch)

    def is_at_end(self, progress: Progress) -> bool:
        """Whether all steps are finished, and what is due after the last one is done."""
        at_last = self.finished_steps(progress) == self.last_step
        return at_last and not self.has_open_end(progress)

    def is_finished(self, progress: Progress, patience: int) -> bool:
        """Whether the training has come to its end: the last step, or no better score for long."""
        return self.is_at_end(progress) or progress.is_out_of_patience(patience)

    def rate_position(self, progress: Progress) -> float:
        """Where the schedule of the learning rate stands before the next step: epochs, or iterations."""
        if self.by_iterations:
            return self.finished_steps(progress)
        return progress.epoch + progress.step / self.steps_per_epoch
