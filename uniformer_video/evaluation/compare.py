"""Several runs on the same videos: what differs between them, and whether by more than chance.

Every figure is over the same N videos, in one order of videos and classes; whoever calls sees to that. What
is compared is the share of right answers (top-1; with several labels hit@1, over the videos that have one)
and, where a task has another headline (mAP), that too.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from uniformer_video.evaluation.paired import paired_interval
from uniformer_video.evaluation.parts import RecordingTask, number, proportion
from uniformer_video.evaluation.significance import holm, mcnemar_exact
from uniformer_video.randomness import generator


@dataclass(frozen=True)
class Answers:
    """What one run says of N videos.

    scores: `[N, K]` by the score rule of its own test. probabilities: the same as such, `[N, K]`. logits: the
    mean logits of the views, `[N, K]`. labels: one a video, as the task's `label_of` gives it. gflops: 1e9
    multiply-adds a video, None where nobody knows. groups: int `[N]`, from 0, of videos that are drawn
    together; None = each by itself.
    """

    task: RecordingTask
    labels: Sequence[Any]
    scores: np.ndarray
    probabilities: np.ndarray
    logits: np.ndarray
    gflops: float | None = None
    groups: np.ndarray | None = None

    @cached_property
    def judged(self) -> np.ndarray:
        """The videos that have a right answer, bool `[N]`."""
        return self.task.judged(self.labels)

    @cached_property
    def right(self) -> np.ndarray:
        """Whether the best answer is right, bool `[N]`."""
        return self.task.right(self.scores, self.labels)

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The share of right answers, and the task's headline where it is another figure."""
        return figures_of(self.task, self.scores, self.labels)

    @cached_property
    def headline(self) -> float | None:
        """The value of the task's headline, 0 to 1; None where nothing tells."""
        return headline_in(self.task, self.figures)

    @cached_property
    def evidence(self) -> np.ndarray:
        """What the task's `difference_interval` takes."""
        return self.task.evidence(self.scores, self.labels, self.groups)


def figures_of(task: RecordingTask, scores: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]:
    """`{hits_key: share of right answers, headline: value}` of scores `[N, K]`; one entry where they are one."""
    judged = task.judged(labels)
    share = proportion(task.right(scores, labels)[judged].sum(), judged.sum())
    if task.headline == task.hits_key:
        return {task.headline: share}
    return {task.headline: number(task.headline_of(scores, labels)), task.hits_key: share}


def headline_in(task: RecordingTask, figures: Mapping[str, Any]) -> float | None:
    """The value of the headline among what `figures_of` gave."""
    found = figures[task.headline]
    return found["value"] if isinstance(found, dict) else found


