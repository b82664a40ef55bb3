"""Folders of extracted frames behind the reader interface, by Pillow.

Frames are numbered from 1, or from 0 where number 0 is there and the last one, counted from 1, is not.
"""

import os
import re

import numpy as np

from uniformer_video.data.decoding.pictures import read_picture
from uniformer_video.data.decoding.reader import Reader, shrink
from uniformer_video.errors import DecodeError


def frame_file(path, number):
    """The file of one frame, where `path` is a folder and a template, `folder/img_{:05d}.jpg`."""
    folder, template = os.path.split(path)
    return os.path.join(folder, template.format(number))


class FrameReader(Reader):
    """See `uniformer_video.data.decoding` for the interface.

    `path` is the folder and the template of the names, `folder/img_{:05d}.jpg`; `num_frames` as a
    list says it, 0 = up to the highest number there.
    """

    fps = None

    def __init__(self, path, num_frames=0):
        self._path = os.fspath(path)
        folder, template = os.path.split(self._path)
        self.num_frames = num_frames or _highest_count(folder, template)
        self._first = self._first_number()
        self._size = None

    def _first_number(self):
        """1 or 0. The last frame must be there: where some lack, a list mostly counts too many."""
        if self._has(self.num_frames):
            return 1
        if self._has(0) and self._has(self.num_frames - 1):
            return 0
        raise DecodeError(
            f"{frame_file(self._path, self.num_frames)} is not there, the last of {self.num_frames} "
            "frames; extract the frames again, mend the list, or set DATA.IMAGE_TEMPLATE to the names "
            "of the frames"
        )

    def _has(self, number):
        return os.path.isfile(frame_file(self._path, number))

    @property
    def size(self):
        """(height, width) as shown."""
        if self._size is None:
            self._size = self._image(0).shape[:2]
        return self._size

    def frames(self, indices, short_side=0):
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed."""
        indices = self._check_indices(indices)
        wanted, places = np.unique(indices, return_inverse=True)
        images = [self._image(index) for index in wanted.tolist()]
        for index, image in zip(wanted, images, strict=True):
            if image.shape != images[0].shape:
                raise DecodeError(
                    f"{self._file(index)} is {_upright_size(image)} and {self._file(wanted[0])} "
                    f"{_upright_size(images[0])}; extract the frames again, in one size"
                )
        return shrink(np.stack(images), short_side)[places]

    def _file(self, index):
        return frame_file(self._path, self._first + index)

    def _image(self, index):
        """`uint8 [H, W, 3]` RGB, turned the way it is meant to be shown."""
        return read_picture(self._file(index))


def _highest_count(folder, template):
    """How many frames there are by the highest number, so that a gap is met and not closed."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise DecodeError(f"cannot read the folder {folder}: {error.strerror}") from None
    numbers = {
        number
        for name in names
        for number in map(int, re.findall("[0-9]+", name))
        if template.format(number) == name
    }
    if not numbers:
        raise DecodeError(f"{folder} holds no frames named {template}")
    return max(numbers) + (0 in numbers)


def _upright_size(image):
    height, width = image.shape[:2]
    return f"{width}x{height}"
