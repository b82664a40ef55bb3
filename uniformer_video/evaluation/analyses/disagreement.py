"""How far the views of a video disagree, as a measure of doubt beside the confidence."""

from typing import Any

import numpy as np

from uniformer_video.evaluation.analyses.tested import Tested
from uniformer_video.evaluation.metrics import ranking_area
from uniformer_video.evaluation.parts import number, proportion

_PARTS = 5
_DIGITS = 12  # of what is compared: sums in another order are no other doubts
_CHUNK = 2**18  # logits worked on together, which fit a cache


def disagreement_of_views(tested: Tested) -> dict[str, Any] | None:
    """Right answers among videos whose views agree more or less, and how well that finds the wrong ones.

    Over the decoded videos whose answer can be judged. None for one view, for no such video, and for logits
    that are not finite.
    """
    clips, crops, classes = tested.logits.shape[1:]
    judged = tested.task.judged(tested.good_labels)
    logits = tested.logits.reshape(len(judged), clips * crops, classes)[judged]
    if clips * crops == 1 or not len(logits) or not np.isfinite(logits).all():
        return None
    labels = [label for label, known in zip(tested.good_labels, judged, strict=True) if known]
    scores = tested.scores()[judged]
    right = tested.task.right(scores, labels)
    step = max(1, _CHUNK // (clips * crops * classes))
    parts = [logits[start : start + step] for start in range(0, len(logits), step)]
    disagreement = np.concatenate([tested.task.disagreement(part) for part in parts]).round(_DIGITS)
    confidence = tested.task.probabilities(scores, tested.protocol.score).max(axis=1)
    return {
        "videos": len(logits),
        "right": int(right.sum()),
        "mean": number(disagreement.mean()),
        "most": number(disagreement.max()),
        "parts": _parts(disagreement, right),
        "area": number(ranking_area(disagreement, ~right)),
        "confidence_area": number(ranking_area(-confidence.round(_DIGITS), ~right)),
    }


def _parts(disagreement: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    """Fifths of the videos from the least disagreement to the most; fewer parts for fewer videos.

    Equal ones stay in the order of the videos.
    """
    order = np.argsort(disagreement, kind="stable")
    return [
        {
            "from": number(disagreement[part[0]]),
            "to": number(disagreement[part[-1]]),
            **proportion(right[part].sum(), len(part)),
        }
        for part in np.array_split(order, min(_PARTS, len(order)))
    ]
