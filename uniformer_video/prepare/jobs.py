"""One function over many tasks in worker processes, where a bad task costs only itself.

A task that raises, takes longer than allowed or brings its process down is reported, and the others go
on. Workers are spawned: decoders and fork do not mix.
"""

import contextlib
import errno
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from uniformer_video.cores import usable_cores
from uniformer_video.data.loading.watchdog import ending
from uniformer_video.errors import UserError
from uniformer_video.plugins import import_plugins, imported_plugins

_SPAWN = multiprocessing.get_context("spawn")
# After one of these no other task would fare better.
_FATAL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_GRACE_SECONDS = 3.0  # for a worker to remove its temporary file
Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Task, Result]):
    """What became of a task: `result`, or in `reason` why it failed (else empty)."""

    task: Task
    result: Result | None = None
    reason: str = ""


def run_jobs(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    report: Callable[[Outcome[Task, Result]], object],
    workers: int = 0,
    timeout: float | None = None,
) -> None:
    """Call `function(task)` for each task in worker processes, and `report(Outcome)` as they end.

    `function` and its answers must be picklable; `workers` 0 is one a usable core. A task is given up,
    and its process killed, after `timeout` seconds. Raises `OSError` when the disk is full or
    read-only, and `UserError` when workers cannot start. However this call ends, by an interrupt too,
    its workers end with it.
    """
    waiting = deque(tasks)
    pool: list[_Worker] = []
    try:
        for _ in range(min(workers or usable_cores(), len(waiting))):
            pool.append(_Worker(function))
        while pool:
            for worker in _worth_asking(pool):
                outcome = worker.outcome()
                if outcome:
                    report(outcome)
                if worker.alive and waiting:
                    worker.give(waiting.popleft(), timeout)
                    continue
                pool.remove(worker)
                worker.stop(_GRACE_SECONDS)
                if not worker.alive and waiting:
                    pool.append(_Worker(function))
    finally:
        for worker in pool:
            worker.terminate()
        for worker in pool:
            worker.stop(_GRACE_SECONDS)


def _worth_asking(pool: "list[_Worker]") -> "list[_Worker]":
    """Wait for workers that have answered, died, or are past their time."""
    deadline = min(worker.deadline for worker in pool)
    patience = None if deadline == float("inf") else max(deadline - time.monotonic(), 0)
    answered = connection.wait([worker.pipe for worker in pool], patience)
    now = time.monotonic()
    return [worker for worker in pool if worker.pipe in answered or worker.deadline <= now]


class _Worker:
    """A process and its task. It says once that it is ready, then answers task by task."""

    def __init__(self, function: Callable):
        self.pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(function, theirs, imported_plugins()), daemon=True
        )
        with _block_interrupts():
            self._process.start()
        theirs.close()
        self.alive = True
        self.deadline = float("inf")
        self._task: Any = None
        self._timeout: float | None = None
        self._ready = False

    def give(self, task: Any, timeout: float | None) -> None:
        """Hand over a task; its time begins."""
        self._task, self._timeout = task, timeout
        self.deadline = time.monotonic() + timeout if timeout else float("inf")
        with contextlib.suppress(OSError):  # of a worker that died: seen when it is asked
            self.pipe.send(task)

    def outcome(self) -> Outcome | None:
        """The `Outcome` of its task; None when it has only just started."""
        if not self.pipe.poll():
            self.alive = False
            self._process.kill()
            return Outcome(self._task, reason=f"no end after {self._timeout:g} seconds")
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError):
            self.alive = False
            self._process.join(_GRACE_SECONDS)
            how = f"its process {ending(self._process.exitcode)}"
            if not self._ready:
                raise UserError(
                    f"no worker process can start: {how}; a script of your own needs "
                    "`if __name__ == '__main__':` around what it does"
                ) from None
            return Outcome(self._task, reason=how)
        if not self._ready:
            self._ready = True
            return None
        result, reason, fatal = answer
        if fatal:
            raise OSError(*fatal)
        return Outcome(self._task, result, reason)

    def terminate(self) -> None:
        """Ask it to clean up and end."""
        self._process.terminate()

    def stop(self, grace: float) -> None:
        """Let it go; kill it if it is still there after `grace` seconds."""
        self.pipe.close()
        self._process.join(grace)
        self._process.kill()
        self._process.join()


@contextlib.contextmanager
def _block_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; one that starts now leaves it to its parent."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(function: Callable, pipe: connection.Connection, plugins: Sequence[str]) -> None:
    """A worker's life, in its own process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an exception, so that files are removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import_plugins(plugins)
    with contextlib.suppress(EOFError, OSError):  # the parent has no more tasks, or is gone
        pipe.send("ready")
        while True:
            pipe.send(_answer(function, pipe.recv()))


def _answer(function: Callable, task: Any) -> tuple[Any, str, tuple | None]:
    """(result, why it failed or "", arguments of an `OSError` that ends the run or None)."""
    try:
        return function(task), "", None
    except UserError as error:
        return None, str(error), None
    except Exception as error:  # whatever a decoder may raise belongs to this one file
        number = getattr(error, "errno", None)
        if number in _FATAL:
            place = getattr(error, "filename", None)
            return None, "", (number, os.strerror(number), place and str(place))
        return None, _first_line(error), None


def _first_line(error: Exception) -> str:
    place = getattr(error, "filename", None)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {place}" if place else error.strerror
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]


def _end_with_parent() -> None:
    """Stop at once when the parent was killed: nobody waits for the result."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    connection.wait([parent.sentinel])
    os._exit(1)
