"""A whole video from its first frame to its last: each frame decoded once, and one of them in memory.

The frames, their times and their colours are those of the readers. Where a video is broken, what can be read
before and after is given, and what lacks is for whoever counts to name.
"""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Protocol

import av
import numpy as np

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.guard import GuardedReader, faults_of
from uniformer_video.data.decoding.index import FrameIndex
from uniformer_video.data.decoding.orientation import turn_upright
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.decoding.pyav import OutOfOrder, PyAVReader
from uniformer_video.data.decoding.source import is_member
from uniformer_video.data.decoding.spans import Span
from uniformer_video.errors import DecodeError
from uniformer_video.words import one_line

_CHUNK = 8  # frames that another reader is asked for at once

Pictures = Iterator[tuple[int, np.ndarray]]  # number of the frame, uint8 [H, W, 3] RGB as shown


class FrameStream(Protocol):
    """All frames of an open video in turn. `faults`: what broke, in words, as far as it was read."""

    faults: list[str]

    @property
    def num_frames(self) -> int: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def times(self) -> np.ndarray | None: ...
    @property
    def declared_end(self) -> float | None:
        """When the last frame ceases to show by the header, seconds from the first; None = unsaid."""

    def pictures(self, wanted: np.ndarray, short_side: int = 0) -> Pictures:
        """The frames that `wanted`, bool `[num_frames]`, marks, in their order; broken ones are left out."""

    def close(self) -> None: ...


def open_stream(path: str | os.PathLike, backend: str = "auto", num_frames: int = 0) -> FrameStream:
    """A `FrameStream` of what `open_video` opens, with the same arguments and errors.

    PyAV reads a file in one pass. Of the other decoders, and of folders of frames, a few frames at a time are
    asked for.
    """
    path = os.fsdecode(path)
    if backend in ("auto", "pyav") and (os.path.isfile(path) or is_member(path)):
        with faults_of(path):
            return SequentialReader(path)
    return _Chunks(path, open_video(path, backend, num_frames))


class SequentialReader(PyAVReader):
    """PyAV's reader, for one pass: no packet is kept, and a file that ends too early is read until there."""

    def __init__(self, path: str) -> None:
        packets = VideoPackets(path, kept_bytes=0, bears_ends=True)
        super().__init__(path, packets)
        self.faults = [packets.broken_off] if packets.broken_off else []

    @property
    def first_time(self) -> float:
        """When the first frame is shown on the clock of the file, which its sound has too; seconds."""
        known = [time for time in self._packets.times if time is not None]
        first = self.index.times[0] if self.index else min(known, default=0)
        return float(first * self._packets.time_base)

    @property
    def declared_end(self) -> float | None:
        """See `FrameStream`."""
        end = self._packets.declared_end
        return None if end is None else end - self.first_time

    def pictures(self, wanted: np.ndarray, short_side: int = 0) -> Pictures:
        """See `FrameStream`."""
        with faults_of(self._path):
            yield from self._in_turn(wanted, short_side)

    def _in_turn(self, wanted: np.ndarray, short_side: int) -> Pictures:
        numbers = np.flatnonzero(wanted)
        if not len(numbers):
            return
        first, last = int(numbers[0]), int(numbers[-1])
        following = 0  # the frame after the last that came
        entry = self._last_entry_before(first)
        while self.index is not None:
            try:
                for number, frame in self._by_index(self.index, entry):
                    if number >= following:
                        following = number + 1
                        if wanted[number]:
                            yield number, self._upright(frame, short_side)
                        if following > last:
                            return
                if following or not entry:
                    return
                entry = 0  # a place that cannot be gone to
            except OutOfOrder:
                self.index = None
            except av.FFmpegError as error:
                self._note(error)
                # goes on at the next key frame; what broke may belong to that one already
                starts = [first for first, _ in self.index.entries]
                entry = max(entry + 1, bisect_left(starts, following))
                if entry >= len(starts):
                    return
        try:
            for number, frame in enumerate(self._counted):
                if number == 0:
                    self._note_first_orientation(frame)
                if following <= number <= last and wanted[number]:
                    yield number, self._upright(frame, short_side)
                if number >= last:
                    return
        except av.FFmpegError as error:
            self._note(error)

    def _last_entry_before(self, frame: int) -> int:
        """Which of the key frames to start at for a frame."""
        starts = [first for first, _ in self.index.entries] if self.index else [0]
        return bisect_right(starts, frame) - 1

    def _by_index(self, index: FrameIndex, entry: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """(number, frame) from a key frame on, those that are exact when decoding starts there."""
        first, packet = index.entries[entry]
        shown = None
        for frame in self._packets.decode_span(Span(packet, len(self._packets) - 1)):
            if frame.pts is None:
                continue
            if shown is not None and frame.pts <= shown:
                raise OutOfOrder
            shown = frame.pts
            number = bisect_left(index.times, shown)
            known = number < len(index.times) and index.times[number] == shown
            if known and number >= first and not (packet and frame.is_corrupt):
                yield number, frame

    def _upright(self, frame: av.VideoFrame, short_side: int) -> np.ndarray:
        return np.ascontiguousarray(turn_upright(*self._to_picture(frame, short_side)))

    def _note(self, error: av.FFmpegError) -> None:
        fault = str(self._packets.failure(error))
        if fault not in self.faults:
            self.faults.append(fault)


class _Chunks:
    """Any reader as a `FrameStream`."""

    def __init__(self, path: str, reader: GuardedReader) -> None:
        self._path, self._reader = path, reader
        self.faults: list[str] = []

    @property
    def num_frames(self) -> int:
        return self._reader.num_frames

    @property
    def fps(self) -> float | None:
        return self._reader.fps

    @property
    def times(self) -> np.ndarray | None:
        return self._reader.times

    @property
    def declared_end(self) -> float | None:
        """See `FrameStream`."""
        return None

    def pictures(self, wanted: np.ndarray, short_side: int = 0) -> Pictures:
        """See `FrameStream`."""
        numbers = np.flatnonzero(wanted).tolist()
        for start in range(0, len(numbers), _CHUNK):
            chunk = numbers[start : start + _CHUNK]
            try:
                yield from zip(chunk, self._reader.frames(chunk, short_side), strict=True)
            except DecodeError:
                yield from self._one_by_one(chunk, short_side)

    def _one_by_one(self, numbers: Sequence[int], short_side: int) -> Pictures:
        for number in numbers:
            try:
                yield number, self._reader.frames([number], short_side)[0]
            except DecodeError as error:
                if one_line(error) not in self.faults:
                    self.faults.append(one_line(error))

    def close(self) -> None:
        self._reader.close()
