"""Errors that a user can act on.

Each message says what was given, what is allowed and what to do. The command line prints it as one
line and exits with status 2; in Python they are all `ValueError`.
"""

import errno
from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """Something outside the program is wrong: a setting, a file, a path."""


class ConfigError(UserError):
    """A setting is unknown, of the wrong type, or impossible beside the others."""


class DataError(UserError):
    """A list of videos or a class list is missing, empty or inconsistent."""


class AbsentError(DataError):
    """There is no such file, or none that may be read."""


class DecodeError(UserError):
    """A video cannot be opened, or some of its frames cannot be decoded."""


class CheckpointError(UserError):
    """A weights file cannot be read, or does not fit the model."""


class DamagedError(CheckpointError):
    """A weights file is incomplete or damaged, or not one at all."""


class TrainingError(UserError):
    """Training cannot go on: too many broken videos, or a loss that stays non-finite."""


class WorkerError(UserError):
    """A process that prepares data was killed, or ended on its own."""


class RankError(UserError):
    """Another process of the run failed, was killed, or does not answer."""


class MissingLibraryError(UserError):
    """A library is not installed, or not in a version that works here."""


def choice_error(what: str, value: object, allowed: Iterable[object]) -> ConfigError:
    """The error for a setting or argument `what` that is none of `allowed`; it suggests the nearest."""
    allowed = list(allowed)
    words = [word for word in allowed if isinstance(word, str)]
    near = get_close_matches(value, words, n=1) if isinstance(value, str) else ()
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{what} is {quote(value)}; allowed: {', '.join(map(repr, allowed))}{hint}")


def quote(value: object, most: int = 200) -> str:
    """A value that somebody gave, in quotes where it is a text, cut to `most` characters."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of that many digits
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."


def is_want_of_gpu_memory(error: BaseException) -> bool:
    """Whether it is torch's error for a GPU whose memory ran out; told by its name, torch is not imported."""
    return isinstance(error, RuntimeError) and type(error).__name__ == "OutOfMemoryError"


def is_want_of_memory(error: BaseException) -> bool:
    """Whether an error tells that memory ran out: Python, the system and torch each say it in their way."""
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or "DefaultCPUAllocator" in str(error)
    )
