"""What a record that was scored again says of the test that it was made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniformer_video.data.lists.media import noun_of
from uniformer_video.data.protocol import Protocol
from uniformer_video.evaluation.results import RESULTS_FILE, SCORES_FILE
from uniformer_video.weights.checkpoint import file_sha256
from uniformer_video.words import name_some, plural


@dataclass(frozen=True)
class Kept:
    """What of a test is kept: numbers of its clips, crops, classes and videos, and the labels of these.

    unknown: what lists of videos named that the test does not have. without: how many videos are left out
    because their class is. lost_labels: how many labels the kept videos have among the classes that are not.
    """

    score: str
    names: list[str]
    clips: list[int]
    crops: list[int]
    classes: list[int]
    videos: list[int]
    labels: list[Any]
    unknown: list[str]
    without: int
    lost_labels: int


def left_out(results: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """What the test's record has and the new one lacks."""
    parts = [key for key in results if results[key] and record.get(key) is None]
    analyses = [f"analyses.{key}" for key in results["analyses"] if key not in record["analyses"]]
    return [part for part in parts if part != "rescored"] + analyses


def told_of(folder: Path, results: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
    """What the new record says of its origin."""
    protocol = Protocol.from_dict(results["protocol"])
    return {
        "folder": str(folder),
        "created": results["created"],
        "results_sha256": file_sha256(folder / RESULTS_FILE),
        "scores_sha256": file_sha256(folder / SCORES_FILE),
        "score": protocol.score,
        "num_clips": protocol.num_clips,
        "clips": kept.clips,
        "num_crops": protocol.views.num_crops,
        "crops": kept.crops,
        "classes": len(results["class_names"]),
        "left_out_classes": len(results["class_names"]) - len(kept.classes),
        "videos": len(results["videos"]),
        "left_out_videos": len(results["videos"]) - len(kept.videos),
        "videos_of_left_out_classes": kept.without,
        "videos_not_in_the_test": kept.unknown,
        "left_out_labels": kept.lost_labels,
        "renamed": kept.names != results["class_names"],
        "before": results.get("rescored"),
    }


def origins(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What a record and those that it comes from say of their origins, the first test's last."""
    told, found = record.get("rescored"), []
    while told:
        found.append(told)
        told = told.get("before")
    return found


def notes_of(told: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """The origin of a record in sentences."""
    noun = noun_of(record)
    changes = _changes(told, record["protocol"]["score"], noun)
    notes = [
        f"Scored again from the logits of the test in {told['folder']} of {told['created'][:10]} "
        f"({RESULTS_FILE} SHA-256 {told['results_sha256'][:12]}): "
        f"{'; '.join(changes) or f'all of its views, classes and {noun}s'}. Duration, costs and settings are "
        "those of that test."
    ]
    if unknown := told["videos_not_in_the_test"]:
        notes.append(
            f"{plural(len(unknown), 'entry', 'entries')} of the lists of --videos "
            f"{f'is no {noun}' if len(unknown) == 1 else f'are no {noun}s'} of the test: "
            f"{name_some(unknown)}."
        )
    if told["groups"]:
        notes.append(
            f"The interval of the first figure takes {told['groups']} groups of {noun}s as drawn at random, "
            f"not single {noun}s."
        )
    if told["left_out"]:
        notes.append(
            f"Of that test's record this one lacks what the logits of these views do not tell: "
            f"{', '.join(told['left_out'])}."
        )
    return notes


def _changes(told: Mapping[str, Any], score: str, noun: str) -> list[str]:
    changes = []
    if score != told["score"]:
        changes.append(f"views averaged as {score} in place of {told['score']}")
    for part in ("clip", "crop"):
        own, total = told[f"{part}s"], told[f"num_{part}s"]
        if len(own) < total:
            numbers = ", ".join(map(str, own))
            changes.append(f"{part}{'' if len(own) == 1 else 's'} {numbers} of 0 to {total - 1}")
    if out := told["left_out_classes"]:
        left = f"the scores of {out} of {told['classes']} classes are left out"
        left += (
            f", with {plural(told['left_out_labels'], 'label')}" if told["left_out_labels"] else ""
        )
        changes.append(left)
    if out := told["left_out_videos"]:
        of = f", {told['videos_of_left_out_classes']} of them of those classes"
        told_classes = of if told["videos_of_left_out_classes"] else ""
        changes.append(f"{out} of {plural(told['videos'], noun)} are left out{told_classes}")
    if told["renamed"]:
        changes.append("classes have other names")
    return changes
