"""What is worth a look beside the settings: labels, broken videos, groups, sizes, time. One line each."""

import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from uniformer_video.advice.cost import Cost
from uniformer_video.advice.groups import find_groups
from uniformer_video.advice.source import Source
from uniformer_video.advice.videos import VideoFacts, common_folder
from uniformer_video.config.rows import SETTINGS
from uniformer_video.data.lists.class_counts import class_counts
from uniformer_video.program import command
from uniformer_video.words import duration, name_some, plural

_FEW = 5  # videos of a class
_LARGE, _RESIZED = 480, 320  # pixels of the short side
_LONG = 20  # seconds
_TOO_LONG = 24 * 3600  # seconds of training without a GPU
_ALLOWED_BROKEN = SETTINGS["DATA.MAX_BAD_RATIO"].default
_SHOWN = 0.8  # the accuracy whose interval is told
_GIGABYTE = 1e9


def notes_on(
    source: Source, facts: VideoFacts, settings: Mapping[str, Any], cost: Cost | None = None
) -> Iterator[str]:
    """Lines on the videos of `source`, with the numbers they rest on; the most urgent first.

    settings: all of the run, flat; {} where there are no labels.
    """
    yield from _on_broken(source, facts)
    if not source.class_names:
        yield from _on_labels(source)
        return
    yield from source.notes
    yield from _on_parts(source)
    yield from _on_classes(source)
    yield from _on_groups(source)
    yield from _on_sizes(source, facts)
    yield from _on_lengths(facts, settings)
    if cost:
        yield from _on_cost(cost)


def _on_broken(source: Source, facts: VideoFacts) -> Iterator[str]:
    if not facts.broken:
        return
    named = name_some([f"{name}: {reason}" for name, reason in facts.broken])
    line = f"{len(facts.broken)} of {facts.looked_at} videos cannot be read ({named})"
    if len(facts.broken) > _ALLOWED_BROKEN * facts.looked_at:
        line += f"; training stops above DATA.MAX_BAD_RATIO {_ALLOWED_BROKEN:g}: take them out"
    if words := _what_to_check(source):
        check = command(shlex.join(["prepare", "check", *words]))
        line += f"; to look at every frame of all: {check}"
    yield line


def _what_to_check(source: Source) -> list[str]:
    """What `prepare check` takes for these videos; nothing for a single one."""
    if source.format not in ("kinetics", "frames") and not os.path.isfile(source.given):
        return [source.given]
    lists = {record.source.rpartition(":")[0] for record in source.records}
    words = sorted(os.path.normpath(name) for name in lists if os.path.isfile(name))
    if words and (prefix := source.settings.get("DATA.PATH_PREFIX")):
        words += ["--prefix", prefix]
    if words and source.format == "frames":
        words += ["--template", os.path.basename(source.records[0].path)]
    return words


def _on_labels(source: Source) -> Iterator[str]:
    """What is missing where there are videos and no classes."""
    videos = source.records
    folder = source.given if os.path.isdir(source.given) else os.path.dirname(source.given) or "."
    what = "this video has" if len(videos) == 1 else f"these {len(videos)} videos have"
    example = os.path.join(folder, "running", os.path.basename(videos[0].name))
    listed = f"{os.path.basename(videos[0].name)},running"
    yield (
        f"{what} no labels, and training needs some, of two classes at least. Give them by one sub-folder "
        f"a class ({example}), or by a list, {os.path.join(folder, 'train.csv')}, with a video and its "
        f"class on each line ({listed}); then run this again"
    )
    if guessed := guess_classes([os.path.basename(record.name) for record in videos]):
        told = name_some([f"{name} ({count})" for name, count in guessed.items()], 5)
        yield f"if their names begin with the class, there are {len(guessed)}: {told}"


def guess_classes(names: list[str]) -> dict[str, int]:
    """{what names of files begin with before a number: how many}; {} unless that parts them into classes."""
    stems = [re.match(r"([A-Za-z][A-Za-z_\- ]*?)[_\- ]*\(?\d", name) for name in names]
    counts = Counter(stem[1] for stem in stems if stem)
    often = {name: count for name, count in sorted(counts.items()) if count > 1}
    return often if len(often) > 1 and sum(often.values()) > 0.8 * len(names) else {}


