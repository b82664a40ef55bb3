"""A stored test once more, from the logits of its views: by other views, scores, classes or videos.

Nothing is decoded, and the test's own files stay as they are: the new record lies in a folder of its own.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.data.lists.class_names import named_classes
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.lists.records import VideoRecord, list_digest
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError, DataError, choice_error
from uniformer_video.evaluation.analyses.registry import notes_of as of_analyses
from uniformer_video.evaluation.analyses.tested import renumbered
from uniformer_video.evaluation.rescored import Kept, left_out, notes_of, told_of
from uniformer_video.evaluation.results import (
    RESULTS_FILE,
    build_results,
    load_results,
    save_results,
)
from uniformer_video.evaluation.selection import (
    chosen_classes,
    chosen_clips,
    chosen_crops,
    chosen_videos,
)
from uniformer_video.evaluation.strips import Strips
from uniformer_video.evaluation.variants import (
    VARIANTS_FILE,
    VariantScores,
    load_variants,
    save_variants,
)
from uniformer_video.runs.folder import BEST_FILE, CONFIG_FILE, LAST_FILE
from uniformer_video.runs.multi_view_test import show
from uniformer_video.runs.stored_test import folder_of_test, make_folder, read_stored_test
from uniformer_video.runs.variants_test import record_variants
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.task import Task
from uniformer_video.words import plural

log = logging.getLogger(__name__)

_EVERY = "all"


@dataclass(frozen=True)
class Choice:
    """What of a test is scored again; None, or nothing, leaves it as it is.

    score: one of the task's score rules. clips, crops: as `evaluation.selection.chosen_clips` and
    `chosen_crops` take them; classes, videos: words for `chosen_classes` and `chosen_videos`. class_names: a
    file of other names of all classes, in their order, or a known order, by which classes are then chosen.
    """

    score: str | None = None
    clips: str | None = None
    crops: str | None = None
    classes: Sequence[str] = ()
    videos: Sequence[str] = ()
    class_names: str | None = None


def rescore(folder: Path | str, out: Path | str, choice: Choice | None = None) -> Path:
    """Score the test in `folder` again and write the record, its scores and its page into `out`; that path.

    Without a choice everything is computed again, as for a record of an earlier version. Raises `UserError`
    for what cannot be: nothing that is left, a view or a class that the test does not have, the test's own
    folder, or one that holds a test.
    """
    if not str(out):
        raise ConfigError("--out is empty; give a folder for the new results")
    folder, out, choice = folder_of_test(folder), Path(out), choice or Choice()
    results, task = load_tested(folder)
    if not task.has_analyses:
        raise ConfigError(
            f"rescore takes tests of classes of whole videos, and {folder} is of the task {task.name}"
        )
    _check_target(folder, out)
    scores = read_stored_test(folder).view_scores
    kept = _choose(choice, results, task)
    variants = _variants(folder, results, kept)
    record, chosen = _build(folder, results, task, scores, kept, variants)
    make_folder(out, out)
    strips = Strips.load(folder, len(results["videos"]))
    Strips.of({place: strips[own] for place, own in enumerate(kept.videos)}, len(kept.videos)).save(
        out
    )
    if variants:
        save_variants(out, variants, [video["name"] for video in record["videos"]])
    else:
        (out / VARIANTS_FILE).unlink(missing_ok=True)
    save_results(out, record, chosen, task)
    for note in notes_of(record["rescored"], record):
        log.info(note)
    show(out)
    return out


def _check_target(folder: Path, out: Path) -> None:
    """Raise `ConfigError` unless `out` is free, or holds what this wrote before."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; give a folder for the new results")
    if out.resolve() == folder.resolve():
        raise ConfigError(
            f"--out {out} is the test itself, whose files stay as they are; give another folder"
        )
    holds_run = any((out / name).exists() for name in (CONFIG_FILE, LAST_FILE, BEST_FILE))
    if holds_run or ((out / RESULTS_FILE).exists() and not load_results(out).get("rescored")):
        raise ConfigError(f"--out {out} holds a run or the results of a test; give another folder")


