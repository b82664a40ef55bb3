"""Losses and hits of training steps, kept on the device until they are logged."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import TrainingError
from uniformer_video.training.monitor import Monitor

_NAMED = 32  # videos in a message


@dataclass
class StepReading:
    """One step: what the host knows of it, and `values` on the device.

    step: from 1 on. epoch: a real number. lr: the base rate, before the `lr_scale` of a parameter group.
    decode_seconds, augment_seconds: of the processes that made the clips, added up, whether or not anybody
    waited. paths: {slot: the videos of this process}. values: of each slot loss, hits, of how many, and what
    is also measured; then whether the step was taken, whether float16 was to blame if not, and how many
    steps in a row were left out for another reason, `[width * slots + 3]` with the `width` of `StepReadings`.
    """

    step: int
    epoch: float
    lr: float
    data_seconds: float = 0.0
    seconds: float = 0.0
    decode_seconds: float = 0.0
    augment_seconds: float = 0.0
    paths: dict[int, Sequence[str]] = field(default_factory=dict)
    values: torch.Tensor | None = None


class StepReadings:
    """Collects steps, and reads them when a line is due, and at the most after `max_nonfinite` steps.

    share: the name of the share of hits. remedy: () -> what to do when training cannot go
    on. also_measured: the names of what each slot measures beside loss and hits. All processes read at the
    same steps.
    """

    def __init__(
        self,
        monitor: Monitor,
        ranks: Ranks,
        max_nonfinite: int,
        share: str,
        remedy: Callable[[], str],
        also_measured: Sequence[str] = (),
    ):
        self.also_measured, self.width = also_measured, 3 + len(also_measured)
        self.monitor, self.ranks, self.share, self.remedy = monitor, ranks, share, remedy
        self.max_nonfinite = max_nonfinite
        self._pending: list[StepReading] = []

    def add(self, reading: StepReading, at_once: bool = False) -> None:
        """Take a step, and read if it is time; `at_once` where reading costs nothing."""
        self._pending.append(reading)
        if at_once or self.monitor.is_due(reading.step) or len(self._pending) >= self.max_nonfinite:
            self.read()

    def read(self) -> None:
        """Tell the monitor what was measured since the last reading.

        The one place of the training loop that waits for the device. Raises `TrainingError` when too many
        steps in a row were left out.
        """
        if not self._pending:
            return
        steps, self._pending = self._pending, []
        began = time.monotonic()
        values = [step.values for step in steps if step.values is not None]
        rows = torch.stack(values).tolist()
        steps[-1].seconds += time.monotonic() - began
        blamed = self._videos_to_blame(steps, rows)
        for step, row in zip(steps, rows, strict=True):
            *slots, _, overflow, in_a_row = row
            losses, hits, counts, *more = (slots[at :: self.width] for at in range(self.width))
            if step.step in blamed:
                self._tell_left_out(overflow, int(in_a_row), blamed[step.step])
            self.monitor.step(
                epoch=step.epoch,
                step=step.step,
                loss=sum(losses) / len(losses),
                lr=step.lr,
                data_seconds=step.data_seconds,
                seconds=step.seconds,
                decode_seconds=step.decode_seconds,
                augment_seconds=step.augment_seconds,
                **{self.share: sum(hits) / sum(counts) if sum(counts) else None},
                **{
                    name: sum(each) / len(each)
                    for name, each in zip(self.also_measured, more, strict=True)
                },
            )
            if step.step in blamed:
                self.check(int(in_a_row), blamed[step.step])

    def check(self, in_a_row: int, paths: Sequence[str]) -> None:
        """Raise `TrainingError` when so many steps in a row were left out, the last one with `paths`."""
        if in_a_row < self.max_nonfinite:
            return
        last = f", the last with {', '.join(paths[:4])}" if paths else ""
        raise TrainingError(
            f"the loss was not finite for {in_a_row} steps in a row{last}; {self.remedy()}"
        )

    def _videos_to_blame(
        self, steps: Sequence[StepReading], rows: Sequence[Sequence[float]]
    ) -> dict[int, list[str]]:
        """{step: videos} of the steps left out: those whose loss was not finite, or all of the step's.

        The videos of a step lie with the processes that decoded them.
        """
        left_out: dict[int, Sequence[int]] = {}
        for step, row in zip(steps, rows, strict=True):
            *slots, taken, _, _ = row
            if not taken:
                losses = slots[:: self.width]
                bad = [slot for slot, loss in enumerate(losses) if loss - loss != 0]  # inf or NaN
                left_out[step.step] = bad or range(len(losses))
        if not left_out:
            return {}
        own = [
            (step.step, slot, paths)
            for step in steps
            if step.step in left_out
            for slot, paths in step.paths.items()
            if slot in left_out[step.step]
        ]
        found: dict[int, list[str]] = {number: [] for number in left_out}
        for number, _, paths in sorted(self.ranks.gather(own)):
            found[number] += paths
        return found

    def _tell_left_out(self, overflow: float, in_a_row: int, paths: Sequence[str]) -> None:
        if overflow:
            text = "gradients beyond the range of float16: step left out, their scale is lowered"
        else:
            named = ", ".join(dict.fromkeys(paths[:_NAMED]))
            more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
            text = f"non-finite gradients ({in_a_row} in a row), step left out; it was of {named}{more}"
        self.monitor.message(text)
