"""Accuracy against the number of views and what they cost; single clips; what the views are averaged as."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from uniformer_video.evaluation.analyses.tested import Tested
from uniformer_video.evaluation.cost import seconds_of_views
from uniformer_video.evaluation.view_choice import central_crops, numbers_of_clips, spread_clips
from uniformer_video.words import plural

# The terminal names fewer views where these hold.
ENOUGH_VIDEOS = 150  # of so many alike, at most 2 in 100 others differ (95 %: 3 by their number)
MOST_LOST = 0.02  # of the figure, by the interval
ABOVE_CHANCE = 0.1  # of the figure


def accuracy_by_views(tested: Tested) -> dict[str, Any] | None:
    """The headline by fewer views than were tested, each against the best of these; None for one view.

    `rows` go from few views to many. `best` is the row with the highest figure, of equal ones that with the
    fewest views; `enough` the one with the fewest views whose paired interval of the difference to it
    holds 0.
    """
    num_clips, num_crops = tested.logits.shape[1:3]
    if num_clips * num_crops == 1:
        return None
    choices = [
        (clips, crops) for clips in numbers_of_clips(num_clips) for crops in sorted({1, num_crops})
    ]
    choices.sort(key=lambda choice: (choice[0] * choice[1], choice[0]))
    chosen = [
        (spread_clips(clips, num_clips), central_crops(crops, num_crops))
        for clips, crops in choices
    ]
    figures, evidence = _measured(tested, (tested.scores(*views) for views in chosen))
    if any(math.isnan(figure) for figure in figures):
        return None
    best = max(range(len(chosen)), key=lambda row: (figures[row], -row))
    rows = []
    for row, (clips, crops) in enumerate(chosen):
        views = len(clips) * len(crops)
        rows.append(
            {
                "clips": len(clips),
                "crops": len(crops),
                "views": views,
                "which_clips": clips,
                "which_crops": crops,
                **_against(tested, figures, evidence, row, best),
                **_costs(tested, views, num_clips * num_crops),
            }
        )
    enough = next(row for row, found in enumerate(rows) if row == best or _holds_0(found))
    return {
        "figure": tested.task.headline,
        "short": tested.headline_name,
        "videos": len(tested.good),
        "chance": _chance(tested),
        "rows": rows,
        "best": best,
        "enough": enough,
        "single_clips": _single_clips(tested),
        "scores": _score_rules(tested),
    }


def _chance(tested: Tested) -> float:
    """What answers that know nothing get: one of K classes, or, if that is more, the same score for all."""
    blind = np.zeros((len(tested.good), len(tested.class_names)))
    by_ties = float(tested.task.headline_of(blind, tested.good_labels))
    return max(1 / len(tested.class_names), by_ties)


def _measured(
    tested: Tested, answers: Iterable[np.ndarray]
) -> tuple[list[float], list[np.ndarray]]:
    """Of each of the scores `[G, K]`: the headline, and what its intervals need."""
    figures, evidence = [], []
    for scores in answers:
        figures.append(float(tested.task.headline_of(scores, tested.good_labels)))
        evidence.append(tested.task.evidence(scores, tested.good_labels, tested.good_groups))
    return figures, evidence


def _against(
    tested: Tested, figures: Sequence[float], evidence: Sequence[np.ndarray], own: int, other: int
) -> dict[str, Any]:
    """A figure, and its difference to another one with the paired interval, in shares of 1."""
    interval = tested.task.difference_interval(evidence[own], evidence[other], tested.good_groups)
    low, high = interval or (None, None)
    difference = figures[own] - figures[other]
    return {"value": figures[own], "difference": difference, "low": low, "high": high}


def _holds_0(found: Mapping[str, Any]) -> bool:
    return found["low"] is not None and found["low"] <= 0 <= found["high"]


def _costs(tested: Tested, views: int, all_views: int) -> dict[str, Any]:
    """GFLOPs, and seconds of work, of one video; None where they are not known."""
    a_view, cost = tested.model.get("gflops_view"), tested.cost
    return {
        "gflops": None if a_view is None else a_view * views,
        "seconds": None if cost is None else seconds_of_views(cost, views, all_views),
    }


def _single_clips(tested: Tested) -> list[dict[str, Any]]:
    """The first, the middle and the last clip alone, with all crops, each against the middle one."""
    total = tested.logits.shape[1]
    (middle,) = spread_clips(1, total)
    places = {0: "first", total - 1: "last"} if total > 1 else {}
    if total > 2:
        places[middle] = "middle"
    clips = sorted(places)
    figures, evidence = _measured(tested, (tested.scores([clip]) for clip in clips))
    return [
        {
            "place": places[clip],
            "clip": clip,
            **_against(tested, figures, evidence, own, clips.index(middle)),
        }
        for own, clip in enumerate(clips)
    ]


def _score_rules(tested: Tested) -> list[dict[str, Any]]:
    """All views, averaged by each rule that the task has, against that of the test."""
    rules = list(tested.task.view_scores)
    figures, evidence = _measured(tested, (tested.scores(score=rule) for rule in rules))
    used = rules.index(tested.protocol.score)
    return [
        {"score": rule, **_against(tested, figures, evidence, own, used)}
        for own, rule in enumerate(rules)
    ]


def summary_lines(found: Mapping[str, Any]) -> list[str]:
    """For the terminal, where fewer views do than were tested, and the videos are enough to tell."""
    enough, best, most = (found["rows"][row] for row in (found["enough"], found["best"], -1))
    known = found["videos"] >= ENOUGH_VIDEOS and best["value"] >= found["chance"] + ABOVE_CHANCE
    loses = enough is not best and enough["low"] < -MOST_LOST
    if enough["views"] == most["views"] or not known or loses:
        return []
    by = f"{found['short']} {enough['value']:.1%} by {_views(enough)}"
    if best is enough:
        return [f"fewer views may do: {by}, and no more by {_views(most)}"]
    return [
        f"fewer views may do: {by} cannot be told from the best, {best['value']:.1%} by {_views(best)} "
        f"(difference {100 * enough['difference']:+.1f} points, paired 95 % interval "
        f"{100 * enough['low']:+.1f} to {100 * enough['high']:+.1f})"
    ]


def _views(row: Mapping[str, Any]) -> str:
    return f"{plural(row['clips'], 'clip')} x {plural(row['crops'], 'crop')}"
