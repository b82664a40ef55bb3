"""A threshold below which the answer about a video is "none of these"."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.data.lists.media import MEDIA
from uniformer_video.errors import DataError
from uniformer_video.evaluation.calibration import threshold_for
from uniformer_video.evaluation.parts import proportion, share_text
from uniformer_video.inference.records import records_at
from uniformer_video.runs.calibration_samples import Sample
from uniformer_video.runs.score_again import Scorer
from uniformer_video.tasks.task import Task
from uniformer_video.words import name_some, plural

UNKNOWN, MISTAKES = "unknown videos", "wrong answers"


def _confidences(task: Task, sample: Sample, score: str) -> tuple[np.ndarray, np.ndarray]:
    """The confidence of each video's answer, `[N]`, and whether it is right."""
    scores = task.video_scores(sample.logits, score)
    return task.probabilities(scores, score).max(axis=1), task.right(scores, sample.labels)


def unknown_confidences(
    task: Task,
    scorer: Scorer,
    unknown: str | Path,
    temperature: float,
    lines: list[str],
) -> np.ndarray:
    """The confidences at a temperature of unknown videos; `lines` get what was left out.

    unknown: a folder or a list (csv) of them, whose labels are not looked at.
    """
    noun = scorer.results.protocol.medium
    records, _ = records_at([unknown], MEDIA[noun])
    tested = {os.path.abspath(video["path"]) for video in scorer.results.videos}
    if known := [record.name for record in records if os.path.abspath(record.path) in tested]:
        raise DataError(
            f"{plural(len(known), noun)} of {unknown} are test {noun}s, which have a class: "
            f"{name_some(known)}; --unknown takes {noun}s of none of the classes"
        )
    found = scorer.score(records)
    if not found.decoded.any():
        first = next(iter(found.failures.values()))
        raise DataError(f"none of the {noun}s in {unknown} can be decoded; the first: {first}")
    if found.failures:
        reasons = name_some(list(found.failures.values()))
        lines.append(f"left out of {unknown}, broken: {len(found.failures)}: {reasons}")
    score = scorer.results.protocol.score
    logits = found.scores[found.decoded].astype(np.float64) / temperature
    return task.probabilities(task.video_scores(logits, score), score).max(axis=1)


def find_threshold(
    task: Task,
    fitted: Sample,
    reported: Sample,
    score: str,
    rate: float,
    outside: np.ndarray | None,
    noun: str = "video",
) -> dict[str, Any]:
    """The record of a threshold; samples at the temperature. outside: confidences of unknown videos."""
    own, own_right = _confidences(task, fitted, score)
    confidence, right = _confidences(task, reported, score)
    false = own[~own_right] if outside is None else outside
    if not len(false):
        raise DataError(
            f"no answer is wrong among the {noun}s that are fitted on, so none tells a threshold; name "
            f"{noun}s of none of the classes with --unknown"
        )
    value = threshold_for(false, rate)
    accepted = (confidence >= value) & right
    lost = proportion(right.sum() - accepted.sum(), right.sum())
    wrong = confidence[~right]
    return {
        "value": value,
        "false_accepts": rate,
        "of": MISTAKES if outside is None else UNKNOWN,
        "accepted": proportion((false >= value).sum(), len(false)),
        "lost_right_answers": lost,
        "wrong_answers_accepted": proportion((wrong >= value).sum(), len(wrong)),
    }


def threshold_lines(found: dict[str, Any], noun: str = "video") -> list[str]:
    """The threshold in a few lines. noun: what is answered."""
    kind = found["of"]
    lines = [
        f'threshold {found["value"]:.4f}: below this confidence the answer is "none of these"',
        f"  chosen so that at most {found['false_accepts']:.1%} of the {kind.replace('video', noun)} are "
        f"accepted: {found['accepted']['correct']} of {found['accepted']['of']}",
        f"  right answers that are lost, on what is reported: {share_text(found['lost_right_answers'])}",
        f"  wrong answers that are accepted there: {share_text(found['wrong_answers_accepted'])}",
    ]
    if kind == MISTAKES:
        lines.append(
            f"  a false accept is here a wrong answer that is accepted; of {noun}s of none of the classes it "
            "says nothing: --unknown does"
        )
    if found["value"] > 1:
        lines.append("  no confidence reaches it: everything is refused")
    return lines
