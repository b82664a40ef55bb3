"""Smaller copies of videos: H.264, every frame in its place and at its time."""

import errno
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.colours import matrix_options
from uniformer_video.data.decoding.orientation import UPRIGHT, Orientation, turn_upright
from uniformer_video.errors import DecodeError
from uniformer_video.files import atomic_write
from uniformer_video.prepare.check import read_all
from uniformer_video.prepare.folders import (
    claim_folder,
    drop_outdated,
    planned_targets,
    source_setting,
    video_files,
)
from uniformer_video.prepare.jobs import run_jobs
from uniformer_video.prepare.stream import decode_all, decode_shown, even_size, open_stream
from uniformer_video.prepare.summary import Summary

_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}
_FRAMES_REMEDY = "DATA.DECODE_SHORT_SIDE scales pictures down as they are read"
_RGB = 0  # FFmpeg's number for "the planes are red, green and blue"


@dataclass(frozen=True)
class Encoding:
    """short_side: pixels. crf: 0 (lossless) to 51. preset: of x264. gop: frames between key frames."""

    short_side: int = 320
    crf: int = 23
    preset: str = "veryfast"
    gop: int = 60

    @property
    def options(self) -> dict[str, str]:
        """Options of libx264. One thread: the workers use the cores."""
        fixed = {"threads": "1", "x264-params": "log-level=error"}
        return {"crf": str(self.crf), "preset": self.preset, "g": str(self.gop), **fixed}


