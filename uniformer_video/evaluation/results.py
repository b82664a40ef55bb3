"""The versioned record of an evaluation: `results.json`, and `scores.npz` beside it.

`results.json` holds all that the report page shows. `scores.npz` holds the raw scores:
`scores` float32 `[video, view, class]`, with NaN rows for videos that could not be decoded,
`labels` int64 `[video]` and `names` `[video]`, in the order of `results["videos"]`.
"""

import time
from pathlib import Path

import numpy as np
import simplejson

from uniformer_video.errors import DataError
from uniformer_video.evaluation.metrics import (
    confusion_matrix,
    mean_class_accuracy,
    per_class_accuracy,
    ranked_classes,
    softmax,
    topk_correct,
    wilson_interval,
)
from uniformer_video.files import atomic_write

SCHEMA_VERSION = 1
RESULTS_FILE = "results.json"
SCORES_FILE = "scores.npz"
LISTED_CLASSES = 5
_KEYS = (
    *(
        "summary",
        "protocol",
        "class_names",
        "per_class",
        "confusion",
        "videos",
        "failures",
        "motion",
    ),
    *("model", "training", "notes", "settings", "versions"),
)


def proportion(correct, total):
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


def summarise(scores, labels, decoded):
    """The headline numbers of video scores `[N, K]`, labels `[N]`, decoded bool `[N]`.

    `top1` and `top5` are over decoded videos; `top1_all` and `top5_all` are over all of them, where
    a video that could not be decoded counts as wrong.
    """
    decoded = np.asarray(decoded, dtype=bool)
    scores, labels = np.asarray(scores)[decoded], np.asarray(labels)[decoded]
    correct = {k: topk_correct(scores, labels, k).sum() for k in (1, 5)}
    return {
        "videos": len(decoded),
        "decoded": len(labels),
        "failed": len(decoded) - len(labels),
        "top1": proportion(correct[1], len(labels)),
        "top5": proportion(correct[5], len(labels)),
        "top1_all": proportion(correct[1], len(decoded)),
        "top5_all": proportion(correct[5], len(decoded)),
        "mean_class_accuracy": _number(mean_class_accuracy(_confusion(scores, labels))),
    }


def build_results(
    *,
    title,
    names,
    paths,
    labels,
    scores,
    class_names,
    protocol,
    model,
    failures=None,
    motion=None,
    training=None,
    notes=(),
    seconds=0.0,
    settings="",
    versions=None,
    created=None,
):
    """The record of one evaluation, ready for JSON.

    Args:
        names, paths, labels: one entry a video; labels are class indices.
        scores: video scores `[N, K]`: mean logits or mean probabilities over the views, whichever
            `protocol["score"]` ("logits" or "softmax") says. Rows of failed videos are not read.
        failures: {index of a video: one-line reason why it could not be decoded}.
        motion: fractions made by `proportion` for "forward", "reversed_opposite",
            "reversed_original" and "still", and the "opposites" {class name: class name}.
        protocol, model, training, versions: plain dicts, recorded as they are.
        seconds: duration of the evaluation.
        settings: the resolved config as YAML text.
        created: ISO 8601 time; now, in UTC, by default.
    """
    failures = failures or {}
    labels, scores = np.asarray(labels, dtype=np.int64), np.asarray(scores)
    assert len(names) == len(paths) == len(labels) == len(scores)
    assert scores.shape[1] == len(class_names)
    decoded = np.array([index not in failures for index in range(len(labels))], dtype=bool)
    confusion = _confusion(scores[decoded], labels[decoded])
    return {
        "schema_version": SCHEMA_VERSION,
        "created": created or time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "title": title,
        "summary": summarise(scores, labels, decoded),
        "protocol": dict(protocol),
        "class_names": list(class_names),
        "per_class": _per_class(confusion, class_names),
        "confusion": [[*map(int, at), int(confusion[tuple(at)])] for at in np.argwhere(confusion)],
        "videos": _videos(names, paths, labels, scores, decoded, protocol["score"]),
        "failures": [
            {**_video(names, paths, labels, index), "reason": " ".join(str(reason).split())}
            for index, reason in sorted(failures.items())
        ],
        "motion": motion,
        "model": dict(model),
        "training": training,
        "notes": [*notes, *_score_notes(scores[decoded])],
        "seconds": float(seconds),
        "settings": settings,
        "versions": dict(versions or {}),
    }


