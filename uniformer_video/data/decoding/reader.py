"""What the readers of video files share."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from uniformer_video.data.decoding.guard import WrongIndices
from uniformer_video.data.decoding.orientation import UPRIGHT, Orientation, turn_upright
from uniformer_video.errors import DecodeError

if TYPE_CHECKING:
    from typing_extensions import Self


class Reader:
    """Base of the readers; see `uniformer_video.data.decoding` for the interface.

    Each of them has, beside that, `declared_frames`: how many a header says there are; None = it does not.
    """

    formats: Collection[str] = ()  # names of the container's format
    num_frames: int
    _path: str  # the video in messages

    def close(self) -> None:
        """Let go of the file; the reader is of no use after it."""

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_indices(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """`indices` as int64 `[N]`; raises `WrongIndices` outside 0..num_frames-1."""
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size == 0 or indices.min() < 0 or indices.max() >= self.num_frames:
            raise WrongIndices(
                f"{self._path} has frames 0..{self.num_frames - 1}, asked for {indices.tolist()}"
            )
        return indices


class Clip:
    """The pixels of a request while they come in: `uint8 [N, H, W, 3]`, written once each.

    `indices` int64 [N] in any order, with repeats; `path` names the video in errors. change: what is kept of
    a picture, uint8 `[H, W, 3]` as shown; None = the picture itself.
    """

    def __init__(
        self,
        path: str,
        indices: np.ndarray,
        change: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> None:
        self._path, self._change = path, change
        self._shape: tuple[int, ...] | None = None  # of the pictures
        self._places: dict[int, list[int]] = {}
        for place, index in enumerate(indices.tolist()):
            self._places.setdefault(index, []).append(place)
        self._count = len(indices)
        self._pixels: np.ndarray | None = None

    @property
    def wanted(self) -> list[int]:
        """The frames asked for: sorted, no repeats."""
        return sorted(self._places)

    @property
    def pixels(self) -> np.ndarray:
        """`uint8 [N, H, W, 3]`, or `[N, ...]` of what was kept, once all that is `wanted` was put."""
        assert self._pixels is not None, "no frame was put"
        return self._pixels

    def put(self, index: int, image: np.ndarray, orientation: Orientation = UPRIGHT) -> None:
        """Keep `image`, uint8 [H, W, 3], as frame `index`, the way it is meant to be shown."""
        image = turn_upright(image, orientation)
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            raise DecodeError(f"{self._path} changes its picture size; re-encode it first")
        if self._change:
            image = self._change(np.ascontiguousarray(image))
        if self._pixels is None:
            self._pixels = np.empty((self._count, *image.shape), image.dtype)
        first, *others = self._places[index]
        if orientation != UPRIGHT and not self._change:
            for channel in range(3):  # 3 to 7 times faster than pixels of 3 bytes backwards
                self.pixels[first, ..., channel] = image[..., channel]
        else:
            self.pixels[first] = image
        for place in others:
            self.pixels[place] = self.pixels[first]


def shrunk_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """(height, width) with the short side at `short_side`; `size` itself where that is no smaller.

    The long side is floor(long / short * short_side), as in the published resize.
    """
    height, width = size
    short, long = min(size), max(size)
    if not 0 < short_side < short:
        return size
    long = int(long / short * short_side)
    return (short_side, long) if height <= width else (long, short_side)


def shrink(frames: np.ndarray, short_side: int) -> np.ndarray:
    """`frames`, uint8 [N, H, W, 3], scaled down to `short_side` the way PyAV's reader does it."""
    size = frames.shape[1:3]
    height, width = shrunk_size(size, short_side)
    if (height, width) == tuple(size):
        return frames
    import av
    from av.video.reformatter import VideoReformatter

    scaler, out = VideoReformatter(), np.empty((len(frames), height, width, 3), np.uint8)
    for place, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        out[place] = scaler.reformat(picture, width=width, height=height, threads=1).to_ndarray()
    return out


def first_line(error: Exception) -> str:
    """The first line of a library's error message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
