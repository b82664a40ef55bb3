"""Heartbeats of the processes of a run: a lost one is found, and one of the others saves.

A thread in each process writes a heartbeat into the store that the processes share, and looks at those of
the others. A process is dead when its heartbeat stands still for `timeout` seconds, or when a connection
to it broke and it does not report: slow it may be as long as it likes, for the thread goes on while the
process waits for a video or computes.

When a process is lost, each of the others reports the last step that it has finished; who is lost and who
saves is decided once, in the store, so that all act alike. The main thread may then be stuck in an
operation that waits for the lost process and cannot be called back: a thread ends the process in its place.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from uniformer_video import errors
from uniformer_video.distributed import environment
from uniformer_video.distributed.threads import in_thread
from uniformer_video.errors import RankError, UserError
from uniformer_video.words import one_line

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
REPORT_SECONDS = 10.0  # torchrun kills what is left 30 s after it has noticed that a process ended
SAVE_SECONDS = 15.0
STORE_SECONDS = 5.0
EXIT_LOST = 2
_NO_STORE = (RuntimeError, OSError, TimeoutError, FutureTimeoutError)
_AGAIN = "run the same command again"


@dataclass
class Verdict:
    """What the processes make of a loss.

    dead: {rank: the step it was last heard of at} of those that do not answer. errors: {rank: [class, text]}
    of those that ended by an error. saver: the rank that saves the finished steps, None where the survivors
    do not stand at one step. speaker: the rank that tells the user. Keys are texts, as in JSON.
    """

    dead: dict[str, int] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)
    saver: int | None = None
    speaker: int = 0


class Store(Protocol):
    """What is used of `torch.distributed.Store`: texts by their keys, for all processes."""

    def set(self, key: str, value: str, /) -> None: ...
    def get(self, key: str, /) -> bytes: ...
    def check(self, keys: list[str], /) -> bool: ...
    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes: ...


class Heartbeat:
    """Beats for this process and looks after the others, in threads, from `start` to `stop`.

    Args:
        store: the processes' own `torch.distributed.Store`, by a connection that nobody else uses, since a
            waiting call blocks it.
        rank, size: of this process, and of all.
        timeout: seconds without a heartbeat after which a process is dead.
    """

    def __init__(self, store: Store, rank: int, size: int, timeout: float):
        self._store, self.rank, self.size, self.timeout = store, rank, size, timeout
        self._period = min(BEAT_SECONDS, timeout / 4)
        self._pause = min(1.0, self._period / 4)
        self._report_seconds = min(REPORT_SECONDS, 2 * timeout)
        self._others = [other for other in range(size) if other != rank]
        self._over, self._lost = threading.Event(), threading.Event()
        self._deciding = threading.RLock()
        self._outcome: tuple[UserError, bool] | None = None
        self._in_main = False  # the main thread knows of the loss and ends by itself
        self._seen: dict[int, tuple[str, float]] = {}  # rank -> (heartbeat, when it was new here)
        self._answered = time.monotonic()  # when the store last did
        self._position: Callable[[], int | None] = _nowhere
        self._rescue: Callable[[bool], str] | None = None
        self.step = 0  # how many steps this process has finished; the trainer counts

    def start(self) -> None:
        """Begin to beat and to look."""
        self._answered = time.monotonic()
        for target in (self._beat_and_look, self._judge):
            threading.Thread(target=target, daemon=True).start()

    def stop(self, error: BaseException | None = None) -> None:
        """Say goodbye, with the error that ends this process if there is one."""
        self._over.set()
        said = [type(error).__name__, _one_line(error)] if error is not None else None

        def say() -> None:
            self._store.set(f"left/{self.rank}", json.dumps(said))
            if error is not None:
                self._store.set("trouble", "1")

        with contextlib.suppress(*_NO_STORE):
            in_thread(say, STORE_SECONDS)

    def wait_for_main(self) -> None:
        """Stay until the main process has left: torchrun ends it as soon as another one is gone."""
        until = time.monotonic() + SAVE_SECONDS
        # KeyboardInterrupt: torchrun's SIGTERM, since the main process has left
        with contextlib.suppress(KeyboardInterrupt, *_NO_STORE):
            while time.monotonic() < until and not in_thread(self._main_is_gone, STORE_SECONDS):
                time.sleep(self._pause / 4)
            time.sleep(0.5)  # for its last words

    @contextlib.contextmanager
    def guard_training(
        self, position: Callable[[], int | None], rescue: Callable[[bool], str]
    ) -> Iterator[None]:
        """Around the training.

        position: () -> the last finished step, or None where the state cannot be saved without the other
        processes. rescue: (save) -> a sentence about where the run goes on; it saves the finished steps
        first if `save`. Both are called from any thread.
        """
        self._position, self._rescue = position, rescue
        try:
            yield
        finally:
            self._position, self._rescue = _nowhere, None

    def loss(self) -> UserError:
        """The error that all processes raise, after an operation failed that waits for the others."""
        self._in_main = True
        error, speaks = self._outcome_of_loss()
        if speaks:
            environment.speak()
        return error

    @property
    def in_trouble(self) -> bool:
        """Whether some process has told that it ends by an error, or misses another."""
        if self._lost.is_set():
            return True
        with contextlib.suppress(*_NO_STORE):
            return in_thread(lambda: self._store.check(["trouble"]), STORE_SECONDS)
        return False

    def _beat_and_look(self) -> None:
        """One thread: all that asks the store, which may not answer."""
        beaten, looked = -self._period, time.monotonic()
        while not self._over.wait(self._pause):
            now = time.monotonic()
            if now - looked > 2 * self._period:
                self._seen = {}  # this process itself stood still: it cannot judge the others
            looked = now
            try:
                if now - beaten >= self._period:
                    self._beat(now)
                    beaten = now
                lost = self._silent(now) or self._store.check(["trouble"])
            except (RuntimeError, OSError):
                continue
            self._answered = time.monotonic()
            if lost:
                self._lost.set()

    def _judge(self) -> None:
        """The other thread: it never waits for anybody."""
        looked = time.monotonic()
        while not self._over.wait(self._pause):
            now = time.monotonic()
            if now - looked > 2 * self._period:
                self._answered = now  # as above
            looked = now
            if self._lost.is_set() or now - self._answered > self.timeout:
                self._end_in_place_of_main()
                return

    def _beat(self, now: float) -> None:
        self._store.set(f"beat/{self.rank}", f"{now} {self.step}")
        for other in self._others:
            beat = self._has_news_of(other)
            if self._seen.get(other, (None,))[0] != beat:
                self._seen[other] = (beat, now)

    def _has_news_of(self, rank: int) -> str:
        key = f"beat/{rank}"
        return self._store.get(key).decode() if self._store.check([key]) else ""

    def _silent(self, now: float) -> list[int]:
        """Ranks whose heartbeat stands still though they did not leave."""
        seen = list(self._seen.items())
        late = [rank for rank, (_, since) in seen if now - since > self.timeout]
        return [rank for rank in late if not self._store.check([f"left/{rank}"])]

    def _main_is_gone(self) -> bool:
        if self._store.check(["left/0"]):
            return True
        return (
            self._store.check(["verdict"]) and "0" in json.loads(self._store.get("verdict"))["dead"]
        )

    def _outcome_of_loss(self) -> tuple[UserError, bool]:
        """(the error to raise, whether this process tells it), found out once."""
        with self._deciding:
            if self._outcome is None:
                try:
                    verdict = in_thread(self._decide, self._report_seconds + STORE_SECONDS)
                except _NO_STORE:  # and so no common decision
                    verdict = None
                self._outcome = self._act(verdict)
            return self._outcome

    def _decide(self) -> Verdict:
        """The `Verdict`; the first to reach one sets it for all."""
        step = self._position()
        self._store.set("trouble", "1")
        self._store.set(f"report/{self.rank}", json.dumps(step))
        reported, left = self._collect_reports()
        reported[self.rank] = step
        dead = [rank for rank in self._others if rank not in reported and rank not in left]
        verdict = Verdict(
            dead={str(rank): int(self._has_news_of(rank).partition(" ")[2] or 0) for rank in dead},
            errors={str(rank): said for rank, said in left.items() if said},
            saver=min(reported) if _one_step(reported.values()) else None,
            speaker=min({*reported, *left}),
        )
        if (
            self._over.is_set()
        ):  # the reports were not waited for, and this process has its own error
            return verdict
        chosen = self._store.compare_set("verdict", "", json.dumps(asdict(verdict)))
        return Verdict(**json.loads(chosen))

    def _collect_reports(self) -> tuple[dict[int, int | None], dict[int, list[str] | None]]:
        """({rank: its step} of the others that report, {rank: its error or None} of those that left)."""
        until = time.monotonic() + self._report_seconds
        reported: dict[int, Any] = {}
        left: dict[int, Any] = {}
        silent = self._silent(time.monotonic())
        while True:
            for rank in self._others:
                for found, name in ((left, "left"), (reported, "report")):
                    key = f"{name}/{rank}"
                    if rank not in found and self._store.check([key]):
                        found[rank] = json.loads(self._store.get(key))
            waiting = set(self._others) - reported.keys() - left.keys() - set(silent)
            if not waiting or time.monotonic() > until or self._over.is_set():
                return {r: step for r, step in reported.items() if r not in left}, left
            time.sleep(0.05)

    def _act(self, verdict: Verdict | None) -> tuple[UserError, bool]:
        """Save if it falls to this process; (the error, whether this process tells it).

        Without a verdict the main process, if it lives, saves what it has, as nobody else does.
        """
        if verdict is None:
            where = self._save_alone(save=self.rank == 0)
            error = RankError(
                f"what connects the {self.size} processes (torchrun, or process 0) no longer answers; {where}"
            )
            return error, self.rank <= 1  # process 0 may be the one that is lost
        if str(self.rank) in verdict.dead:
            error = RankError(
                f"process {self.rank} did not answer for so long that the others ended the run; "
                "nothing is saved by it"
            )
            return error, True
        saves = verdict.saver == self.rank
        if verdict.saver is not None and not saves:
            with contextlib.suppress(*_NO_STORE):
                in_thread(lambda: self._until("saved"), SAVE_SECONDS)
        where = self._save_alone(saves)
        if saves:
            with contextlib.suppress(*_NO_STORE):
                in_thread(lambda: self._store.set("saved", "1"), STORE_SECONDS)
        return _error(verdict, self.size, where), verdict.speaker == self.rank

    def _until(self, key: str) -> None:
        while not self._store.check([key]):
            time.sleep(0.05)

    def _save_alone(self, save: bool) -> str:
        """Where the run goes on, after saving if `save`; what goes wrong with that is told."""
        rescue = self._rescue
        if rescue is None or self._over.is_set():
            return _AGAIN
        try:
            return rescue(save)
        except Exception as error:  # a full disk, say: the process ends all the same
            return f"its finished steps cannot be saved ({_one_line(error)}); {rescue(False)}"

    def _end_in_place_of_main(self) -> None:
        """End the process, unless the main thread comes back from what it waits for and ends by itself."""
        error, speaks = self._outcome_of_loss()
        if self._in_main or self._over.wait(self._period):
            return
        if speaks:
            environment.speak()
        log.error("error: %s", error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_LOST)


def _nowhere() -> None:
    return None


def _one_step(steps: Collection[int | None]) -> bool:
    return None not in steps and len(set(steps)) == 1


def _error(verdict: Verdict, size: int, where: str) -> UserError:
    if verdict.dead:
        who = " and ".join(verdict.dead)
        verb = "answers" if len(verdict.dead) == 1 else "answer"
        at = max(verdict.dead.values())
        return RankError(
            f"process {who} of {size} no longer {verb} (killed, or stopped; last heard of at step {at}); "
            + where
        )
    if verdict.errors:
        rank, (name, text) = min(verdict.errors.items(), key=lambda item: int(item[0]))
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, UserError):
            return kind(text)
        return RankError(f"process {rank} of {size} failed: {name}: {text}; {where}")
    return RankError(f"the connection between the {size} processes broke; {where}")


def _one_line(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return one_line(error)
