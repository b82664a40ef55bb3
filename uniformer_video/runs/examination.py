"""How a model is validated and tested, by what its task's answers are about: whole videos, or pixels.

The story of a run, of a training and of a test knows no task by name: it asks here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from typing import Protocol as Contract

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.evaluation.cost import MeasuredTimes
from uniformer_video.evaluation.parts import RecordingTask
from uniformer_video.evaluation.scoring import Validation
from uniformer_video.models.among import AmongClasses
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs import score_pixels, score_views
from uniformer_video.runs.build_data import Data
from uniformer_video.tasks.task import Task


class Found(Contract):
    """What a test has found, on all processes; the main one makes the record of it.

    failures: {place in the list: why it could not be read}. sizes: {place: (width, height) in pixels}.
    """

    failures: dict[int, str]
    sizes: dict[int, tuple[int, int]]
    times: MeasuredTimes

    @property
    def decoded(self) -> np.ndarray:
        """Which places in the list could be read: bool `[N]`."""

    def check(self, path: Path | str, noun: str) -> None:
        """Raise a `UserError` where nothing was measured. path: of the weights; noun: of what is tested."""

    def notes(self, protocol: Protocol) -> list[str]:
        """What is to be known of the test, for the log and the report."""

    def results(self, **facts: Any) -> dict[str, Any]:
        """The record of the test; facts: what `evaluation.results.build_results` asks for beside scores."""

    def save(self, folder: Path, results: Mapping[str, Any], task: RecordingTask) -> None:
        """Write the record `results`, and what was measured beside it."""


class Examination(Contract):
    """What such a module as `score_views` offers; all processes take part."""

    def validate(
        self,
        cfg: CfgNode,
        task: Task,
        models: Mapping[str, RecognitionModel],
        data: Data,
        ranks: Ranks,
    ) -> Validation:
        """The validation of each of the `models`, {name of the weights: model}."""

    def score(
        self,
        cfg: CfgNode,
        task: Task,
        model: RecognitionModel | AmongClasses,
        data: Data,
        protocol: Protocol,
        ranks: Ranks,
        show_bars: bool | None,
        playback: str,
        folder: Path,
    ) -> Found:
        """What the model says of the test's list.

        show_bars: of progress; None = on a terminal. playback: "forward", or "reverse" for frames backwards.
        folder: that of the results, for files of single predictions.
        """


_EXAMINATIONS = {"views": score_views, "pixels": score_pixels}


def examination_of(task: Task) -> Examination:
    """How models of the task are validated and tested: by its `scoring`."""
    return cast(Examination, _EXAMINATIONS[task.scoring])
