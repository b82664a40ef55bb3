"""Decoding: frame indices -> RGB pixels. One file a backend, one small interface.

A reader is opened and closed inside the process that uses it, single-threaded, and knows
`num_frames`, `fps` (or None), `size` (height, width as shown, rotation applied) and
`frames(indices)`, which returns `uint8 [N, H, W, 3]` RGB: index i is the i-th frame in presentation
order.
"""

import os
import re

from uniformer_video.errors import DecodeError

_PLACEHOLDER = re.compile(r"\{0?(:0?\d*d)?\}")


def open_video(path, backend="auto", num_frames=0):
    """A reader for the video at `path`, a context manager.

    `backend` is "pyav", "decord" or "auto" (PyAV). For a folder of extracted frames, `path` is the
    folder and the template of their names, `folder/img_{:05d}.jpg`, and `num_frames` says how many
    there must be; 0 = up to the highest number there. Raises `DecodeError` when the file cannot be
    opened or holds no video.
    """
    is_file = os.path.isfile(path)
    if num_frames or (not is_file and _PLACEHOLDER.search(os.path.basename(path))):
        from uniformer_video.data.decoding.frames import FrameReader

        return FrameReader(path, num_frames)
    if not is_file:
        kind = "is a folder, not a video" if os.path.isdir(path) else "does not exist"
        raise DecodeError(f"{path} {kind}")
    if backend == "decord":
        from uniformer_video.data.decoding.decord import DecordReader

        return DecordReader(path)
    from uniformer_video.data.decoding.pyav import PyAVReader

    return PyAVReader(path)
