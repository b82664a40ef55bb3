"""What torchrun tells a process about itself, and whether it is the one of many that speaks. No torch."""

import logging
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


def speak(aloud=True):
    """Whether this process logs: of many the main one alone does, and another where that one is lost."""
    level = logging.INFO if aloud else logging.CRITICAL + 1
    logging.getLogger("uniformer_video").setLevel(level)
