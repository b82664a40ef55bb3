"""A trained model on a stream: one label of the newest frames every so often, and no growing delay.

The stream is read by a thread of its own; the model looks at what is newest when it is free, and what came
meanwhile is left out and counted.
"""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Protocol

from uniformer_video.data.clips.frame_views import join_frames
from uniformer_video.data.lists.media import VIDEO
from uniformer_video.errors import DataError, UserError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.watch_window import FrameRing, LiveFrame
from uniformer_video.tasks.prediction import NONE_OF_THESE, Prediction
from uniformer_video.words import duration, plural

LEAST_EVERY, MOST_EVERY = 0.01, 86_400.0
_TICK = 0.2  # seconds between two looks at whether to stop
_SAME = 1e-6  # seconds; times that differ by less are the same, since they are rounded


class Feed(Protocol):
    """What fills a `FrameRing`."""

    ring: FrameRing
    reconnects: int
    late: int  # frames that were left out before they came into the ring

    def wait(self, seconds: float) -> bool:
        """Until something new came, at most so long; False where nothing more will come."""

    def now(self) -> float:
        """Seconds on the clock that the arrivals of frames are on."""


@dataclass
class Watched:
    """What a watch was.

    lags: of each label, seconds. dropped: frames whose label was left out, because the model, or the
    decoder, could not follow. skipped: labels that were due and left out.
    """

    lags: list[float] = field(default_factory=list)
    seen: int = 0
    dropped: int = 0
    skipped: int = 0
    reconnects: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        words = [
            plural(len(self.lags), "label"),
            f"{plural(self.seen, 'frame')} seen",
            f"{self.dropped} dropped",
            plural(self.reconnects, "reconnect"),
        ]
        if self.skipped:
            words.insert(1, f"{plural(self.skipped, 'label')} left out")
        if self.lags:
            words.append(f"lag {median(self.lags):.3f} s median, {max(self.lags):.3f} s at most")
        return f"{', '.join(words)}; {duration(self.seconds)}"


@dataclass(frozen=True)
class Label:
    """What the model says of the newest clip.

    time: of its newest frame, seconds from the first of the stream. lag: seconds from when that was there to
    now. dropped: frames so far, as in `Watched`. newest: the frame itself.
    """

    time: float
    lag: float
    dropped: int
    prediction: Prediction
    newest: LiveFrame

    @property
    def name(self) -> str:
        """The best class, or "none of these"."""
        return NONE_OF_THESE if self.prediction.none_of_these else self.prediction.top(1)[0][0]

    def row(self, top: int, wall_time: float) -> dict[str, Any]:
        """Plain data; wall_time: seconds since 1970, written in UTC."""
        when = datetime.datetime.fromtimestamp(wall_time, datetime.timezone.utc)
        return {
            "time": round(self.time, 3),
            "wall_time": when.isoformat(timespec="milliseconds"),
            "label": self.name,
            "score": round(self.prediction.top(1)[0][1], 6),
            **self.prediction.to_dict(top),
            "lag": round(self.lag, 3),
            "dropped": self.dropped,
        }


def check_every(every: float) -> None:
    """Raise `UserError` for an `--every` that cannot be."""
    if not LEAST_EVERY <= every <= MOST_EVERY:
        raise UserError(
            f"--every is {every:g} seconds; it must be from {LEAST_EVERY:g} to {MOST_EVERY:g}"
        )


def watch(
    predictor: Predictor,
    feed: Feed,
    every: float,
    show: Callable[[Label], object],
    stopped: Callable[[], bool],
    look: Callable[[], object] | None = None,
) -> Watched:
    """Label the newest clip of a stream every `every` seconds of it, until it ends or `stopped()`.

    The first label is given as soon as there is a whole window. Where the model takes longer than `every`,
    what is due next is the newest clip, and labels between are left out. show: is given each label. look: is
    called between the frames, as a window on a screen needs it.
    """
    check_every(every)
    if predictor.protocol.medium != VIDEO.name:
        raise DataError("a stream takes a model of videos, and this checkpoint is one of images")
    run = _Watch(predictor, feed, every)
    begin = feed.now()
    going = True
    while going and not stopped():
        # a screen shows up to 40 frames a second
        going = feed.wait(_TICK if look is None else _TICK / 8)
        if run.is_due():
            show(run.label())
        if look:
            look()
    watched = run.watched
    watched.seen, watched.reconnects = feed.ring.seen + feed.late, feed.reconnects
    watched.dropped += feed.late
    watched.seconds = feed.now() - begin
    return watched


class _Watch:
    """When labels are due, and what they are."""

    def __init__(self, predictor: Predictor, feed: Feed, every: float) -> None:
        self._predictor, self._feed, self._every = predictor, feed, every
        self.watched = Watched()
        self._part = -1
        self._first: float | None = None  # when the first label of the part was due
        self._number = -1  # of the label that was given last, or left out
        self._cost = 0.0  # seconds that the last label took

    def is_due(self) -> bool:
        """Whether a label is due now; one that would come too late is left out and counted."""
        ring = self._feed.ring
        newest = ring.newest
        if ring.part != self._part:
            self._part, self._first = ring.part, None
        if newest is None or (self._first is None and not ring.is_full):
            return False
        if self._first is None:
            self._first, self._number = newest.time, -1
        number = self._due_number(newest.time)
        if number > self._number and self._is_stale(newest):
            self._leave_out(number, ring.take_times())
        return number > self._number

    def _is_stale(self, newest: LiveFrame) -> bool:
        """Whether a stream stands still, and its label would come more than two strides after its frame.

        An age of about one frame is no standstill.
        """
        age = self._feed.now() - newest.arrival
        still = age > max(self._every / 4, 2 * self._feed.ring.step)
        return still and age + self._cost > 2 * self._every

    def _due_number(self, time: float) -> int:
        assert self._first is not None
        return int((time - self._first + _SAME) / self._every)

    def _leave_out(self, number: int, times: Iterable[float], labels: int = 1) -> None:
        """Labels up to this number are not given; the frames of `times` that led up to them are dropped."""
        self._number = number
        self.watched.skipped += labels
        self.watched.dropped += sum(self._due_number(time) < number for time in times)

    def label(self) -> Label:
        """The label of the newest clip; those that were due meanwhile are left out and counted."""
        ring = self._feed.ring
        begin = self._feed.now()
        clip, newest, times = ring.newest_clip()
        number = self._due_number(newest.time)
        left_out = {n for n in map(self._due_number, times) if self._number < n < number and n > 0}
        if left_out:
            # what came after the last of them is part of this label
            self._leave_out(max(left_out), times, len(left_out))
        self._number = number
        views = self._predictor.protocol.views
        frames = [views(frame.image[None, None]) for frame in clip]  # each [crop, 3, 1, H, W]
        logits = self._predictor.view_logits(join_frames(frames))
        answer = self._predictor.answer("stream", logits)
        if not isinstance(answer, Prediction):
            raise DataError(
                f"a stream takes tasks that answer with probabilities of classes; "
                f"{self._predictor.task.name} does not"
            )
        now = self._feed.now()
        lag, self._cost = now - newest.arrival, now - begin
        self.watched.lags.append(lag)
        return Label(newest.time, lag, self.watched.dropped + self._feed.late, answer, newest)
