"""The processor cores that this process may use."""

import os


def usable_cores() -> int:
    """How many cores this process may use: those that it is bound to (`taskset`, Slurm), or all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
