"""Where the curves, settings and results of a run go beside its own files: one small interface for all.

A `Writer` is TensorBoard (`tensorboard.py`), Weights & Biases (`weights_and_biases.py`) or whatever has the
same methods. `Writers` hands everything on to those that are asked for; one that fails is left out with one
message, and never ends a run.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from uniformer_video.errors import MissingLibraryError
from uniformer_video.words import one_line

log = logging.getLogger(__name__)


class Writer(Protocol):
    """What shows a run to people. Any method may raise: see `Writers`."""

    def settings(self, values: Mapping[str, Any], compared: Sequence[str]) -> None:
        """`{key: value}` of the run's settings; compared: the scalars by which runs are set side by side."""

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """`{name: number}` after this step, such as "train/loss" or "test/top1"."""

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """A picture, uint8 `[H, W, 3]`."""

    def close(self) -> None:
        """Write what is still held back."""


class Writers:
    """All the writers of a run. Each is opened when there is something to write.

    openers: {its name for messages: first step -> `Writer`}; a writer shows nothing of an earlier attempt
    behind that step, and all of it where that is None. settings, compared: as `Writer.settings` takes them.
    """

    def __init__(
        self,
        openers: Mapping[str, Callable[[int | None], Writer]] | None = None,
        settings: Mapping[str, Any] | None = None,
        compared: Sequence[str] = (),
    ):
        self._openers = dict(openers or {})
        self._open: dict[str, Writer] = {}
        self._settings, self._compared = dict(settings or {}), compared
        self._first_step: int | None = None
        self.last_step = 0

    def begin(self, first_step: int) -> None:
        """Steps up to this one are done already, and those behind it will be done again."""
        self._first_step = self.last_step = first_step

    def scalars(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Hand on numbers; None and what is none of them are left out. step: None = that of the last ones."""
        self.last_step = self.last_step if step is None else step
        numbers = {key: float(v) for key, v in values.items() if isinstance(v, int | float)}
        self._each(lambda writer: writer.scalars(numbers, self.last_step))

    def picture(self, name: str, pixels: np.ndarray) -> None:
        """Hand on a picture, uint8 `[H, W, 3]`, of the last step."""
        self._each(lambda writer: writer.picture(name, pixels, self.last_step))

    def close(self) -> None:
        """Close those that are open. What comes later opens them again."""
        for name, writer in self._open.items():
            try:
                writer.close()
            except Exception as error:
                self._leave_out(name, error)
        if self._open:
            self._open, self._first_step = {}, None

    def _each(self, write: Callable[[Writer], None]) -> None:
        for name, opener in list(self._openers.items()):
            try:
                if name not in self._open:
                    self._open[name] = opener(self._first_step)
                    self._open[name].settings(self._settings, self._compared)
                write(self._open[name])
            except Exception as error:  # of libraries, disks and networks: any
                self._leave_out(name, error)
                self._open.pop(name, None)

    def _leave_out(self, name: str, error: Exception) -> None:
        self._openers.pop(name, None)
        if isinstance(error, MissingLibraryError):
            log.info("%s", error)
        else:
            reason = one_line(f"{type(error).__name__}: {error}")
            log.warning(
                "%s fails, and gets nothing more of this run, which goes on without: %s",
                name,
                reason,
            )
