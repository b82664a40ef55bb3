"""Where the windows of a long video are, and which of its frames each is made of: arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uniformer_video.data.sampling import ClipSampling, frame_times
from uniformer_video.errors import DataError, UserError

# Seconds: what a model that looks at a whole video, whatever its length, was made for (Something-Something's
# last 4 s on average).
WHOLE_VIDEO_SECONDS = 4.0
USUAL_RATE = 25.0  # frames a second, where nothing tells
MAX_WINDOWS = 1_000_000
_TICK = 0.001  # seconds; windows begin and end at whole milliseconds
_UNEVEN = 0.2
_LACKING = 0.5  # seconds between what a header says and what is found, which are worth a word
_MARGIN = 0.01  # seconds, more than the rounding of times


@dataclass(frozen=True)
class Windows:
    """Windows of equal length over a part of a video; all times in seconds from its first frame.

    starts, ends: float64 `[N]`, of each window, [start, end). window, stride: their length and distance.
    start, end: the part that they cover. short: whether that is shorter than a window; then one covers it.
    """

    starts: np.ndarray
    ends: np.ndarray
    window: float
    stride: float
    start: float
    end: float
    short: bool = False

    def __len__(self) -> int:
        return len(self.starts)

    def edges(self) -> np.ndarray:
        """Where the part that a window speaks for ends and that of the next begins: float64 `[N + 1]`.

        Halfway between the middles of two neighbours; the first begins with the part, the last ends with it.
        """
        middles = (self.starts + self.ends) / 2
        between = (middles[:-1] + middles[1:]) / 2
        return np.concatenate([[self.start], between, [self.end]])


def times_of(num_frames: int, times: np.ndarray | None, fps: float | None, path: str) -> np.ndarray:
    """When each frame begins to show, float64 `[num_frames]` seconds; `DataError` where nothing tells."""
    if times is not None:
        return times
    if not fps:
        raise DataError(
            f"{path} holds no times and does not say how many frames a second it shows; say it with --fps"
        )
    return frame_times(num_frames, fps)


def end_of_video(times: np.ndarray, fps: float | None) -> float:
    """When the last frame ceases to show, in seconds: it is shown as long as the others are on average."""
    if len(times) > 1:
        return float(times[-1] + times[-1] / (len(times) - 1))
    return float(times[-1]) + 1 / (fps or USUAL_RATE)


def notes_on_end(declared: float | None, video_end: float) -> list[str]:
    """A line where the header of a file declares a later end than its frames have; both in seconds."""
    if not declared or declared - video_end <= _LACKING:
        return []
    return [
        f"The header says that the video takes {declared:.3f} s, and its frames end at {video_end:.3f} s: "
        "the file may be cut off or damaged."
    ]


def usual_window(sampling: ClipSampling, num_clips: int, rate: float) -> float:
    """The model's own window at `rate` frames a second: the seconds that a clip of the test takes, and where
    the test has several, twice that, so that they are of different frames.
    """
    if sampling.rule != "dense":
        return WHOLE_VIDEO_SECONDS
    clip = sampling.num_frames * sampling.frame_stride / (sampling.target_fps or rate)
    return clip if num_clips == 1 else 2 * clip


def usual_rate(times: np.ndarray, rate: float) -> float:
    """Frames a second of most of a video: `rate`, its mean, unless pauses make that another one."""
    if len(times) < 2:
        return rate
    step = float(np.median(np.diff(times)))
    return rate if step <= 0 or abs(rate * step - 1) < _UNEVEN else 1 / step


def place_windows(
    video_end: float,
    window: float,
    stride: float | None = None,
    start: float = 0.0,
    end: float | None = None,
) -> Windows:
    """`Windows` from `start` to `end` of a video that ends at `video_end`, every `stride` seconds.

    stride: a quarter of a window without. Only whole windows are placed. Raises `UserError` for what
    cannot be.
    """
    stride = window / 4 if stride is None else stride
    for name, value in (("--window", window), ("--stride", stride)):
        if not _TICK <= value < float("inf"):
            raise UserError(f"{name} is {value:g} seconds; it must be {_TICK:g} or more")
    if not 0 <= start < float("inf"):
        raise UserError(f"--start is {start:g} seconds; it must be 0 or more")
    if start >= video_end:
        raise UserError(
            f"--start is {start:g} seconds, and the video ends at {video_end:.3f} seconds; choose an "
            "earlier one"
        )
    if end is not None and not end > start:
        raise UserError(f"--end is {end:g} seconds, which is not after --start, {start:g} seconds")
    last = video_end if end is None else min(end, video_end)
    start, last, window, stride = (round(value, 3) for value in (start, last, window, stride))
    room = last - start - window
    if room < -_TICK / 2:
        one = np.array([start]), np.array([max(last, start + _TICK)])
        return Windows(*one, window, stride, start, float(one[1][0]), short=True)
    count = int((room + _TICK / 2) / stride) + 1
    if count > MAX_WINDOWS:
        raise UserError(
            f"--stride {stride:g} makes {count:,} windows; at most {MAX_WINDOWS:,} are allowed, "
            "choose a longer one"
        )
    starts = np.round(start + stride * np.arange(count), 3)
    return Windows(starts, np.round(starts + window, 3), window, stride, start, last)


def unseen_seconds(windows: Windows) -> float:
    """How much of the part lies in no window, where these do not even touch; else 0."""
    if windows.stride <= windows.window:
        return 0.0
    return round(windows.end - windows.start - len(windows) * windows.window, 3)


def window_frames(
    sampling: ClipSampling, num_clips: int, times: np.ndarray, start: float, end: float
) -> np.ndarray:
    """The frames of a window's test clips: int64 `[num_clips, T]`, those that a test of the segment takes.

    times: of all frames, float64 `[num_frames]`. Raises `DataError` where no frame begins in the window.
    """
    low = max(int(np.searchsorted(times, start - _MARGIN)) - 1, 0)
    high = int(np.searchsorted(times, end + _MARGIN)) + 1
    # How long the last frame of a video is shown depends on all of them.
    part = slice(low, high) if high < len(times) else slice(0, len(times))
    if not np.any((times[part] > start - _MARGIN) & (times[part] < end + _MARGIN)):
        part = slice(0, len(times))  # the error names the last frame of all
    timeline = sampling.timeline(len(times[part]), None, start, end, times[part]) + part.start
    return timeline[sampling.test_clips(len(timeline), num_clips)]


def spread_evenly(times: np.ndarray, start: float, end: float, most: int) -> Sequence[int]:
    """At most `most` frames, evenly over the time from `start` to `end`: those shown then, in order."""
    moments = start + (np.arange(most) + 0.5) * (end - start) / most
    shown = np.searchsorted(times, moments, side="right") - 1
    return np.unique(shown.clip(0)).tolist()
