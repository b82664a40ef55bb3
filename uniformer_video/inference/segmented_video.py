"""The frames of a video with the class of each pixel: one pass of decoding, one frame in memory."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from uniformer_video.data.decoding.sequential import open_stream
from uniformer_video.errors import DecodeError
from uniformer_video.inference.steady import SteadyMean
from uniformer_video.inference.timeline_windows import (
    USUAL_RATE,
    end_of_video,
    notes_on_end,
    times_of,
)
from uniformer_video.tasks.prediction import PixelPrediction, PixelShares
from uniformer_video.words import plural

if TYPE_CHECKING:
    from typing_extensions import Self

# (frame, steady mean or None) -> what the model says of it
SegmentFrame = Callable[[np.ndarray, SteadyMean | None], PixelPrediction]


@dataclass(frozen=True, repr=False)
class SegmentedVideo(PixelShares):
    """The shares of the classes in all frames of a video together.

    counts: the pixels of each class, int64 `[K]`. num_frames: those that were read. seconds: how long it
    takes. cuts: how often the steady mean began anew, None without one. notes: what was lost or is to be
    known. broken: whether something could not be decoded.
    """

    path: str
    class_names: tuple[str, ...]
    counts: np.ndarray
    num_frames: int
    seconds: float
    cuts: int | None = None
    notes: tuple[str, ...] = ()
    broken: bool = False

    @property
    def shares(self) -> np.ndarray:
        """The share of all pixels that each class has, float64 `[K]`."""
        return self.counts / max(int(self.counts.sum()), 1)

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """`top` and the facts of the video as plain data."""
        facts: dict[str, Any] = {"frames": self.num_frames, "seconds": round(self.seconds, 3)}
        if self.cuts is not None:
            facts["cuts"] = self.cuts
        if self.broken:
            facts["broken"] = True
        if self.notes:
            facts["notes"] = list(self.notes)
        return {**facts, **super().to_dict(count)}

    def lines(self, count: int = 5) -> list[str]:
        """`top` for people, below the number of frames."""
        return [f"{plural(self.num_frames, 'frame')}:", *super().lines(count)]


class SegmentedFrame(NamedTuple):
    """number: of the frame in its video. time: when it begins to show, in seconds from the first frame of the
    part. picture: `uint8 [H, W, 3]` RGB.
    """

    number: int
    time: float
    picture: np.ndarray
    found: PixelPrediction


class SegmentedFrames:
    """A context manager that gives the `SegmentedFrame`s of a video in turn, once.

    Args:
        path: a file, or the folder and the template of the names of its frames, `folder/img_{:05d}.jpg`.
        segment: says what a frame shows.
        steady: whether the logits are averaged over time.
        start, end: the part that counts, in seconds; None = to the end.

    `begins`: where the part starts on the clock of the file; `seconds`: how long it takes; `rate`: frames a
    second, about; `num_frames`: how many there are in the part, by the file. Raises `DecodeError` where
    nothing can be decoded.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        segment: SegmentFrame,
        class_names: tuple[str, ...],
        steady: bool = False,
        start: float = 0.0,
        end: float | None = None,
    ):
        self.path, self.class_names = os.fspath(path), class_names
        self._segment, self._mean = segment, SteadyMean() if steady else None
        self._counts = np.zeros(len(class_names), np.int64)
        self._read, self._notes = 0, list[str]()
        self._stream = open_stream(self.path)
        try:
            self._place(start, end)
        except BaseException:
            self._stream.close()
            raise

    def _place(self, start: float, end: float | None) -> None:
        stream = self._stream
        rate = stream.fps
        if stream.times is None and not rate:
            rate = USUAL_RATE
            self._notes.append(f"It holds no times: {rate:g} frames a second are taken.")
        self._times = times_of(stream.num_frames, stream.times, rate, self.path)
        if not len(self._times):
            raise DecodeError(f"{self.path} holds no frames")
        last = end_of_video(self._times, rate)
        self._notes += notes_on_end(stream.declared_end, last)
        end = last if end is None else min(end, last)
        self._start = start
        self._wanted = (self._times >= start - 5e-4) & (self._times < end - 5e-4)
        self.num_frames = int(self._wanted.sum())
        self.begins = getattr(stream, "first_time", 0.0) + start
        self.seconds = max(end - start, 0.0)
        if not self.num_frames:
            raise DecodeError(
                f"{self.path}: no frame begins to show from {start:g} s on, before {end:g} s"
            )
        self.rate = self.num_frames / max(self.seconds, 1e-3)

    def __iter__(self) -> Iterator[SegmentedFrame]:
        for number, picture in self._stream.pictures(self._wanted):
            found = self._segment(picture, self._mean)
            self._counts += found.counts
            self._read += 1
            time = max(float(self._times[number]) - self._start, 0.0)
            yield SegmentedFrame(number, time, picture, found)
        if not self._read:
            reason = "; ".join(self._stream.faults) or "none of its frames can be decoded"
            raise DecodeError(f"{self.path}: {reason}")

    @property
    def lost(self) -> int:
        """Frames that could not be decoded, once all were asked for."""
        return self.num_frames - self._read

    def result(self) -> SegmentedVideo:
        """What was found in the frames that were read, once all were asked for."""
        notes = [*self._notes, *(f"What broke: {fault}." for fault in self._stream.faults)]
        if self.lost:
            notes.append(
                f"{plural(self.lost, 'frame')} of {self.num_frames} could not be decoded and are missing."
            )
        return SegmentedVideo(
            self.path,
            self.class_names,
            self._counts,
            self._read,
            self.seconds,
            None if self._mean is None else self._mean.cuts,
            tuple(notes),
            bool(self.lost or self._stream.faults),
        )

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
