"""A video with the label of each moment in its pictures, and its own sound."""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from PIL import Image, ImageDraw, ImageFont

from uniformer_video.data.decoding.sequential import open_stream
from uniformer_video.data.decoding.source import source_of
from uniformer_video.data.decoding.streams import open_container
from uniformer_video.errors import DataError
from uniformer_video.evaluation.segments import Segment
from uniformer_video.inference.timeline import Timeline
from uniformer_video.words import plural

SUFFIX = ".mp4"
_CLOCK = 90_000  # ticks a second
_AAC_RATES = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000]
_AAC_FRAME = 1024  # samples, whatever the sound
# What MP4 holds as it is.
_COPIED_SOUND = ["aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac"]


def check_target(target: Path | str, video: str) -> Path:
    """The path to write to; `DataError` for one that cannot be, before hours of work."""
    target = Path(target)
    if target.suffix.lower() != SUFFIX:
        raise DataError(f"--render {target} must end in {SUFFIX}")
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "lies in a folder that is not there"
        raise DataError(f"--render {target} {what}; name a file to write")
    if target.exists() and os.path.exists(video) and os.path.samefile(target, video):
        raise DataError(f"--render {target} is the video itself; name another file")
    return target


def render_timeline(
    timeline: Timeline, segments: Sequence[Segment], target: Path | str, backend: str = "auto"
) -> list[str]:
    """Write the part of the video that the timeline is of to an mp4 file; notes on what is otherwise.

    Each frame is shown when it was, turned as it was, with the classes of its segments at the bottom. Sound
    is copied, or, where MP4 does not hold its kind, encoded as AAC. The file is whole or not there. Raises
    `DecodeError`, `DataError`, and `OSError` of a disk that is full.
    """
    target = check_target(target, timeline.video)
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}.tmp{SUFFIX}")
    try:
        notes = _write(timeline, segments, temporary, backend)
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, av.FFmpegError):
            raise OSError(error.errno, error.strerror, str(target)) from None
        raise
    return notes


def _write(
    timeline: Timeline, segments: Sequence[Segment], temporary: Path, backend: str
) -> list[str]:
    stream = open_stream(timeline.video, backend)
    start, end, notes = timeline.windows.start, timeline.windows.end, []
    begins = getattr(stream, "first_time", 0.0) + start
    times = stream.times
    if times is None:  # those by which the timeline was made, which is then of evenly shown frames
        own = timeline.frame_times
        step = (own[-1] - own[0]) / (len(own) - 1) if len(own) > 1 else 0.04
        times = np.arange(stream.num_frames) * step
    wanted = (times >= start - 5e-4) & (times < end - 5e-4)
    try:
        if stream.times is not None and int(wanted.sum()) != len(timeline.frame_times):
            raise DataError(
                f"{timeline.video} is another video than the timeline was made of: "
                f"{plural(int(wanted.sum()), 'frame')} in its part, and not "
                f"{len(timeline.frame_times)}; make the timeline again"
            )
        with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as out:
            pictures: _Pictures | None = None
            sound: Iterator[float] | None = None
            heard = -1.0
            written = 0
            for number, image in stream.pictures(wanted):
                time = max(float(times[number]) - start, 0.0)
                if pictures is None:
                    rate = len(timeline.frame_times) / max(end - start, 1e-3)
                    pictures = _Pictures(out, image.shape[:2], rate)
                    sound = _sound(timeline.video, out, begins, end - start)
                captions = [
                    timeline.class_names[s.label]
                    for s in segments
                    if s.start <= times[number] < s.end
                ]
                while sound is not None and heard < time:
                    heard = next(sound, float("inf"))
                pictures.write(image, time, tuple(captions))
                written += 1
            if pictures is None:
                raise DataError(f"{timeline.video}: no frame of it can be decoded, to be rendered")
            pictures.finish()
            for _ in sound or ():
                pass
        if lacking := int(wanted.sum()) - written:
            notes.append(
                f"The rendered video lacks {plural(lacking, 'frame')} that could not be decoded."
            )
    finally:
        stream.close()
    return notes


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

    def write(self, image: np.ndarray, time: float, captions: tuple[str, ...]) -> None:
        height, width = self._size
        if (image.shape[0] // 2 * 2, image.shape[1] // 2 * 2) != self._size:
            image = np.asarray(Image.fromarray(image).resize((width, height)))
        image = image[:height, :width]
        if captions:
            image = with_caption(image, captions)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._last = max(round(time * _CLOCK), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _CLOCK)
        self._out.mux(self._stream.encode(frame))

    def finish(self) -> None:
        self._out.mux(self._stream.encode())


def with_caption(image: np.ndarray, captions: tuple[str, ...]) -> np.ndarray:
    """uint8 `[H, W, 3]` with a dark band at the bottom and the words in it, light."""
    band, place = _band(image.shape[1], image.shape[0], captions)
    out = image.copy()
    region = out[place : place + band.shape[0]].astype(np.uint16)
    opacity = band[..., 3:].astype(np.uint16)
    out[place : place + band.shape[0]] = (
        (band[..., :3] * opacity + region * (255 - opacity)) // 255
    ).astype(np.uint8)
    return out


@lru_cache(maxsize=8)
def _band(width: int, height: int, captions: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """uint8 `[h, width, 4]`, and the row at which it begins."""
    size = max(10, round(min(height, width) / 14))
    font = _font(size)
    line, pad = round(size * 1.3), max(2, size // 3)
    lines = captions[: max(1, (height - 2 * pad) // line)]
    rows = min(height, len(lines) * line + 2 * pad)
    picture = Image.new("RGBA", (width, rows), (0, 0, 0, 150))
    draw = ImageDraw.Draw(picture)
    for place, text in enumerate(lines):
        draw.text((pad, pad + place * line), text, font=font, fill=(255, 255, 255, 255))
    return np.asarray(picture), height - rows


def _font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib and has most scripts; else what Pillow has."""
    with suppress(ImportError, OSError, ValueError):
        from matplotlib.font_manager import findfont

        return ImageFont.truetype(findfont("DejaVu Sans"), size)
    return ImageFont.load_default(size)


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
