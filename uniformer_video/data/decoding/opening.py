"""Opening a video by PyAV to read the packets of one stream: no more is read and decoded than it takes."""

import errno
import io
from collections.abc import Callable
from typing import cast

import av
from av.container import InputContainer
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext

from uniformer_video.data.decoding.source import SINGLE_FILES
from uniformer_video.data.decoding.streams import bare_by_name, find_video_stream, open_container
from uniformer_video.errors import DecodeError

# The index tells the frame rate where the header does not.
_OPTIONS = {**SINGLE_FILES, "fpsprobesize": "0"}
# Opening a file reads on and decodes its first pictures to learn what is in it. Where the header tells,
# that is left out, which is most of the time. More streams than there are do no harm.
_QUICK_OPTIONS = {**_OPTIONS, "analyzeduration": "1"}  # microseconds
_NOTHING_DECODED = [{"skip_frame": "all"}] * 64
# The decoder holds back as many pictures as the stream may reorder, where it does not say how many;
# else the first of them, shown before any later one was seen, would be lost.
_H264_OPTIONS = {"strict": "1"}


def open_stream(
    source: Callable[[], str | io.BytesIO], path: str, number: int | None = None
) -> tuple[InputContainer, av.VideoStream]:
    """(container, its one stream whose packets are read), at the first packet, to be decoded by one thread.

    source: as `source_of` gives it; path: for messages. number: which of the streams; None = the one that
    counts. Raises `DecodeError` for what is no video, or has none that can be decoded.
    """
    container: InputContainer | None = None
    try:
        container = _open(source)
        if number is None:
            number = find_video_stream(container, path, source).index
        stream = cast(av.VideoStream, container.streams[number])
        _set_up(container, stream, path)
    except Exception as error:
        if container is not None:
            container.close()
        is_told = isinstance(error, DecodeError)
        if not is_told and isinstance(error, (av.FFmpegError, OSError, ValueError)):
            raise DecodeError(
                f"{path} cannot be opened as a video: {_why_unopened(error)}"
            ) from None
        raise
    return container, stream


def _open(source: Callable[[], str | io.BytesIO]) -> InputContainer:
    opened = source()
    if _describes_streams(opened):
        return open_container(source, _QUICK_OPTIONS, _NOTHING_DECODED)
    return open_container(source, SINGLE_FILES if bare_by_name(opened) else _OPTIONS)


def _set_up(container: InputContainer, stream: av.VideoStream, path: str) -> None:
    """Leave out the other streams, and set the decoder, which must be there."""
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    decoder = stream.codec_context
    if decoder is None:
        raise DecodeError(f"{path} has a video codec that this FFmpeg cannot decode")
    _set_decoder(decoder)


def _set_decoder(decoder: VideoCodecContext) -> None:
    decoder.thread_type = "NONE"
    decoder.thread_count = 1
    if decoder.name == "h264":
        decoder.options = _H264_OPTIONS


def new_decoder(like: VideoCodecContext) -> VideoCodecContext:
    """A decoder for the same stream that has seen nothing of it.

    It knows what PyAV lets be said of a stream, so that it may lack something, such as a display matrix.
    """
    decoder = cast(VideoCodecContext, av.CodecContext.create(like.codec, "r"))
    decoder.extradata, decoder.codec_tag = like.extradata, like.codec_tag
    decoder.width, decoder.height = like.width, like.height
    _set_decoder(decoder)
    return decoder


def _describes_streams(source: str | io.BytesIO) -> bool:
    """True for MP4, MOV, Matroska and WebM, whose headers tell codec, size and number of streams."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            start = file.read(8)
    else:
        start = bytes(source.getbuffer()[:8])
    return start[4:] == b"ftyp" or start[:4] == b"\x1a\x45\xdf\xa3"


def _why_unopened(error: Exception) -> str:
    if getattr(error, "errno", None) == errno.EINVAL:
        return "it is of no known video format, or a playlist, which is refused"
    return reason_of(error)


def reason_of(error: Exception) -> str:
    """What FFmpeg or the system says in an error."""
    return (getattr(error, "strerror", None) or str(error)).strip()
