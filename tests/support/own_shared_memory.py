"""The files in shared memory that a test made, apart from those of whatever else runs on the machine."""

import multiprocessing
import os
import re
import time
from pathlib import Path

SHM = Path("/dev/shm")
_PREFIX = f"/test-{os.getpid()}-"


def mark_semaphores():
    """Let the names of this process's semaphores, and of those of its children, tell whose they are."""
    multiprocessing.current_process()._config["semprefix"] = _PREFIX


def own_files() -> set[str]:
    """Names in `/dev/shm` of this process, of its children, and of processes that have ended."""
    return {path.name for path in SHM.glob("*") if _is_own(path.name)}


def files_that_stay(before: set[str], seconds: float = 20) -> set[str]:
    """Own files that were not there `before` and are still there after `seconds`, as a rule none.

    The thread that fills a closed queue holds the queue's two semaphores until it has ended by itself, and
    torch's own tidying takes 2 s.
    """
    deadline = time.monotonic() + seconds
    while (left := own_files() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _is_own(name):
    if found := re.match(r"torch_(\d+)_", name):
        return _descends(int(found[1]))
    return name.startswith(f"sem.{_PREFIX[1:]}")


def _descends(pid):
    """Whether a process is this one, a child at any depth, or has ended."""
    while pid not in (0, 1, os.getpid()):
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return True
    return pid == os.getpid()
