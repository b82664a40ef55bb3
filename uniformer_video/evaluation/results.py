"""The versioned record of an evaluation: `results.json`, and `scores.npz` beside it.

`results.json` holds all that the report page shows. `scores.npz` holds the raw scores:
`scores` float32 `[video, view, class]`, with NaN rows for videos that could not be decoded,
`labels` int64 `[video]`, or bool `[video, class]` of a multi-label test, and `names` `[video]`, in the
order of `results["videos"]`.
"""

import time
from pathlib import Path

import numpy as np
import simplejson

from uniformer_video.data.lists.records import multi_hot
from uniformer_video.errors import DataError
from uniformer_video.evaluation.earlier_results import from_schema_1
from uniformer_video.evaluation.metrics import (
    as_probabilities,
    confusion_matrix,
    mean_class_accuracy,
    per_class_accuracy,
    ranked_classes,
    topk_correct,
)
from uniformer_video.evaluation.multi_label import multi_label_outcome
from uniformer_video.evaluation.parts import LISTED_CLASSES, counts, listed, number, proportion
from uniformer_video.files import atomic_write, write_text
from uniformer_video.words import one_line

SCHEMA_VERSION = 2
RESULTS_FILE = "results.json"
SCORES_FILE = "scores.npz"
MULTI_LABEL = "multi-label"
_KEYS = (
    *(
        "summary",
        "protocol",
        "playback",
        "class_names",
        "per_class",
        "confusion",
        "videos",
        "failures",
        "motion",
    ),
    *("model", "training", "notes", "settings", "versions"),
)


