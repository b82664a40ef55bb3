"""The versioned record of an evaluation: `results.json`, and `scores.npz` beside it.

`results.json` holds all that the report page shows. `scores.npz` holds the raw scores:
`scores` float32 `[video, view, class]`, with NaN rows for videos that could not be decoded,
`labels` `[video, ...]` as the task saves them, and `names` `[video]`, in the order of
`results["videos"]`. What of the record depends on the task comes from a `Task`, which is handed in.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejson
from numpy.typing import ArrayLike

from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import DataError
from uniformer_video.evaluation.analyses.registry import analyse, notes_of
from uniformer_video.evaluation.analyses.tested import Tested
from uniformer_video.evaluation.earlier_results import from_schema_1
from uniformer_video.evaluation.parts import RecordingTask
from uniformer_video.files import atomic_write, write_text
from uniformer_video.words import one_line

SCHEMA_VERSION = 2
RESULTS_FILE = "results.json"
SCORES_FILE = "scores.npz"
Segment = tuple[float, float | None]  # start and end in seconds; None = the end of the video
_KEYS = (
    "summary",
    "protocol",
    "playback",
    "videos_sha256",
    "title",
    "created",
    "seconds",
    "class_names",
    "videos",
    "failures",
    "motion",
    "model",
    "training",
    "notes",
    "settings",
    "versions",
)


def build_results(
    *,
    task: RecordingTask,
    names: Sequence[str],
    paths: Sequence[str],
    labels: Sequence[Any],
    view_scores: ArrayLike,
    class_names: Sequence[str],
    protocol: Protocol,
    model: Mapping[str, Any],
    segments: Sequence[Segment] | None = None,
    failures: Mapping[int, str] | None = None,
    sizes: Mapping[int, tuple[int, int]] | None = None,
    groups: np.ndarray | None = None,
    cost: dict[str, Any] | None = None,
    notes: Iterable[str] = (),
    seconds: float = 0.0,
    **facts: Any,
) -> dict[str, Any]:
    """The record of one evaluation of whole videos, ready for JSON.

    Args:
        names, paths, labels: one entry a video; a label is what the task's `label_of` gives.
        view_scores: logits of the views `[N, view, K]`. Rows of failed videos are not read.
        segments: (start, end) of each video in seconds, the part that counts; (0, None) is all of it.
        sizes: {place: (width, height)} of the decoded frames of videos, in pixels, where they are known.
        groups: int [N], from 0, of videos that belong together; None: each stands by itself.
        facts: title, training and so on: `build_record` says what these and the others are.
    """
    failures = failures or {}
    segments = segments or [(0.0, None)] * len(names)
    view_scores = np.asarray(view_scores)
    scores = task.video_scores(view_scores, protocol.score)
    assert len(names) == len(paths) == len(labels) == len(scores)
    assert scores.shape[1] == len(class_names)
    decoded = np.array([index not in failures for index in range(len(labels))], dtype=bool)
    sizes = sizes or {}
    tested = Tested(
        task,
        protocol,
        view_scores,
        labels,
        decoded,
        class_names,
        model,
        float(seconds),
        sizes=sizes,
        groups=groups,
        cost=cost,
    )
    entries = entries_of(names, paths, map(task.label_entry, labels), segments, sizes)
    analyses = analyse(tested)
    return build_record(
        task=task,
        entries=entries,
        found=task.results(entries, labels, scores, decoded, class_names, protocol.score),
        class_names=class_names,
        protocol=protocol,
        model=model,
        failures=failures,
        analyses=analyses,
        cost=cost,
        notes=[*notes, *_score_notes(scores[decoded], protocol.medium), *notes_of(analyses)],
        seconds=seconds,
        **facts,
    )


def build_record(
    *,
    task: RecordingTask,
    entries: Sequence[dict[str, Any]],
    found: dict[str, Any],
    title: str,
    class_names: Sequence[str],
    protocol: Protocol,
    model: Mapping[str, Any],
    playback: str = "forward",
    videos_sha256: str = "",
    failures: Mapping[int, str] | None = None,
    analyses: Mapping[str, Any] | None = None,
    cost: dict[str, Any] | None = None,
    motion: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    notes: Iterable[str] = (),
    seconds: float = 0.0,
    settings: str = "",
    versions: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
    changed_settings: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    differs: Sequence[str] = (),
    among_classes: Mapping[str, Any] | None = None,
    created: str | None = None,
) -> dict[str, Any]:
    """The record of an evaluation whose figures are known, ready for JSON.

    Args:
        task: the `Task` that the model was trained for.
        entries: what is known of each video before it is tested, of `entries_of`.
        found: the figures: "summary", "videos" and what else the task has.
        protocol: the `Protocol` of the test, its precision the one that was used.
        playback: "forward", or "reverse" for videos played backwards.
        videos_sha256: the digest of the list of videos.
        failures: {index of a video: one-line reason why it could not be decoded}.
        analyses: those that are made of scores.
        cost: what `evaluation.cost.measured_cost` gives.
        motion: what the task's `motion` gives, if that is measured.
        model, training, versions: plain dicts, recorded as they are.
        seconds: duration of the evaluation.
        settings: the resolved config as YAML text.
        data: "name" of the data set, "format" of its lists, "split" that is tested, "license" of the videos.
        changed_settings: as `config.settings.changed_settings` gives them.
        differs: of a further test of a run, by what it differs from the run's own, in sentences.
        among_classes: where some of the model's classes are told apart alone, which; see docs/results.md.
        created: ISO 8601 time; now, in UTC, by default.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        **task.mark(),
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
            for index, reason in sorted((failures or {}).items())
        ],
        "motion": motion,
        "analyses": dict(analyses or {}),
        "model": dict(model),
        "cost": cost,
        "training": training,
        "notes": list(notes),
        "seconds": float(seconds),
        "settings": settings,
        "versions": dict(versions or {}),
        "data": dict(data) if data else None,
        "changed_settings": dict(changed_settings) if changed_settings else None,
        "differs": list(differs),
        "among_classes": dict(among_classes) if among_classes else None,
    }


