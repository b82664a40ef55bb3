"""A temperature for the scores of a tested checkpoint, and a threshold for "none of these".

What is fitted on, a seeded half of the test or the validation videos, is never what is reported.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.data.lists.media import noun_of
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.evaluation.analyses.calibration import log_likelihoods, measured
from uniformer_video.evaluation.calibration import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    fit_temperature,
)
from uniformer_video.evaluation.rescored import origins
from uniformer_video.evaluation.results import RESULTS_FILE, SCORES_FILE
from uniformer_video.runs.build_teacher import read_stored_logits
from uniformer_video.runs.calibration_samples import (
    Sample,
    decoded,
    split_test,
    validation_and_test,
)
from uniformer_video.runs.none_of_these import (
    find_threshold,
    threshold_lines,
    unknown_confidences,
)
from uniformer_video.runs.score_again import Scorer
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.task import Task
from uniformer_video.weights.checkpoint import CALIBRATION, write_checkpoint
from uniformer_video.words import plural
from uniformer_video.zoo.convert import check_target

HALF = "half"
_CENTRE_OF_THREE = 1  # the crop that a test of one crop shows, too


def calibrate(
    folder: str | Path,
    target: str | Path,
    on: str = HALF,
    seed: int = 0,
    false_accepts: float | None = None,
    unknown: str | Path | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Write the checkpoint `target`: the weights that the test in `folder` was of, with a temperature.

    Args:
        folder: of a finished run, or of a test: it holds results.json and scores.npz.
        on: "half": fitted on a half of the test videos, drawn by `seed`; "val": on the validation videos.
        false_accepts: the share of `unknown` videos, or without them of wrong answers, that may be accepted;
            None = no threshold.
        unknown: a folder or a list (csv) of videos of none of the classes.

    Returns what the checkpoint records of it, and lines about it. Raises `UserError`s.
    """
    check_target(target)
    folder = Path(folder)
    task = _check_tested(folder, false_accepts, unknown)
    results, scores = read_stored_logits(folder)
    scorer, noun = Scorer(results, folder), results.protocol.medium
    test, places = decoded(task, results.videos, scores)
    fitted, reported, about = (
        split_test(test, seed, noun)
        if on == HALF
        else validation_and_test(task, scorer, results, test, places)
    )
    score = results.protocol.score
    temperature = _fit(task, fitted, score, about["fitted_on"], noun)
    fitted, after = fitted.at(temperature), reported.at(temperature)
    record: dict[str, Any] = {
        "temperature": temperature,
        "protocol": results.protocol.to_dict(),
        "on": on,
        **about,
        "weights_sha256": scorer.digest,
        "videos_sha256": results.videos_sha256,
        "before": measured(task, reported.logits, reported.labels, score),
        "after": measured(task, after.logits, after.labels, score),
        "threshold": None,
    }
    lines = _told(record)
    if failed := len(scores) - len(test):
        lines.insert(0, f"left out: {plural(failed, f'test {noun}')} that could not be decoded")
    if false_accepts is not None:
        outside = None
        if unknown is not None:
            outside = unknown_confidences(task, scorer, unknown, temperature, lines)
        record["threshold"] = find_threshold(
            task, fitted, after, score, false_accepts, outside, noun
        )
        lines += threshold_lines(record["threshold"], noun)
    metadata = {**scorer.weights.metadata, "protocol": record["protocol"], CALIBRATION: record}
    if scorer.weights.chosen:
        metadata["weights"] = {"chosen": scorer.weights.chosen}  # without the other set
    write_checkpoint(target, scorer.weights.state, metadata)
    lines.append(f"written: {target}, which predicts by the views of this test")
    return record, lines


