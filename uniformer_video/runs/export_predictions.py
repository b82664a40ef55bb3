"""The predictions of a stored test, written in a form of other programs."""

from pathlib import Path

import numpy as np

from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.evaluation.metrics import ranked_classes
from uniformer_video.evaluation.parts import LISTED_CLASSES
from uniformer_video.evaluation.predictions import (
    prediction_table,
    write_csv,
    write_parquet,
    write_something,
)
from uniformer_video.runs.folder import BAD_VIDEOS_FILE, LACKING_FILE
from uniformer_video.runs.stored_test import folder_of_test, make_folder, read_stored_test
from uniformer_video.tasks.registry import load_tested

WRITERS = {"csv": write_csv, "parquet": write_parquet}
SUBMISSIONS = ("ssv1", "ssv2")
FORMATS = (*WRITERS, *SUBMISSIONS)
_UNNAMED = ("", ".txt")  # files whose names tell no form


def export_predictions(
    folder: Path | str, path: Path | str, form: str | None = None, every_class: bool = False
) -> list[str]:
    """Write the predictions of the test in `folder` to a file; notes on what is not in it.

    form: one of `FORMATS`; None goes by the name of the file, csv where that has no ending or is .txt.
    every_class: the probability of each class, in place of the five best. Raises `UserError`.
    """
    folder = folder_of_test(folder)
    form = form or _form_by_name(Path(path))
    if form not in FORMATS:
        raise choice_error("--format", form, FORMATS)
    _check_target(path)
    path = Path(path)
    results, task = load_tested(folder)
    if not task.has_analyses:
        raise ConfigError(
            f"export-predictions takes tests of classes of whole videos, and {folder} is of the task "
            f"{task.name}"
        )
    logits = read_stored_test(folder).view_scores
    rule, videos = results["protocol"]["score"], results["videos"]
    scores = task.video_scores(logits, rule)
    labels = [task.recorded_label(video) for video in videos]
    make_folder(path.parent, path)
    if form in SUBMISSIONS:
        if every_class:
            raise ConfigError(
                f"--all goes with csv and parquet; --format {form} has a form of its own"
            )
        if task.label_kind != "one":
            raise ConfigError(
                f"--format {form} takes tests of one label a video, not the task {task.name}"
            )
        ranked = ranked_classes(scores, np.array(labels), LISTED_CLASSES)
        return write_something(path, results, ranked, form)
    shares = task.probabilities(scores, rule)
    found = task.prediction_columns(labels, scores, shares, results["class_names"])
    WRITERS[form](path, prediction_table(results, found, shares, every_class))
    return []


def _form_by_name(path: Path) -> str:
    ending = path.suffix.lower()
    if ending.removeprefix(".") in WRITERS:
        return ending.removeprefix(".")
    if ending not in _UNNAMED:
        raise ConfigError(
            f"--out {path} tells no form by its name; call it .csv or .parquet, or name one of "
            f"{', '.join(FORMATS)} by --format"
        )
    return "csv"


def _check_target(path: Path | str) -> None:
    """Raise `ConfigError` where no file can be, or one is that is no table: no run is written over."""
    if not str(path):
        raise ConfigError("--out is empty; give a file")
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; give a file in it")
    tables = {f".{form}" for form in WRITERS} | set(_UNNAMED)
    in_use = path.suffix.lower() not in tables or path.name in (BAD_VIDEOS_FILE, LACKING_FILE)
    if path.exists() and in_use:
        raise ConfigError(
            f"--out {path} is there already and no table by its name; give another file"
        )
