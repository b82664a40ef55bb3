"""Errors that a user can act on.

Each message says what was given, what is allowed and what to do. The command line prints it as one
line and exits with status 2; in Python they are all `ValueError`.
"""

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


def choice_error(what: str, value: object, allowed: Iterable[str]) -> ConfigError:
    """The error for a setting or argument `what` that is none of `allowed`; it suggests the nearest."""
    allowed = list(allowed)
    near = get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ConfigError(f"{what} is {value!r}; allowed: {', '.join(map(repr, allowed))}{hint}")
