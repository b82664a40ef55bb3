"""Folders of extracted frames behind the reader interface."""

import os
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from uniformer_video.data.decoding.frame_names import (
    first_number,
    frame_file,
    frames_by_template,
    numbered_frames,
)
from uniformer_video.data.decoding.pictures import read_frame
from uniformer_video.data.decoding.reader import Reader, shrink
from uniformer_video.errors import DecodeError


class FrameReader(Reader):
    """See `uniformer_video.data.decoding` for the interface.

    `path` is the folder, all of whose pictures are frames, or the folder and the template of their names,
    `folder/img_{:05d}.jpg`; `num_frames` as a list says it, 0 = all that are there.
    """

    fps = times = declared_frames = None  # pictures tell none of them

    def __init__(self, path: str | os.PathLike, num_frames: int = 0) -> None:
        self._path = os.fspath(path)
        self._files = self._frame_files(num_frames)
        self.num_frames = len(self._files)

    def _frame_files(self, count: int) -> list[str]:
        """The paths of the frames in their order."""
        if os.path.isdir(self._path):
            folder, found = self._path, numbered_frames(self._path)
        elif count:
            first = first_number(self._path, count)
            return [frame_file(self._path, number) for number in range(first, first + count)]
        else:
            folder, template = os.path.split(self._path)
            found = frames_by_template(folder, template)
        if count > len(found):
            raise DecodeError(f"{folder} holds {len(found)} frames, and {count} are wanted")
        return [os.path.join(folder, name) for name in found.values()][: count or None]

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) as shown."""
        height, width = self._image(0).shape[:2]
        return height, width

    def frames(self, indices: Sequence[int] | np.ndarray, short_side: int = 0) -> np.ndarray:
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed."""
        indices = self._check_indices(indices)
        wanted, places = np.unique(indices, return_inverse=True)
        images = [self._image(index) for index in wanted.tolist()]
        for index, image in zip(wanted, images, strict=True):
            if image.shape != images[0].shape:
                raise DecodeError(
                    f"{self._files[index]} is {_upright_size(image)} and {self._files[wanted[0]]} "
                    f"{_upright_size(images[0])}; extract the frames again, in one size"
                )
        return shrink(np.stack(images), short_side)[places]

    def _image(self, index: int) -> np.ndarray:
        """`uint8 [H, W, 3]` RGB, turned the way it is meant to be shown."""
        return read_frame(self._files[index])


def _upright_size(image: np.ndarray) -> str:
    height, width = image.shape[:2]
    return f"{width}x{height}"