def summarise(scores, labels, decoded):
    """The headline numbers of video scores `[N, K]`, labels `[N]`, decoded bool `[N]`.

    `top1` and `top5` are over decoded videos; `top1_all` and `top5_all` are over all of them, where
    a video that could not be decoded counts as wrong.
    """
    decoded = np.asarray(decoded, dtype=bool)
    scores, labels = np.asarray(scores)[decoded], np.asarray(labels)[decoded]
    correct = {k: topk_correct(scores, labels, k).sum() for k in (1, 5)}
    return {
        **counts(decoded),
        "top1": proportion(correct[1], len(labels)),
        "top5": proportion(correct[5], len(labels)),
        "top1_all": proportion(correct[1], len(decoded)),
        "top5_all": proportion(correct[5], len(decoded)),
        "mean_class_accuracy": number(mean_class_accuracy(_confusion(scores, labels))),
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
    playback="forward",
    videos_sha256="",
    multi_label=False,
    segments=None,
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
        names, paths, labels: one entry a video; a label is a class index, or with `multi_label` a
            tuple of them, empty for none.
        scores: video scores `[N, K]`: mean logits or mean probabilities over the views, whichever
            `protocol.score` ("logits", "softmax", or "sigmoid" with `multi_label`) says. Rows of
            failed videos are not read.
        segments: (start, end) of each video in seconds, the part that counts; (0, None) is all of it.
        failures: {index of a video: one-line reason why it could not be decoded}.
        motion: fractions made by `proportion` for "forward", "reversed_opposite",
            "reversed_original" and "still", and the "opposites" {class name: class name}.
        protocol: the `Protocol` of the test, its precision the one that was used.
        playback: "forward", or "reverse" for videos played backwards.
        videos_sha256: the digest of the list of videos.
        model, training, versions: plain dicts, recorded as they are.
        seconds: duration of the evaluation.
        settings: the resolved config as YAML text.
        created: ISO 8601 time; now, in UTC, by default.
    """
    failures = failures or {}
    segments = segments or [(0.0, None)] * len(names)
    scores = np.asarray(scores)
    assert len(names) == len(paths) == len(labels) == len(scores)
    assert scores.shape[1] == len(class_names)
    decoded = np.array([index not in failures for index in range(len(labels))], dtype=bool)
    entries = _entries(names, paths, labels, segments, multi_label)
    outcome = multi_label_outcome if multi_label else _outcome
    found = outcome(entries, labels, scores, decoded, class_names, protocol.score)
    return {
        "schema_version": SCHEMA_VERSION,
        **({"task": MULTI_LABEL} if multi_label else {}),
        "created": created or time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        "title": title,
        "summary": found.pop("summary"),
        "protocol": protocol.to_dict(),
        "playback": playback,
        "videos_sha256": videos_sha256,
        "class_names": list(class_names),
        **found,
        "failures": [
            {**entries[index], "reason": one_line(reason)}
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


def is_multi_label(results):
    """Whether a record is of videos with several labels, or none."""
    return results.get("task") == MULTI_LABEL


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
            labels=_saved_labels(results, view_scores.shape[2]),
            names=np.array([video["name"] for video in videos], dtype=np.str_),
        )
    text = simplejson.dumps(
        results, ignore_nan=True, indent=1, ensure_ascii=False, default=_plain_number
    )
    # A file name that is no valid UTF-8 arrives as lone surrogates, whose backslash form is
    # also their JSON escape.
    write_text(folder / RESULTS_FILE, text)


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
    if version not in range(1, SCHEMA_VERSION + 1):
        raise DataError(
            f"{path} has schema version {version}, this program reads 1 to {SCHEMA_VERSION}; run the "
            "evaluation again or use the program's version that wrote it"
        )
    if version == 1:
        results = from_schema_1(results, str(path))
    many = is_multi_label(results)
    headline = "map" if many else "top1"
    lacking = [key for key in _KEYS if key not in results and not (many and key == "confusion")]
    if lacking or headline not in results["summary"]:
        raise DataError(f"{path} is damaged: it lacks {(lacking or [headline])[0]}; delete it")
    return results


def _outcome(entries, labels, scores, decoded, class_names, score):
    """`summary`, `per_class`, `confusion` and `videos` of a record where a video has one label."""
    labels = np.asarray(labels, dtype=np.int64)
    confusion = _confusion(scores[decoded], labels[decoded])
    return {
        "summary": summarise(scores, labels, decoded),
        "per_class": _per_class(confusion, class_names),
        "confusion": [[*map(int, at), int(confusion[tuple(at)])] for at in np.argwhere(confusion)],
        "videos": _videos(entries, labels, scores, decoded, score),
    }


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
                "accuracy": number(accuracy[index]),
                "confused_with": confused,
            }
        )
    return rows


def _videos(entries, labels, scores, decoded, score):
    """Every video in order; `top5` is empty for one that could not be decoded."""
    ranked = ranked_classes(scores, labels, LISTED_CLASSES)
    videos = []
    for index, entry in enumerate(entries):
        top = []
        if decoded[index]:
            top = listed(ranked[index], as_probabilities(scores[index], score))
        videos.append({**entry, "top5": top})
    return videos


def _entries(names, paths, labels, segments, multi_label):
    """What is known of each video before it is tested."""
    entries = []
    for name, path, label, (start, end) in zip(names, paths, labels, segments, strict=True):
        entry = {"name": str(name), "path": str(path)}
        if multi_label:
            entry["labels"] = [int(own) for own in label]
        else:
            entry["label"] = int(label)
        entry |= {"start": float(start)} if start else {}
        entry |= {"end": float(end)} if end is not None else {}
        entries.append(entry)
    return entries


def _score_notes(scores):
    bad = int((~np.isfinite(scores)).any(axis=1).sum())
    if not bad:
        return []
    return [f"For {bad} of {len(scores)} decoded videos the model's scores are not all finite."]


def _saved_labels(results, num_classes):
    videos = results["videos"]
    if is_multi_label(results):
        return multi_hot([video["labels"] for video in videos], num_classes)
    return np.array([video["label"] for video in videos], dtype=np.int64)


def _plain_number(value):
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to {RESULTS_FILE}")
