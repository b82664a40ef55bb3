"""A trace of some steps of a training, by torch's profiler, for chrome://tracing or ui.perfetto.dev."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from uniformer_video.words import one_line

log = logging.getLogger(__name__)

TRACE_FOLDER = "profile"


class StepTrace:
    """Traces the steps `first` to `last`, both included, into `folder/steps_FIRST-LAST_rankN.json`.

    Steps count from 1, as in the log. Without a folder nothing is traced. A trace that cannot be written
    never ends a run.
    """

    def __init__(
        self, folder: Path | str | None = None, first: int = 1, last: int = 0, rank: int = 0
    ):
        self._first, self._last, self._rank = first, last, rank
        self._folder = Path(folder) if folder else None
        self._profile: torch.profiler.profile | None = None
        self._begun = 0

    @contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around the step of this number."""
        if self._folder and self._first <= number <= self._last and not self._profile:
            self._profile, self._begun = _started(), number
        if not self._profile:
            yield
            return
        with torch.profiler.record_function(f"step {number}"):
            yield
        if number == self._last:
            self.close(number)

    def close(self, number: int | None = None) -> None:
        """Write what is traced so far, up to the step of this number, if anything is under way."""
        profile, self._profile = self._profile, None
        if profile is None or self._folder is None:
            return
        profile.stop()
        steps = f"steps_{self._begun}-{self._last if number is None else number}"
        path = self._folder / f"{steps}_rank{self._rank}.json"
        temporary = path.with_suffix(".tmp")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            profile.export_chrome_trace(str(temporary))
            os.replace(temporary, path)
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                temporary.unlink()
            log.warning("The trace %s cannot be written: %s", path, one_line(error))
            return
        log.info(
            "A trace of the steps %d to %d: %s (for chrome://tracing or ui.perfetto.dev)",
            *(self._begun, self._last if number is None else number),
            path,
        )


def _started() -> torch.profiler.profile:
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profile = torch.profiler.profile(activities=activities, record_shapes=True)
    profile.start()
    return profile
