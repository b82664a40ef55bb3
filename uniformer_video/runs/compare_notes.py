"""What has to be said of a comparison beside its figures, in plain sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from uniformer_video.evaluation.record import Results
from uniformer_video.runs.same_videos import SameTest
from uniformer_video.words import name_some, plural


def on_same_answers(names: Sequence[str], same: Sequence[SameTest]) -> list[str]:
    """Notes on runs that are the same one in two folders."""
    notes = []
    for place, test in enumerate(same):
        for earlier in range(place):
            if test.has_scores_of(same[earlier]):
                notes.append(
                    f"{names[place]} has the same scores as {names[earlier]}, to the bit: it is the same run "
                    "once more."
                )
                break
    return notes


def on_other_protocols(names: Sequence[str], results: Sequence[Results]) -> list[str]:
    """Notes on tests that were made in another way than the first."""
    first, *others = [{**one.protocol.to_dict(), "playback": one.playback} for one in results]
    notes = []
    for name, own in zip(names[1:], others, strict=True):
        differ = [
            f"{key} {first[key]} and {own[key]}"
            for key in own
            # "auto": an earlier record, which does not tell
            if own[key] != first[key] and "auto" not in (own[key], first[key])
        ]
        if differ:
            notes.append(
                f"{names[0]} and {name} were tested in different ways ({', '.join(differ)}), so that what is "
                "compared is also how they were tested."
            )
    return notes


def on_cross_validations(names: Sequence[str], results: Sequence[Results]) -> list[str]:
    """A note on cross-validations that are held against runs of one model."""
    joined = [name for name, one in zip(names, results, strict=True) if one.crossval]
    single = [name for name in names if name not in joined]
    if not joined or not single:
        return []
    noun = results[0].protocol.medium
    return [
        f"A cross-validation answers each {noun} by the model of a fold that did not learn from it "
        f"({', '.join(joined)}); whether {', '.join(single)} learned from any of these {noun}s is not known."
    ]


def on_what_lacks(
    rows: Sequence[Mapping[str, Any]],
    settings: Sequence[Mapping[str, Any] | None],
    left_out: Sequence[Mapping[str, Any]],
    videos: int,
    noun: str,
) -> list[str]:
    """Notes on what is not compared, and what is not known of runs. noun: what was tested."""
    notes = []
    if left_out:
        failed = ", ".join(f"{row['name']} {row['failed']}" for row in rows if row["failed"])
        named = name_some([video["name"] for video in left_out])
        notes.append(
            f"Compared are the {videos - len(left_out)} of {plural(videos, noun)} that every run could "
            f"decode. {plural(len(left_out), noun)} could not be decoded by all of them ({failed}): "
            f"{named}."
        )
    if unknown := [row["name"] for row in rows if row["gflops_video"] is None]:
        notes.append(
            f"What {', '.join(unknown)} costs is not known: neither the results nor the model's name and "
            "settings tell its multiply-adds."
        )
    if silent := [row["name"] for row, own in zip(rows, settings, strict=True) if own is None]:
        notes.append(
            f"The settings of {', '.join(silent)} are not recorded or cannot be read here, so that nothing "
            "tells whether it is of the same recipe as another run; it counts as a recipe of its own."
        )
    return notes
