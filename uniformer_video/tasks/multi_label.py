"""Videos with several labels, or none: binary cross entropy, and average precision in place of accuracy."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uniformer_video.data.lists.media import noun_of
from uniformer_video.data.lists.records import VideoRecord, label_table, multi_hot
from uniformer_video.evaluation.calibration import log_mean, log_sigmoid
from uniformer_video.evaluation.exact_order import in_order, mean_logits, mean_sigmoids
from uniformer_video.evaluation.metrics import (
    average_precision,
    basic_interval,
    best_classes,
    f1_scores,
    hit_at_1,
    jensen_shannon,
    macro_f1,
    mean_average_precision,
    resampled_map,
    sigmoid,
)
from uniformer_video.evaluation.paired import paired_precision_intervals, resampled_interval
from uniformer_video.evaluation.parts import (
    LISTED_CLASSES,
    Figure,
    Mistake,
    class_entries,
    counts,
    failure_lines,
    figure_text,
    number,
    proportion,
    share_text,
)
from uniformer_video.evaluation.per_class import confused_labels, rows_of_choices
from uniformer_video.evaluation.predictions import Table, columns_of_labels
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.confused import confused_labels as confused_section
from uniformer_video.pages.parts import mistakes_with_strips, spread, worst_first
from uniformer_video.randomness import generator
from uniformer_video.tasks.classification import Classification
from uniformer_video.words import plural

THRESHOLD = 0.5
MAX_MISSED = 20
MAX_RESAMPLES, MIN_RESAMPLES = 1000, 100
_RESAMPLED_SCORES = 3e8  # a few seconds of work


class MultiLabel(Classification):
    """Binary cross entropy of each class by itself, the mean over clips and classes; mAP."""

    name = "multi-label"
    label_kind = "any"
    min_classes = 1
    view_scores: ClassVar = {"logits": np.asarray, "sigmoid": sigmoid}
    exact_means: ClassVar = {"logits": mean_logits, "sigmoid": mean_sigmoids}
    has_distillation = has_analyses = True
    figures = (Figure("map", "mAP", "Mean average precision"), Figure("hit1", "hit@1", "Hit@1"))
    hits_key, score_key, headline = "hit1", "map", "map"
    class_figure = "Average precision"
    result_keys = ("per_class",)
    template = Path(__file__).with_name("multi_label.html.j2")
    prediction_note = (
        "Several classes may be true of a video, or none: each score stands by itself."
    )

    def label_of(self, record: VideoRecord) -> tuple[int, ...]:
        """The class indices of a `VideoRecord`, a tuple."""
        return record.labels

    def label_tensor(self, labels: Sequence[tuple[int, ...]], num_classes: int) -> Tensor:
        """Tuples of class indices -> multi-hot float32 `[len(labels), num_classes]`."""
        return torch.from_numpy(multi_hot(labels, num_classes)).float()

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Logits and soft targets, both `[B, K]` -> a scalar."""
        targets = targets.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, targets, weight=self.class_weights)

    def hits(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """(how many clips score highest in one of their classes, clips), int64 `[]`.

        A mixed clip is hit in a class that has more than half of it. A clip without a class has no hit.
        """
        half = (1 - self.label_smoothing) / 2 + self.label_smoothing / targets.shape[1]
        best = targets.gather(1, logits.argmax(1, keepdim=True))
        hits = (best > half).sum()
        return hits, torch.full_like(hits, len(logits))

    def soften(self, logits: Tensor, temperature: float) -> Tensor:
        """A teacher's logits `[B, K]` -> their sigmoid at the temperature, `[B, K]`."""
        return (logits / temperature).sigmoid()

    def unsoften(self, probabilities: Tensor) -> Tensor:
        """log(p / (1 - p)), of what rounds to 0 or 1 that of the numbers next to them."""
        limits = torch.finfo(probabilities.dtype)
        return probabilities.clamp(limits.tiny, 1 - limits.eps / 2).logit()

    def divergence(self, logits: Tensor, softened: Tensor, temperature: float) -> Tensor:
        """Logits and a teacher's softened ones, both `[B, K]` -> the divergence of yes and no, the mean over
        the classes of each clip, `[B]`.
        """
        own = logits / temperature
        yes = F.kl_div(F.logsigmoid(own), softened, reduction="none")
        no = F.kl_div(F.logsigmoid(-own), 1 - softened, reduction="none")
        return (yes + no).mean(1)

    def validate(self, scores: np.ndarray, records: Sequence[VideoRecord]) -> tuple[float, float]:
        """Mean logits float `[N, K]` -> (mAP in 0..1, unweighted loss).

        mAP is NaN where no video has a label.
        """
        table = label_table(records, scores.shape[1])
        truth = torch.from_numpy(table).float()
        logits = torch.from_numpy(scores).float()
        loss = F.binary_cross_entropy_with_logits(logits, truth)
        return mean_average_precision(scores, table), float(loss)

    def probabilities(self, scores: np.ndarray, score: str) -> np.ndarray:
        """Each class by itself, in the order of the scores."""
        return in_order(sigmoid(scores), scores) if score == "logits" else scores

    def label_entry(self, label: Sequence[int]) -> dict[str, Any]:
        """`{"labels": class indices}`."""
        return {"labels": [int(own) for own in label]}

    def recorded_label(self, entry: Mapping[str, Any]) -> tuple[int, ...]:
        """The class indices, a tuple."""
        return tuple(entry["labels"])

    def log_likelihood(self, logits: np.ndarray, labels: Sequence[Any], score: str) -> np.ndarray:
        """The mean over the classes, each true or not: the sigmoid of the mean logit, or the mean sigmoid."""
        truth = multi_hot(labels, logits.shape[-1])
        if score == "logits":
            mean = np.asarray(logits, np.float64).mean(axis=1)
            return log_sigmoid(np.where(truth, mean, -mean)).mean(axis=1)
        signed = np.where(truth[:, None], logits, -np.asarray(logits))
        return log_mean(log_sigmoid(signed), axis=1).mean(axis=1)

    def confidences(
        self, scores: np.ndarray, labels: Sequence[Any], score: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """The probability of each class, and whether it is one of the video's: `[N, K]`."""
        return self.probabilities(scores, score), multi_hot(labels, scores.shape[1])

    def results(
        self,
        entries: Sequence[dict[str, Any]],
        labels: Sequence[Sequence[int]],
        scores: np.ndarray,
        decoded: np.ndarray,
        class_names: Sequence[str],
        score: str,
    ) -> dict[str, Any]:
        """`summary`, `per_class` and `videos` of a record."""
        truth = multi_hot(labels, len(class_names))
        shares = self.probabilities(scores, score)
        good, own = shares[decoded], truth[decoded]
        chosen = good >= THRESHOLD
        precision = average_precision(scores[decoded], own)
        return {
            "summary": {
                **_summary(scores, truth, decoded, precision),
                **_f1_of_choices(chosen, own),
            },
            "per_class": rows_of_choices(chosen, own, precision, class_names),
            "confused_labels": confused_labels(chosen, own, good, np.flatnonzero(decoded)),
            "videos": _videos(entries, scores, shares, truth, decoded),
        }

    def label_among(self, label: Sequence[int], places: Mapping[int, int]) -> tuple[int, ...]:
        """The new numbers of those labels that count; a video without any of them still counts."""
        return tuple(places[own] for own in label if own in places)

    def prediction_columns(
        self,
        labels: Sequence[Any],
        scores: np.ndarray,
        shares: np.ndarray,
        class_names: Sequence[str],
    ) -> Table:
        """`columns_of_labels`."""
        truth = multi_hot(labels, len(class_names))
        return columns_of_labels(truth, scores, shares, THRESHOLD, class_names)

    def right(self, scores: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
        """Whether one of its classes scores highest: `hit_at_1`."""
        return hit_at_1(scores, multi_hot(labels, scores.shape[1]))

    def headline_of(self, scores: np.ndarray, labels: Sequence[Any]) -> float:
        """mAP, 0 to 1; NaN where no video has a label."""
        return mean_average_precision(scores, multi_hot(labels, scores.shape[1]))

    def headline_figure(self, scores: np.ndarray, labels: Sequence[Any]) -> dict[str, Any]:
        """Mean average precision, with its interval."""
        truth = multi_hot(labels, scores.shape[1])
        return _map(scores, truth, average_precision(scores, truth))

    def opposed(self, label: Sequence[int], opposite: Mapping[int, int]) -> tuple[int, ...]:
        """Each class by itself, its opposite or, where it has none, itself."""
        return tuple(opposite.get(own, own) for own in label)

    def judged(self, labels: Sequence[Any]) -> np.ndarray:
        """Those with a label."""
        return np.array([len(label) > 0 for label in labels], bool)

    def evidence(
        self, scores: np.ndarray, labels: Sequence[Any], groups: np.ndarray | None = None
    ) -> np.ndarray:
        """mAP on resamples of the videos, the same for all scores of as many videos: float `[resamples]`."""
        rng = generator("paired", len(scores))
        truth = multi_hot(labels, scores.shape[1])
        return resampled_map(scores, truth, _num_resamples(scores), rng, groups)

    def difference_interval(
        self, first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None
    ) -> tuple[float, float] | None:
        """That of mAP: `resampled_interval`."""
        return resampled_interval(first, second)

    def disagreement(self, logits: np.ndarray) -> np.ndarray:
        """The sum over the classes of `jensen_shannon` of yes and no, at most K log 2."""
        yes = sigmoid(np.swapaxes(logits, 1, 2))
        return jensen_shannon(np.stack([yes, 1 - yes], axis=-1)).sum(axis=-1)

    def class_differences(
        self,
        first: np.ndarray,
        second: np.ndarray,
        labels: Sequence[Any],
        least: int,
        groups: np.ndarray | None = None,
    ) -> list[dict[str, Any]]:
        """Average precision of each class."""
        truth = multi_hot(labels, first.shape[1])
        rng, count = generator("paired", len(first)), _num_resamples(first)
        intervals = paired_precision_intervals(first, second, truth, rng, count, groups)
        values = [average_precision(scores, truth) for scores in (first, second)]
        videos = truth.sum(axis=0)
        return [
            {
                "class": index,
                "videos": int(videos[index]),
                "first": float(values[0][index]),
                "second": float(values[1][index]),
                "low": low,
                "high": high,
            }
            for index, (low, high) in intervals.items()
            if videos[index] >= least
        ]

    def by_class(self, scores: np.ndarray, labels: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """The average precision of each class, and how many videos have the label."""
        truth = multi_hot(labels, scores.shape[1])
        return average_precision(scores, truth), truth.sum(axis=0)

    def group_interval(
        self, labels: Sequence[Any], scores: np.ndarray, groups: np.ndarray
    ) -> tuple[float, float] | None:
        """That of mAP, by resamples of the groups."""
        truth = multi_hot(labels, scores.shape[1])
        value = mean_average_precision(scores, truth)
        rng = generator("resamples", len(scores))
        drawn = resampled_map(scores, truth, _num_resamples(scores), rng, groups)
        return basic_interval(value, drawn)

    def saved_labels(self, videos: Sequence[Mapping[str, Any]], num_classes: int) -> np.ndarray:
        """bool `[N, K]`."""
        return multi_hot([video["labels"] for video in videos], num_classes)

    def summary_lines(self, results: Mapping[str, Any]) -> list[str]:
        """mAP and hit@1, and what failed."""
        summary = results["summary"]
        lines = [
            f"mAP {figure_text(summary['map'])} over {_classes_text(results)}, "
            f"hit@1 {share_text(summary['hit1'])}"
        ]
        if summary["failed"]:
            lines.append(
                f"{summary['failed']} of {summary['videos']} {noun_of(results)}s failed and count in "
                f"neither; with them as scored lowest: mAP {figure_text(summary['map_all'])}"
            )
        return lines + failure_lines(results)

    def mistakes(self, results: Mapping[str, Any]) -> list[Mistake]:
        """The videos by their best-scored wrong class. A pair is that class alone: what it stands for is not
        known.
        """
        wrong = []
        for place, video in enumerate(results["videos"]):
            if best := _surest_wrong(video):
                wrong.append(Mistake(place, (best["class"],), best["score"]))
        return sorted(wrong, key=lambda mistake: -mistake.score)

    def page(self, results: Mapping[str, Any], strips: Strips) -> dict[str, Any]:
        """What multi_label.html.j2 shows."""
        per_class, videos = results["per_class"], results["videos"]
        mistakes = mistakes_with_strips(videos, self.mistakes(results), strips)
        mistakes["shown"] = [_with_wrong_label(video) for video in mistakes["shown"]]
        return {
            "classes": worst_first(per_class, "average_precision"),
            "spread": spread(per_class, "average_precision"),
            "mistakes": mistakes,
            "confused": confused_section(results, THRESHOLD, strips),
            "missed": _missed_labels(videos),
            "threshold": f"{THRESHOLD:.0%}",
        }


def _summary(
    scores: np.ndarray, truth: np.ndarray, decoded: np.ndarray, precision: np.ndarray
) -> dict[str, Any]:
    """The headline numbers; those of all videos count failed ones as scored lowest, as no hit."""
    good, own = scores[decoded], truth[decoded]
    hits, labelled = hit_at_1(good, own).sum(), truth.any(axis=1)
    positives = own.sum(axis=0)
    known = positives > 0
    weighted = (precision * positives)[known].sum() / positives.sum() if known.any() else math.nan
    found = _map(good, own, precision)
    return {
        **counts(decoded),
        "unlabelled": int((~labelled & decoded).sum()),
        "classes": int(known.sum()),
        "map": found,
        "map_all": found if decoded.all() else _map_of_all(scores, truth, decoded),
        "weighted_map": number(weighted),
        "micro_ap": number(average_precision(good.reshape(-1, 1), own.reshape(-1, 1))[0]),
        "hit1": proportion(hits, (labelled & decoded).sum()),
        "hit1_all": proportion(hits, labelled.sum()),
    }


def _map_of_all(scores: np.ndarray, truth: np.ndarray, decoded: np.ndarray) -> dict[str, Any]:
    scores = np.where(decoded[:, None], scores, -np.inf)
    return _map(scores, truth, average_precision(scores, truth))


def _map(scores: np.ndarray, truth: np.ndarray, precision: np.ndarray) -> dict[str, Any]:
    """Mean average precision with its interval; None where nothing tells."""
    precision = precision[~np.isnan(precision)]
    if not len(precision):
        return {"value": None, "low": None, "high": None, "resamples": 0}
    value = float(precision.mean())
    resamples = _num_resamples(scores)
    drawn = resampled_map(scores, truth, resamples, generator("resamples", len(scores)))
    low, high = basic_interval(value, drawn) or (None, None)
    return {"value": value, "low": low, "high": high, "resamples": resamples}


def _num_resamples(scores: np.ndarray) -> int:
    return int(np.clip(_RESAMPLED_SCORES // scores.size, MIN_RESAMPLES, MAX_RESAMPLES))


def _f1_of_choices(chosen: np.ndarray, truth: np.ndarray) -> dict[str, float | None]:
    """F1 of the labels that are chosen, bool `[N, K]` as the true ones: the classes' mean, and of all."""
    right = (chosen & truth).sum(axis=0)
    picked, positives = chosen.sum(axis=0), truth.sum(axis=0)
    (micro,) = f1_scores([right.sum()], [picked.sum()], [positives.sum()])
    return {"macro_f1": number(macro_f1(right, picked, positives)), "micro_f1": number(micro)}


def _videos(
    entries: Sequence[dict[str, Any]],
    scores: np.ndarray,
    shares: np.ndarray,
    truth: np.ndarray,
    decoded: np.ndarray,
) -> list[dict[str, Any]]:
    """Every video in order; one that could not be decoded has empty `top5` and `label_scores`, and no
    `best_wrong`.
    """
    ranked = best_classes(scores, truth, LISTED_CLASSES)
    videos = []
    for index, entry in enumerate(entries):
        top, own, wrong = [], [], None
        if decoded[index]:
            top = class_entries(ranked[index], shares[index])
            own = [number(shares[index][label], digits=6) for label in entry["labels"]]
            wrong = _best_wrong(shares[index], scores[index], truth[index])
        videos.append({**entry, "top5": top, "label_scores": own, "best_wrong": wrong})
    return videos


def _best_wrong(shares: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> dict[str, Any] | None:
    """The highest-scored class that is no label of a video, all `[K]`; None where it has every label."""
    others = np.flatnonzero(~truth)
    if not len(others):
        return None
    (entry,) = class_entries([others[np.argmax(scores[others])]], shares)
    return entry


def _classes_text(results: Mapping[str, Any]) -> str:
    occur, total = results["summary"]["classes"], len(results["class_names"])
    every = plural(total, "class", "classes")
    return every if occur == total else f"the {occur} of {every} that occur"


def _surest_wrong(video: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best-scored class that is no label of the video, from the threshold on; else None."""
    others = (entry for entry in video["top5"] if entry["class"] not in video["labels"])
    # earlier records lack it, and tell it where it is among the best five
    best = video["best_wrong"] if "best_wrong" in video else next(others, None)
    return best if best and best["score"] is not None and best["score"] >= THRESHOLD else None


def _with_wrong_label(video: dict[str, Any]) -> dict[str, Any]:
    """A mistaken video with its `wrong` class, and its `true` ones with their scores, best first."""
    own = zip(video["labels"], video["label_scores"], strict=True)
    true = sorted(own, key=lambda pair: -(pair[1] or 0.0))
    return {**video, "wrong": _surest_wrong(video), "true": true}


def _missed_labels(videos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The true labels below the threshold, the lowest-scored first, and how many labels there are."""
    labels = [
        {"class": label, "score": score, "name": video["name"], "path": video["path"]}
        for video in videos
        if video["top5"]
        for label, score in zip(video["labels"], video["label_scores"], strict=True)
    ]
    missed = [entry for entry in labels if entry["score"] is None or entry["score"] < THRESHOLD]
    missed.sort(key=lambda entry: entry["score"] or 0.0)
    return {"shown": missed[:MAX_MISSED], "total": len(missed), "labels": len(labels)}
