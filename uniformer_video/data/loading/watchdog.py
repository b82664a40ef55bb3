"""Which video each worker is decoding, so that one that hangs or crashes it can be named.

A worker writes into a table in shared memory which record it decodes and since when; the main process
reads it when batches stop coming. In the main process itself, without workers, nothing is written:
there is nobody who could look.
"""

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import RawArray
from typing import Protocol

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DecodeError

_CRASHES = {
    int(getattr(signal, name)): name
    for name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT")
    if hasattr(signal, name)
}
_KILLED = -getattr(signal, "SIGKILL", 9)  # Windows has none
SHM_HINT = (
    "enlarge /dev/shm (docker run --shm-size), or lower DATA_LOADER.NUM_WORKERS or the batch size"
)
BROKEN_OFF = (
    "the connection to a process that prepares the data has broken off; run the same command again to go on, "
    "and if it does so again, DATA_LOADER.NUM_WORKERS 0 tells more"
)
_IDLE = 0.0
_LOOK_SECONDS = 0.5

_own_row: "tuple[WorkTable, int] | None" = None  # of this process, where it is a worker


class WorkTable:
    """A row for each worker: the record that it decodes, when it began, and when its last one ended.

    Times are `time.monotonic`'s, which is one clock for all processes of a machine.
    """

    def __init__(self, workers: int):
        self._cells = RawArray("d", 3 * workers)

    def claim(self, row: int) -> None:
        """Make `row` the one that this process writes to."""
        global _own_row
        _own_row = (self, row)

    def begin(self, row: int, index: int) -> None:
        """Write that the decoding of a record begins."""
        self._cells[3 * row] = index
        self._cells[3 * row + 1] = time.monotonic()  # last: it makes the row count

    def end(self, row: int) -> None:
        """Write that nothing is decoded."""
        self._cells[3 * row + 2] = time.monotonic()
        self._cells[3 * row + 1] = _IDLE

    def at(self, row: int) -> tuple[int, float] | None:
        """(index of the record, when its decoding began); None where nothing is decoded."""
        began = self._cells[3 * row + 1]
        index = int(self._cells[3 * row])
        if began == _IDLE or began != self._cells[3 * row + 1]:  # it has gone on while we looked
            return None
        return index, began

    @property
    def idle_since(self) -> float | None:
        """When the last video ended; None where one is decoded, and before the first."""
        if any(self._cells[1::3]):
            return None
        return max(self._cells[2::3]) or None


class Watched(Protocol):
    """What is asked of a dataset whose videos are looked after; faults: {path: why it is not tried}."""

    @property
    def records(self) -> Sequence[VideoRecord]: ...
    @property
    def faults(self) -> dict[str, str]: ...


@contextmanager
def decoding(dataset: Watched, index: int) -> Iterator[VideoRecord]:
    """The record at `index` of `dataset`, for as long as the block decodes it.

    Raises `DecodeError` for a video that is among `dataset.faults`, {path: why it is not tried again}.
    """
    record = dataset.records[index]
    if record.path in dataset.faults:
        raise DecodeError(dataset.faults[record.path])
    if _own_row is None:
        yield record
        return
    table, row = _own_row
    table.begin(row, index)
    try:
        yield record
    finally:
        table.end(row)


class Lookout(threading.Thread):
    """Kills a worker that the main process waits for while one video takes it more than `timeout` seconds.

    A thread, for the main one may itself be waiting for an answer of that worker. `hanging` is then
    {row of the worker: index of the record}. Times when this process was stopped do not count. Where none
    of the workers begins a video for that long, all are killed, and `stuck` is True.
    """

    def __init__(self, workers: Sequence[BaseProcess], table: WorkTable, timeout: float):
        super().__init__(daemon=True)
        self.hanging: dict[int, int] = {}
        self.stuck = False
        self._workers, self._table, self._timeout = workers, table, timeout
        self._waiting_since: float | None = None
        self._over = threading.Event()
        self.start()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what waits for the workers."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def stop(self) -> None:
        """End it, before the processes that it looks at are replaced."""
        self._over.set()
        self.join()

    def run(self) -> None:
        pause = min(_LOOK_SECONDS, self._timeout / 4)
        looked = awake_since = time.monotonic()
        while not self._over.wait(pause):
            now = time.monotonic()
            if now - looked > 10 * pause:
                awake_since = now
            looked, waiting_since = now, self._waiting_since
            if waiting_since is not None:
                since = max(waiting_since, awake_since)
                self._kill_hanging(now, since)
                self._kill_idle(now, since)

    def _kill_hanging(self, now: float, since: float) -> None:
        for row, worker in enumerate(self._workers):
            at = self._table.at(row)
            if at and row not in self.hanging and now - max(at[1], since) > self._timeout:
                self.hanging[row] = at[0]
                worker.kill()

    def _kill_idle(self, now: float, since: float) -> None:
        idle_since = self._table.idle_since
        if idle_since and not self.stuck and now - max(idle_since, since) > self._timeout:
            self.stuck = True
            for worker in self._workers:
                worker.kill()


def hang_reason(path: str, timeout: float) -> str:
    """Why a video, or an image, is given up that is not decoded after `timeout` seconds."""
    return f"{path} takes more than {timeout:g} s to decode (DATA_LOADER.TIMEOUT)"


def is_crash(exitcode: int) -> bool:
    """Whether a process that ended so was brought down by what it did itself."""
    return -exitcode in _CRASHES


def crash_reason(path: str, exitcode: int) -> str:
    """Why a video, or an image, is given up in whose decoding a process crashed."""
    name = _CRASHES[-exitcode]
    hint = f"; where many files do, {SHM_HINT}" if name == "SIGBUS" else ""
    return f"{path} crashes the decoder ({name}){hint}"


def loss_message(exitcode: int, path: str) -> str:
    """What to tell the user of a worker that ended through no file; `path` is the one it was at."""
    at = f"decoding {path}" if path else "between two files"
    happened = f"a process that prepares the data {ending(exitcode)}; it was {at}"
    if exitcode == _KILLED:
        return f"{happened}; lower DATA_LOADER.NUM_WORKERS, so that less is in memory at once"
    if _CRASHES.get(-exitcode) == "SIGBUS":
        return f"{happened}; {SHM_HINT}"
    return f"{happened}; what it wrote above tells more, and so does DATA_LOADER.NUM_WORKERS 0"


def stuck_message(timeout: float) -> str:
    """What to tell the user where the workers stand still, and no file is to blame."""
    return (
        f"the processes that prepare the data have done nothing for {timeout:g} s (DATA_LOADER.TIMEOUT); "
        "run the same command again to go on, and see whether something has stopped them"
    )


def ending(exitcode: int | None) -> str:
    """How a process ended, for messages: "crashed (SIGSEGV)"."""
    if exitcode == _KILLED:
        return "was killed, perhaps for want of memory"
    if exitcode is not None and exitcode < 0:
        return f"crashed ({signal.Signals(-exitcode).name})"
    return f"ended with status {exitcode}"
