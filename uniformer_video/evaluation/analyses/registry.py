"""The analyses that a test is put to, in the order of the page."""

from collections.abc import Callable, Mapping
from typing import Any

from uniformer_video.evaluation.analyses import crops, disagreement, robustness, views
from uniformer_video.evaluation.analyses.calibration import calibration
from uniformer_video.evaluation.analyses.tested import Tested

# Name -> the analysis, ready for JSON; None where it has nothing to say. What it gives stands in the record's
# "analyses" under its name, and `pages/analyses/NAME.html.j2` shows it.
ANALYSES: dict[str, Callable[[Tested], dict[str, Any] | None]] = {
    "views": views.accuracy_by_views,
    "disagreement": disagreement.disagreement_of_views,
    "crops": crops.centre_against_all,
    "calibration": calibration,
    "robustness": robustness.robustness,
}
# Name -> what an analysis found, as sentences: on the terminal after a test, and among the record's notes.
SUMMARY_LINES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "views": views.summary_lines,
    "robustness": robustness.robustness_lines,
}
NOTES: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {"crops": crops.notes}


def analyse(tested: Tested) -> dict[str, dict[str, Any]]:
    """What all analyses have to say of a test: {name: what it found}.

    None of a test without videos, or where the task has no analyses.
    """
    if not tested.task.has_analyses or not len(tested.good):
        return {}
    found = {name: analysis(tested) for name, analysis in ANALYSES.items()}
    return {name: answer for name, answer in found.items() if answer is not None}


def notes_of(analyses: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The notes on what `analyse` gave."""
    return [
        note for name, notes in NOTES.items() if name in analyses for note in notes(analyses[name])
    ]


def lines_of(analyses: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the terminal says of what `analyse` gave."""
    return [
        line
        for name, lines in SUMMARY_LINES.items()
        if name in analyses
        for line in lines(analyses[name])
    ]
