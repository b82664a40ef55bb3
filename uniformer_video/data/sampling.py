"""Which frames make a clip: pure arithmetic from the number of frames to `int64 [clips, T]` indices.

Sources: the dense rule is that of PySlowFast and the published UniFormer; the segment rule is TSN's
(Wang et al., 2016). N is the number of frames in the video, T the frames of a clip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from uniformer_video.errors import DataError


@dataclass(frozen=True)
class ClipSampling:
    """How clips are taken from a video.

    num_frames: frames of a clip. frame_stride: nominal distance between them (dense only).
    rule: "dense" or "segment". offset: spread dense test clips from the first frame to the last.
    target_fps: 0 = strides count the frames of the video; else those of the video shown at this rate.
    """

    num_frames: int
    frame_stride: int = 1
    rule: str = "dense"
    offset: bool = True
    target_fps: float = 0.0

    def timeline(
        self,
        length: int,
        fps: float | None,
        start: float = 0.0,
        end: float | None = None,
        times: np.ndarray | None = None,
    ) -> np.ndarray:
        """The frames that clips are taken over: `int64 [N]`, indices into a video of `length` frames.

        They are those shown from `start` to before `end`, in seconds, at `target_fps`; N is what the
        rules below count. times: when each begins to be shown, float `[length]`, seconds from the
        first; None = evenly, `fps` a second. Raises `DataError` where there are no frames, or neither
        `fps` nor `times` is known and they are needed.
        """
        _check_length(length)
        if not (start or end is not None or self.target_fps):
            return np.arange(length)
        if times is None:
            times = frame_times(length, fps)
        frames = frames_between(times, start, end)
        if not self.target_fps:
            return frames
        usual = times[-1] / max(length - 1, 1)  # how long a frame is shown; none tells of the last
        stop = np.append(times, times[-1] + usual)[frames[-1] + 1]
        stop = stop if end is None else min(stop, end)
        return frames_at_rate(times[frames], stop, self.target_fps) + frames[0]

    def train_clip(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """One random clip of a video with `length` frames: `int64 [T]`."""
        _check_length(length)
        if self.rule == "segment":
            return _segment_train(length, self.num_frames, rng)
        start = rng.uniform(0, max(length - self._span, 0))
        return self._dense(length, start)

    def test_clips(self, length: int, num_clips: int) -> np.ndarray:
        """`num_clips` clips that cover a video with `length` frames: `int64 [num_clips, T]`."""
        _check_length(length)
        if self.rule == "segment":
            return _segment_test(length, self.num_frames, num_clips)
        starts = self._dense_starts(length, num_clips)
        return np.stack([self._dense(length, start) for start in starts])

    @property
    def _span(self) -> int:
        return self.num_frames * self.frame_stride

    def _dense_starts(self, length: int, num_clips: int) -> Sequence[float]:
        room = max(length - self._span, 0)
        if not self.offset:
            return [room * clip / num_clips for clip in range(num_clips)]
        if num_clips == 1:
            return [room // 2]
        return [clip * (room // (num_clips - 1)) for clip in range(num_clips)]

    def _dense(self, length: int, start: float) -> np.ndarray:
        """T points from `start` to `start + span - 1`, both included, cut to whole frames."""
        points = float32_points(start, start + self._span - 1, self.num_frames)
        return np.clip(points, 0, length - 1).astype(np.int64)


def float32_points(first: float, last: float, count: int) -> np.ndarray:
    """`count` even points from `first` to `last`, both included: float32, as `torch.linspace` gives them.

    The published code cuts these to whole frames, so that their last bit may decide a frame. Each is the
    nearer end and a multiple of the float32 step, rounded once, as torch does it with AVX2; without, it
    rounds twice, and about one clip in a thousand differs where starts are no whole frames. Product and
    sum are exact in float64, so that no processor decides here.
    """
    begin, end = np.float32(first), np.float32(last)
    if count == 1:
        return np.array([begin])
    step = np.float64((end - begin) / np.float32(count - 1))
    place = np.arange(count)
    points = np.where(place < count // 2, begin + step * place, end - step * (count - 1 - place))
    return points.astype(np.float32)


def playback_frames(indices: np.ndarray, length: int, playback: str) -> np.ndarray:
    """The frames of clips, int `[clips, T]`, of a video of `length` frames that is played otherwise.

    playback: "forward", as they are; "reverse", the video backwards; "still", its middle frame repeated.
    """
    if playback == "reverse":
        return length - 1 - indices
    return np.full_like(indices, length // 2) if playback == "still" else indices


def at_rate(indices: np.ndarray, rate: float, length: int) -> tuple[np.ndarray, int]:
    """(the frames of clips played `rate` times as fast, how many of them lie outside the video).

    Each of int `[clips, T]` moves away from the middle between the first and the last frame of its clip,
    `rate` times as far, to the nearest whole frame, of two the later one. What lies outside 0 to `length` - 1
    is the first or the last frame.
    """
    middle = (indices[:, :1] + indices[:, -1:]) / 2
    moved = np.floor(middle + rate * (indices - middle) + 0.5).astype(np.int64)
    inside = np.clip(moved, 0, length - 1)
    return inside, int((moved != inside).sum())


def frame_times(length: int, fps: float | None) -> np.ndarray:
    """When each frame begins to be shown, in seconds from the first: `float64 [length]`."""
    if not fps:
        raise DataError(
            "its frame rate is not known, so segments in seconds and DATA.TARGET_FPS cannot be had"
        )
    return np.arange(length) / fps


def frames_between(times: np.ndarray, start: float, end: float | None = None) -> np.ndarray:
    """The frames that begin in [start, end), seconds, from their `times` in order: `int64`.

    Times are compared in whole milliseconds, which is how some containers store them: frame 10 at
    29.97 a second, shown at 0.33367 s, is in [0.334, 1). Raises `DataError` where there is none.
    """
    times = _milliseconds(times)
    first = int(np.searchsorted(times, _milliseconds(start)))
    last = len(times) if end is None else int(np.searchsorted(times, _milliseconds(end)))
    frames = np.arange(first, last)
    if not len(frames):
        until = "the end" if end is None else f"{end:g} s"
        raise DataError(
            f"no frame begins from {start:g} s to {until}; the last begins at {times[-1] / 1e3:.3f} s"
        )
    return frames


def frames_at_rate(times: np.ndarray, stop: float, fps: float) -> np.ndarray:
    """The frame shown at each tick of `fps`, from `times[0]` to before `stop`, seconds: `int64`.

    A frame is shown from its time until that of the next. At least one tick, and none in the last
    millisecond. Times are compared in whole milliseconds.
    """
    ticks = max(math.ceil((stop - times[0] - 1e-3) * fps), 1)
    shown = times[0] + np.arange(ticks) / fps
    return np.searchsorted(_milliseconds(times), _milliseconds(shown), side="right") - 1


def _milliseconds(seconds: float | np.ndarray) -> np.ndarray:
    # 1e-6 keeps halves that floats store as a little less
    return np.floor(np.multiply(seconds, 1e3) + (0.5 + 1e-6)).astype(np.int64)


def _segment_bounds(length: int, num_frames: int) -> float:
    return (length - 1) / num_frames


def _segment_train(length: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One random frame of each of T equal segments, both ends included."""
    segment = _segment_bounds(length, num_frames)
    bounds = [round(segment * i) for i in range(num_frames + 1)]
    frames = [rng.integers(low, high + 1) for low, high in pairwise(bounds)]
    return np.array(frames, dtype=np.int64)


def _segment_test(length: int, num_frames: int, num_clips: int) -> np.ndarray:
    """The same place inside every segment, one place a clip."""
    segment = _segment_bounds(length, num_frames)
    clips = [
        [
            round(segment * i) + int(segment / (num_clips + 1) * (clip + 1))
            for i in range(num_frames)
        ]
        for clip in range(num_clips)
    ]
    return np.array(clips, dtype=np.int64)


def _check_length(length: int) -> None:
    if length < 1:
        raise DataError(f"a video needs at least one frame to take a clip from, got {length}")
