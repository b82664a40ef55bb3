"""Opening a file with FFmpeg, the one stream in it that counts as its video, and its decoding.

Whatever reads a video does it through here, so that all see the same frames.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import av
from av.container import InputContainer
from av.format import Flags
from av.sidedata.sidedata import Type
from av.stream import Disposition

from uniformer_video.data.decoding.source import SINGLE_FILES
from uniformer_video.errors import DecodeError

# What tells a bare stream where its first bytes do not: JPEGs in a row look like one, and a file of few
# pictures with something behind them may look like nothing.
_BARE_BY_SUFFIX = {
    ".h264": "h264",
    ".264": "h264",
    ".avc": "h264",
    ".hevc": "hevc",
    ".h265": "hevc",
    ".265": "hevc",
    ".vvc": "vvc",
    ".266": "vvc",
    ".mjpeg": "mjpeg",
    ".mjpg": "mjpeg",
    ".m1v": "mpegvideo",
    ".m2v": "mpegvideo",
    ".obu": "obu",
    ".h261": "h261",
    ".h263": "h263",
}
# Formats with times whose pictures follow each other like those of bare streams.
_WITHOUT_LIST = {"ivf", "yuv4mpegpipe"}
# Of AV1: the temporal delimiter before each picture, and the header of the unit after it.
_BEGINS_PICTURE = re.compile(rb"\x12\x00[\x0a\x0e\x1a\x1e\x2a\x2e\x32\x36]")
_MOST_BEHIND = 64 << 20  # bytes that are read at once
_IMPAIRED = Disposition.hearing_impaired | Disposition.visual_impaired


def _unnamed(cls: Any, value: object) -> Any:
    """A kind of side data that FFmpeg knows and PyAV has no name for, such as EXIF."""
    kind = object.__new__(cls)
    kind._name_, kind._value_ = f"NUMBER_{value}", value
    return kind


# PyAV lists all side data of a frame at once, and refuses to where it cannot name one of them.
if "_missing_" not in vars(Type):
    # An enumeration asks this of itself; no hint foresees that somebody adds it from outside.
    Type._missing_ = classmethod(_unnamed)  # type: ignore[method-assign, assignment]


def open_container(
    source: Callable[[], str | IO[bytes]],
    options: dict[str, str] = SINGLE_FILES,
    stream_options: list[dict[str, str]] | None = None,
) -> InputContainer:
    """Open what `source()` gives: a path, or a file in memory with a name.

    options, stream_options: of FFmpeg. Raises `av.FFmpegError` or `OSError` for what is no video.
    """
    opened = source()
    try:
        return _open(opened, options, stream_options=stream_options)
    except (av.InvalidDataError, av.ArgumentError):
        bare = bare_by_name(opened)
        if bare is None:
            raise
    return _open(source(), options, format=bare)


def _open(opened: str | IO[bytes], options: dict[str, str], **further: Any) -> InputContainer:
    # Texts in a file that are not UTF-8 are no reason to refuse its pictures.
    return av.open(opened, "r", container_options=options, metadata_errors="replace", **further)


def bare_by_name(opened: str | IO[bytes]) -> str | None:
    """FFmpeg's format of bare streams named as this file is; None for other names."""
    # standard input is called by its number
    name = opened if isinstance(opened, str) else str(opened.name)
    return _BARE_BY_SUFFIX.get(os.path.splitext(name)[1].lower())


def video_streams(container: InputContainer) -> list[av.VideoStream]:
    """The streams of moving pictures; a cover picture, attached to a song or a film, is none."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def find_video_stream(
    container: InputContainer, path: str, source: Callable[[], str | IO[bytes]]
) -> av.VideoStream:
    """FFmpeg's best video stream (`av_find_best_stream`) of an open container; `path` is for messages.

    Where there are several, FFmpeg looks at their pictures, which a container opened in a hurry has not
    read: what `source()` gives is then opened once more. Raises `DecodeError` where there is none.
    """
    found = video_streams(container)
    if not found:
        covers = len(container.streams.video)
        raise DecodeError(
            f"{path} holds no video stream" + (", but a cover picture" if covers else "")
        )
    if len(found) == 1:
        return found[0]
    with open_container(source) as whole:
        index = best_index(whole)
    return next((stream for stream in found if stream.index == index), found[0])


def best_index(container: InputContainer) -> int | None:
    """The number of FFmpeg's best video stream in the file; None where there is none."""
    found = {stream.index: stream for stream in video_streams(container)}
    best = container.streams.best("video")
    if best is not None and best.index in found:
        return best.index
    # A cover picture was marked as what to show first: by the rule of FFmpeg, the best of the others.
    return max(found, key=lambda index: _rank(found[index]), default=None)


def _rank(stream: av.VideoStream) -> tuple[int, int]:
    shown = bool(stream.disposition & Disposition.default)
    return shown + (not stream.disposition & _IMPAIRED), stream.bit_rate or 0


def is_bare(container: InputContainer) -> bool:
    """True for a bare stream: coded pictures with nothing around them, not even times.

    There is no list of the pictures, and what follows the last one is read as a part of it.
    """
    no_timestamps: int = Flags.no_timestamps.value  # type: ignore[assignment]  # PyAV hints at Flags
    return bool(container.format.flags & no_timestamps)


def demux(container: InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The stream's packets with data, from where the file stands to its end. Raises `av.FFmpegError`.

    Something behind the last picture that is none ends a stream without a list of its pictures.
    """
    largest = end = 0
    try:
        for packet in container.demux(stream):
            if packet.size:
                largest, end = max(largest, packet.size), (packet.pos or 0) + packet.size
                yield packet
    except av.EOFError:
        return
    except av.FFmpegError:
        left = container.size - end
        if container.format.name == "obu" and left <= _MOST_BEHIND:
            last = _last_of_obu(container, end)
            if last is None:
                raise
            yield last
            return
        has_list = not (is_bare(container) or container.format.name in _WITHOUT_LIST)
        if has_list or left > largest:  # then more is lost than a picture
            raise


def _last_of_obu(container: InputContainer, start: int) -> av.Packet | None:
    """The last picture of a bare AV1 stream with all that follows it; None where more pictures do.

    FFmpeg holds a picture back until it has seen what is behind it, and drops it where that is nothing
    of AV1. start: bytes, where the picture before ends.
    """
    in_memory = container.file
    with (
        contextlib.nullcontext(in_memory.file) if in_memory else open(container.name, "rb") as file
    ):
        before = file.tell()
        file.seek(start)
        rest = file.read()
        file.seek(before)  # FFmpeg may go on from there
    return None if len(_BEGINS_PICTURE.findall(rest)) > 1 else av.Packet(rest)


def decode_packets(
    decode: Callable[[av.Packet | None], Iterable[av.VideoFrame]],
    packets: Iterable[av.Packet],
    to_bare_end: bool,
) -> Iterator[av.VideoFrame]:
    """The frames of `packets`, then those that the decoder holds back. Raises `av.FFmpegError`.

    decode: of the decoder, from a packet to frames; None empties it. to_bare_end: the packets are those of
    a bare stream to its end. The last one holds whatever follows the last picture, so that an error there
    is the end of the stream, with all pictures that came out.
    """
    late = None
    for packet in packets:
        if late is not None:
            raise late
        try:
            yield from decode(packet)
        except av.FFmpegError as error:
            if not to_bare_end:
                raise
            late = error
    try:
        yield from decode(None)
    except av.FFmpegError:  # some decoders look at what follows a picture only now
        if not to_bare_end:
            raise
