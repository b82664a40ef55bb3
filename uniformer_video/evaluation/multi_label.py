"""What came out for videos with several labels, or none: average precision in place of accuracy."""

import math

import numpy as np

from uniformer_video.data.lists.records import multi_hot
from uniformer_video.evaluation.metrics import (
    as_probabilities,
    average_precision,
    basic_interval,
    best_classes,
    hit_at_1,
    resampled_map,
)
from uniformer_video.evaluation.parts import LISTED_CLASSES, counts, listed, number, proportion
from uniformer_video.randomness import generator

THRESHOLD = 0.5
MAX_RESAMPLES, MIN_RESAMPLES = 1000, 100
_RESAMPLED_SCORES = 3e8  # a few seconds of work


def multi_label_outcome(entries, labels, scores, decoded, class_names, score):
    """`summary`, `per_class` and `videos` of a record.

    Args:
        entries: one dict a video, to which its scores are added.
        labels: one tuple of class indices a video. scores: `[N, K]`, means over the views of what
            `score` names; rows that are not decoded, bool `[N]`, are not read.
    """
    truth = multi_hot(labels, len(class_names))
    shares = as_probabilities(scores, score, multi_label=True)
    precision = average_precision(scores[decoded], truth[decoded])
    return {
        "summary": _summary(scores, truth, decoded, precision),
        "per_class": _per_class(shares[decoded], truth[decoded], precision, class_names),
        "videos": _videos(entries, scores, shares, truth, decoded),
    }


def _summary(scores, truth, decoded, precision):
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


def _map_of_all(scores, truth, decoded):
    scores = np.where(decoded[:, None], scores, -np.inf)
    return _map(scores, truth, average_precision(scores, truth))


def _map(scores, truth, precision):
    """Mean average precision with its interval; None where nothing tells."""
    precision = precision[~np.isnan(precision)]
    if not len(precision):
        return {"value": None, "low": None, "high": None, "resamples": 0}
    value = float(precision.mean())
    resamples = int(np.clip(_RESAMPLED_SCORES // scores.size, MIN_RESAMPLES, MAX_RESAMPLES))
    drawn = resampled_map(scores, truth, resamples, generator("resamples", len(scores)))
    low, high = basic_interval(value, drawn) or (None, None)
    return {"value": value, "low": low, "high": high, "resamples": resamples}


def _per_class(shares, truth, precision, class_names):
    chosen = shares >= THRESHOLD
    right = (chosen & truth).sum(axis=0)
    chosen, positives = chosen.sum(axis=0), truth.sum(axis=0)
    return [
        {
            "class": index,
            "name": name,
            "videos": int(positives[index]),
            "average_precision": number(precision[index]),
            "chosen": int(chosen[index]),
            "correct": int(right[index]),
            "precision": _share(right[index], chosen[index]),
            "recall": _share(right[index], positives[index]),
        }
        for index, name in enumerate(class_names)
    ]


def _share(part, total):
    return float(part / total) if total else None


def _videos(entries, scores, shares, truth, decoded):
    """Every video in order; `top5` and `label_scores` are empty for one that could not be decoded."""
    ranked = best_classes(scores, truth, LISTED_CLASSES)
    videos = []
    for index, entry in enumerate(entries):
        top, own = [], []
        if decoded[index]:
            top = listed(ranked[index], shares[index])
            own = [number(shares[index][label], digits=6) for label in entry["labels"]]
        videos.append({**entry, "top5": top, "label_scores": own})
    return videos
