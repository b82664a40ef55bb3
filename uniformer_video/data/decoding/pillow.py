"""An image, a file of one picture, behind the reader interface: a video of one frame."""

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from uniformer_video.data.decoding.pictures import read_image
from uniformer_video.data.decoding.reader import Reader, shrink
from uniformer_video.data.decoding.source import is_member, source_of


class PictureReader(Reader):
    """See `uniformer_video.data.decoding` for the interface. `path` is a file, or a member of a shard.

    data: the file itself, where `path` is but its name.
    """

    num_frames = 1
    fps = times = declared_frames = None  # one picture has no time

    def __init__(self, path: str | os.PathLike[str], data: bytes | None = None) -> None:
        self._path, self._data = os.fspath(path), data

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) as shown."""
        height, width = self._picture.shape[:2]
        return height, width

    def frames(self, indices: Sequence[int] | np.ndarray, short_side: int = 0) -> np.ndarray:
        """`uint8 [N, H, W, 3]`, the picture as often as frame 0 is asked for."""
        indices = self._check_indices(indices)
        return shrink(self._picture[None], short_side)[indices]

    @cached_property
    def _picture(self) -> np.ndarray:
        """`uint8 [H, W, 3]` RGB, turned the way it is meant to be shown."""
        if self._data is not None or is_member(self._path):
            return read_image(source_of(self._path, self._data)(), self._path)
        return read_image(self._path)
