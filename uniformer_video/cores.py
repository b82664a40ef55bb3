"""The processor cores that this process may use."""

import os


def usable_cores() -> int:
    """How many cores this process may use: those that it is bound to (`taskset`, Slurm), or all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def let_threads_rest() -> None:
    """Have OpenMP's threads sleep while they wait, unless the environment says otherwise.

    Training and decoding share the cores; threads that spin while they wait for each other take them away.
    It has to come before torch is imported; later it does nothing.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
