"""One process at a time in a folder, by a lock on a file in it that ends with its process.

The lock belongs to the process, not to an open file as `flock`'s does: a worker that was forked from
the holder and outlives it does not keep it. The price is that it ends when the process closes any handle
of the file, so nothing else may open it.
"""

import contextlib
import errno
import importlib
import json
import logging
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from uniformer_video.errors import ConfigError

log = logging.getLogger(__name__)

_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}  # EDEADLK: of Windows alone
_NO_PLACE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
}
_FAR = 1 << 30  # the byte that Windows locks: what is locked there cannot be read, so not the text
_TEXT_BYTES = 4096
_TRIES = 1000  # of a folder that others make and remove meanwhile

# {path of a lock: the process that holds it}; a forked one inherits no lock
_own: dict[Path, int] = {}
_own_guard = threading.Lock()


@contextlib.contextmanager
def folder_lock(path: Path | str, choose: str = "another OUTPUT_DIR") -> Iterator[None]:
    """Hold the lock file at `path` while the block runs, so that one process alone works in its folder.

    The folder must exist; the file is made and stays, for another process may be about to lock it.
    Where the file system has no locks, one warning is logged and the block runs. choose: what to choose
    where the folder is taken, in words.

    Raises `ConfigError` without waiting where another process holds the lock, or this one already does,
    and where no file can be written in the folder.
    """
    path = Path(path)
    with _once_in_this_process(path, choose), _open_once(path, choose) as file:
        locked = _lock_or_warn(file, path, choose)
        if locked:
            _write_holder(file)
        try:
            yield
        finally:
            if locked:
                with contextlib.suppress(OSError):
                    file.truncate(0)
                    _lock(file, hold=False)  # Windows asks for it; elsewhere closing is enough


@contextlib.contextmanager
def temporary_folder(lock: Path, choose: str) -> Iterator[None]:
    """Have the folder of the lock file `lock` while the block runs, empty but for that file; then it goes.

    What a killed process has left there is removed. No two processes have it at once, whenever they begin
    and end. choose: as `folder_lock` has it.

    Raises `ConfigError` without waiting where another process has the folder, or this one already does,
    `OSError` where none can be.
    """
    with _once_in_this_process(lock, choose), contextlib.ExitStack() as held:
        for _ in range(_TRIES):
            if _has_temporary(lock, choose, held):
                break  # else the process before took the folder away just now
        else:
            raise _busy(lock, "others, one after another", choose)
        try:
            _remove_all_but(lock)
            yield
        finally:
            # the lock last: what comes to lie there once it is gone is another process's
            _remove_all_but(lock)
            with contextlib.suppress(OSError):
                lock.unlink()
                lock.parent.rmdir()


def _has_temporary(lock: Path, choose: str, held: contextlib.ExitStack) -> bool:
    """Whether the folder of `lock` is there, and locked until `held` is closed."""
    folder = lock.parent
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        if os.path.lexists(folder) and not folder.is_dir():
            raise
        return False
    with contextlib.ExitStack() as tried:
        try:
            file = tried.enter_context(open(lock, "a+b", buffering=0))
        except FileNotFoundError:
            return False
        except OSError:  # such as a full disk
            with contextlib.suppress(OSError):  # somebody else's is not empty, and stays
                folder.rmdir()
            raise
        if _lock_or_warn(file, lock, choose):
            _write_holder(file)
        try:
            is_there = os.path.samestat(os.fstat(file.fileno()), os.stat(lock))
        except FileNotFoundError:
            is_there = False
        if is_there:
            held.push(tried.pop_all())
        return is_there


def _remove_all_but(file: Path) -> None:
    """Empty the folder of a file, as far as that goes, and leave the file."""
    for entry in list(os.scandir(file.parent)):
        if entry.name == file.name:
            continue
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def remove_abandoned(lock: Path) -> None:
    """Remove the folder of the lock file `lock` where the process that worked in it was killed.

    One in which a process works stays.
    """
    if not lock.parent.is_dir():
        return
    # where that cannot be done, whoever wants the folder next says why
    with contextlib.suppress(ConfigError, OSError), temporary_folder(lock, "another folder"):
        pass  # which empties it, and takes it away


def lock_file(file: IO[bytes], path: Path | str) -> None:
    """Lock an open file for this process until it closes any handle of it; without locks, do nothing.

    Raises `ConfigError` without waiting where another process holds it.
    """
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _HELD:
            raise ConfigError(
                f"{path} is being written by another process; wait for it, or give another file"
            ) from None


@contextlib.contextmanager
def _once_in_this_process(path: Path, choose: str) -> Iterator[None]:
    """The system would give a process its own lock again, and end both with the first."""
    path, shown = path.resolve(), path
    with _own_guard:
        if _own.get(path) == os.getpid():
            raise _busy(shown, "this process itself", choose)
        _own[path] = os.getpid()
    try:
        yield
    finally:
        with _own_guard:
            del _own[path]


def _open_once(path: Path, choose: str) -> IO[bytes]:
    try:
        return open(path, "a+b", buffering=0)
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose {choose}") from None


def _lock_or_warn(file: IO[bytes], path: Path, choose: str) -> bool:
    """Whether the file is locked now; not where its file system has no locks."""
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _HELD:
            raise _busy(path, _read_holder(file), choose) from None
        log.warning(
            "%s cannot be locked (%s), so see to it that no other process works there",
            path.parent,
            error.strerror,
        )
        return False
    return True


def _lock(file: IO[bytes], hold: bool = True) -> None:
    """Lock a file for this process without waiting, or let it go; raises the system's `OSError`."""
    try:
        import fcntl
    except ImportError:  # Windows
        # `Any`, since hints name its functions on Windows alone
        msvcrt: Any = importlib.import_module("msvcrt")

        file.seek(_FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK if hold else msvcrt.LK_UNLCK, 1)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB if hold else fcntl.LOCK_UN)


def _write_holder(file: IO[bytes]) -> None:
    with contextlib.suppress(OSError):  # such as a full disk: the lock holds without a text
        file.truncate(0)
        file.write(_holder())


def _holder() -> bytes:
    holder = {
        "host": socket.gethostname(),
        "process": os.getpid(),
        "start": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    return json.dumps(holder).encode()


def _read_holder(file: IO[bytes]) -> str:
    """Who holds the lock, as far as its file tells."""
    try:
        file.seek(0)
        holder = json.loads(file.read(_TEXT_BYTES))
        return f"process {holder['process']} on {holder['host']} since {holder['start']}"
    except (OSError, ValueError, KeyError, TypeError):  # another process is about to write it
        return "another process"


def _busy(path: Path, holder: str, choose: str) -> ConfigError:
    return ConfigError(
        f"{path.parent} is in use by {holder}; wait for it, end that process, or choose {choose}"
    )
