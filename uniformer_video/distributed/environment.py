"""What torchrun, or another launcher, tells a process about itself. Imports no torch."""

import os


def world_size():
    """How many processes the run has."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank():
    """The number of this process among all, from 0."""
    return int(os.environ.get("RANK", 0)) if world_size() > 1 else 0


def local_rank():
    """The number of this process among those of its machine: the GPU that it takes."""
    return int(os.environ.get("LOCAL_RANK", 0))


def attempt():
    """How often torchrun has started the processes anew after one of them ended (`--max-restarts`)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
