"""When the frames of a stream are shown, on one clock that only rises, whatever the stream says."""

from uniformer_video.inference.timeline_windows import USUAL_RATE

_SMALL_STEP_BACK = 1.0  # seconds; pictures that come in another order than they are shown
_MOST_SMALL_STEPS = 4  # in a row; more of them are a clock that was set back
_LARGEST_PAUSE = 10.0  # seconds between two frames; more is a clock that was set
_LEAST_STEP = 0.001  # seconds


class StreamTimes:
    """Seconds from the first frame of a stream, from the times that it gives and when its frames come.

    A time that turns back or leaps is one step after the last, and those that follow count from there.
    rate: of a stream without times, frames a second; None = its frames are shown when they come.
    turned_back, leapt: how often that was so.
    """

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate
        self.turned_back = self.leapt = 0
        self._last: float | None = None  # on the clock from the first frame
        self._own: float | None = None  # on the clock of the stream
        self._shift = 0.0  # from the latter to the former
        self._step = 1 / (rate or USUAL_RATE)
        self._in_a_row = 0

    def time_of(self, own: float | None, arrival: float) -> float:
        """The time of the next frame.

        own: when it is shown on the clock of the stream; None = unknown. arrival: when it came.
        """
        if own is None:
            own = arrival if self.rate is None or self._own is None else self._own + 1 / self.rate
        if self._last is None or self._own is None:
            self._shift = (0.0 if self._last is None else self._last) - own
            return self._is_at(own, own + self._shift)
        time = own + self._shift
        if time - self._last > _LARGEST_PAUSE:
            self.leapt += 1
            return self._goes_on(own)
        if time > self._last:
            self._in_a_row = 0
            if time - self._last < 1:
                self._step = time - self._last
            return self._is_at(own, time)
        self.turned_back += 1
        self._in_a_row += 1
        if self._last - time > _SMALL_STEP_BACK or self._in_a_row > _MOST_SMALL_STEPS:
            return self._goes_on(own)
        self._last += _LEAST_STEP
        return self._last

    def go_on_after(self, pause: float) -> None:
        """The stream broke off, and goes on after `pause` seconds with a clock of its own."""
        self._last = (self._last or 0.0) + max(pause, _LEAST_STEP)
        self._own, self._in_a_row = None, 0

    def _goes_on(self, own: float) -> float:
        assert self._last is not None
        self._shift = self._last + self._step - own
        self._in_a_row = 0
        return self._is_at(own, self._last + self._step)

    def _is_at(self, own: float, time: float) -> float:
        self._own, self._last = own, time
        return time
