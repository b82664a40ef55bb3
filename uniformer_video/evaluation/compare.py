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

from uniformer_video.evaluation.paired import RESAMPLES, paired_interval, resampled_interval
from uniformer_video.evaluation.parts import RecordingTask, number, proportion
from uniformer_video.evaluation.significance import holm, mcnemar_exact
from uniformer_video.randomness import generator

_AT_ONCE = 1000  # resamples that are held at a time


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

    @property
    def share(self) -> float | None:
        """The share of right answers; None where no video has one."""
        return self.figures[self.task.hits_key]["value"]

    @cached_property
    def headline(self) -> float | None:
        """The value of the task's headline, 0 to 1; None where nothing tells."""
        return headline_in(self.task, self.figures)

    @cached_property
    def evidence(self) -> np.ndarray:
        """What the task's `difference_interval` takes."""
        return self.task.evidence(self.scores, self.labels, self.groups)


def figures_of(task: RecordingTask, scores: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]:
    """`{hits_key: share of right answers, headline: value}` of scores `[N, K]`; one entry if they are one."""
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
            {
                "recipe": place,
                "against": 0,
                **_of_recipes(_pick(runs, own), _pick(runs, recipes[0])),
            }
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
                **_difference(run, first),
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


def _difference(run: Answers, first: Answers) -> dict[str, Any]:
    """By how much a run is better than another, with the interval of other videos: of the headline, and of
    the share of right answers where that is another figure.
    """
    task, groups = run.task, run.groups
    if run.headline is None or first.headline is None:
        found = _as_entry(task.headline, None, None)
    else:
        interval = task.difference_interval(run.evidence, first.evidence, groups)
        found = _as_entry(task.headline, run.headline - first.headline, interval)
    if task.headline != task.hits_key:
        judged = run.judged
        right, other = run.right[judged].astype(float), first.right[judged].astype(float)
        known = bool(judged.any())
        own_groups = None if groups is None else groups[judged]
        rng = generator("paired", len(right))
        interval = paired_interval(right, other, rng, groups=own_groups) if known else None
        difference = float(np.mean(right - other)) if known else None
        found[task.hits_key] = _as_entry(task.hits_key, difference, interval)
    return found


def _of_recipes(ours: Sequence[Answers], theirs: Sequence[Answers]) -> dict[str, Any]:
    """The same of the means over the runs of two recipes, with the interval of other videos and seeds."""
    task, runs = ours[0].task, [*ours, *theirs]
    shares = _resampled_shares(runs)
    found = _as_entry(
        task.hits_key, *_mean_difference([run.share for run in runs], shares, len(ours))
    )
    if task.headline == task.hits_key:
        return found
    values = [run.headline for run in runs]
    drawn = None if None in values else np.stack([run.evidence for run in runs], axis=1)
    headline = _as_entry(task.headline, *_mean_difference(values, drawn, len(ours)))
    return {**headline, task.hits_key: found}


def _resampled_shares(runs: Sequence[Answers]) -> np.ndarray | None:
    """The shares of right answers of runs on the same resamples of the videos: `[RESAMPLES, runs]`.

    Drawn is how often each distinct pattern of right and wrong occurs, as `paired_interval` does; with
    groups, how often each distinct group does. None without videos that have a right answer.
    """
    judged, groups = runs[0].judged, runs[0].groups
    right = np.stack([*(run.right[judged] for run in runs), judged[judged]], axis=1).astype(float)
    if not len(right):
        return None
    if groups is not None:
        own = groups[judged]
        right = np.stack([np.bincount(own, column) for column in right.T], axis=1)
        right = right[right[:, -1] > 0]
    patterns, occurrences = np.unique(right, axis=0, return_counts=True)
    rng, units = generator("paired", len(right)), occurrences.sum()
    parts = []
    for _ in range(RESAMPLES // _AT_ONCE):
        counts = rng.multinomial(units, occurrences / units, _AT_ONCE) @ patterns
        parts.append(counts[:, :-1] / counts[:, -1:])
    return np.concatenate(parts)


def _mean_difference(
    values: Sequence[float | None], drawn: np.ndarray | None, split: int
) -> tuple[float | None, tuple[float, float] | None]:
    """The mean of the first `split` values less that of the others, and its 95 % interval.

    drawn: the values on resamples of the videos, `[resamples, runs]`, of each of which as many runs of either
    side are drawn, with replacement, as it has.
    """
    known = [value for value in values if value is not None]
    if drawn is None or len(known) < len(values):
        return None, None
    rng, rows = generator("paired seeds", len(values)), np.arange(len(drawn))[:, None]
    sides = []
    for start, end in ((0, split), (split, len(values))):
        chosen = rng.integers(start, end, size=(len(drawn), end - start))
        sides.append(drawn[rows, chosen].mean(axis=1))
    difference = statistics.fmean(known[:split]) - statistics.fmean(known[split:])
    return difference, resampled_interval(*sides)


def _as_entry(
    figure: str, difference: float | None, interval: tuple[float, float] | None
) -> dict[str, Any]:
    low, high = interval or (None, None)
    return {"figure": figure, "difference": difference, "low": low, "high": high}


def _recipe(places: Sequence[int], runs: Sequence[Answers]) -> dict[str, Any]:
    """Runs of one recipe: mean and standard deviation (n - 1) of the headline, and of the share of hits."""
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
    differ = right.any(axis=1) & ~right.all(axis=1) & runs[0].judged
    return [
        {
            **entries[place],
            "right": right[place].tolist(),
        }
        for place in np.flatnonzero(differ).tolist()
    ]


def _ensembles(runs: Sequence[Answers], recipes: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
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
