"""What a `Predictor` takes: files and what lies in memory, opened by one function."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from torch import Tensor

from uniformer_video.data.decoding import names_frames, open_bytes, open_frames, open_video
from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.lists.media import Medium, other_than
from uniformer_video.errors import DecodeError, quote

# A path, bytes of a file, an open binary file, frames, or (frames, how many are shown in a second).
Video = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | np.ndarray
    | Tensor
    | tuple[np.ndarray | Tensor, float | None]
)


@dataclass(frozen=True)
class Source:
    """name: what the prediction and messages call it. open: gives a reader, a new one each time."""

    name: str
    open: Callable[[], GuardedReader]


def find_source(video: Video, medium: Medium, backend: str, fps: float | None = None) -> Source:
    """The `Source` that a `Video` is, of a model of this `medium`; `backend` as of `open_video`.

    fps: of frames in an array. Raises `DecodeError` for what is none, for a picture where videos are taken
    by the name of the file, or the other way round.
    """
    if isinstance(video, tuple) and len(video) == 2:
        video, fps = video
    if isinstance(video, (str, os.PathLike)):
        path = os.fspath(video)
        check_medium(path, medium)
        return Source(path, lambda: open_video(path, backend))
    if isinstance(video, Tensor):
        video = video.cpu().numpy()
    if isinstance(video, np.ndarray):
        check_frames(video, medium)
        frames = video if medium.of_frames else video[None]
        return Source("array", lambda: open_frames(frames, fps))
    if isinstance(video, (bytes, bytearray, memoryview)):
        return _of_bytes("bytes", bytes(video), backend)
    if hasattr(video, "read"):
        return _of_file(video, backend)
    raise DecodeError(
        f"{quote(video, 60)} is no {medium.name}; give a path, bytes, an open binary file, or an array uint8 "
        f"{_shape(medium)}"
    )


def _of_file(file: IO[Any], backend: str) -> Source:
    """An open file, from its beginning where it can be wound back, and left as it stands."""
    name = getattr(file, "name", "file")
    name = name if isinstance(name, str) else "file"
    if file.seekable():
        place = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(place)
    else:
        data = file.read()
    if not isinstance(data, bytes):
        raise DecodeError(f"{name} is open as text; open it as bytes: open({name!r}, 'rb')")
    return _of_bytes(name, data, backend)


def _of_bytes(name: str, data: bytes, backend: str) -> Source:
    if not data:
        raise DecodeError(f"{name} holds nothing: 0 bytes")
    return Source(name, lambda: open_bytes(name, data, backend))


def check_frames(frames: np.ndarray, medium: Medium) -> None:
    """Raise `DecodeError` for an array that is no video, or no image, of this `medium`."""
    dims = 4 if medium.of_frames else 3
    if frames.dtype != np.uint8 or frames.ndim != dims or frames.shape[-1] != 3 or not frames.size:
        raise DecodeError(
            f"the array is {frames.dtype} of shape {list(frames.shape)}; {medium.one} is uint8 "
            f"{_shape(medium)}, RGB from 0 to 255, with no side of 0"
        )


def _shape(medium: Medium) -> str:
    return "[T, H, W, 3]" if medium.of_frames else "[H, W, 3]"


def check_medium(path: str | os.PathLike[str], medium: Medium) -> None:
    """Raise `DecodeError` for a file whose name is that of the other medium, and not of this one.

    Frames of a video, a folder or a template of their names, are no pictures by themselves.
    """
    other = other_than(medium)
    if not other.fits(path) or medium.fits(path):
        return
    if medium.of_frames and (os.path.isdir(path) or names_frames(os.fspath(path))):
        return
    raise DecodeError(
        f"{path} is {other.one} by its name, and this model takes {medium.name}s "
        f"({medium.usual_suffixes}); take a model of {other.name}s"
    )
