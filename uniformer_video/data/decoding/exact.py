"""Which files the other decoders are known to get wrong, found by comparing them frame by frame.

It also keeps playlists from them: PyAV, restricted to single files, has to open a file first.
"""

from dataclasses import dataclass

import av
import numpy as np

from uniformer_video.data.decoding.index import FrameIndex
from uniformer_video.data.decoding.orientation import Orientation, orientation
from uniformer_video.data.decoding.pyav import PyAVReader
from uniformer_video.errors import DecodeError

_UNCLEAN = "as it does not start cleanly at every key frame"
_SEEKS_BESIDE = {"mpegts": "MPEG-TS", "mpeg": "MPEG-PS"}
# Levels of 0-255, on average; more is another picture, turned or coloured in another way.
_ROUNDING = 2


@dataclass(frozen=True)
class TrueFacts:
    """Of a video by PyAV: what a `Reader` has of these; the first frame, uint8 [H, W, 3]; and which of the
    file's streams it is, counted from 0.
    """

    num_frames: int
    fps: float | None
    times: np.ndarray | None
    first: np.ndarray
    stream_number: int


def true_facts(path: str, library: str, open_groups: bool, takes_stream: bool) -> TrueFacts:
    """The `TrueFacts`; raises `DecodeError` where `library` is not exact on the file.

    open_groups: it is exact where frames shown before a key frame are decoded after it. takes_stream: it
    reads the stream that it is told.
    """
    with PyAVReader(path) as video:
        reason = _reason(video, open_groups, takes_stream)
        if reason:
            raise _refusal(path, library, reason)
        first = video.frames([0])[0]
        return TrueFacts(video.num_frames, video.fps, video.times, first, video.stream_number)


def check_facts(
    path: str, library: str, num_frames: int, first: np.ndarray, true: TrueFacts
) -> None:
    """Raise `DecodeError` where `library` has other frames, by their number or the `first` of them."""
    if num_frames != true.num_frames:
        raise _refusal(path, library, f"as it counts {num_frames} of {true.num_frames}")
    if first.shape != true.first.shape:
        shown = " and ".join(f"{w}x{h}" for h, w, *_ in (first.shape, true.first.shape))
        raise _refusal(path, library, f"as its pictures and the true ones are {shown}")
    if np.abs(first.astype(np.int16) - true.first).mean() > _ROUNDING:
        raise _refusal(path, library, "as its pictures are turned or coloured in another way")


def _refusal(path: str, library: str, reason: str) -> DecodeError:
    return DecodeError(
        f"{path}: {library} would not give the right frames, {reason}; use "
        "DATA.DECODING_BACKEND auto"
    )


def _reason(video: PyAVReader, open_groups: bool, takes_stream: bool) -> str:
    if not (video.is_alone or takes_stream):
        return "as the file holds several video streams, of which it takes its own choice"
    if video.index is None:
        return f"as {video.why_counted}"
    for name, shown in _SEEKS_BESIDE.items():
        if name in video.formats:
            return f"as it seeks beside the key frames of {shown}"
    if video.num_frames < video.num_packets:
        return "as an edit list or hidden frames leave packets out"
    if video.parameters_change:
        return "as its parameter sets change on the way"
    if not (open_groups or _groups_are_closed(video.index)):
        return _UNCLEAN
    first = None
    for picture in video.key_pictures():
        if picture is None:
            return _UNCLEAN
        first = first or picture
        if _form(picture) != _form(first):
            return "as its pictures change their size, format or orientation"
        if reason := _picture_reason(picture):
            return reason
    return ""


def _form(picture: av.VideoFrame) -> tuple[str, int, int, Orientation]:
    return picture.format.name, picture.width, picture.height, orientation(picture)


def _picture_reason(picture: av.VideoFrame) -> str:
    bits = max(component.bits for component in picture.format.components)
    if bits > 8:
        return f"as it rounds {bits}-bit pixels in another way"
    if sum(orientation(picture)) % 2:
        return "as it does not mirror pictures"
    if picture.interlaced_frame:
        return "as it converts interlaced pictures in another way"
    return ""


def _groups_are_closed(index: FrameIndex) -> bool:
    """True where no frame shown before a key frame is decoded after it."""
    return all(max(index.packets[:frame], default=-1) < packet for frame, packet in index.entries)
