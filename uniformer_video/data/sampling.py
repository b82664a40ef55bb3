"""Which frames make a clip: pure arithmetic from the number of frames to `int64 [clips, T]` indices.

Sources: the dense rule is that of PySlowFast and the published UniFormer; the segment rule is TSN's
(Wang et al., 2016). N is the number of frames in the video, T the frames of a clip.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from uniformer_video.errors import DataError


@dataclass(frozen=True)
class ClipSampling:
    """How clips are taken from a video.

    num_frames: frames of a clip. frame_stride: nominal distance between them (dense only).
    rule: "dense" or "segment". offset: spread dense test clips from the first frame to the last.
    """

    num_frames: int
    frame_stride: int = 1
    rule: str = "dense"
    offset: bool = True

    def train_clip(self, length, rng):
        """One random clip of a video with `length` frames: `int64 [T]`."""
        _check_length(length)
        if self.rule == "segment":
            return _segment_train(length, self.num_frames, rng)
        start = rng.uniform(0, max(length - self._span, 0))
        return self._dense(length, start)

    def test_clips(self, length, num_clips):
        """`num_clips` clips that cover a video with `length` frames: `int64 [num_clips, T]`."""
        _check_length(length)
        if self.rule == "segment":
            return _segment_test(length, self.num_frames, num_clips)
        starts = self._dense_starts(length, num_clips)
        return np.stack([self._dense(length, start) for start in starts])

    @property
    def _span(self):
        return self.num_frames * self.frame_stride

    def _dense_starts(self, length, num_clips):
        room = max(length - self._span, 0)
        if not self.offset:
            return [room * clip / num_clips for clip in range(num_clips)]
        if num_clips == 1:
            return [room // 2]
        return [clip * (room // (num_clips - 1)) for clip in range(num_clips)]

    def _dense(self, length, start):
        """T points from `start` to `start + span - 1`, both included, cut to whole frames."""
        points = np.linspace(start, start + self._span - 1, self.num_frames)
        return np.clip(points, 0, length - 1).astype(np.int64)


def _segment_bounds(length, num_frames):
    return (length - 1) / num_frames


def _segment_train(length, num_frames, rng):
    """One random frame of each of T equal segments, both ends included."""
    segment = _segment_bounds(length, num_frames)
    bounds = [round(segment * i) for i in range(num_frames + 1)]
    frames = [rng.integers(low, high + 1) for low, high in pairwise(bounds)]
    return np.array(frames, dtype=np.int64)


def _segment_test(length, num_frames, num_clips):
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


def _check_length(length):
    if length < 1:
        raise DataError(f"a video needs at least one frame to take a clip from, got {length}")