def _choose(choice: Choice, results: Mapping[str, Any], task: Task) -> Kept:
    protocol = Protocol.from_dict(results["protocol"])
    score = protocol.score if choice.score is None else choice.score
    if score not in task.view_scores:
        raise choice_error("--score", score, task.view_scores)
    if protocol.medium == IMAGE.name and not (choice.clips is None and choice.crops is None):
        raise ConfigError("--clips and --crops are for videos; an image has one view, its centre")
    names = _names(choice.class_names, results["class_names"])
    classes = chosen_classes(choice.classes, names) if choice.classes else list(range(len(names)))
    if len(classes) < task.min_classes <= len(names):
        raise ConfigError(
            f"--classes leaves {plural(len(classes), 'class', 'classes')}, and the task {task.name} takes "
            f"{task.min_classes} or more"
        )
    videos = list(range(len(results["videos"])))
    unknown: list[str] = []
    if choice.videos:
        videos, unknown = chosen_videos(choice.videos, results["videos"], protocol.medium)
    places = {own: place for place, own in enumerate(classes)}
    before = {video: task.recorded_label(results["videos"][video]) for video in videos}
    labels = {video: task.label_among(before[video], places) for video in videos}
    left = [video for video in videos if labels[video] is not None]
    failed = {_segment(failure) for failure in results["failures"]}
    if all(_segment(results["videos"][video]) in failed for video in left):
        raise DataError(
            f"no {protocol.medium} that could be decoded is left to score; choose other --videos or --classes"
        )
    return Kept(
        score,
        names,
        chosen_clips(_EVERY if choice.clips is None else choice.clips, protocol.num_clips),
        chosen_crops(_EVERY if choice.crops is None else choice.crops, protocol.views.num_crops),
        classes,
        left,
        [labels[video] for video in left],
        unknown,
        len(videos) - len(left),
        sum(_num_labels(before[video]) - _num_labels(labels[video]) for video in left),
    )


def _num_labels(label: Any) -> int:
    return len(label) if isinstance(label, tuple) else 1


def _names(given: str | None, own: list[str]) -> list[str]:
    if given is None:
        return own
    names = named_classes(given, "--class-names")
    if len(names) != len(own):
        raise DataError(
            f"--class-names {given} has {plural(len(names), 'name')}, and the test has "
            f"{plural(len(own), 'class', 'classes')}; give one for each, in their order"
        )
    return names


def _build(
    folder: Path,
    results: Mapping[str, Any],
    task: Task,
    scores: np.ndarray,
    kept: Kept,
    variants: VariantScores | None,
) -> tuple[dict[str, Any], np.ndarray]:
    """The new record, and its logits `[video, view, class]`."""
    protocol = Protocol.from_dict(results["protocol"])
    clips, crops = protocol.num_clips, protocol.views.num_crops
    views = scores.reshape(len(scores), clips, crops, -1)
    at = np.ix_(kept.videos, kept.clips, kept.crops, kept.classes)
    chosen = views[at].reshape(len(kept.videos), -1, len(kept.classes))
    videos = [results["videos"][video] for video in kept.videos]
    reasons = {_segment(failure): failure["reason"] for failure in results["failures"]}
    failures = {
        place: reasons[_segment(video)]
        for place, video in enumerate(videos)
        if _segment(video) in reasons
    }
    groups = _groups(videos)
    record = build_results(
        task=task,
        title=f"{results['title'].removesuffix(', rescored')}, rescored",
        names=[video["name"] for video in videos],
        paths=[video["path"] for video in videos],
        labels=kept.labels,
        view_scores=chosen,
        class_names=[kept.names[own] for own in kept.classes],
        protocol=replace(protocol.with_views(len(kept.clips), len(kept.crops)), score=kept.score),
        playback=results["playback"],
        videos_sha256=_digest(results, videos, kept),
        model=results["model"],
        segments=[(video.get("start", 0.0), video.get("end")) for video in videos],
        failures=failures,
        sizes={
            place: tuple(video["size"]) for place, video in enumerate(videos) if "size" in video
        },
        groups=groups,
        cost=_cost(results["cost"], chosen.shape[1] / scores.shape[1]),
        motion=_motion(results, kept),
        training=results["training"],
        notes=[note for note in results["notes"] if note not in of_analyses(results["analyses"])],
        seconds=results["seconds"],
        settings=results["settings"],
        versions=results["versions"],
        data=results["data"],
        changed_settings=results["changed_settings"],
        differs=results["differs"],
        among_classes=results["among_classes"],
    )
    record["videos"] = [
        {**before, **now} for before, now in zip(videos, record["videos"], strict=True)
    ]
    if variants:
        opposite = _opposites(results, kept)
        record_variants(record, task, chosen, kept.labels, variants, opposite, groups)
    num_groups = _group_interval(task, record, chosen, kept.labels, groups, failures)
    told = {
        **told_of(folder, results, kept),
        "groups": num_groups,
        "left_out": left_out(results, record),
    }
    record["notes"] = list(dict.fromkeys([*notes_of(told, record), *record["notes"]]))
    return {**record, "rescored": told}, chosen


