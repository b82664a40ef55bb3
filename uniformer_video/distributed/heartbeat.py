"""Who of the processes still answers, and what the others do when one does not.

A thread in each process writes a heartbeat into the store that the processes share, and looks at those of
the others. A process is dead when its heartbeat stands still for `timeout` seconds, or when a connection
to it broke and it does not report: slow it may be as long as it likes, for the thread goes on while the
process waits for a video or computes.

When a process is lost, each of the others reports the last step that it has finished; who is lost and who
saves is decided once, in the store, so that all act alike. The main thread may then be stuck in an
operation that waits for the lost process and cannot be called back: the thread ends the process in its place.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import timedelta

from uniformer_video import errors
from uniformer_video.errors import RankError, UserError

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
REPORT_SECONDS = 10.0  # torchrun kills what is left 30 s after it has noticed that a process ended
SAVE_SECONDS = 15.0
STORE_SECONDS = 10.0
EXIT_LOST = 2


@dataclass
class Verdict:
    """What the processes make of a loss.

    dead: ranks that do not answer. errors: {rank: [class, text]} of those that ended by an error. saver:
    the rank that saves the finished steps, None where the survivors do not stand at one step. speaker:
    the rank that tells the user.
    """

    dead: list = field(default_factory=list)
    errors: dict = field(default_factory=dict)
    saver: int | None = None
    speaker: int = 0


class Heartbeat(threading.Thread):
    """Beats for this process and looks after the others.

    Args:
        store: the processes' own `torch.distributed.Store`, a connection that nobody else uses, since a
            waiting call blocks it.
        rank, size: of this process, and of all.
        timeout: seconds without a heartbeat after which a process is dead.
    """

    def __init__(self, store, rank, size, timeout):
        super().__init__(daemon=True, name="heartbeat")
        store.set_timeout(timedelta(seconds=STORE_SECONDS))
        self._store, self.rank, self.size, self.timeout = store, rank, size, timeout
        self._period = min(BEAT_SECONDS, timeout / 4)
        self._report_seconds = min(REPORT_SECONDS, 2 * timeout)
        self._others = [other for other in range(size) if other != rank]
        self._over = threading.Event()
        self._deciding = threading.RLock()
        self._verdict = self._outcome = None
        self._in_main = False  # the main thread knows of the loss and ends by itself
        self._seen = {}  # rank -> (heartbeat, when it was new here)
        self._position, self._rescue = _nowhere, None
        self.step = 0  # how many steps this process has finished; the trainer counts

    @contextlib.contextmanager
    def guarding(self, position, rescue):
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

    def run(self):
        beaten, looked = -self._period, time.monotonic()
        pause = min(1.0, self._period / 4)
        while not self._over.wait(pause):
            now = time.monotonic()
            if now - looked > 2 * self._period:
                self._seen.clear()  # this process itself stood still: it cannot judge the others
            looked = now
            try:
                if now - beaten >= self._period:
                    self._beat(now)
                    beaten = now
                lost = self._silent(now) or self._store.check(["trouble"])
            except (RuntimeError, OSError):
                continue  # the store is gone: what depends on it fails in the main thread
            if lost and not self._over.is_set():
                self._end_in_place_of_main()
                return

    def stop(self, error=None):
        """Say goodbye, with the error that ends this process if there is one."""
        self._over.set()
        if self.is_alive():
            self.join(STORE_SECONDS)
        said = [type(error).__name__, _one_line(error)] if error else None
        with contextlib.suppress(RuntimeError, OSError):
            self._store.set(f"left/{self.rank}", json.dumps(said))
            if error is not None:
                self._store.set("trouble", "1")

    def loss(self):
        """The error that all processes raise, after an operation failed that waits for the others."""
        self._in_main = True
        error, speaker = self._outcome_of_loss()
        if self.rank == speaker:
            speak_up()
        return error

    def _beat(self, now):
        self._store.set(f"beat/{self.rank}", f"{now} {self.step}")
        for other in self._others:
            key = f"beat/{other}"
            beat = self._store.get(key) if self._store.check([key]) else b""
            if self._seen.get(other, (None,))[0] != beat:
                self._seen[other] = (beat, now)

    def _silent(self, now):
        """Ranks whose heartbeat stands still though they did not leave."""
        late = [rank for rank, (_, since) in self._seen.items() if now - since > self.timeout]
        return [rank for rank in late if not self._store.check([f"left/{rank}"])]

    def _outcome_of_loss(self):
        """(the error to raise, the rank that tells it), found out once."""
        with self._deciding:
            if self._outcome is None:
                try:
                    self._outcome = self._act(self._decide())
                except (RuntimeError, OSError):  # no store, and so no common decision
                    where = self._rescue(False) if self._rescue else _AGAIN
                    self._outcome = _error_without_store(self.size, where), self.rank
            return self._outcome

    def _decide(self):
        """The `Verdict`; the first to reach one sets it for all."""
        step = self._position()
        self._store.set("trouble", "1")
        self._store.set(f"report/{self.rank}", json.dumps(step))
        reported, left = self._collected_reports()
        reported[self.rank] = step
        verdict = Verdict(
            dead=[rank for rank in self._others if rank not in reported and rank not in left],
            errors={str(rank): said for rank, said in left.items() if said},
            saver=min(reported) if _one_step(reported.values()) else None,
            speaker=min({*reported, *left}),
        )
        chosen = self._store.compare_set("verdict", "", json.dumps(asdict(verdict)))
        return Verdict(**json.loads(chosen))

    def _collected_reports(self):
        """({rank: its step} of the others that report, {rank: its error or None} of those that left)."""
        until = time.monotonic() + self._report_seconds
        reported, left = {}, {}
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

    def _act(self, verdict):
        """Save if it falls to this process; (the error, the rank that tells it)."""
        if self.rank in verdict.dead:
            return RankError(
                f"process {self.rank} did not answer for so long that the others ended the run; "
                "nothing is saved by it"
            ), self.rank
        if self._rescue is None or self._over.is_set():
            where = _AGAIN
        elif verdict.saver == self.rank:
            where = self._rescue(True)
            self._store.set("saved", "1")
        else:
            if verdict.saver is not None:
                with contextlib.suppress(RuntimeError):
                    self._store.wait(["saved"], timedelta(seconds=SAVE_SECONDS))
            where = self._rescue(False)
        return _error(verdict, self.size, where), verdict.speaker

    def _end_in_place_of_main(self):
        """End the process, unless the main thread comes back from what it waits for and ends by itself."""
        error, speaker = self._outcome_of_loss()
        if self._in_main or self._over.wait(self._period):
            return
        if self.rank == speaker:
            speak_up()
        log.error("error: %s", error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_LOST)


_AGAIN = "run the same command again"


def _nowhere():
    return None


def _one_step(steps):
    return None not in steps and len(set(steps)) == 1


def _error(verdict, size, where):
    if verdict.dead:
        who = " and ".join(str(rank) for rank in verdict.dead)
        verb = "answers" if len(verdict.dead) == 1 else "answer"
        return RankError(f"process {who} of {size} no longer {verb} (killed, or stopped); {where}")
    if verdict.errors:
        rank, (name, text) = min(verdict.errors.items(), key=lambda item: int(item[0]))
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, UserError):
            return kind(text)
        return RankError(f"process {rank} of {size} failed: {name}: {text}; {where}")
    return RankError(f"the connection between the {size} processes broke; {where}")


def _error_without_store(size, where):
    return RankError(
        f"what connects the {size} processes (torchrun, or process 0) no longer answers; {where}"
    )


def _one_line(error):
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return " ".join(str(error).split())


def keep_quiet():
    """From now on the main process alone speaks."""
    logging.getLogger("uniformer_video").setLevel(logging.CRITICAL + 1)


def speak_up():
    """Speak in the place of the main process."""
    logging.getLogger("uniformer_video").setLevel(logging.INFO)
