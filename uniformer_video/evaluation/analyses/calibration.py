"""How far the probabilities of a test can be trusted, and the risk where unsure answers are left out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from uniformer_video.evaluation.analyses.tested import Tested
from uniformer_video.evaluation.calibration import BINS, binned, measure, risk_coverage
from uniformer_video.evaluation.parts import RecordingTask, proportion

_TOGETHER = 2**18  # logits of a part, which fit a cache


def calibration(tested: Tested) -> dict[str, Any] | None:
    """Calibration errors, the reliability diagram, the curve of risk; None where scores are not finite."""
    scores = tested.scores()
    if not np.isfinite(scores).all():
        return None
    task, score = tested.task, tested.protocol.score
    confidence, right = task.confidences(scores, tested.good_labels, score)
    highest = task.probabilities(scores, score).max(axis=1)
    views = tested.logits.reshape(len(scores), -1, scores.shape[1])
    likelihood = log_likelihoods(task, views, tested.good_labels, score)
    return {
        "videos": len(scores),
        "answers": confidence.size,
        "confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
        **measure(confidence, right, likelihood),
        "bins": BINS,
        "reliability": _reliability(confidence, right),
        "risk_coverage": risk_coverage(highest, task.right(scores, tested.good_labels)),
    }


def measured(
    task: RecordingTask, logits: np.ndarray, labels: Sequence[Any], score: str
) -> dict[str, Any]:
    """`calibration.measure` of videos by the logits of their views, `[N, view, K]`."""
    confidence, right = task.confidences(task.video_scores(logits, score), labels, score)
    return measure(confidence, right, log_likelihoods(task, logits, labels, score))


def log_likelihoods(
    task: RecordingTask,
    logits: np.ndarray,
    labels: Sequence[Any],
    score: str,
    temperature: float = 1.0,
) -> np.ndarray:
    """`Task.log_likelihood` of logits `[N, view, K]` that are divided by a temperature, `[N]`, in parts."""
    step = max(1, _TOGETHER // max(1, logits[0].size))
    parts = [slice(start, start + step) for start in range(0, len(logits), step)]
    return np.concatenate(
        [
            task.log_likelihood(logits[part].astype(np.float64) / temperature, labels[part], score)
            for part in parts
        ]
    )


def _reliability(confidence: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    """The bins that are not empty, from the least confident up."""
    count, total, correct = binned(confidence, right).sum(axis=0)
    return [
        {
            "low": place / BINS,
            "high": (place + 1) / BINS,
            "confidence": float(total[place] / count[place]),
            "accuracy": proportion(correct[place], count[place]),
        }
        for place in np.flatnonzero(count)
    ]
