"""Worker processes that make batches, and are replaced when a video hangs or crashes one of them."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from uniformer_video.data.loading import shared_memory
from uniformer_video.data.loading.watchdog import (
    BROKEN_OFF,
    Lookout,
    Watched,
    WorkTable,
    crash_reason,
    hang_reason,
    is_crash,
    loss_message,
    stuck_message,
)
from uniformer_video.errors import WorkerError
from uniformer_video.plugins import import_plugins, imported_plugins
from uniformer_video.signals import restore_defaults

log = logging.getLogger(__name__)

HANGING_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_END_SECONDS = 5.0  # for a killed process to be gone; one that waits for a dead disk may stay
_STARTS = 3
_ALIVE = threading.current_thread()  # in place of a thread that there is none of

Batch = TypeVar("Batch")


class StopAsked(Exception):
    """A batch is not waited for, since the run is to stop."""


class WatchedLoader(Generic[Batch]):
    """Batches of `dataset` from the keys in `batches`, in their order, whatever its videos do.

    The run waits `timeout` seconds for one video, 0 = for ever. One that takes longer, or that crashes
    its worker, is added to `dataset.faults`; all workers are then replaced, for a dead one may hold
    locks that the others wait for, and the batches go on from the first that was not delivered.
    Without workers (`num_workers` 0) nobody can look, and a hanging video hangs the run.

    Raises `WorkerError` when a worker ends for another reason, such as want of memory, or when a batch
    cannot come through shared memory: there is no room, or too many files are open.

    Args:
        dataset: has `records`, with paths, and `faults`; decodes inside `watchdog.decoding`.
        batches: gives the same lists of keys each time it is iterated; a long one is `Seekable`.
        collate: samples of a list of keys -> batch.
        persistent: workers live from pass to pass.

    stop: an event, or None. Once it is set, a batch that is not there yet is not waited for: `StopAsked`.
    """

    def __init__(
        self,
        dataset: Watched,
        batches: Iterable[list[Any]],
        collate: Callable[[list[Any]], Batch],
        num_workers: int,
        timeout: float,
        persistent: bool = True,
    ):
        self.dataset, self.collate, self.timeout = dataset, collate, timeout
        self.num_workers, self.persistent = num_workers, persistent
        self.stop: threading.Event | None = None
        self._rest = _Rest(batches)
        self._loader: DataLoader | None = None
        self._iterator: Any = None  # torch's, of which more is used than its hints tell
        self._table: WorkTable | None = None
        self._lookout: Lookout | None = None

    def __iter__(self) -> Generator[Batch, None, None]:
        if self._rest.delivered != self._rest.handed_out:  # the last pass was left early
            self._end_workers()
        self._rest.delivered = 0
        self._start()
        try:
            while True:
                try:
                    batch = self._next()
                except StopIteration:
                    return
                self._rest.delivered += 1
                yield batch
        finally:
            self._stop_looking()

    def _start(self) -> None:
        """Begin a pass at the first batch that is not delivered."""
        for attempt in range(_STARTS):
            if self._loader is None:
                self._loader = self._new_loader()
            try:
                with _quiet_deaths():
                    self._iterator = iter(self._loader)
                break
            except RuntimeError:
                self._end_workers()  # a worker died idle
                if attempt == _STARTS - 1:
                    raise
        if self._workers and self.timeout:
            assert self._table is not None  # made with the workers
            self._lookout = Lookout(self._workers, self._table, self.timeout)

    def _new_loader(self) -> DataLoader:
        options: dict[str, Any] = {}
        if self.num_workers:
            self._table = WorkTable(self.num_workers)
            options = {
                "num_workers": self.num_workers,
                "timeout": _LOOK_SECONDS,
                "persistent_workers": self.persistent,
                "worker_init_fn": partial(_start_worker, self._table, imported_plugins()),
                "multiprocessing_context": "spawn" if os.name == "nt" else None,
            }
        return DataLoader(
            cast(Dataset, self.dataset),  # torch asks for no more than `__getitem__`
            batch_sampler=self._rest,
            collate_fn=partial(_collate_into_shared_memory, self.collate)
            if options
            else self.collate,
            pin_memory=torch.cuda.is_available(),
            **options,
        )

    def _next(self) -> Batch:
        """The next batch, by new workers where need be."""
        while True:
            try:
                with self._lookout.waiting() if self._lookout else nullcontext():
                    batch = self._wait()
            except (RuntimeError, OSError, EOFError) as error:
                if self.stop is not None and self.stop.is_set():
                    # the signal may have ended the workers too, in the middle of a batch
                    self._end_workers()
                    raise StopAsked from None
                if shared_memory.too_many_files(error):
                    self._end_workers()
                    raise WorkerError(shared_memory.TOO_MANY_FILES) from None
                has_workers = bool(self._workers)
                if str(error).startswith("Caught ") or not self._replace_workers():
                    self._end_workers()
                    if has_workers and isinstance(error, EOFError | ConnectionError):
                        raise WorkerError(BROKEN_OFF) from None
                    raise  # the dataset's own, or no worker is to blame
            else:
                if isinstance(batch, WorkerError):
                    self._end_workers()
                    raise batch
                return batch

    def _wait(self) -> Any:
        while True:
            try:
                return next(self._iterator)
            except RuntimeError as error:  # torch says by its text alone what it is
                # a process that waits for its disk may hang on though it is killed
                if not str(error).startswith("DataLoader timed out") or self._hanging:
                    raise
                if not getattr(self._iterator, "_pin_memory_thread", _ALIVE).is_alive():
                    self._end_workers()
                    raise WorkerError(shared_memory.NO_MORE_PINNED) from None
                if self.stop is not None and self.stop.is_set():
                    self._end_workers()
                    raise StopAsked from None

    @property
    def _workers(self) -> Sequence[BaseProcess]:
        return getattr(self._iterator, "_workers", [])

    @property
    def _hanging(self) -> dict[int, int]:
        return self._lookout.hanging if self._lookout else {}

    def _replace_workers(self) -> bool:
        """Whether a video was found that hangs or has crashed a worker."""
        if not self._workers:
            return False
        # a connection to a worker, its sentinel too, breaks a moment before the system tells how it ended
        ending = connection.wait([worker.sentinel for worker in self._workers], _LOOK_SECONDS)
        for worker in self._workers:
            if worker.sentinel in ending:
                worker.join(_END_SECONDS)
        try:
            found = self._new_faults()
        finally:
            self._end_workers()
        if found:
            for reason in found.values():
                log.warning("%s; the decoding processes start again without it", reason)
            self.dataset.faults.update(found)
            self._start()
        return bool(found)

    def _new_faults(self) -> dict[str, str]:
        """{path: reason} of the videos that hung or have crashed a worker."""
        if self._lookout and self._lookout.stuck:
            raise WorkerError(stuck_message(self.timeout))
        assert self._table is not None  # made with the workers
        found = {}
        for row, worker in enumerate(self._workers):
            if row in self._hanging:
                path = self.dataset.records[self._hanging[row]].path
                found[path] = hang_reason(path, self.timeout)
                continue
            if worker.exitcode is None:
                continue
            at = self._table.at(row)
            path = self.dataset.records[at[0]].path if at else ""
            if path and is_crash(worker.exitcode):
                found[path] = crash_reason(path, worker.exitcode)
            else:
                raise WorkerError(loss_message(worker.exitcode, path))
        return found

    def _stop_looking(self) -> None:
        if self._lookout:
            self._lookout.stop()
            self._lookout = None

    def close(self) -> None:
        """End the workers; another pass starts new ones."""
        self._end_workers()

    def _end_workers(self) -> None:
        """Kill them all: a worker that hangs hears nothing, a dead one may hold what others need."""
        self._stop_looking()
        unfinished: list[str] = []
        for worker in self._workers:
            unfinished += shared_memory.stop(worker)
            worker.kill()
        for worker in self._workers:
            worker.join(_END_SECONDS)
            if worker.exitcode is None:
                log.warning("process %d cannot be killed; it waits for its disk", worker.pid)
        shared_memory.remove(unfinished)
        if hasattr(self._iterator, "_workers_done_event"):
            # torch sets it to end them, and would wait for its lock if one died holding it
            self._iterator._workers_done_event = threading.Event()
        if hasattr(self._iterator, "_shutdown_workers"):
            self._iterator._shutdown_workers()
        self._loader = self._iterator = None


@runtime_checkable
class Seekable(Protocol):
    """Lists of keys that can be had from any one on, without a walk through those before it."""

    def after(self, done: int) -> Iterator[list[Any]]:
        """The lists behind the first `done` ones."""


class _Rest:
    """The batches that are not delivered yet. Those handed out and not delivered are being made."""

    def __init__(self, batches: Iterable[list[Any]]):
        self.batches = batches
        self.handed_out = self.delivered = 0

    def __iter__(self) -> Iterator[list[Any]]:
        self.handed_out = self.delivered
        if isinstance(self.batches, Seekable):
            rest = self.batches.after(self.delivered)
        else:
            rest = islice(self.batches, self.delivered, None)
        for keys in rest:
            self.handed_out += 1
            yield keys


@contextmanager
def _quiet_deaths() -> Iterator[None]:
    """While an iterator is made: have the deaths of its workers found by looking.

    torch raises at once, from a signal handler, and so in the middle of whatever the main process does, be it
    that a worker dies while others are still being started. Here torch is told of no processes.
    """
    tell = signal_handling._set_worker_pids
    signal_handling._set_worker_pids = lambda key, child_pids: tell(key, ())
    try:
        yield
    finally:
        signal_handling._set_worker_pids = tell


def _collate_into_shared_memory(
    collate: Callable[[list[Any]], Batch], samples: list[Any]
) -> Batch | WorkerError:
    """A batch in shared memory, or the `WorkerError` that there is no room for it.

    torch would move it there in a thread, where a failure loses the batch and the run waits for ever.
    """
    batch = collate(samples)
    return shared_memory.share(batch) or batch


def _start_worker(table: WorkTable, plugins: Sequence[str], row: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one alone decides what it means.

    One thread a worker: many workers with many threads each would fight for the cores.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    restore_defaults()
    torch.set_num_threads(1)
    import_plugins(plugins)  # a spawned process knows none yet
    table.claim(row)
