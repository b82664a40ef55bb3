"""Decoding: frame indices -> RGB pixels. One file a backend, one small interface.

A reader is opened and closed inside the process that uses it, single-threaded, and knows
`num_frames`, `fps`, `size` (height, width as shown, rotation applied) and `frames(indices)`, which
returns `uint8 [N, H, W, 3]` RGB: index i is the i-th frame in presentation order.
"""

import os

from uniformer_video.errors import DecodeError


def open_video(path, backend="auto"):
    """A reader for the video at `path`, a context manager.

    `backend` is "pyav", "decord" or "auto" (PyAV). Raises `DecodeError` when the file cannot be
    opened or holds no video.
    """
    if not os.path.isfile(path):
        kind = "is a folder, not a video" if os.path.isdir(path) else "does not exist"
        raise DecodeError(f"{path} {kind}")
    if backend == "decord":
        from uniformer_video.data.decoding.decord import DecordReader

        return DecordReader(path)
    from uniformer_video.data.decoding.pyav import PyAVReader

    return PyAVReader(path)