def _on_parts(source: Source) -> Iterator[str]:
    if source.copy_list:
        yield f"a run reads train.csv: the command first copies {source.copy_list[0]} to that name"
    if "val" not in source.splits:
        yield (
            "there is no validation list, so nothing says when the model has learnt enough, or how good it "
            "is: move about a fifth of the lines of each class into one beside it, and run this again"
        )
        return
    held_out = len(source.splits["val"])
    width = 1.96 * math.sqrt(_SHOWN * (1 - _SHOWN) / held_out)
    if width > 0.05 and "TRAIN.TASK" not in source.settings:
        yield (
            f"{plural(held_out, 'video')} for validation: an accuracy of {100 * _SHOWN:.0f} % on them may be "
            f"off by {100 * width:.0f} points (95 % interval)"
        )


def _on_classes(source: Source) -> Iterator[str]:
    counts = class_counts(source.splits["train"])
    few = {name: counts[label] for label, name in enumerate(source.class_names)}
    few = {name: count for name, count in few.items() if count < _FEW}
    if few:
        told = name_some([f"{name} ({count})" for name, count in few.items()])
        yield (
            f"{plural(len(few), 'class', 'classes')} with fewer than {_FEW} training videos: {told}; add "
            "some, or join classes"
        )


def _on_groups(source: Source) -> Iterator[str]:
    # by a column, or by DATA.GROUP_PATTERN
    is_told = any(record.group for record in source.records)
    found = None if is_told else find_groups(source.records)
    if not found:
        return
    kind, pattern, groups = found
    yield (
        f"by their names {plural(len(source.records), 'video')} may be of {groups} different {kind}s; one "
        "that is in training and test alike flatters the accuracy; if so, add "
        f"{shlex.join(['DATA.GROUP_PATTERN', pattern])}"
    )


def _on_sizes(source: Source, facts: VideoFacts) -> Iterator[str]:
    short = facts.short_side
    if short is None or short.middle < _LARGE:
        return
    is_folder = source.format == "folder"
    folder = source.given if is_folder else common_folder(r.path for r in source.records)
    if not folder or not os.path.isdir(folder):
        return
    smaller = f"{folder.rstrip(os.sep)}_{_RESIZED}"
    words = ["prepare", "resize", folder, "--out", smaller, "--short-side", str(_RESIZED)]
    yield (
        f"the median video is {short.middle:.0f} pixels high or wide, of which a clip needs {_RESIZED} at "
        f"most; smaller copies are cheaper to decode: {command(shlex.join(words))}"
    )


def _on_lengths(facts: VideoFacts, settings: Mapping[str, Any]) -> Iterator[str]:
    seconds = facts.seconds
    if seconds is None:
        return
    if seconds.middle > _LONG:
        yield (
            f"the median video lasts {duration(seconds.middle)}: where its class shows in a part alone, "
            "say which, by the columns start and end of a list; else many clips teach a wrong label"
        )
    elif settings["DATA.SAMPLING"] == "dense":
        yield (
            "no header tells whether any part shows the class: clips are windows of the "
            f"{seconds.middle:.1f} s of the median video; where the whole course counts (opening or closing "
            "something), add "
            "DATA.SAMPLING segment and leave out DATA.SAMPLING_RATE and DATA.TARGET_FPS"
        )


def _on_cost(cost: Cost) -> Iterator[str]:
    if cost.reason:
        yield f"time and memory are not known, a training step could not be measured: {cost.reason}"
    if not cost.device.startswith("cuda") and cost.seconds > _TOO_LONG:
        yield (
            f"{duration(cost.seconds)} are too long: take a machine with a GPU, or add SOLVER.MAX_EPOCH with "
            "fewer epochs"
        )
    if cost.memory and cost.available and cost.memory > cost.available:
        yield (
            f"about {cost.memory / _GIGABYTE:.1f} GB are needed, and {cost.available / _GIGABYTE:.1f} GB are "
            "free: add a smaller TRAIN.BATCH_SIZE"
        )