def _check_tested(folder: Path, false_accepts: float | None, unknown: str | Path | None) -> Task:
    """The task of the test in a folder; raises where it cannot be calibrated, or not as is asked."""
    if false_accepts is not None and not 0 <= false_accepts < 1:
        raise ConfigError(f"--false-accepts is {false_accepts:g}; it is a share, from 0 to below 1")
    if folder.is_file():
        raise DataError(
            f"{folder} is a file; give the folder of a finished run, or of a test, whose {RESULTS_FILE} and "
            f"{SCORES_FILE} tell what its weights answered"
        )
    results, task = load_tested(folder)
    if results.get("crossval"):
        raise DataError(
            f"{folder} holds a cross-validation, whose folds have weights of their own; give the folder of "
            f"one of them, such as {folder / 'fold0'}"
        )
    if results["model"].get("runtime"):
        raise DataError(
            f"{folder} is a test of an exported file, which holds no weights that could be written; "
            "calibrate a test of the checkpoint that it was made of, and export what that writes"
        )
    if results["among_classes"]:
        raise DataError(
            f"{folder} is a test among some of the classes (TEST.AMONG_CLASSES), and the weights still "
            "answer the others; calibrate a test of all"
        )
    for told in origins(results):
        _check_rescored(folder, told)
    if not task.has_analyses:
        raise DataError(
            f"{folder} is of the task {task.name}, whose scores have no calibration here; give the test of a "
            "task with one label a video, or several"
        )
    if (false_accepts is not None or unknown is not None) and not task.has_rejection:
        raise ConfigError(
            f'the task {task.name} needs no threshold for "none of these": each class is true or not by '
            "itself, and a video of none of them scores low in all; leave --false-accepts and --unknown out"
        )
    if unknown is not None and false_accepts is None:
        raise ConfigError("--unknown is for a threshold: add --false-accepts, such as 0.05")
    return task


def _check_rescored(folder: Path, rescored: Mapping[str, Any]) -> None:
    """Raise where a test was scored again from less than `predict` shows the model, or answers."""
    clips, crops = rescored.get("clips", []), rescored.get("crops", [])
    fewer_crops = len(crops) != rescored.get("num_crops", 0) and crops != [_CENTRE_OF_THREE]
    if len(clips) != rescored.get("num_clips", 0) or fewer_crops:
        raise DataError(
            f"{folder} was scored again from some of the views of a test, and so many views of a video are "
            "others than these; run the test with that number of views (TEST.NUM_ENSEMBLE_VIEWS, "
            "TEST.NUM_SPATIAL_CROPS), and calibrate that"
        )
    if rescored.get("left_out_classes"):
        raise DataError(
            f"{folder} was scored again without some of the classes, which the weights still answer; "
            f"calibrate the test that it was made from, {rescored.get('folder')}"
        )


def _fit(task: Task, sample: Sample, score: str, which: str, noun: str) -> float:
    """The temperature that the labels of a sample are most likely at."""
    logits = sample.logits
    if score == "logits":  # only their mean counts
        logits = logits.mean(axis=1, keepdims=True, dtype=np.float64)

    def loss(temperature: float) -> float:
        return -float(log_likelihoods(task, logits, sample.labels, score, temperature).mean())

    temperature = fit_temperature(loss)
    if not LOWEST_TEMPERATURE < temperature < HIGHEST_TEMPERATURE:
        why = (
            "the surer these scores are made, the better they fit, for next to all answers are right; take "
            f"more or harder {noun}s"
            if temperature < 1
            else "the less sure these scores are made, the better they fit, for they say nothing of the "
            "classes; take other weights"
        )
        raise DataError(f"no temperature is best on {which}: {why}")
    return temperature


def _told(record: dict[str, Any]) -> list[str]:
    """The temperature in a few lines."""
    before, after, noun = record["before"], record["after"], noun_of(record)
    lines = [
        f"temperature {record['temperature']:.4f}, fitted on {plural(record['videos'], noun)}: "
        f"{record['fitted_on']}",
        f"on {plural(record['videos_reported'], noun)}, {record['reported_on']}, before -> after:",
        f"  negative log-likelihood {_interval(before['nll'])} -> {_interval(after['nll'])}",
        f"  expected calibration error {_interval(before['ece'], 100)} -> {_interval(after['ece'], 100)}",
        f"  the same, debiased {before['ece_debiased']:.1%} -> {after['ece_debiased']:.1%}",
    ]
    if after["nll"]["value"] > before["nll"]["value"]:
        lines.append(
            f"  the temperature makes these probabilities worse: leave it, or fit it on more {noun}s"
        )
    return lines


def _interval(found: dict[str, Any], scale: int = 1) -> str:
    form = "{:.1f}%" if scale == 100 else "{:.3f}"
    value = form.format(scale * found["value"])
    if found["low"] is None:
        return value
    low, high = (form.format(scale * found[key]) for key in ("low", "high"))
    return f"{value} (95 % interval {low} to {high})"
