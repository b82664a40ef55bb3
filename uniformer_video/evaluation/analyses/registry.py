"""The analyses that a test is put to, in the order of the page."""

from collections.abc import Callable
from typing import Any

from uniformer_video.evaluation.analyses.robustness import robustness
from uniformer_video.evaluation.analyses.tested import Tested

# Name -> the analysis, ready for JSON; None where it has nothing to say. What it gives stands in the record's
# "analyses" under its name, and `pages/analyses/NAME.html.j2` shows it.
ANALYSES: dict[str, Callable[[Tested], dict[str, Any] | None]] = {
    "robustness": robustness,
}


def analyse(tested: Tested) -> dict[str, dict[str, Any]]:
    """What all analyses have to say of a test: {name: what it found}.

    None of a test without videos, or where the task has no analyses.
    """
    if not tested.task.has_analyses or not len(tested.good):
        return {}
    found = {name: analysis(tested) for name, analysis in ANALYSES.items()}
    return {name: answer for name, answer in found.items() if answer is not None}
