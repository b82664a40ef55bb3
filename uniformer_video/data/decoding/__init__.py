"""Decoding: frame indices -> RGB pixels. One file a backend, one small interface.

A reader is opened and closed inside the process that uses it, single-threaded, and knows
`num_frames`, `fps` (or None), `times` (seconds from the first frame at which each begins to show; None =
evenly, `fps` a second), `size` (height, width as shown, rotation applied) and
`frames(indices, short_side=0)`, which returns `uint8 [N, H, W, 3]` RGB: index i is the i-th frame in
presentation order. All backends read the same stream of a file, FFmpeg's best one, and give the same pixels,
or refuse the file. Pixels are taken as stored: not resampled where they are not square, high dynamic range
not mapped to low.
"""

import os
import re
from functools import partial
from typing import TYPE_CHECKING

from uniformer_video.data.decoding.decoders import Decoder, find_decoder
from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.decoding.source import is_member
from uniformer_video.errors import DecodeError
from uniformer_video.program import command
from uniformer_video.storage.address import is_network_address, public_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from uniformer_video.data.decoding.guard import VideoReader
    from uniformer_video.data.decoding.index_store import IndexStore

_PLACEHOLDER = re.compile(r"\{0?(:0?\d*d)?\}")


def open_video(
    path: str | os.PathLike,
    backend: str = "auto",
    num_frames: int = 0,
    kept: "IndexStore | None" = None,
) -> GuardedReader:
    """A reader for the video at `path`, a context manager.

    `backend` names a registered `Decoder`: "pyav", "decord", "torchcodec" or "auto" (PyAV, exact on every
    file). For extracted frames, `path` is their folder, or the folder and the template of their names,
    `folder/img_{:05d}.jpg`, and `num_frames` says how many there must be; 0 = all that are there. For a
    video in a shard it is `SHARD#OFFSET+LENGTH`, the shard a path or an address; "auto" and "pyav" read it.
    kept: the frame index, which they ask and add to.
    Raises `DecodeError` when the file cannot be opened, holds no video, or the backend is not exact on it,
    `ConfigError` for a backend that is not known. Whatever a decoder raises on the file, then or later, is a
    `DecodeError` too (`guard.faults_of`).
    """
    path, decoder = os.fsdecode(path), find_decoder(backend)
    if not decoder.of_images and _are_frames(path, num_frames):
        from uniformer_video.data.decoding.frames import FrameReader

        return GuardedReader(path, partial(FrameReader, num_frames=num_frames))
    if not (kept and decoder.open_kept):
        return _open_file(path, backend, decoder, decoder.open)
    try:
        return _open_file(path, backend, decoder, partial(decoder.open_kept, kept=kept))
    except DecodeError:
        from uniformer_video.data.decoding.index_store import BROKEN

        kept.tally.add(BROKEN)
        raise


def _are_frames(path: str, num_frames: int) -> bool:
    """Whether a path is that of extracted frames, and not of a file or a member of a shard."""
    if is_member(path):
        return False
    return (
        bool(num_frames) or os.path.isdir(path) or (not os.path.isfile(path) and names_frames(path))
    )


def _open_file(
    path: str, backend: str, decoder: "Decoder", opener: "Callable[[str], VideoReader]"
) -> GuardedReader:
    """A reader for a file, or a member of a shard, by the `opener` of a decoder."""
    if is_member(path):
        if not decoder.reads_shards:
            raise DecodeError(
                f"{path} lies in a shard, which DATA.DECODING_BACKEND {backend} cannot read; use auto"
            )
        return GuardedReader(path, opener)
    if not os.path.isfile(path):
        if is_network_address(path):
            raise DecodeError(
                f"{public_name(path)} is an address, and no file here; download it first, or see "
                f"`{command('watch')}` for streams"
            )
        raise DecodeError(f"{path} {_what_it_is(path)}{_no_image(path, decoder)}")
    if not os.access(path, os.R_OK):
        raise DecodeError(f"{path} may not be read by this user; change its permissions")
    return GuardedReader(path, opener)


def open_bytes(name: str, data: bytes, backend: str = "auto") -> GuardedReader:
    """A reader for a video that is in memory, the bytes of a file; `name` is for messages.

    `backend` and errors are those of `open_video`; "auto" and "pyav", and "pillow" for pictures, read from
    memory, and another raises `DecodeError`.
    """
    decoder = find_decoder(backend)
    if decoder.open_bytes is None:
        raise DecodeError(
            f"{name} is in memory, which DATA.DECODING_BACKEND {backend} cannot read; save it as a file"
        )
    return GuardedReader(name, partial(decoder.open_bytes, data=data))


def open_frames(
    frames: "np.ndarray", fps: float | None = None, name: str = "array"
) -> GuardedReader:
    """A reader for frames that are decoded already, `uint8 [T, H, W, 3]` RGB, shown at `fps`.

    Raises `DecodeError` for a rate that is none.
    """
    from uniformer_video.data.decoding.arrays import ArrayReader

    return GuardedReader(name, partial(ArrayReader, frames=frames, fps=fps))


def names_frames(path: str) -> bool:
    """Whether a path ends in a template of the names of frames, `folder/img_{:05d}.jpg`."""
    return bool(_PLACEHOLDER.search(os.path.basename(path)))


def _no_image(path: str, decoder: Decoder) -> str:
    """What to add about a folder, such as one of frames, that stands where an image should."""
    is_folder = decoder.of_images and os.path.isdir(path)
    return ", but a folder; an image is a file of one picture" if is_folder else ""


def _what_it_is(path: str) -> str:
    if os.path.islink(path):
        return f"is a link to {os.path.realpath(path)}, which does not exist"
    return "is no file" if os.path.exists(path) else "does not exist"