def save_results(
    folder: Path | str, results: Mapping[str, Any], view_scores: ArrayLike, task: RecordingTask
) -> None:
    """Write `results.json` and `scores.npz` into `folder`, which is made if needed.

    `view_scores` is float `[video, view, class]`, in the order of `results["videos"]`; `task` is that of
    the results.
    """
    save_record(folder, results, task, scores=np.asarray(view_scores, dtype=np.float32))


def save_record(
    folder: Path | str, results: Mapping[str, Any], task: RecordingTask, **arrays: np.ndarray
) -> None:
    """Write `results.json`, and `scores.npz` with the `arrays`, one row a video, its labels and names."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    videos = results["videos"]
    assert all(len(array) == len(videos) for array in arrays.values())
    with atomic_write(folder / SCORES_FILE) as file:
        named: dict[str, Any] = {
            **arrays,
            "labels": task.saved_labels(videos, len(results["class_names"])),
            "names": np.array([video["name"] for video in videos], dtype=np.str_),
        }
        np.savez(file, **named)
    write_record(folder, results)


def write_record(folder: Path | str, results: Mapping[str, Any]) -> None:
    """Write `results.json` alone into `folder`."""
    text = simplejson.dumps(
        results, ignore_nan=True, indent=1, ensure_ascii=False, default=_plain_number
    )
    # A file name that is no valid UTF-8 arrives as lone surrogates, whose backslash form is
    # also their JSON escape.
    write_text(Path(folder) / RESULTS_FILE, text)


def load_results(folder: Path | str) -> dict[str, Any]:
    """The record in `folder`; `DataError` if it is missing, damaged or of another version.

    What its task put there is not looked at: `tasks.registry.load_tested` does that too.
    """
    path = Path(folder) / RESULTS_FILE
    try:
        results = simplejson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
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
    # earlier records have none of these
    for key, absent in (
        ("analyses", {}),
        ("cost", None),
        ("data", None),
        ("changed_settings", None),
        ("differs", []),
        ("among_classes", None),
    ):
        results.setdefault(key, absent)
    if lacking := [key for key in _KEYS if key not in results]:
        raise DataError(f"{path} is damaged: it lacks {lacking[0]}; delete it")
    return results


def entries_of(
    names: Iterable[str],
    paths: Iterable[str],
    labels: Iterable[Mapping[str, Any]],
    segments: Iterable[Segment],
    sizes: Mapping[int, tuple[int, int]],
) -> list[dict[str, Any]]:
    """What is known of each video before it is tested."""
    entries = []
    listed = zip(names, paths, labels, segments, strict=True)
    for index, (name, path, label, (start, end)) in enumerate(listed):
        entry = {"name": str(name), "path": str(path), **label}
        entry |= {"start": float(start)} if start else {}
        entry |= {"end": float(end)} if end is not None else {}
        entry |= {"size": list(sizes[index])} if index in sizes else {}
        entries.append(entry)
    return entries


def _score_notes(scores: np.ndarray, noun: str) -> list[str]:
    bad = int((~np.isfinite(scores)).any(axis=tuple(range(1, scores.ndim))).sum())
    if not bad:
        return []
    return [f"For {bad} of {len(scores)} decoded {noun}s the model's scores are not all finite."]


def _plain_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to {RESULTS_FILE}")
