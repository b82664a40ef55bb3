"""Groups of videos that belong together, of one person, source or day: what a list or a pattern says."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from uniformer_video.data.lists.records import VideoRecord, noun_of
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, one_line, plural


def listed_name(record: VideoRecord) -> str:
    """The path of a record as its list has it, with slashes, and without the seconds of a segment."""
    name = record.name
    if record.start or record.end is not None:
        name = name.rpartition("#")[0] or name
    return name.replace("\\", "/")


def group_of(record: VideoRecord) -> tuple[str, str]:
    """What tells the groups apart. A video without one is its own; so segments of one file stay together."""
    return ("group", record.group) if record.group else ("video", record.path)


def count_groups(records: Iterable[VideoRecord]) -> int:
    """How many groups there are, a video without one being its own."""
    return len({group_of(record) for record in records})


def with_groups(records: Sequence[VideoRecord], pattern: str) -> list[VideoRecord]:
    """The records, those without a group in the one that the regular expression `pattern` finds.

    It is looked for anywhere in the path as the list has it, see `listed_name`. The group is what its
    brackets hold, all of it without brackets; where it does not match, or they hold nothing, there is none.
    """
    if not pattern:
        return list(records)
    compiled = re.compile(pattern)

    def found(record: VideoRecord) -> VideoRecord:
        match = None if record.group else compiled.search(listed_name(record))
        parts = (match.groups() or (match[0],)) if match else ()
        group = "/".join(part or "" for part in parts)
        return replace(record, group=group) if any(parts) else record

    return [found(record) for record in records]


def note_groups(records: Sequence[VideoRecord], pattern: str) -> list[str]:
    """Notes on the groups of all videos of a run: how many there are, and which videos have none.

    Raises `DataError` for a pattern that no path fits.
    """
    noun = noun_of(records)
    grouped = [record for record in records if record.group]
    single = list(dict.fromkeys(listed_name(record) for record in records if not record.group))
    source = f"DATA.GROUP_PATTERN {pattern}" if pattern else "the column group"
    if not grouped:
        if pattern and records:
            raise DataError(
                f"DATA.GROUP_PATTERN {pattern!r} is found in none of the {len(records)} paths, such as "
                f"{listed_name(records[0])!r}; it is a regular expression for a part of such a path, and its "
                "brackets hold the group"
            )
        return []
    groups = dict.fromkeys(record.group for record in grouped)
    line = (
        f"Groups by {source}: {plural(len(groups), 'group')} of {plural(len(grouped), noun)} "
        f"({name_some(list(groups), 5)})"
    )
    if single:
        line += f"; {plural(len(single), noun)} without one, each by itself: {name_some(single)}"
    if len(groups) == len({record.path for record in grouped}) > 1:
        line += f"; no two {noun}s share a group, so that groups change nothing"
    return [one_line(f"{line}."), *_note_parted_files(grouped)]


def _note_parted_files(grouped: Iterable[VideoRecord]) -> list[str]:
    own: dict[str, set[str]] = {}
    for record in grouped:
        own.setdefault(record.path, set()).add(record.group)
    parted = [path for path, groups in own.items() if len(groups) > 1]
    if not parted:
        return []
    return [
        f"{plural(len(parted), 'video')} with segments in several groups, which may be parted: "
        f"{name_some(parted)}."
    ]


def note_shared_groups(splits: Mapping[str, Sequence[VideoRecord]]) -> list[str]:
    """Notes on groups that two of the lists share, `{split: records}`: they flatter figures."""
    groups = {
        split: dict.fromkeys(record.group for record in records if record.group)
        for split, records in splits.items()
    }
    notes = []
    for first, second in (("train", "val"), ("train", "test")):
        other = groups.get(second, {})
        if shared := [group for group in groups.get(first, {}) if group in other]:
            verb = "has" if len(shared) == 1 else "have"
            notes.append(
                one_line(
                    f"{plural(len(shared), 'group')} {verb} {noun_of(splits[first])}s in {first} and "
                    f"in {second}: {name_some(shared, 5)}."
                )
            )
    return notes
