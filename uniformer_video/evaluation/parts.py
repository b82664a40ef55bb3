"""Parts of a result record that do not depend on the task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from uniformer_video.evaluation.metrics import wilson_interval
from uniformer_video.evaluation.strips import Strips

LISTED_CLASSES = 5
_NAMED_FAILURES = 5


class Figure(NamedTuple):
    """A share, 0 to 1, that training or a validation measures: its key in metrics.jsonl and its names."""

    key: str
    short: str  # in a line of the log: "top-1"
    title: str  # above its curve: "Top-1 accuracy"


class Mistake(NamedTuple):
    """A wrong answer: the place of its video in the record, what was taken for what, and its score."""

    place: int
    pair: tuple[int, ...]
    score: float


class RecordingTask(Protocol):
    """What the record of a test and its page ask of a task; `tasks.task.Task` has it."""

    name: ClassVar[str]
    figures: ClassVar[tuple[Figure, ...]]
    headline: ClassVar[str]
    hits_key: ClassVar[str]
    class_figure: ClassVar[str]
    template: ClassVar[Path]
    has_analyses: ClassVar[bool]
    view_scores: ClassVar[dict[str, Callable[[np.ndarray], np.ndarray]]]

    def label_entry(self, label: Any) -> dict[str, Any]: ...

    def video_scores(self, logits: np.ndarray, score: str) -> np.ndarray: ...

    def probabilities(self, scores: np.ndarray, score: str) -> np.ndarray: ...

    def right(self, scores: np.ndarray, labels: Sequence[Any]) -> np.ndarray: ...

    def headline_of(self, scores: np.ndarray, labels: Sequence[Any]) -> float: ...

    def headline_figure(self, scores: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]: ...

    def opposed(self, label: Any, opposite: Mapping[int, int]) -> Any: ...

    def judged(self, labels: Sequence[Any]) -> np.ndarray: ...

    def evidence(
        self, scores: np.ndarray, labels: Sequence[Any], groups: np.ndarray | None = None
    ) -> np.ndarray: ...

    def difference_interval(
        self, first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[float, float] | None: ...

    def class_differences(
        self,
        first: np.ndarray,
        second: np.ndarray,
        labels: Sequence[Any],
        least: int,
        groups: np.ndarray | None = None,
    ) -> list[dict[str, Any]]: ...

    def disagreement(self, logits: np.ndarray) -> np.ndarray: ...

    def by_class(
        self, scores: np.ndarray, labels: Sequence[Any]
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def group_interval(
        self, labels: Sequence[Any], scores: np.ndarray, groups: np.ndarray
    ) -> tuple[float, float] | None: ...

    def log_likelihood(
        self, logits: np.ndarray, labels: Sequence[Any], score: str
    ) -> np.ndarray: ...

    def confidences(
        self, scores: np.ndarray, labels: Sequence[Any], score: str
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def results(
        self,
        entries: Sequence[dict[str, Any]],
        labels: Sequence[Any],
        scores: Any,
        decoded: np.ndarray,
        class_names: Sequence[str],
        score: str,
    ) -> dict[str, Any]: ...

    def saved_labels(self, videos: Sequence[Mapping[str, Any]], num_classes: int) -> np.ndarray: ...

    def mistakes(self, results: Mapping[str, Any]) -> list[Mistake]: ...

    def page(self, results: Mapping[str, Any], strips: Strips) -> dict[str, Any]: ...

    def mark(self) -> dict[str, Any]: ...


def proportion(correct: float, total: float) -> dict[str, Any]:
    """`correct` of `total` with its 95% Wilson interval, as fractions; None for 0 of 0."""
    low, high = wilson_interval(correct, total)
    value = float(correct / total) if total else None
    return {
        "correct": int(correct),
        "of": int(total),
        "value": value,
        "low": float(low),
        "high": float(high),
    }


def share_text(share: Mapping[str, Any]) -> str:
    """What `proportion` gives, in words."""
    if share["value"] is None:
        return "none"
    value, low, high = (f"{share[key]:.1%}" for key in ("value", "low", "high"))
    return f"{value} ({share['correct']}/{share['of']}, 95 % interval {low}-{high})"


def telling_figures(summary: Mapping[str, Any], num_classes: int) -> dict[str, Any]:
    """`summary` without top-5 where it is 100 % by itself: of five classes or fewer."""
    idle = ("top5", "top5_all") if num_classes <= LISTED_CLASSES else ()
    return {key: figure for key, figure in summary.items() if key not in idle}


def figure_text(figure: Mapping[str, Any]) -> str:
    """A figure with its interval in words, and its counts where it is a share."""
    if "of" in figure:
        return share_text(figure)
    if figure["value"] is None:
        return "none"
    if figure["low"] is None:
        return f"{figure['value']:.1%}"
    return f"{figure['value']:.1%} (95 % interval {figure['low']:.1%}-{figure['high']:.1%})"


def difference_text(difference: Mapping[str, Any]) -> str:
    """A difference of two shares in points, with its interval: "-12.5 points (-20.0 to -5.0)"."""
    if difference["value"] is None:
        return "no difference to tell"
    value = f"{100 * difference['value']:+.1f} points"
    if difference["low"] is None:
        return value
    return f"{value} ({100 * difference['low']:+.1f} to {100 * difference['high']:+.1f})"


def failure_lines(results: Mapping[str, Any]) -> list[str]:
    """The first few videos of a record that failed, and why; without those that a note names already."""
    named = [f for f in results["failures"] if not any(f["path"] in n for n in results["notes"])]
    lines = []
    for failure in named[:_NAMED_FAILURES]:
        reason = failure["reason"]
        name, _, _ = failure["name"].rpartition("#")  # of a segment
        is_told = (name or failure["name"]) in reason
        lines.append(f"failed: {reason}" if is_told else f"failed: {failure['name']}: {reason}")
    if more := len(named) - len(lines):
        lines.append(f"failed: {more} more, which the report and results.json name")
    return lines


def number(value: float, digits: int | None = None) -> float | None:
    """A float for JSON, None for NaN; `digits` after the point, if given."""
    value = float(value)
    if np.isnan(value):
        return None
    return value if digits is None else round(value, digits)


def counts(decoded: np.ndarray) -> dict[str, int]:
    """How many videos there are, bool `[N]`, how many were decoded, and how many not."""
    good = int(decoded.sum())
    return {"videos": len(decoded), "decoded": good, "failed": len(decoded) - good}


def class_entries(classes: Iterable[int], scores: np.ndarray) -> list[dict[str, Any]]:
    """Class indices and the scores `[K]` of a video as the record lists them."""
    return [{"class": int(c), "score": number(scores[c], digits=6)} for c in classes]
