"""A finished test as it lies in its folder: the record, its task, and the logits of every view."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniformer_video.errors import DataError
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.results import RESULTS_FILE, SCORES_FILE
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.task import Task


@dataclass(frozen=True)
class StoredTest:
    """The test in a folder.

    view_scores: logits float32 `[video, view, class]`. decoded: bool `[video]`; where it is False the logits
    are NaN.
    """

    folder: Path
    results: Results
    task: Task
    view_scores: np.ndarray
    decoded: np.ndarray


def read_stored_test(folder: str | Path) -> StoredTest:
    """The test in a folder; a path to its results.json or scores.npz stands for the folder.

    Raises `DataError` where its files are missing, damaged or do not belong together.
    """
    place = Path(folder)
    folder = place.parent if place.name in (SCORES_FILE, RESULTS_FILE) else place
    _, task = load_tested(folder)  # looks at more than is taken from it here
    results = Results.load(folder)
    scores, path = results.scores, folder / SCORES_FILE
    expected = (len(results.videos), results.protocol.num_views, len(results.class_names))
    if scores.dtype.kind != "f" or scores.shape != expected:
        raise DataError(
            f"{path} holds {scores.dtype} of the shape {list(scores.shape)}, and {RESULTS_FILE} beside it "
            f"tells of {list(expected)} logits (video, view, class); run the test again"
        )
    decoded = ~np.isnan(scores).all(axis=(1, 2))
    if not np.isfinite(scores[decoded]).all():
        raise DataError(f"{path} holds logits that are not finite; run the test again")
    return StoredTest(folder, results, task, scores.astype(np.float32, copy=False), decoded)