def save_results(folder, results, view_scores):
    """Write `results.json` and `scores.npz` into `folder`, which is made if needed.

    `view_scores` is float `[video, view, class]`, in the order of `results["videos"]`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    videos = results["videos"]
    view_scores = np.asarray(view_scores, dtype=np.float32)
    assert view_scores.ndim == 3 and len(view_scores) == len(videos)
    with atomic_write(folder / SCORES_FILE) as file:
        np.savez(
            file,
            scores=view_scores,
            labels=np.array([video["label"] for video in videos], dtype=np.int64),
            names=np.array([video["name"] for video in videos], dtype=np.str_),
        )
    text = simplejson.dumps(
        results, ignore_nan=True, indent=1, ensure_ascii=False, default=_plain_number
    )
    with atomic_write(folder / RESULTS_FILE) as file:
        # A file name that is no valid UTF-8 arrives as lone surrogates, whose backslash form is
        # also their JSON escape.
        file.write(text.encode("utf-8", errors="backslashreplace"))


def load_results(folder):
    """The record in `folder`; `DataError` if it is missing, damaged or of another version."""
    path = Path(folder) / RESULTS_FILE
    try:
        results = simplejson.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"no results at {path}; give the folder of a finished evaluation"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON ({error}); run the evaluation again") from error
    version = results.get("schema_version") if isinstance(results, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}; run the "
            "evaluation again or use the program's version that wrote it"
        )
    lacking = [key for key in _KEYS if key not in results]
    if lacking or "top1" not in results["summary"]:
        raise DataError(f"{path} is damaged: it lacks {(lacking or ['top1'])[0]}; delete it")
    return results


def _confusion(scores, labels):
    predictions = ranked_classes(scores, labels, 1)[:, 0]
    return confusion_matrix(labels, predictions, scores.shape[1])


def _per_class(confusion, class_names):
    accuracy = per_class_accuracy(confusion)
    rows = []
    for index, name in enumerate(class_names):
        mistakes = confusion[index].copy()
        mistakes[index] = 0
        other = int(mistakes.argmax())
        confused = {"class": other, "count": int(mistakes[other])} if mistakes[other] else None
        rows.append(
            {
                "class": index,
                "name": name,
                "videos": int(confusion[index].sum()),
                "correct": int(confusion[index, index]),
                "accuracy": _number(accuracy[index]),
                "confused_with": confused,
            }
        )
    return rows


def _videos(names, paths, labels, scores, decoded, score_kind):
    """Every video in order; `top5` is empty for one that could not be decoded."""
    assert score_kind in ("logits", "softmax"), score_kind
    ranked = ranked_classes(scores, labels, LISTED_CLASSES)
    videos = []
    for index in range(len(labels)):
        top = []
        if decoded[index]:
            row = softmax(scores[index]) if score_kind == "logits" else scores[index]
            top = [{"class": int(c), "score": _number(row[c], digits=6)} for c in ranked[index]]
        videos.append({**_video(names, paths, labels, index), "top5": top})
    return videos


def _video(names, paths, labels, index):
    return {"name": str(names[index]), "path": str(paths[index]), "label": int(labels[index])}


def _score_notes(scores):
    bad = int((~np.isfinite(scores)).any(axis=1).sum())
    if not bad:
        return []
    return [f"For {bad} of {len(scores)} decoded videos the model's scores are not all finite."]


def _number(value, digits=None):
    """A float for JSON, None for NaN; `digits` after the point, if given."""
    value = float(value)
    if np.isnan(value):
        return None
    return value if digits is None else round(value, digits)


def _plain_number(value):
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to {RESULTS_FILE}")
