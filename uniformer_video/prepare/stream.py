"""All frames of a video file in one pass, for what reads a video from end to end."""

import contextlib

import av

from uniformer_video.data.decoding.source import SINGLE_FILES, source_of
from uniformer_video.errors import DecodeError
from uniformer_video.words import system_reason


@contextlib.contextmanager
def open_stream(path):
    """(container, first video stream) of a file or a video in a shard, to be decoded by this thread alone.

    With frame threads FFmpeg ends a damaged file early and without an error.
    """
    with av.open(source_of(path)(), container_options=SINGLE_FILES) as container:
        if not container.streams.video:
            raise DecodeError(f"{path} holds no video stream")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def decode_all(container, stream):
    """All frames in presentation order. Raises `DecodeError` at the first damage."""
    count = 0
    try:
        for frame in container.decode(stream):
            yield frame
            count += 1
    except av.FFmpegError as error:
        raise DecodeError(
            f"{container.name} breaks after {count} frames: {system_reason(error)}"
        ) from None


def even_size(width, height, short_side):
    """(width, height) with the short side at most `short_side`, the form kept, even where changed."""
    short = min(width, height)
    if not short_side or short <= short_side:
        return width, height
    even = [max(2, 2 * round(side * short_side / short / 2)) for side in (width, height)]
    return tuple(even)
