"""Frames that are decoded already behind the reader interface: an array in memory."""

import math
from collections.abc import Sequence

import numpy as np

from uniformer_video.data.decoding.reader import Reader, shrink
from uniformer_video.errors import DecodeError


class ArrayReader(Reader):
    """See `uniformer_video.data.decoding` for the interface. `path` names the `frames` in messages.

    frames: `uint8 [T, H, W, 3]` RGB. fps: how many are shown in a second; None = unknown. Raises
    `DecodeError` for a rate that is none.
    """

    times = declared_frames = None  # evenly

    def __init__(self, path: str, frames: np.ndarray, fps: float | None = None) -> None:
        self._path, self.fps = path, fps
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise DecodeError(f"{path} has the frame rate {fps}; it is a number above 0, or None")
        self._frames = frames
        self.num_frames = len(frames)
        self.size: tuple[int, int] = frames.shape[1], frames.shape[2]

    def frames(self, indices: Sequence[int] | np.ndarray, short_side: int = 0) -> np.ndarray:
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed."""
        return shrink(self._frames[self._check_indices(indices)], short_side)
