"""The matrix by which the colours of a frame become red, green and blue.

swscale, FFmpeg's converter, has coefficients for some of the matrices of ITU-T H.273. FFmpeg's command line
shows all others by those of `sws_getCoefficients` (libswscale/yuv2rgb.c): BT.2020 with constant luminance
as that without, and what it does not know (YCgCo, SMPTE ST 2085, chromaticity-derived, ICtCp and later
ones) by its default, BT.601. The newer interface, which PyAV calls, refuses them instead
(`sws_test_colorspace`), so that the stand-in is named here.
"""

from typing import Any

import av
from av.video.reformatter import Colorspace

_BT2020_CONSTANT = 10  # H.273, table 4, which FFmpeg's numbers are
_WITH_COEFFICIENTS = {0, 1, 2, 4, 5, 6, 7, 9}  # red, green and blue as they are; ...; BT.2020


def stand_in(frame: av.VideoFrame) -> Colorspace | None:
    """The matrix to convert a PyAV frame by in place of its own; None = its own."""
    if frame.colorspace in _WITH_COEFFICIENTS:
        return None
    return Colorspace.BT2020 if frame.colorspace == _BT2020_CONSTANT else Colorspace.ITU601


def matrix_options(frame: av.VideoFrame) -> dict[str, Any]:
    """What `reformat` takes so that it can convert this frame."""
    matrix = stand_in(frame)
    return {} if matrix is None else {"src_colorspace": matrix, "dst_colorspace": matrix}