def resize_folder(
    source: Path | str,
    out: Path | str,
    encoding: Encoding,
    workers: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> Summary:
    """Bring all videos of a folder to `encoding.short_side`, under their names, as .mp4.

    Those that are no larger are hard-linked or copied as they are. Finished videos are kept, unless
    the video that they were made from is newer. `failed.csv` in `out` names the videos that failed and
    why. Returns a `Summary`, which calls `progress`.
    """
    videos, frames = video_files(source, _FRAMES_REMEDY)
    targets = planned_targets(videos, source, out, ".mp4")
    jobs = {video: (Path(source) / video, target) for video, target in targets.items()}
    settings = {"command": "resize", **source_setting(source), **vars(encoding)}
    named = [_finished_names(*job) for job in jobs.values()]
    with claim_folder(out, settings, [name for names in named for name in names]):
        for (video, _), names in zip(jobs.values(), named, strict=True):
            drop_outdated(video, names)
        left = [job for job, names in zip(jobs.values(), named, strict=True) if not _any(names)]
        summary = Summary(len(jobs), kept=len(jobs) - len(left), progress=progress)
        summary.failed += frames
        with summary.write_failures(out):
            run_jobs(partial(resize_video, encoding=encoding), left, summary.add, workers)
    return summary


def resize_video(job: tuple[Path, Path], encoding: Encoding) -> str:
    """`job` is (video, the .mp4 to write). Returns "resized" or "copied".

    Copies keep their own suffix. What was written or copied is read as training reads it. Raises
    `DecodeError` unless every frame of the video is there.
    """
    source, target = job
    with open_video(source) as reader:
        expected, times = reader.num_frames, reader.times
    with open_stream(source) as (container, stream):
        first = next(decode_all(container, stream))  # headers may not tell the size
        short_side = min(first.width, first.height)
    if short_side <= encoding.short_side:
        with open_video(source) as reader:
            read_all(reader)
        _copy(source, target.with_suffix(source.suffix))
        return "copied"
    with atomic_write(target) as file:
        # By its path: errors of a Python file, such as a full disk, do not come back whole.
        written = os.path.abspath(file.name)
        try:
            found = _encode(source, written, encoding, times)
        except OSError as error:  # FFmpeg's kind cannot be told the name of the file
            raise OSError(error.errno, error.strerror) from None
        _check_count(source, found, expected)
        _check_written(written, target, expected)
    return "resized"


def _finished_names(source: Path, target: Path) -> list[Path]:
    """A resized video, or a copied one."""
    return list(dict.fromkeys((target, target.with_suffix(source.suffix))))


def _any(paths: Iterable[Path]) -> bool:
    return any(os.path.lexists(path) for path in paths)


def _check_count(path: Path, found: int, expected: int) -> None:
    if found != expected:
        raise DecodeError(f"{path} gives {found} frames and has {expected}")


def _check_written(written: str, target: Path, expected: int) -> None:
    """Read the video at `written`, which is to be `target`, as training does."""
    try:
        with open_video(written) as reader:
            _check_count(target, reader.num_frames, expected)
            read_all(reader)
    except DecodeError as error:
        reason = str(error).replace(written, "it")
        raise DecodeError(f"{target} would not be what was meant: {reason}") from None


def _copy(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        with open(source, "rb") as original, atomic_write(target) as copy:
            shutil.copyfileobj(original, copy)


def _encode(source: Path, path: str, encoding: Encoding, times: np.ndarray | None) -> int:
    """Write the video to `path`, whatever that is called; returns the number of frames.

    times: as a reader of the source has them.
    """
    scaler, encoder, clock, count = VideoReformatter(), None, None, 0
    with open_stream(source) as (container, stream), av.open(path, "w", format="mp4") as output:
        for frame, way in decode_shown(container, stream):
            if clock is None:
                clock = _Clock(container, stream, times, frame.pts)
                size = even_size(frame.width, frame.height, encoding.short_side)
            scaled = _scale(frame, scaler, size)
            picture = _turn_frame_upright(scaled, way)
            if encoder is None:
                encoder = _add_encoder(output, stream, frame, picture, way, encoding)
                encoder.codec_context.colorspace = scaled.colorspace
                encoder.codec_context.color_range = scaled.color_range
            picture.pts, picture.time_base = clock.next(), stream.time_base
            picture.pict_type = PictureType.NONE  # key frames are for the encoder to choose
            output.mux(encoder.encode(picture))
            count += 1
        if encoder is not None:
            output.mux(encoder.encode())
    return count


def _scale(frame: av.VideoFrame, scaler: VideoReformatter, size: tuple[int, int]) -> av.VideoFrame:
    """yuv420p; the matrix and range of the colours stay as they are, unless it was RGB.

    In place of a matrix that FFmpeg cannot convert by stands the one that such a video is shown by.
    """
    options: dict[str, Any] = {
        "format": "yuv420p",
        "interpolation": Interpolation.BICUBIC,
        "threads": 1,
    }
    options |= matrix_options(frame)
    if frame.colorspace == _RGB:
        options |= {"dst_colorspace": "ITU601", "dst_color_range": "MPEG"}
    return scaler.reformat(frame, *size, **options)


def _turn_frame_upright(frame: av.VideoFrame, way: Orientation) -> av.VideoFrame:
    """A yuv420p frame the way it is meant to be shown, an `Orientation`."""
    if way == UPRIGHT:
        return frame
    height, width = frame.height, frame.width
    rows = frame.to_ndarray()  # the luma rows, and below them the two small chroma planes
    luma, chroma = rows[:height], rows[height:].reshape(2, height // 2, width // 2)
    turned = [turn_upright(plane, way) for plane in (luma, *chroma)]
    flat = np.concatenate([plane.ravel() for plane in turned])
    rows = flat.reshape(-1, turned[0].shape[1])
    return av.VideoFrame.from_ndarray(rows, format="yuv420p")


def _add_encoder(
    output: OutputContainer,
    stream: av.VideoStream,
    frame: av.VideoFrame,
    picture: av.VideoFrame,
    way: Orientation,
    encoding: Encoding,
) -> av.VideoStream:
    rate = stream.guessed_rate or stream.average_rate or 25
    encoder = output.add_stream("libx264", rate=rate, options=encoding.options)
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, "yuv420p"
    assert stream.time_base is not None  # FFmpeg gives every stream that it reads one
    encoder.time_base = encoder.codec_context.time_base = stream.time_base
    context = encoder.codec_context
    context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
    aspect = stream.sample_aspect_ratio
    if aspect:  # of one pixel; players need it to show the form right
        context.sample_aspect_ratio = 1 / aspect if way.transposed else aspect
    return encoder


class _Clock:
    """Times of frames from the start of the file, in units of the stream: those that they are read by.

    Where nothing tells them, a frame follows one frame's duration after the last. first: the time that
    the file gives the first frame; None = the start.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: av.VideoStream,
        times: np.ndarray | None,
        first: int | None,
    ):
        assert stream.time_base is not None  # FFmpeg gives every stream that it reads one
        seconds = (container.start_time or 0) / av.time_base
        start = round(seconds / stream.time_base)
        rate = stream.guessed_rate or stream.average_rate or 25
        self._step = max(1, round(1 / (rate * stream.time_base)))
        self._next = 0 if first is None else first - start
        later = () if times is None else times[1:]
        self._due = iter([self._next + round(time / stream.time_base) for time in later])

    def next(self) -> int:
        """The time of the next frame: later than the last, whatever is rounded."""
        now = self._next
        self._next = max(now + 1, next(self._due, now + self._step))
        return now
