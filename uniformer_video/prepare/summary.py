"""Counts of a run over many videos, and the list of those that failed."""

import contextlib
import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from uniformer_video.prepare.folders import write_table
from uniformer_video.prepare.jobs import Outcome

FAILED_FILE = "failed.csv"


def read_failures(folder: Path | str) -> dict[str, str]:
    """`{path: reason}` of what a run into `folder` could not do, by its `failed.csv`; {} without one."""
    try:
        with open(Path(folder) / FAILED_FILE, newline="", encoding="utf-8") as file:
            _, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return {}
    return dict(row for row in rows if len(row) == 2)


class Summary:
    """Counts of a run: `total` tasks, `kept` from before, `done` by kind, `failed` (path, reason), and
    `remarks` (path, remark) on what was done.

    `progress(finished, total, failed)` is called with counts at the start and after each task.
    """

    def __init__(
        self,
        total: int,
        kept: int = 0,
        progress: Callable[[int, int, int], None] | None = None,
    ):
        self.total, self.kept = total, kept
        self.done: Counter[str] = Counter()
        self.failed: list[tuple[str, str]] = []
        self.remarks: list[tuple[str, str]] = []
        self._progress = progress
        self._show()

    def add(self, outcome: Outcome, kind: Callable[[Any], str] = str) -> None:
        """Count the `Outcome` of a task (video, ...), under the kind that its result is."""
        if outcome.reason:
            path = str(outcome.task[0])
            self.failed.append((path, outcome.reason.removeprefix(f"{path} ")))
        else:
            self.done[kind(outcome.result)] += 1
        self._show()

    def _show(self) -> None:
        if self._progress:
            finished = self.kept + sum(self.done.values()) + len(self.failed)
            self._progress(finished, self.total, len(self.failed))

    @contextlib.contextmanager
    def write_failures(self, folder: Path | str) -> Iterator[None]:
        """Write `failed.csv` into `folder` when the block ends, however it does; none if none failed."""
        path = Path(folder) / FAILED_FILE
        try:
            path.unlink(missing_ok=True)
            yield
        finally:
            if self.failed:
                write_table(path, ("path", "reason"), sorted(self.failed))
