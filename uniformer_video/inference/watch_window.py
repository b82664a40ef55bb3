"""The newest frames of a stream, as many as a clip of the model needs, and which of them make the clip."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import UserError
from uniformer_video.inference.timeline_windows import WHOLE_VIDEO_SECONDS, window_frames

_MARGIN = 0.1  # seconds that are kept before a window
_MOST_TIMES = 100_000  # of frames since the last label
_LEAST_SPAN, _MOST_SPAN = 0.1, 600.0


@dataclass(frozen=True)
class ClipWindow:
    """What the model looks at of a stream: its newest frames.

    sampling: which of them make a clip, as in the test. seconds: how long a window is; 0 = as many frames as
    a clip takes in the test, whatever their times.
    """

    sampling: ClipSampling
    seconds: float = 0.0

    @classmethod
    def of(cls, sampling: ClipSampling, span: float | None = None) -> "ClipWindow":
        """The window of a model; span: seconds, of one that looks at the whole of a video."""
        clip = sampling.num_frames * sampling.frame_stride
        if sampling.rule != "dense":
            if span is not None and not _LEAST_SPAN <= span <= _MOST_SPAN:
                raise UserError(
                    f"--span is {span:g} seconds; it must be from {_LEAST_SPAN:g} to {_MOST_SPAN:g}"
                )
            return cls(sampling, WHOLE_VIDEO_SECONDS if span is None else span)
        if span is not None:
            raise UserError(
                f"--span is for models that are tested on the whole of a video; this one looks at {clip} "
                "frames on end, leave it out"
            )
        return cls(sampling, clip / sampling.target_fps if sampling.target_fps else 0.0)

    @property
    def num_frames(self) -> int:
        """How many frames are kept at the most."""
        clip = self.sampling.num_frames * self.sampling.frame_stride
        return max(4 * clip, 8 * self.sampling.num_frames) if self.seconds else clip

    def __str__(self) -> str:
        if self.seconds:
            return f"{self.seconds:g} s"
        return f"{self.num_frames} frames"

    def clip(self, times: np.ndarray) -> np.ndarray:
        """The frames of the newest clip: int64 `[T]`, indices into those with these `times`, float64."""
        if not self.seconds:
            return self.sampling.test_clips(self.num_frames, 1)[0] + len(times) - self.num_frames
        times = times - times[0]
        end = times[-1] + min(_usual_step(times), self.seconds)
        start = max(round(end - self.seconds, 3), 0.0)
        return window_frames(self.sampling, 1, times, start, end)[0]


class LiveFrame(NamedTuple):
    """time: seconds from the first frame of the stream. arrival: when it was there, on the clock in use.
    image: uint8 [H, W, 3] RGB."""

    time: float
    arrival: float
    image: np.ndarray


class FrameRing:
    """The frames of the newest window while a stream goes on, for two threads, of which one fills it.

    seen: how many frames came in all. part: how often the stream broke off; a clip is of one part.
    """

    def __init__(self, window: ClipWindow) -> None:
        self.window = window
        self._lock = threading.Lock()
        self._frames: deque[LiveFrame] = deque(maxlen=window.num_frames)
        self._since_label: deque[float] = deque(maxlen=_MOST_TIMES)
        self._begin: float | None = None  # of the part
        self._newest: LiveFrame | None = None
        self.seen = self.part = 0

    def add(self, time: float, arrival: float, image: np.ndarray) -> None:
        """The next frame of the stream.

        Of a window in seconds whose frames are more than are kept, those between are left out evenly.
        """
        with self._lock:
            self.seen += 1
            self._newest = LiveFrame(time, arrival, image)
            self._since_label.append(time)
            if self._begin is None:
                self._begin = time
            seconds = self.window.seconds
            if seconds:
                closest = (seconds + _MARGIN) / self.window.num_frames
                if self._frames and time - self._frames[-1].time < closest:
                    return
                while len(self._frames) > 2 and self._frames[1].time < time - seconds - _MARGIN:
                    self._frames.popleft()
            self._frames.append(self._newest)

    def start_part(self) -> None:
        """Forget the frames: the stream broke off, and what follows is another clip."""
        with self._lock:
            self._frames.clear()
            self._since_label.clear()
            self._begin = self._newest = None
            self.part += 1

    @property
    def newest(self) -> LiveFrame | None:
        """The frame that came last; None before the first of a part."""
        with self._lock:
            return self._newest

    @property
    def is_full(self) -> bool:
        """Whether there is a whole window."""
        with self._lock:
            frames, seconds = self._frames, self.window.seconds
            if not seconds:
                return len(frames) == self.window.num_frames
            if len(frames) < 2 or self._begin is None:
                return False
            step = _usual_step(np.array([frame.time for frame in frames]))
            return frames[-1].time + min(step, seconds) - self._begin >= seconds - 1e-3

    def newest_clip(self) -> tuple[list[LiveFrame], LiveFrame, list[float]]:
        """(the frames of the newest clip, `T` of them; the newest frame of all; when the frames were shown
        that came since this was asked last). Of a ring that `is_full`, or was.
        """
        with self._lock:
            frames, newest = list(self._frames), self._newest or self._frames[-1]
            since = list(self._since_label)
            self._since_label.clear()
        times = np.array([frame.time for frame in frames])
        return [frames[number] for number in self.window.clip(times).tolist()], newest, since

    def take_times(self) -> list[float]:
        """When the frames were shown that came since the last clip was asked for."""
        with self._lock:
            times = list(self._since_label)
            self._since_label.clear()
            return times

    @property
    def step(self) -> float:
        """Seconds from frame to frame, about; 0 while there are not two."""
        with self._lock:
            if len(self._frames) < 2:
                return 0.0
            first, last = self._frames[0].time, self._frames[-1].time
            return (last - first) / (len(self._frames) - 1)


def _usual_step(times: np.ndarray) -> float:
    return float((times[-1] - times[0]) / (len(times) - 1))
