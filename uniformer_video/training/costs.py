"""What a training costs: told once, seconds an epoch and hours for all of the recipe, on so many devices; and
recorded, what it has taken so far.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from uniformer_video.training.timetable import Timetable
from uniformer_video.words import duration, plural

_MEASURED = ("epoch_seconds", "validation_seconds")


@dataclass
class RunCosts:
    """Adds up the first stretch of the training that this process sees, and puts it into a line: an epoch, or
    the iterations up to the first validation where the run counts these.

    timetable: the run's. devices: GPUs, or cores of CPUs, that the run occupies; unit: "GPU" or "core".
    hardware: what they are, for the line. may_end_early: its length is the most that it may take.
    waits_each_epoch: each epoch begins with a wait for its first batches, as the run does; else these are
    made while the epoch before it ends.
    """

    timetable: Timetable
    devices: int
    unit: str
    hardware: str
    may_end_early: bool = False
    waits_each_epoch: bool = False
    _steps: list[float] = field(default_factory=list)  # seconds
    _waits: list[float] = field(default_factory=list)  # of these for data
    _told: bool = False
    _measured: dict[str, float | None] = field(default_factory=dict)
    _spent: list[dict[str, Any]] = field(default_factory=list)  # before this process
    _seconds_before: float = 0.0

    def go_on_from(self, earlier: Mapping[str, Any], seconds: float) -> None:
        """Take over what a checkpoint's `record` tells, of a training that had run for so many seconds."""
        self._measured = {key: earlier[key] for key in _MEASURED if key in earlier}
        self._spent, self._seconds_before = list(earlier.get("spent", [])), seconds
        known = sum(stretch["seconds"] for stretch in self._spent)
        if seconds - known > 1:  # by a version that did not record it
            unknown = {"hardware": "not recorded", "devices": None, "unit": None}
            self._spent.append({**unknown, "seconds": seconds - known})

    def record(self, seconds: float) -> dict[str, Any]:
        """What the training has cost so far, when it has run for so many `seconds` in all.

        "epoch_seconds" of training and "validation_seconds", as far as they were measured; "spent": on which
        "hardware", how many "devices" of which "unit", it ran for how many "seconds".
        """
        own = {"hardware": self.hardware, "devices": self.devices, "unit": self.unit}
        now = {**own, "seconds": max(seconds - self._seconds_before, 0.0)}
        return {**self._measured, "spent": add_up([*self._spent, now])}

    def step(self, number: int, seconds: float, waited: float = 0.0) -> str:
        """Hear of a step, counted from 1, and how much of it the run waited for data; the line, where it is
        time for it and no validation follows.
        """
        if self._told:
            return ""
        self._steps.append(seconds)
        self._waits.append(waited)
        if number % self._stretch or self.timetable.is_validated(number):
            return ""
        return self._line(None)

    def validation(self, seconds: float) -> str:
        """Hear of a validation; the line, where it is time for it."""
        return "" if self._told or not self._steps else self._line(seconds)

    @property
    def _stretch(self) -> int:
        """How many steps the line tells the time of."""
        timetable = self.timetable
        if not timetable.by_iterations:
            return timetable.steps_per_epoch
        return min(timetable.eval_steps or timetable.steps_per_epoch, timetable.last_step)

    def _first_wait(self) -> float:
        """Seconds that the first step waited for data, beyond what the others do."""
        first, *others = self._waits
        return max(0.0, first - sum(others) / len(others)) if others else 0.0

    def _line(self, validation: float | None) -> str:
        self._told = True
        # The first step also loads kernels, or what is compiled: but for its wait it counts as the others do.
        usual, timetable = self._steps[1:] or self._steps, self.timetable
        step, wait = sum(usual) / len(usual), self._first_wait()
        of_epoch, epochs = (wait, timetable.epochs()) if self.waits_each_epoch else (0.0, 1)
        epoch, validations = step * timetable.steps_per_epoch + of_epoch, timetable.validations()
        seconds = step * timetable.last_step + wait * epochs + (validation or 0.0) * validations
        self._measured = dict(zip(_MEASURED, (round(epoch, 3), validation), strict=True))
        apart = "without the validations and the multi-view test"
        stretch, takes = step * self._stretch + of_epoch, "an epoch takes"
        if timetable.by_iterations:
            takes = f"{plural(self._stretch, 'iteration')} take{'s' * (self._stretch == 1)}"
        parts = f"{duration(stretch, 1)} of training"
        if validation is not None:
            parts += f" and {duration(validation, 1)} for a validation"
            apart = "without the multi-view test"
        elif not validations:
            apart = "without the multi-view test"
        most = "at most " if self.may_end_early else ""
        return (
            f"What this run costs: {takes} {parts}; "
            f"{most}{plural(timetable.count(timetable.last_step), timetable.unit)}: "
            f"{duration(seconds, 1)}, {seconds / 3600 * self.devices:.3g} {self.unit}-hours on "
            f"{self.hardware}, {apart}."
        )


def add_up(spent: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stretches of trainings, as in `RunCosts.record`, each hardware once, with rounded seconds."""
    seconds: dict[tuple[Any, ...], float] = {}
    for stretch in spent:
        key = (stretch["hardware"], stretch["devices"], stretch["unit"])
        seconds[key] = seconds.get(key, 0.0) + stretch["seconds"]
    return [
        {"hardware": hardware, "devices": devices, "unit": unit, "seconds": round(total, 1)}
        for (hardware, devices, unit), total in seconds.items()
    ]