def _segment(video: Mapping[str, Any]) -> tuple[Any, ...]:
    return video["path"], video.get("start"), video.get("end")


def _is_whole(results: Mapping[str, Any], kept: Kept) -> bool:
    """Whether all videos and all classes are kept."""
    return (len(kept.videos), len(kept.classes)) == (
        len(results["videos"]),
        len(results["class_names"]),
    )


def _digest(results: Mapping[str, Any], videos: Sequence[Mapping[str, Any]], kept: Kept) -> str:
    if _is_whole(results, kept):
        return results["videos_sha256"]
    labels = [label if isinstance(label, tuple) else (label,) for label in kept.labels]
    listed = zip(videos, labels, strict=True)
    return list_digest(VideoRecord(video["path"], video["name"], label) for video, label in listed)


def _is_scored_alike(results: Mapping[str, Any], kept: Kept) -> bool:
    """Whether all views and classes are kept, and the score."""
    protocol = Protocol.from_dict(results["protocol"])
    views = len(kept.clips) * len(kept.crops)
    same_views = (views, kept.score) == (protocol.num_views, protocol.score)
    return same_views and len(kept.classes) == len(results["class_names"])


def _variants(folder: Path, results: Mapping[str, Any], kept: Kept) -> VariantScores | None:
    """What is kept of the variants of the test; None without any, or where no logits of views tell it."""
    found = load_variants(folder)
    if found is None or not (found.per_view or _is_scored_alike(results, kept)):
        return None
    protocol = Protocol.from_dict(results["protocol"])
    views = protocol.num_clips, protocol.views.num_crops
    return found.part(kept.videos, kept.clips, kept.crops, kept.classes, views)


def _opposites(results: Mapping[str, Any], kept: Kept) -> dict[int, int]:
    """{class: its opposite} by the new numbers, of those that are both kept."""
    places = {results["class_names"][own]: place for place, own in enumerate(kept.classes)}
    pairs = ((results["motion"] or {}).get("opposites") or {}).items()
    return {places[a]: places[b] for a, b in pairs if a in places and b in places}


def _motion(results: Mapping[str, Any], kept: Kept) -> dict[str, Any] | None:
    """The check of an earlier version, which kept no logits of it: None unless the same is scored alike."""
    motion = results["motion"]
    if not motion or not (_is_whole(results, kept) and _is_scored_alike(results, kept)):
        return None
    new = dict(zip(results["class_names"], kept.names, strict=True))
    opposites = {new[one]: new[other] for one, other in motion["opposites"].items()}
    return {**motion, "opposites": opposites}


def _cost(cost: dict[str, Any] | None, share: float) -> dict[str, Any] | None:
    """The cost of the test where a `share` of its views is cut; all clips were decoded in one go."""
    if cost is None or cost.get("crop_seconds") is None:
        return cost
    return {**cost, "crop_seconds": cost["crop_seconds"] * share}


def _groups(videos: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    """int `[N]`, from 0, of videos of one group, as a cross-validation records them; None without any."""
    if not any(video.get("group") for video in videos):
        return None
    return renumbered([video.get("group") or place for place, video in enumerate(videos)])


def _group_interval(
    task: Task,
    record: dict[str, Any],
    scores: np.ndarray,
    labels: Sequence[Any],
    groups: np.ndarray | None,
    failures: Mapping[int, str],
) -> int:
    """As in a cross-validation: give the headline the interval of videos in groups; how many there are, 0
    without any.
    """
    if groups is None:
        return 0
    good = [place for place in range(len(labels)) if place not in failures]
    known = renumbered(groups[good])
    means = task.video_scores(scores[good], record["protocol"]["score"])
    interval = task.group_interval([labels[place] for place in good], means, known)
    headline = record["summary"][task.headline]
    if interval is None or not isinstance(headline, dict):
        return 0
    headline["low"], headline["high"] = interval
    return int(known.max()) + 1
