"""Videos with one label each: cross entropy, and accuracy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.media import noun_of
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import class_indices
from uniformer_video.errors import DataError
from uniformer_video.evaluation.calibration import log_mean, log_softmax
from uniformer_video.evaluation.exact_order import mean_logits, mean_softmaxes
from uniformer_video.evaluation.metrics import (
    confusion_matrix,
    group_share_interval,
    jensen_shannon,
    macro_f1,
    mean_class_accuracy,
    mean_class_accuracy_interval,
    per_class_accuracy,
    ranked_classes,
    softmax,
    topk_correct,
)
from uniformer_video.evaluation.paired import paired_interval
from uniformer_video.evaluation.parts import (
    LISTED_CLASSES,
    Figure,
    Mistake,
    class_entries,
    counts,
    failure_lines,
    number,
    proportion,
    share_text,
    telling_figures,
)
from uniformer_video.evaluation.per_class import rows_of_confusion
from uniformer_video.evaluation.predictions import Table, columns_of_one_label
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.confused import confused_classes
from uniformer_video.pages.confusion import confusion_section
from uniformer_video.pages.parts import mistakes_with_strips, spread, worst_first
from uniformer_video.pages.plots import heat_map_on_white
from uniformer_video.randomness import generator
from uniformer_video.tasks.classification import Classification


class SingleLabel(Classification):
    """Soft-target cross entropy, the mean over the clips; top-1."""

    name = "single-label"
    view_scores: ClassVar = {"logits": np.asarray, "softmax": softmax}
    exact_means: ClassVar = {"logits": mean_logits, "softmax": mean_softmaxes}
    has_distillation = has_analyses = has_rejection = True
    figures = (Figure("top1", "top-1", "Top-1 accuracy"),)
    hits_key = score_key = headline = "top1"
    class_figure = "Accuracy"
    result_keys = ("per_class", "confusion")
    template = Path(__file__).with_name("single_label.html.j2")

    def check_records(self, records: Sequence[VideoRecord], num_classes: int) -> None:
        """Raise `DataError`, with file and line, for a video that has not just one label of these."""
        columns = as_columns(records)
        for place in np.flatnonzero(columns.labels.counts != 1)[:1]:
            record = columns[int(place)]
            raise DataError(
                f"{record.source}: {record.name} has {len(record.labels) or 'no'} labels; give each "
                "video one, or set TRAIN.TASK multi-label for videos with several or none"
            )
        super().check_records(records, num_classes)

    def label_of(self, record: VideoRecord) -> int:
        """The class index of a `VideoRecord`."""
        return record.label

    def label_tensor(self, labels: Sequence[tuple[int, ...]], num_classes: int) -> Tensor:
        """Tuples of one class index -> int64 `[len(labels)]`."""
        return class_indices(labels)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and soft targets, both `[B, K]` -> a scalar."""
        return F.cross_entropy(logits, targets.to(logits.dtype), weight=self.class_weights)

    def hits(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(how many clips score highest in the class that their target has most of, clips), int64 `[]`."""
        hits = (logits.argmax(1) == targets.argmax(1)).sum()
        return hits, torch.full_like(hits, len(logits))

    def soften(self, logits: Tensor, temperature: float) -> Tensor:
        """A teacher's logits `[B, K]` -> their softmax at the temperature, `[B, K]`."""
        return (logits / temperature).softmax(1)

    def unsoften(self, probabilities: Tensor) -> Tensor:
        """Their logarithm, of what rounds to 0 that of the least number."""
        return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log()

    def divergence(self, logits: Tensor, softened: Tensor, temperature: float) -> Tensor:
        """Logits and a teacher's softened ones, both `[B, K]` -> the divergence of the softmax of each clip,
        `[B]`.
        """
        own = F.log_softmax(logits / temperature, dim=1)
        return F.kl_div(own, softened, reduction="none").sum(1)

    def validate(self, scores: np.ndarray, records: Sequence[VideoRecord]) -> tuple[float, float]:
        """Mean logits float `[N, K]` -> (top-1 in 0..1, unweighted loss)."""
        labels = np.array([record.label for record in records])
        loss = F.cross_entropy(torch.from_numpy(scores).float(), torch.from_numpy(labels))
        return float(topk_correct(scores, labels, 1).mean()), float(loss)

    def probabilities(self, scores: np.ndarray, score: str) -> np.ndarray:
        """Those of one video add up to 1."""
        return softmax(scores) if score == "logits" else scores

    def label_entry(self, label: int) -> dict[str, Any]:
        """`{"label": class index}`."""
        return {"label": int(label)}

    def recorded_label(self, entry: Mapping[str, Any]) -> int:
        """The class index."""
        return entry["label"]

    def log_likelihood(self, logits: np.ndarray, labels: Sequence[Any], score: str) -> np.ndarray:
        """Of the true class: the softmax of the mean logits, or the mean softmax."""
        if score == "logits":
            logs = log_softmax(np.asarray(logits, np.float64).mean(axis=1))
        else:
            logs = log_mean(log_softmax(logits), axis=1)
        return np.take_along_axis(logs, np.asarray(labels)[:, None], axis=1)[:, 0]

    def confidences(
        self, scores: np.ndarray, labels: Sequence[Any], score: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """The highest probability, and whether its class is the true one: `[N, 1]`."""
        highest = self.probabilities(scores, score).max(axis=1)
        return highest[:, None], self.right(scores, labels)[:, None]

    def results(
        self,
        entries: Sequence[dict[str, Any]],
        labels: ArrayLike,
        scores: np.ndarray,
        decoded: np.ndarray,
        class_names: Sequence[str],
        score: str,
    ) -> dict[str, Any]:
        """`summary`, `per_class`, `confusion` and `videos` of a record."""
        labels = np.asarray(labels, dtype=np.int64)
        confusion = _confusion(scores[decoded], labels[decoded])
        cells = [[*map(int, at), int(confusion[tuple(at)])] for at in np.argwhere(confusion)]
        shares = self.probabilities(scores, score)
        return {
            "summary": summarise(scores, labels, decoded),
            "per_class": rows_of_confusion(confusion, class_names),
            "confusion": cells,
            "videos": _videos(entries, labels, scores, shares, decoded),
        }

    def label_among(self, label: int, places: Mapping[int, int]) -> int | None:
        """The class's new number; None for a video of another class."""
        return places.get(label)

    def prediction_columns(
        self,
        labels: Sequence[Any],
        scores: np.ndarray,
        shares: np.ndarray,
        class_names: Sequence[str],
    ) -> Table:
        """`columns_of_one_label`."""
        return columns_of_one_label(labels, scores, shares, class_names)

    def right(self, scores: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        """Whether the true class scores highest: `topk_correct`."""
        return topk_correct(scores, labels, 1)

    def headline_of(self, scores: np.ndarray, labels: Sequence[Any]) -> float:
        """Top-1, 0 to 1."""
        return float(self.right(scores, labels).mean())

    def headline_figure(self, scores: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]:
        """The share of top-1, with its counts and its Wilson interval."""
        return proportion(self.right(scores, labels).sum(), len(labels))

    def opposed(self, label: int, opposite: Mapping[int, int]) -> int:
        """The opposite class, or the class itself where it has none."""
        return opposite.get(label, label)

    def evidence(
        self, scores: np.ndarray, labels: Sequence[Any], groups: np.ndarray | None = None
    ) -> np.ndarray:
        """Which videos are right, bool `[N]`."""
        return self.right(scores, labels)

    def difference_interval(
        self, first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[float, float]:
        """That of top-1: `paired_interval`."""
        return paired_interval(first, second, generator("paired", len(first)), groups=groups)

    def disagreement(self, logits: np.ndarray) -> np.ndarray:
        """`jensen_shannon` of the softmax of the views, at most log K."""
        return jensen_shannon(softmax(logits))

    def class_differences(
        self,
        first: np.ndarray,
        second: np.ndarray,
        labels: Sequence[Any],
        least: int,
        groups: np.ndarray | None = None,
    ) -> list[dict[str, Any]]:
        """Accuracy of each class."""
        true = np.asarray(labels)
        right = [self.right(scores, labels) for scores in (first, second)]
        rows = []
        for index in np.flatnonzero(np.bincount(true) >= least):
            own = true == index
            own_groups = None if groups is None else groups[own]
            low, high = self.difference_interval(right[0][own], right[1][own], own_groups)
            rows.append(
                {
                    "class": int(index),
                    "videos": int(own.sum()),
                    "first": float(right[0][own].mean()),
                    "second": float(right[1][own].mean()),
                    "low": low,
                    "high": high,
                }
            )
        return rows

    def by_class(self, scores: np.ndarray, labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """The accuracy of each class."""
        confusion = _confusion(scores, np.asarray(labels, dtype=np.int64))
        return per_class_accuracy(confusion), confusion.sum(axis=1)

    def group_interval(
        self, labels: Sequence[Any], scores: np.ndarray, groups: np.ndarray
    ) -> tuple[float, float] | None:
        """That of top-1, by resamples of the groups."""
        right = topk_correct(scores, labels, 1)
        return group_share_interval(right, groups, generator("resamples", len(scores)))

    def saved_labels(self, videos: Sequence[Mapping[str, Any]], num_classes: int) -> np.ndarray:
        """int64 `[N]`."""
        return np.array([video["label"] for video in videos], dtype=np.int64)

    def summary_lines(self, results: Mapping[str, Any]) -> list[str]:
        """Top-1, top-5 of more than five classes, and what failed."""
        summary = results["summary"]
        told = telling_figures(summary, len(results["class_names"]))
        shown = [(key, name) for key, name in (("top1", "top-1"), ("top5", "top-5")) if key in told]
        lines = [", ".join(f"{name} {share_text(summary[key])}" for key, name in shown)]
        if summary["failed"]:
            lines.append(
                f"{summary['failed']} of {summary['videos']} {noun_of(results)}s failed and do not count; "
                f"with them as wrong: top-1 {share_text(summary['top1_all'])}"
            )
            lines += failure_lines(results)
        return lines

    def mistakes(self, results: Mapping[str, Any]) -> list[Mistake]:
        """The videos whose best class is another than the true one; a pair is (true, predicted)."""
        wrong = [
            Mistake(place, (video["label"], best["class"]), best["score"] or 0.0)
            for place, video in enumerate(results["videos"])
            for best in video["top5"][:1]
            if best["class"] != video["label"]
        ]
        return sorted(wrong, key=lambda mistake: -mistake.score)

    def page(self, results: Mapping[str, Any], strips: Strips) -> dict[str, Any]:
        """What single_label.html.j2 shows."""
        per_class, mistakes = results["per_class"], self.mistakes(results)
        return {
            "classes": worst_first(per_class, "accuracy"),
            "spread": spread(per_class, "accuracy"),
            "confusion": confusion_section(results),
            "mistakes": mistakes_with_strips(results["videos"], mistakes, strips),
            "confused": confused_classes(results, strips),
        }

    def pictures(self, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Which classes are taken for which: a row for each true class, a column for each answer."""
        picture = heat_map_on_white(results["confusion"], len(results["class_names"]))
        return {"confusion": picture}

    def mark(self) -> dict[str, Any]:
        """Nothing: a file that does not tell its task is from before there were others, and is of this.

        A task that derives from this one has a name of its own, which is told.
        """
        return {} if self.name == SingleLabel.name else super().mark()


def summarise(scores: ArrayLike, labels: ArrayLike, decoded: ArrayLike) -> dict[str, Any]:
    """The headline numbers of video scores `[N, K]`, labels `[N]`, decoded bool `[N]`.

    `top1` and `top5` are over decoded videos; `top1_all` and `top5_all` are over all of them, where
    a video that could not be decoded counts as wrong.
    """
    good = np.asarray(decoded, dtype=bool)
    known, own = np.asarray(scores)[good], np.asarray(labels)[good]
    correct = {k: topk_correct(known, own, k).sum() for k in (1, 5)}
    confusion = _confusion(known, own)
    low, high = mean_class_accuracy_interval(confusion) or (None, None)
    return {
        **counts(good),
        "top1": proportion(correct[1], len(own)),
        "top5": proportion(correct[5], len(own)),
        "top1_all": proportion(correct[1], len(good)),
        "top5_all": proportion(correct[5], len(good)),
        "mean_class_accuracy": number(mean_class_accuracy(confusion)),
        "mean_class_accuracy_interval": {"low": low, "high": high},
        "macro_f1": number(
            macro_f1(confusion.diagonal(), confusion.sum(axis=0), confusion.sum(axis=1))
        ),
    }


def _confusion(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    predictions = ranked_classes(scores, labels, 1)[:, 0]
    return confusion_matrix(labels, predictions, scores.shape[1])


def _videos(
    entries: Sequence[dict[str, Any]],
    labels: np.ndarray,
    scores: np.ndarray,
    shares: np.ndarray,
    decoded: np.ndarray,
) -> list[dict[str, Any]]:
    """Every video in order; one that could not be decoded has an empty `top5` and no `true_score`."""
    ranked = ranked_classes(scores, labels, LISTED_CLASSES)
    videos = []
    for index, entry in enumerate(entries):
        top, own = [], None
        if decoded[index]:
            top = class_entries(ranked[index], shares[index])
            own = number(shares[index][labels[index]], digits=6)
        videos.append({**entry, "top5": top, "true_score": own})
    return videos
