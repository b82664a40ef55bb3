"""A stream that is read as it comes: its frames in turn, whatever breaks on the way.

Nothing is known of it beforehand, neither its length nor its times, and no part of it is seen twice.
"""

import errno
import os
import select
import socket
import stat
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from uniformer_video.data.decoding.colours import matrix_options
from uniformer_video.data.decoding.live_places import (
    CAMERA,
    FILE,
    LOGIN,
    NETWORK,
    PIPE,
    STANDARD_INPUT,
    LivePlace,
)
from uniformer_video.data.decoding.orientation import UPRIGHT, orientation, turn_upright
from uniformer_video.data.decoding.reader import shrunk_size
from uniformer_video.data.decoding.streams import bare_by_name, best_index, is_bare
from uniformer_video.errors import DecodeError
from uniformer_video.storage.failures import explain_failure
from uniformer_video.words import one_line

_MOST_FAULTS = 50  # in a row, in what is read
_POLL = 0.1  # seconds
_NEAR_END = 0.5  # seconds
_HURRY = 4  # of so many key pictures one is decoded in a hurry
# Formats whose times FFmpeg makes up: a camera's pictures one by one.
_MADE_UP_TIMES = {"mpjpeg", "mjpeg", "jpeg_pipe"}


class LostStream(DecodeError):
    """A stream that could not be opened, or broke off."""


