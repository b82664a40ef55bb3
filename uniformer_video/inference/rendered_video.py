"""An mp4 file whose pictures are made of those of a video, shown when these were, with the sound of it."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from PIL import Image

from uniformer_video.data.decoding.source import source_of
from uniformer_video.data.decoding.streams import open_container

if TYPE_CHECKING:
    from typing_extensions import Self

SUFFIX = ".mp4"
_CLOCK = 90_000  # ticks a second
_AAC_RATES = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000]
_AAC_FRAME = 1024  # samples, whatever the sound
# What MP4 holds as it is.
_COPIED_SOUND = ["aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac"]


class RenderedVideo:
    """The file `target`, whole or not there; a context manager.

    Sound is copied, or, where MP4 does not hold its kind, encoded as AAC.

    Args:
        target: ends in `SUFFIX`; its folder is there.
        video: the path of the file whose sound is kept; of anything else there is none.
        begins: when the part that is shown starts, on the clock of that file, in seconds.
        seconds: how long it takes.
        rate: frames a second, about.

    Raises `OSError` of a disk that is full. A file without pictures is not written.
    """

    def __init__(
        self, target: Path, video: str, begins: float, seconds: float, rate: float
    ) -> None:
        self.target, self._video, self._rate = target, video, rate
        self._begins, self._seconds = begins, seconds
        self._temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{SUFFIX}")
        self._out: OutputContainer | None = None
        self._pictures: _Pictures | None = None
        self._sound: Iterator[float] = iter(())
        self._heard = -1.0

    def write(self, image: np.ndarray, time: float) -> None:
        """Add `uint8 [H, W, 3]` RGB, shown from `time` on, in seconds from the start."""
        if self._pictures is None:
            options = {"movflags": "+faststart"}
            self._out = av.open(str(self._temporary), "w", options=options)
            self._pictures = _Pictures(self._out, image.shape[:2], self._rate)
            self._sound = _sound(self._video, self._out, self._begins, self._seconds) or iter(())
        while self._heard < time:
            self._heard = next(self._sound, float("inf"))
        self._pictures.write(image, time)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._pictures is not None:
                self._finish(self._pictures)
        except BaseException as late:
            self._give_up()
            self._raise_as_system(late)
            raise
        if error is not None:
            self._give_up()
            self._raise_as_system(error)

    def _finish(self, pictures: "_Pictures") -> None:
        pictures.finish()
        for _ in self._sound:
            pass
        self._close()
        os.replace(self._temporary, self.target)

    def _give_up(self) -> None:
        with suppress(OSError, av.FFmpegError):
            self._close()
        with suppress(OSError):
            self._temporary.unlink()

    def _close(self) -> None:
        if self._out is not None:
            out, self._out = self._out, None
            out.close()

    def _raise_as_system(self, error: BaseException) -> None:
        """What FFmpeg says while it writes, with the name of the file that the caller knows."""
        if isinstance(error, av.FFmpegError):
            number = error.errno if error.errno in errno.errorcode else errno.EIO
            raise OSError(number, error.strerror, str(self.target)) from None


class _Pictures:
    """The video stream of the new file."""

    def __init__(self, out: OutputContainer, size: tuple[int, int], rate: float) -> None:
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._out = out
        self._size = (max(size[0] // 2 * 2, 2), max(size[1] // 2 * 2, 2))  # even, for 4:2:0
        fps = Fraction(rate).limit_denominator(1001)
        options = {"crf": "20", "preset": "veryfast"} if codec == "libx264" else {}
        self._stream = cast(
            Any, out.add_stream(codec, rate=max(fps, Fraction(1, 10)), options=options)
        )
        self._stream.height, self._stream.width = self._size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._last = -1

    def write(self, image: np.ndarray, time: float) -> None:
        """Add `uint8 [H, W, 3]` RGB, scaled to the size of the first, shown from `time` on, in seconds."""
        height, width = self._size
        if (image.shape[0] // 2 * 2, image.shape[1] // 2 * 2) != self._size:
            image = np.asarray(Image.fromarray(image).resize((width, height)))
        image = image[:height, :width]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._last = max(round(time * _CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _CLOCK)
        self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder holds back."""
        self._out.mux(self._stream.encode())


def _sound(
    video: str, out: OutputContainer, begins: float, seconds: float
) -> Iterator[float] | None:
    """Writes the sound piece by piece and gives the time up to which it is written; None without sound.

    begins: where the part starts on the file's clock.
    """
    if not os.path.isfile(video):
        return None
    container = open_container(source_of(video))
    found = container.streams.best("audio")
    if not isinstance(found, av.AudioStream):
        container.close()
        return None
    if found.codec_context.name in _COPIED_SOUND:
        target = out.add_stream_from_template(found)
        return _copy_sound(container, found, target, out, begins, seconds)
    layout = "mono" if found.codec_context.channels == 1 else "stereo"
    rate = found.codec_context.sample_rate
    encoder = out.add_stream("aac", rate=rate if rate in _AAC_RATES else 48_000, layout=layout)
    return _encode_sound(container, found, encoder, out, begins, seconds)


def _copy_sound(
    container: InputContainer,
    stream: av.AudioStream,
    target: Any,
    out: OutputContainer,
    begins: float,
    seconds: float,
) -> Iterator[float]:
    with container:
        base = stream.time_base or Fraction(1, 1000)
        shift = round(begins / base)
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            time = float((packet.pts - shift) * base)
            if time + float((packet.duration or 0) * base) <= 0:
                continue
            if time >= seconds:
                return
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = target
            out.mux(packet)
            yield time


def _encode_sound(
    container: InputContainer,
    stream: av.AudioStream,
    encoder: Any,
    out: OutputContainer,
    begins: float,
    seconds: float,
) -> Iterator[float]:
    with container:
        resampler = av.AudioResampler(
            "fltp", encoder.layout.name, encoder.rate, frame_size=_AAC_FRAME
        )
        for frame in container.decode(stream):
            if frame.time is None:
                continue
            time = frame.time - begins
            if time < 0:
                continue
            if time >= seconds:
                break
            frame.pts = round(time * frame.sample_rate)
            frame.time_base = Fraction(1, frame.sample_rate)
            for piece in resampler.resample(frame):
                out.mux(encoder.encode(piece))
            yield time
        for piece in resampler.resample(None):
            out.mux(encoder.encode(piece))
        out.mux(encoder.encode())
