"""What torchrun tells a process about itself, and whether it is the one of many that speaks. No torch."""

import logging
import os

from uniformer_video.errors import ConfigError


def world_size() -> int:
    """How many processes the run has."""
    return _number("WORLD_SIZE", 1)


def rank() -> int:
    """The number of this process among all, from 0."""
    return _number("RANK", 0) if world_size() > 1 else 0


def local_rank() -> int:
    """The number of this process among those of its machine: the GPU that it takes."""
    return _number("LOCAL_RANK", 0)


def attempt() -> int:
    """How often torchrun has started the processes anew after one of them ended (`--max-restarts`)."""
    return _number("TORCHELASTIC_RESTART_COUNT", 0)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name) or default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"the environment variable {name} is {text!r}; torchrun sets it to a number, without it unset it"
        ) from None


def speak(aloud: bool = True) -> None:
    """Whether this process logs: of many the main one alone does, and another where that one is lost."""
    level = logging.INFO if aloud else logging.CRITICAL + 1
    logging.getLogger("uniformer_video").setLevel(level)


def launcher() -> str:
    """What this process was started with, to stand before a script in messages: python, or torchrun."""
    on_machine = _number("LOCAL_WORLD_SIZE", 1)
    return "python" if world_size() == 1 else torchrun(on_machine, machines())


def machines() -> int:
    """How many machines the processes are on."""
    return max(1, world_size() // _number("LOCAL_WORLD_SIZE", 1))


def torchrun(on_machine: int, machines: int = 1) -> str:
    """The words that start so many processes on each of so many machines, before a script's name."""
    nodes = f"--nnodes {machines} " if machines > 1 else ""
    return f"torchrun {nodes}--nproc_per_node {on_machine}"
