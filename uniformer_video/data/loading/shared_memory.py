"""Batches in shared memory: how a worker moves them there, and what is told where it cannot.

Shared memory is files: they fill `/dev/shm`, and the limits on the size and the number of files hold for
them too.
"""

import errno
import os
import re
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import is_dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from uniformer_video.data.loading.watchdog import SHM_HINT
from uniformer_video.errors import WorkerError

try:
    from _posixshmem import shm_unlink  # type: ignore[import-not-found]  # private, without hints
except ImportError:  # Windows, where shared memory ends with its last user
    shm_unlink = None

TOO_MANY_FILES = (
    "too many files are open for batches to come from worker processes; raise the limit (`ulimit -n`), "
    "lower DATA_LOADER.NUM_WORKERS or the batch size, or, in Python, call "
    "torch.multiprocessing.set_sharing_strategy('file_system')"
)
NO_MORE_PINNED = (
    "the thread that copies batches into pinned memory has ended, as it does when too many files are open; "
    "what it wrote above tells more. Raise the limit (`ulimit -n`), or lower DATA_LOADER.NUM_WORKERS or the "
    "batch size"
)
_HANDLES_OF_A_CONNECTION = 4


def share(batch: Any) -> WorkerError | None:
    """Move the tensors of `batch` to shared memory; returns the `WorkerError` that they do not fit, or None.

    After an error nothing of the batch is left there once the batch itself is gone.
    """
    tensors = list(_tensors(batch))
    try:
        for tensor in tensors:
            tensor.share_memory_()
        _check_handles(len(tensors))
    except (RuntimeError, OSError) as error:
        remove(_unfinished_files(error))
        return WorkerError(_reason(error, sum(tensor.nbytes for tensor in tensors)))
    return None


def _tensors(batch: Any) -> Iterator[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, (list, tuple)):
        for part in batch:
            yield from _tensors(part)
    elif is_dataclass(batch):
        yield from _tensors([*vars(batch).values()])


def _check_handles(tensors: int) -> None:
    """Raise `OSError` where too many files are open for a batch of so many tensors to be sent.

    torch copies each tensor's handle in a thread of the worker, where a failure loses the batch.
    """
    if torch.multiprocessing.get_sharing_strategy() != "file_descriptor":
        return
    handles = []
    try:
        for _ in range(tensors + _HANDLES_OF_A_CONNECTION):
            handles.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for handle in handles:
            os.close(handle)


def too_many_files(error: BaseException) -> bool:
    """Whether the main process could not get a batch because too many files are open in it."""
    # torch's text, and Python's where the system has dropped a handle on the way
    texts = ("Too many open files", "received 0 items of ancdata")
    return getattr(error, "errno", None) == errno.EMFILE or str(error).startswith(texts)


def stop(worker: BaseProcess) -> list[str]:
    """Halt a process that is to be killed; returns the names of the shared files that it is making.

    By torch's default a file loses its name once it has its memory; it keeps it when its process is
    killed before.
    """
    if worker.pid is None or worker.exitcode is not None or os.name == "nt":
        return []
    os.kill(worker.pid, signal.SIGSTOP)
    names = []
    with suppress(OSError):  # only Linux tells what a process has open
        for handle in Path(f"/proc/{worker.pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                # without its name it reads "... (deleted)"
                names += re.findall(rf"^/dev/shm/(torch_{worker.pid}_\w+)$", os.readlink(handle))
    return names


def remove(names: Iterable[str]) -> None:
    """Delete shared files, by names that torch has given them; one that is gone already is fine."""
    for name in names if shm_unlink else ():
        with suppress(OSError):
            shm_unlink(f"/{name}")


def _unfinished_files(error: Exception) -> list[str]:
    """The name, in a list, of the file that torch had made when it failed with `error`, which tells it.

    No other is looked for: this process may have batches there that nobody has opened yet, and where
    containers share `/dev/shm`, another process of the same number may have some. torch aborts a process
    that closes a file whose name is gone.
    """
    if "unable to open" in str(error):  # so it is not ours, or not there
        return []
    return re.findall(rf"</?(torch_{os.getpid()}_\w+)>", str(error))


def _reason(error: Exception, size: int) -> str:
    """What to tell the user of a batch of `size` bytes that cannot be shared."""
    number = _errno(error)
    if number == errno.EFBIG:
        return (
            f"a batch of {size / 1e6:.1f} MB does not fit into shared memory, for no file may be that "
            "large here (`ulimit -f`); raise that limit (`ulimit -f unlimited`), or lower the batch size"
        )
    if number == errno.EMFILE:
        return TOO_MANY_FILES
    return f"a batch does not fit into shared memory ({error}); {SHM_HINT}"


def _errno(error: Exception) -> int | None:
    """The system's number for an error. torch writes it at the end of a line: "File too large (27)"."""
    if isinstance(error, OSError):
        return error.errno
    numbers = re.findall(r"\((\d+)\)$", str(error), re.MULTILINE)
    return int(numbers[0]) if numbers else None