def compare_answers(
    runs: Sequence[Answers], recipes: Sequence[Sequence[int]], entries: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The figures of a comparison, ready for JSON.

    runs: at least two. recipes: the places of the runs of each recipe, every run in one of them. entries: one
    a video, with its `name` and labels as a record lists them.
    """
    several = len(recipes) > 1 and len(recipes) < len(runs)
    task, labels = runs[0].task, runs[0].labels
    by_class = [task.by_class(run.scores, labels) for run in runs]
    return {
        "runs": [run.figures for run in runs],
        "pairs": _pairs(runs),
        "recipes": [_recipe(places, [runs[place] for place in places]) for places in recipes],
        "recipe_pairs": [
            {"recipe": place, "against": 0, **_difference(_pick(runs, own), _pick(runs, recipes[0]))}
            for place, own in enumerate(recipes)
            if place and several
        ],
        "per_class": [
            {
                "class": k,
                "videos": int(by_class[0][1][k]),
                "figures": [number(figure[k]) for figure, _ in by_class],
            }
            for k in range(runs[0].scores.shape[1])
        ],
        "disagreements": _disagreements(runs, entries),
        "ensembles": _ensembles(runs, recipes),
    }


def _pick(runs: Sequence[Answers], places: Sequence[int]) -> list[Answers]:
    return [runs[place] for place in places]


def _pairs(runs: Sequence[Answers]) -> list[dict[str, Any]]:
    """Every other run against the first one."""
    first, judged, pairs = runs[0], runs[0].judged, []
    for place, run in enumerate(runs[1:], start=1):
        ours, theirs = run.right[judged], first.right[judged]
        gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        pairs.append(
            {
                "run": place,
                "against": 0,
                **_difference([run], [first]),
                "both": int((ours & theirs).sum()),
                "neither": int((~ours & ~theirs).sum()),
                "gained": gained,
                "lost": lost,
                "p": mcnemar_exact(gained, lost),
            }
        )
    for pair, adjusted in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
        pair["p_holm"] = adjusted
    return pairs


def _difference(ours: Sequence[Answers], theirs: Sequence[Answers]) -> dict[str, Any]:
    """By how much some runs are better than others, the means of each, with the interval of other videos.

    The runs themselves are not drawn again: the interval is that of these trainings on other videos.
    """
    task, groups = ours[0].task, ours[0].groups
    means = [_mean([run.evidence for run in side]) for side in (ours, theirs)]
    values = [[run.headline for run in side if run.headline is not None] for side in (ours, theirs)]
    found = _as_entry(
        task.headline,
        statistics.fmean(values[0]) - statistics.fmean(values[1]) if all(values) else None,
        task.difference_interval(*means, groups) if all(values) else None,
    )
    if task.headline != task.hits_key:
        found[task.hits_key] = _hits_difference(ours, theirs)
    return found


def _hits_difference(ours: Sequence[Answers], theirs: Sequence[Answers]) -> dict[str, Any]:
    """The same of the share of right answers, over the videos that have one."""
    task, judged, groups = ours[0].task, ours[0].judged, ours[0].groups
    if not judged.any():
        return _as_entry(task.hits_key, None, None)
    right, other = (_mean([run.right[judged] for run in side]) for side in (ours, theirs))
    rng = generator("paired", len(right))
    own_groups = None if groups is None else groups[judged]
    interval = paired_interval(right, other, rng, groups=own_groups)
    return _as_entry(task.hits_key, float(np.mean(right - other)), interval)


def _as_entry(
    figure: str, difference: float | None, interval: tuple[float, float] | None
) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {"figure": figure, "difference": difference, "low": low, "high": high}


def _recipe(places: Sequence[int], runs: Sequence[Answers]) -> dict[str, Any]:
    """Runs of one recipe: mean and standard deviation (n - 1) of the headline, and of the share of right ones."""
    task = runs[0].task
    found: dict[str, Any] = {"runs": list(places), **_spread([run.headline for run in runs])}
    if task.headline != task.hits_key:
        shares = [run.figures[task.hits_key]["value"] for run in runs]
        found[task.hits_key] = _spread(shares)
    return found


def _spread(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "deviation": statistics.stdev(known) if len(known) > 1 else None,
    }


def _disagreements(
    runs: Sequence[Answers], entries: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The videos that some runs get and others do not, in the order of the list."""
    right = np.stack([run.right for run in runs], axis=1)
    places = np.flatnonzero(right.any(axis=1) & ~right.all(axis=1) & runs[0].judged)
    return [
        {
            **entries[place],
            "right": right[place].tolist(),
        }
        for place in places
    ]


def _ensembles(
    runs: Sequence[Answers], recipes: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """The mean answers of every pair of runs, of each recipe and of all runs, once each."""
    members = [*combinations(range(len(runs)), 2), *map(tuple, recipes), tuple(range(len(runs)))]
    return [_ensemble(runs, own) for own in dict.fromkeys(members) if len(own) > 1]


def _ensemble(runs: Sequence[Answers], members: Sequence[int]) -> dict[str, Any]:
    """Runs that answer together: by their mean probabilities, and by their mean logits."""
    own, task = _pick(runs, members), runs[0].task
    labels = runs[0].labels
    figures = figures_of(task, _mean([run.probabilities for run in own]), labels)
    of_logits = figures_of(task, _mean([run.logits for run in own]), labels)
    value = headline_in(task, figures)
    alone = [run.headline for run in own if run.headline is not None]
    costs = [run.gflops for run in own]
    return {
        "runs": list(members),
        "figures": figures,
        "figures_of_logits": of_logits,
        "gain": value - max(alone) if value is not None and alone else None,
        "gflops_video": None if None in costs else sum(cost for cost in costs if cost is not None),
    }


def _mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of arrays, which are added in a fixed order without being stacked."""
    total = parts[0].astype(np.float64)
    for part in parts[1:]:
        total += part
    return total / len(parts)
