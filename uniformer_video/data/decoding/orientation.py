"""Rotation and mirroring that a video file asks for, as phones record it."""

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import av
import numpy as np


class Orientation(NamedTuple):
    """First rows and columns change places, then what is left is exchanged with right, top with bottom."""

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False


UPRIGHT = Orientation()


def orientation(frame: av.VideoFrame, otherwise: Orientation = UPRIGHT) -> Orientation:
    """The `Orientation` of a PyAV frame; `otherwise` where neither its file nor itself says one.

    The display matrix takes (x, y) to (ax + cy, bx + dy) (ISO/IEC 14496-12, 8.3.2, track header).
    """
    side_data: Mapping[str, Any] = frame.side_data  # PyAV's own hints know one of its keys
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return otherwise
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def turn_upright(image: np.ndarray, orientation: Orientation) -> np.ndarray:
    """A view of `image`, `[H, W, ...]`, as it is meant to be shown."""
    if orientation.transposed:
        image = image.swapaxes(0, 1)
    if orientation.mirrored:
        image = image[:, ::-1]
    return image[::-1] if orientation.upside_down else image