class LiveVideo:
    """An open stream; a context manager. Raises `LostStream`.

    place: what to open. timeout: seconds without an answer after which a network is given up. stopped: asked
    while a pipe is waited for; where it says so, the stream ends.
    """

    def __init__(
        self, place: LivePlace, timeout: float, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self._place, self._timeout, self._stopped = place, timeout, stopped
        self.broken = 0  # packets and pictures that could not be decoded
        self.skipped = 0  # pictures left out in a hurry
        self.waited = 0.0  # seconds that the last packet took to come
        self._hurries = False
        self._last: float | None = None  # time of the last frame
        self._to_rgb = VideoReformatter()
        self._first_orientation = UPRIGHT
        self._pipe: Any = None
        try:
            self._container = self._open()
        except (av.FFmpegError, OSError, ValueError) as error:
            nothing = self._holds_nothing()
            self._close_pipe()
            raise (LostStream(nothing) if nothing else self._lost(error, opened=False)) from None
        index = best_index(self._container)
        if index is None:
            self.close()
            raise LostStream(f"{place.name} holds no video stream")
        self._stream = self._container.streams[index]

    def _open(self) -> Any:
        place = self._place
        words: dict[str, Any] = {
            "container_options": place.options,
            "metadata_errors": "replace",
            "format": place.format,
        }
        if place.kind == NETWORK:
            words["timeout"] = (self._timeout, self._timeout)
        if place.kind == PIPE:
            self._pipe = _open_pipe(place.target, self._stopped)
            words["format"] = bare_by_name(self._pipe)
            return av.open(self._pipe, "r", **words)
        try:
            return av.open(place.target, "r", **words)
        except av.InvalidDataError:
            if place.kind == CAMERA or (bare := bare_by_name(place.target)) is None:
                raise
            return av.open(place.target, "r", **{**words, "format": bare})

    def _holds_nothing(self) -> str:
        """What to say of a pipe or a file without a byte; "" of another."""
        if isinstance(self._pipe, _Pipe) and not self._pipe.received:
            return f"{self._place.name} ended without a byte; write a video into it"
        if self._place.kind == FILE and not os.path.getsize(self._place.target):
            return f"{self._place.name} holds nothing: 0 bytes"
        return ""

    @property
    def is_finite(self) -> bool:
        """Whether the stream says how long it is: a film that a server holds, and not what happens now."""
        container = self._container
        # the size of a playlist is its own, and not that of what it lists
        by_size = container.format.name != "hls" and container.size > 0
        return by_size or (container.duration or 0) > 0

    @property
    def is_at_end(self) -> bool:
        """Whether a stream that says how long it is was read to its end, about."""
        if not self._container.duration or self._last is None:
            return False
        begin = (self._container.start_time or 0) / av.time_base
        return self._last - begin >= self._container.duration / av.time_base - _NEAR_END

    @property
    def has_times(self) -> bool:
        """Whether it tells when its pictures are shown."""
        names = set(self._container.format.name.split(","))
        return not is_bare(self._container) and not names & _MADE_UP_TIMES

    @property
    def declared_rate(self) -> float | None:
        """Pictures a second by its header; None where that does not say."""
        rate = self._stream.average_rate or self._stream.guessed_rate
        return float(rate) if rate and 0 < rate <= 1000 else None

    def frames(self) -> Iterator[tuple[float | None, av.VideoFrame]]:
        """(when it is shown, seconds on the clock of the stream, or None; the frame) of each in turn."""
        number, last_is_key = 0, False
        packets = self._packets()
        while True:
            try:
                packet = next(packets, None)
            except LostStream:
                yield from self._decoded(None)  # what the decoder holds back
                raise
            if packet is None:
                return
            # where each picture is a key picture, to decode those alone would save nothing
            only_keys, last_is_key = last_is_key and packet.is_keyframe, packet.is_keyframe
            number += 1
            if self._hurries and only_keys and number % _HURRY:
                self.skipped += 1
                continue
            yield from self._decoded(packet)

    def _decoded(self, packet: av.Packet | None) -> Iterator[tuple[float | None, av.VideoFrame]]:
        try:
            frames = self._stream.decode(packet)
        except av.FFmpegError:
            self.broken += 1
            return
        self.skipped += self._hurries and not frames
        for frame in frames:
            if frame.is_corrupt:
                self.broken += 1
                continue
            known = self.has_times and frame.pts is not None
            # a frame that the decoder held back to the end has no unit of time of its own
            self._last = float(frame.pts * self._stream.time_base) if known else None
            yield self._last, frame

    def _packets(self) -> Iterator[av.Packet]:
        faults = 0
        packets = self._container.demux(self._stream)
        while not self._stopped():
            begun = time.monotonic()
            try:
                packet = next(packets, None)
            except av.EOFError:
                return
            except av.InvalidDataError as error:
                faults, self.broken = faults + 1, self.broken + 1
                if faults > _MOST_FAULTS:
                    raise self._lost(error) from None
                packets = self._container.demux(self._stream)
                continue
            except (av.FFmpegError, OSError, ValueError) as error:
                raise self._lost(error) from None
            if packet is None:
                return
            self.waited, faults = time.monotonic() - begun, 0
            yield packet

    def hurry(self, on: bool) -> None:
        """Decode key pictures alone while `on`, for a machine that cannot follow."""
        self._hurries = on
        self._stream.codec_context.skip_frame = "NONKEY" if on else "DEFAULT"

    def picture(self, frame: av.VideoFrame, short_side: int) -> np.ndarray:
        """uint8 `[H, W, 3]` RGB as shown, larger pictures scaled down to `short_side`."""
        height, width = shrunk_size((frame.height, frame.width), short_side)
        image = self._to_rgb.reformat(
            frame, width, height, "rgb24", threads=1, **matrix_options(frame)
        ).to_ndarray()
        self._first_orientation = orientation(frame, self._first_orientation)
        return np.ascontiguousarray(turn_upright(image, self._first_orientation))

    def _lost(self, error: Exception, opened: bool = True) -> LostStream:
        why = explain(error, self._place, self._timeout, opened)
        return LostStream(f"{self._place.name}: {why}")

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            self._pipe.close()

    def close(self) -> None:
        """Let go of the stream."""
        self._container.close()
        self._close_pipe()

    def __enter__(self) -> "LiveVideo":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def explain(error: Exception, place: LivePlace, timeout: float, opened: bool = True) -> str:
    """Why a stream could not be `opened`, or not be read then, in words that hold nothing secret."""
    if isinstance(error, av.error.ExitError):  # what PyAV raises when its time is up
        error = TimeoutError()
    if isinstance(error, (ConnectionRefusedError, TimeoutError)):
        return explain_failure(error, timeout)
    if place.kind == CAMERA and getattr(error, "errno", None) == errno.ENOTTY:
        return "is no camera"
    if isinstance(error, av.HTTPUnauthorizedError):
        return (
            f"{one_line(error.strerror)}; write a user and a password that the server knows into the "
            f"address, or into {LOGIN}"
        )
    if place.kind == NETWORK and isinstance(error, av.EOFError):
        return "the server closed the connection without an answer"
    # a kind that is not read here counts as an argument that cannot be
    if isinstance(error, (av.InvalidDataError, av.ArgumentError)) and place.kind != CAMERA:
        if place.kind == PIPE:
            return (
                "is no video that can be read as it comes, or nothing at all; send mpegts or matroska, such "
                "as `ffmpeg -i ... -f mpegts -`"
            )
        return "is no video that can be read"
    if place.kind == NETWORK and not isinstance(error, av.HTTPError):
        host = urllib.parse.urlsplit(place.target).hostname
        try:
            socket.getaddrinfo(host, None)
        except socket.gaierror as unknown:
            return explain_failure(unknown, timeout)
        except (OSError, UnicodeError):
            pass
        if getattr(error, "errno", None) == errno.EIO:
            return "the connection broke off" + ("" if opened else " before it brought a video")
    if isinstance(error, (av.FFmpegError, OSError)):
        return one_line(error.strerror or type(error).__name__)
    if place.kind == CAMERA:
        return f"PyAV as it is installed here reads no cameras ({place.format})"
    return f"cannot be opened: {type(error).__name__}"


class _Pipe:
    """What comes through a pipe, for FFmpeg; it is waited for, unless the stream is to end."""

    def __init__(self, number: int, name: str, stopped: Callable[[], bool], owned: bool) -> None:
        self._number, self.name, self._stopped, self._owned = number, name, stopped, owned
        self.received = 0  # bytes

    def read(self, size: int) -> bytes:
        """At most `size` bytes as soon as there are any; b"" at the end."""
        while sys.platform != "win32" and not self._stopped():
            ready = select.select([self._number], [], [], _POLL)[0]
            if ready:
                break
        if self._stopped():
            return b""
        data = os.read(self._number, size)
        self.received += len(data)
        return data

    def close(self) -> None:
        if self._owned:
            os.close(self._number)
            self._owned = False


def _open_pipe(target: str, stopped: Callable[[], bool]) -> Any:
    if target != STANDARD_INPUT:
        # not to wait here for whoever writes into it
        number = os.open(target, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        return _Pipe(number, target, stopped, owned=True)
    if stat.S_ISREG(os.fstat(0).st_mode):
        return open(0, "rb", closefd=False)  # a file can be read in any order
    return _Pipe(0, "pipe", stopped, owned=False)
