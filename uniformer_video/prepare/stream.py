"""All frames of a video file in one pass, for what reads a video from end to end."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from uniformer_video.data.decoding.guard import faults_of
from uniformer_video.data.decoding.orientation import UPRIGHT, Orientation, orientation
from uniformer_video.data.decoding.source import source_of
from uniformer_video.data.decoding.streams import (
    decode_packets,
    demux,
    find_video_stream,
    is_bare,
    open_container,
)
from uniformer_video.errors import DecodeError
from uniformer_video.words import system_reason


@contextlib.contextmanager
def open_stream(path: Path | str) -> Iterator[tuple[InputContainer, av.VideoStream]]:
    """(container, video stream) of a file or a video in a shard, to be decoded by this thread alone.

    With frame threads FFmpeg ends a damaged file early and without an error.
    """
    path = os.fspath(path)
    source = source_of(path)
    with open_container(source) as container:
        with faults_of(path):
            stream = find_video_stream(container, path, source)
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
        yield container, stream


def pixel_form(path: Path | str) -> Fraction:
    """Width / height of the pixels of a video as stored, a `Fraction`; 1 where nothing tells."""
    with open_stream(path) as (_, stream):
        return stream.sample_aspect_ratio or Fraction(1)


def decode_all(container: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """All frames in presentation order. Raises `DecodeError` at the first damage."""
    count = 0
    packets = demux(container, stream)
    try:
        with faults_of(container.name):
            for frame in decode_packets(stream.codec_context.decode, packets, is_bare(container)):
                yield frame
                count += 1
    except av.FFmpegError as error:
        raise DecodeError(
            f"{container.name} breaks after {count} frames: {system_reason(error)}"
        ) from None


def decode_shown(
    container: InputContainer, stream: av.VideoStream
) -> Iterator[tuple[av.VideoFrame, Orientation]]:
    """(frame, its `Orientation`) of all frames, as `decode_all`.

    Of an animation the first picture alone may say how it is meant to be shown.
    """
    first = UPRIGHT
    for count, frame in enumerate(decode_all(container, stream)):
        way = orientation(frame, first)
        first = first if count else way
        yield frame, way


def even_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the short side at most `short_side`, the form kept, even where changed."""
    short = min(width, height)
    if not short_side or short <= short_side:
        return width, height
    wide, high = (max(2, 2 * round(side * short_side / short / 2)) for side in (width, height))
    return wide, high
