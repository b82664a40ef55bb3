"""From predictions of windows to segments: an exponential mean over time, then two thresholds."""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from uniformer_video.errors import UserError
from uniformer_video.evaluation.segments import NONE, Segment
from uniformer_video.inference.timeline import Timeline

ENTER = 0.4  # where nothing else is said
_LEAVE_OF_ENTER = 0.375
WEIGHT = 0.5


@dataclass(frozen=True)
class Smoothing:
    """How windows become segments.

    weight: of a window in the exponential mean, above 0 to 1; 1 = no smoothing. enter: the probability from
    which a class begins; leave: that below which it ends.
    """

    weight: float = WEIGHT
    enter: float = ENTER
    leave: float = ENTER * _LEAVE_OF_ENTER

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise UserError(
                f"--smooth is {self.weight:g}; it must be above 0, and at most 1 (none)"
            )
        for name, value in (("--enter", self.enter), ("--leave", self.leave)):
            if not 0 <= value <= 1:
                raise UserError(f"{name} is {value:g}; it must be a probability, 0 to 1")
        if self.leave > self.enter:
            raise UserError(
                f"--leave is {self.leave:g}, above --enter, {self.enter:g}; a class ends below the "
                "probability at which it begins"
            )

    @classmethod
    def of(
        cls,
        threshold: float | None,
        weight: float | None = None,
        enter: float | None = None,
        leave: float | None = None,
        earlier: "Smoothing | None" = None,
    ) -> "Smoothing":
        """What is not said follows from the rest; `threshold`, of "none of these", is where classes begin.
        earlier: of a timeline that was made before, which keeps what is not said anew.
        """
        if earlier:
            weight = earlier.weight if weight is None else weight
            if enter is None:
                leave = earlier.leave if leave is None else leave
                enter = max(earlier.enter, leave)
        if enter is None:
            enter = ENTER if threshold is None else threshold
            enter = enter if leave is None else max(enter, leave)
        leave = enter * _LEAVE_OF_ENTER if leave is None else leave
        return cls(WEIGHT if weight is None else weight, enter, leave)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def exponential_mean(values: np.ndarray, weight: float) -> np.ndarray:
    """The mean of both directions of m[i] = weight * x[i] + (1 - weight) * m[i - 1], `[N, K]`, which moves no
    change in time. Rows of NaN stay that, and what is on either side of them is smoothed by itself.
    """
    found = np.full(values.shape, np.nan)
    for first, last in _stretches(~np.isnan(values).any(axis=1)):
        part = values[first:last].astype(np.float64)
        found[first:last] = (_one_way(part, weight) + _one_way(part[::-1], weight)[::-1]) / 2
    return found


def _one_way(values: np.ndarray, weight: float) -> np.ndarray:
    found = values.copy()
    for row in range(1, len(found)):
        found[row] = weight * values[row] + (1 - weight) * found[row - 1]
    return found


def _stretches(true: np.ndarray) -> list[tuple[int, int]]:
    """Where bool `[N]` is true without a break: (first, the one behind the last) of each stretch."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]])))
    return [(first, last) for first, last in changes.reshape(-1, 2).tolist()]


def one_class_at_a_time(values: np.ndarray, enter: float, leave: float) -> np.ndarray:
    """Probabilities `[N, K]` -> the class of each row, int64 `[N]`, `NONE` for none.

    The most probable class begins where it reaches `enter`, and goes on, before and after, while it has
    `leave`; until then no other one begins. Where one goes on and another has begun, looking from the other
    end, they are parted once: where the sum of the probabilities of what is chosen is highest.
    """
    forward = _from_start(values, enter, leave)
    backward = _from_start(values[::-1], enter, leave)[::-1]
    labels = np.where(forward == NONE, backward, forward)
    changes = (np.diff(forward) != 0) | (np.diff(backward) != 0)
    bounds = [0, *(np.flatnonzero(changes) + 1).tolist(), len(values)]
    for start, stop in pairwise(bounds):
        first, second = forward[start], backward[start]
        if first not in (NONE, second) and second != NONE:
            before = np.concatenate([[0], np.cumsum(values[start:stop, first])])
            behind = np.concatenate([[0], np.cumsum(values[start:stop, second])])
            cut = start + int((before + behind[-1] - behind).argmax())
            labels[cut:stop] = second
    return labels


def _from_start(values: np.ndarray, enter: float, leave: float) -> np.ndarray:
    """The class of each row, looking from the first to the last."""
    labels = np.full(len(values), NONE, np.int64)
    current = NONE
    for row, own in enumerate(values):
        if current != NONE and not own[current] >= leave:  # also where nothing was read
            current = NONE
        if current == NONE and own.max() >= enter:
            current = int(own.argmax())
        labels[row] = current
    return labels


def each_class(values: np.ndarray, enter: float, leave: float) -> np.ndarray:
    """Probabilities `[N, K]` -> which classes are true of each row, bool `[N, K]`: by itself, a class is true
    of all rows in a row that have `leave` where one of them has `enter`.
    """
    found = values >= leave  # of NaN it is false
    for label in range(values.shape[1]):
        for first, last in _stretches(found[:, label]):
            found[first:last, label] = values[first:last, label].max() >= enter
    return found


def find_segments(timeline: Timeline, smoothing: Smoothing) -> list[Segment]:
    """The segments of a timeline in order of time, scored by their mean smoothed probability."""
    values = exponential_mean(timeline.probabilities, smoothing.weight)
    edges, segments = timeline.windows.edges(), []
    if timeline.exclusive:
        labels = one_class_at_a_time(values, smoothing.enter, smoothing.leave)
        active = labels[:, None] == np.arange(values.shape[1])
    else:
        active = each_class(values, smoothing.enter, smoothing.leave)
    for label in np.flatnonzero(active.any(axis=0)).tolist():
        for first, last in _stretches(active[:, label]):
            score = float(values[first:last, label].mean())
            start, end = round(float(edges[first]), 3), round(float(edges[last]), 3)
            segments.append(Segment(start, end, label, min(score, 1.0)))
    return sorted(segments, key=lambda one: (one.start, one.end, one.label))


def clock(seconds: float, mark: str = ".", hours: bool = True) -> str:
    """3723.5 -> "01:02:03.500"; mark: before the milliseconds. Without `hours`: only where needed."""
    ticks = math.floor(seconds * 1000 + 0.5)
    minutes, rest = divmod(ticks, 60_000)
    text = f"{minutes % 60:02d}:{rest // 1000:02d}{mark}{rest % 1000:03d}"
    return f"{minutes // 60:02d}:{text}" if hours or minutes >= 60 else text
