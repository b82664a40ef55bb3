"""A finished test as it lies in its folder: the record, its task, and the logits of every view."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniformer_video.errors import ConfigError, DataError
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


def folder_of_test(path: str | Path) -> Path:
    """The folder that a path means: itself, or that of the results.json or scores.npz that it names."""
    place = Path(path)
    return place.parent if place.name in (SCORES_FILE, RESULTS_FILE) else place


def make_folder(folder: Path, out: Path) -> None:
    """Make the folder that `--out` needs, itself or the one around it; `ConfigError` where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written: there is no folder {folder}, and it cannot be made "
            f"({error.strerror}); give another place"
        ) from error


def read_stored_test(folder: str | Path) -> StoredTest:
    """The test in a folder, which `folder_of_test` finds.

    Raises `DataError` where its files are missing, damaged or do not belong together.
    """
    folder = folder_of_test(folder)
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
    if not np.isfinite(scores).all(axis=(1, 2))[decoded].all():
        raise DataError(f"{path} holds logits that are not finite; run the test again")
    return StoredTest(folder, results, task, scores.astype(np.float32, copy=False), decoded)


def check_names(test: StoredTest) -> None:
    """Raise `DataError` where the scores are of other videos than the record, or in another order."""
    path = test.folder / SCORES_FILE
    with np.load(path) as file:
        names = file["names"].tolist()
    if names != [video["name"] for video in test.results.videos]:
        raise DataError(
            f"{path} and {RESULTS_FILE} beside it are of different videos, or of a different order of them; "
            "run the test again"
        )
