"""A stream that fills a ring of frames: a thread that reads, and whoever waits for it connects it again."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from uniformer_video.data.decoding.live import LiveVideo, LostStream
from uniformer_video.data.decoding.live_places import CAMERA, FILE, PIPE, LivePlace
from uniformer_video.errors import DecodeError, UserError
from uniformer_video.inference.timeline_windows import USUAL_RATE
from uniformer_video.inference.watch_times import StreamTimes
from uniformer_video.inference.watch_window import FrameRing
from uniformer_video.words import duration, one_line, plural

log = logging.getLogger(__name__)

# Seconds behind the stream: frames are left out; key pictures alone are decoded.
_LATE, _VERY_LATE = 0.5, 2.0
_AT_ONCE = 0.005  # seconds; a packet that took less was there before it was asked for

Opener = Callable[[LivePlace, float, Callable[[], bool]], AbstractContextManager[LiveVideo]]


@dataclass(frozen=True)
class Patience:
    """How long a stream is waited for; seconds.

    timeout: without a frame, before it counts as broken off. first_delay, longest_delay: before it is
    connected again, doubled each time. give_up: without a frame, before it is lost for good.
    """

    timeout: float = 10.0
    first_delay: float = 0.5
    longest_delay: float = 30.0
    give_up: float = 300.0

    def __post_init__(self) -> None:
        for name, value in (("--timeout", self.timeout), ("--give-up", self.give_up)):
            if not 0.1 <= value <= 86_400:
                raise UserError(f"{name} is {value:g} seconds; it must be from 0.1 to 86400")


class LiveFeed:
    """The frames of `place` in `ring`, until it ends; a context manager.

    short_side: pixels that larger pictures are scaled down to as they are decoded. fps: frames a second of a
    stream that holds no times. `wait` raises `DecodeError` where the stream gave no frame at all.

    reconnects: how often it was connected again. late: frames left out because decoding could not follow.
    fault: why a stream that worked was lost; "" where it ended.
    """

    def __init__(
        self,
        place: LivePlace,
        ring: FrameRing,
        short_side: int,
        fps: float | None = None,
        patience: Patience | None = None,
        open_video: Opener = LiveVideo,
    ) -> None:
        if fps is not None and not 0 < fps <= 1000:
            raise UserError(f"--fps is {fps:g}; it must be above 0, up to 1000 frames a second")
        self.place, self.ring, self.short_side, self.fps = place, ring, short_side, fps
        self.patience = patience or Patience()
        self.open_video = open_video
        self.reconnects = self.late = self.broken = 0
        self.fault = ""
        self.grace = 2.0  # seconds that FFmpeg has to notice by itself that nothing comes
        self.times = StreamTimes()
        self.changed = threading.Condition()
        self.last_frame: float | None = None
        self._retry_at: float | None = None
        self._delay = self.patience.first_delay
        self._said: set[str] = set()
        self._looked_at = 0  # how many frames had come when this was asked last
        self._connection = _Connection(self)

    def now(self) -> float:
        """See `Feed`."""
        return time.monotonic()

    def __enter__(self) -> "LiveFeed":
        self._connection.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.abandon()
        self._connection.join(1.0)

    def say_once(self, message: str) -> None:
        """A line for the log, the first time."""
        if message not in self._said:
            self._said.add(message)
            log.warning(message)

    def wait(self, seconds: float) -> bool:
        """See `Feed`."""
        with self.changed:
            connection = self._connection
            if self.ring.seen == self._looked_at and not (connection.outcome or self._retry_at):
                self.changed.wait(seconds)
            elif self._retry_at is not None:
                self.changed.wait(min(seconds, max(self._retry_at - self.now(), 0.0)))
            self._looked_at, now = self.ring.seen, self.now()
            if self._retry_at is not None:
                if now >= self._retry_at:
                    self._retry_at = None
                    self._connection = _Connection(self)
                    self._connection.start()
                return True
            if connection.is_first_frame_new:
                connection.is_first_frame_new = False
                self._delay = self.patience.first_delay
                if self.ring.part:
                    log.warning("%s: connected again", self.place.name)
                else:
                    window = self.ring.window
                    log.info("Watching %s; no label until %s are seen.", self.place.name, window)
            outcome = connection.outcome
            if outcome is None and now - connection.last_life > self.patience.timeout + self.grace:
                outcome = self._stall(connection)
        return True if outcome is None else self._over(outcome, now)

    def _stall(self, connection: "_Connection") -> Exception | None:
        silent = f"nothing has come for {self.patience.timeout:g} s"
        if not self.place.reconnects:
            self.say_once(f"{self.place.name}: {silent}; waiting")
            return None
        connection.abandon()
        return LostStream(f"{self.place.name}: {silent}")

    def _over(self, outcome: Exception, now: float) -> bool:
        """What becomes of a stream that ended, or broke off."""
        ended = outcome if isinstance(outcome, _Ended) else None
        if not isinstance(outcome, (_Ended, LostStream)):
            raise outcome
        if self.last_frame is None:
            if not ended:
                raise outcome
            raise DecodeError(f"{self.place.name} ended without a frame that can be decoded")
        if ended and (ended.is_film or not self.place.reconnects):
            return False
        why = f"{self.place.name}: the connection was closed" if ended else one_line(outcome)
        if not self.place.reconnects:
            self.fault = why
            return False
        if now - self.last_frame > self.patience.give_up:
            self.fault = f"{why}; given up after {duration(now - self.last_frame)} without a frame"
            return False
        log.warning("%s; connecting again in %g s", why, self._delay)
        self._retry_at = now + self._delay
        self._delay = min(2 * self._delay, self.patience.longest_delay)
        return True

    def notes(self) -> list[str]:
        """What was odd about the stream, for people."""
        notes = []
        if self.broken:
            notes.append(
                f"{plural(self.broken, 'packet or picture', 'packets or pictures')} broken"
            )
        if self.late:
            notes.append(f"decoding could not follow: {plural(self.late, 'frame')} left out")
        if self.times.turned_back:
            notes.append(f"its time turned back {plural(self.times.turned_back, 'time')}")
        if self.times.leapt:
            notes.append(f"its time leapt {plural(self.times.leapt, 'time')}")
        return notes


class _Ended(Exception):
    """A stream came to its end. is_film: one that says how long it is, which was the end of it."""

    def __init__(self, is_film: bool) -> None:
        super().__init__()
        self.is_film = is_film


class _Connection(threading.Thread):
    """Reads a stream from when it is opened until it ends, breaks off, or nobody wants it any more.

    outcome: how it ended, None before. last_life: when something came.
    """

    def __init__(self, feed: LiveFeed) -> None:
        # FFmpeg may wait for the network longer than the program runs
        super().__init__(daemon=True, name="stream")
        self.outcome: Exception | None = None
        self.last_life = self._start = feed.now()
        self.is_first_frame_new = False
        self._feed = feed
        self._abandoned = threading.Event()
        # On the clock of arrivals, when the time of the stream was 0; seconds that reading began too late.
        self._zero: float | None = None
        self._backlog: float | None = None
        self._hurries = False
        self._counted = (0, 0)

    def abandon(self) -> None:
        """Nothing more is taken from it."""
        self._abandoned.set()

    def run(self) -> None:
        feed = self._feed
        outcome: Exception
        try:
            timeout = feed.patience.timeout
            with feed.open_video(feed.place, timeout, self._abandoned.is_set) as video:
                try:
                    self._read(video)
                    outcome = _Ended(video.is_finite)
                except LostStream as error:
                    # a server that says nothing of the length of a file just closes the connection
                    # its traceback would hold this frame, and with it the decoder and its threads
                    error = error.with_traceback(None)
                    outcome = _Ended(True) if video.is_at_end else error
        except Exception as error:  # the thread that waits raises it
            outcome = error
        with feed.changed:
            self.outcome = outcome
            feed.changed.notify_all()

    def _read(self, video: LiveVideo) -> None:
        feed, is_first = self._feed, True
        feed.times.rate = None
        if not video.has_times and feed.place.kind in (FILE, PIPE):
            feed.times.rate = feed.fps or video.declared_rate or USUAL_RATE
            if not feed.fps:
                feed.say_once(
                    f"{feed.place.name} holds no times: {feed.times.rate:g} frames a second are taken, say "
                    "another rate with --fps"
                )
        elif feed.fps and feed.place.kind != CAMERA:
            why = "it has times" if video.has_times else "its frames count from when they come"
            feed.say_once(f"{feed.place.name}: --fps {feed.fps:g} was not needed, {why}")
        for own, frame in video.frames():
            if self._abandoned.is_set():
                return
            self._count(video)
            now = self.last_life = feed.now()
            if is_first:
                self._first_frame(now)
                is_first = False
            time_shown = feed.times.time_of(own, now)
            due = self._due(time_shown, now, video)
            self.last_life = max(due, now)  # a pause in a film is no silence
            if due > now and self._abandoned.wait(due - now):
                return
            late = max(feed.now() - due, 0.0)
            self._backlog = late if self._backlog is None else min(self._backlog, late)
            self._hurry(video, late - self._backlog)
            if late - self._backlog > _LATE and not self._hurries:
                feed.late += 1
                continue
            image = video.picture(frame, feed.short_side)
            with feed.changed:
                if self._abandoned.is_set():
                    return
                feed.ring.add(time_shown, due + self._backlog, image)
                feed.last_frame = self.last_life = feed.now()
                feed.changed.notify_all()
        self._count(video)

    def _count(self, video: LiveVideo) -> None:
        """What the stream left out since this was asked last."""
        left_out = video.broken, video.skipped
        self._feed.broken += left_out[0] - self._counted[0]
        self._feed.late += left_out[1] - self._counted[1]
        self._counted = left_out

    def _first_frame(self, now: float) -> None:
        feed = self._feed
        with feed.changed:
            if feed.last_frame is not None:
                feed.times.go_on_after(now - feed.last_frame)
                feed.ring.start_part()
                feed.reconnects += 1
            self.is_first_frame_new = True

    def _due(self, shown: float, now: float, video: LiveVideo) -> float:
        """When a frame is there, on the clock of arrivals: now, later (to be waited for), or before.

        A stream is late where what it sends piles up; what had to be waited for is in time.
        """
        place = self._feed.place
        if self._zero is None:
            # What a pipe or a server holds ready, or sends while it is opened, is not to be waited for.
            self._zero = (self._start if place.is_paced and place.kind != FILE else now) - shown
        due = self._zero + shown
        is_newest = video.waited > _AT_ONCE and place.kind != FILE
        if due < now and is_newest and self._backlog is not None:
            self._zero, self._backlog, due = now - shown, 0.0, now
        if due > now and not place.is_paced:
            self._zero, due = now - shown, now
        return due

    def _hurry(self, video: LiveVideo, late: float) -> None:
        hurries = late > _VERY_LATE or (self._hurries and late > _LATE)
        if hurries != self._hurries:
            self._hurries = hurries
            video.hurry(hurries)
            if hurries:
                self._feed.say_once(
                    f"{self._feed.place.name}: decoding cannot follow; frames are left out"
                )
