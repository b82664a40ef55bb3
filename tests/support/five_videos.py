"""The record of a test of five videos of four classes, small enough to be followed by hand."""

import numpy as np
from pages import PROTOCOL, in_views

from uniformer_video.evaluation.results import build_results
from uniformer_video.tasks.single_label import SingleLabel

# Predictions 0, 1, 1, 2; the last video failed. Class 3 has no decoded video.
SCORES = np.array(
    [[3, 1, 0, 0], [1, 3, 0, 0], [0, 3, 2, 0], [0, 0, 9, 0], [np.nan] * 4], np.float32
)
LABELS = [0, 0, 1, 2, 3]


def make(scores=SCORES, **changes):
    """The record, with other arguments of `build_results` where wanted."""
    arguments = {
        "task": SingleLabel(),
        "title": "run",
        "names": [f"{i}.mp4" for i in range(len(LABELS))],
        "paths": [f"/data/{i}.mp4" for i in range(len(LABELS))],
        "labels": LABELS,
        "view_scores": in_views(scores),
        "class_names": ["a", "b", "c", "d"],
        "protocol": PROTOCOL,
        "model": {"name": "m", "parameters": 5},
        "failures": {4: "cut\n  short"},
    }
    return build_results(**{**arguments, **changes})
