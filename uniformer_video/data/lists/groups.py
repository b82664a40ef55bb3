"""Groups of videos that belong together, of one person, source or day: what a list or a pattern says."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from uniformer_video.data.lists.columns import VideoColumns, as_columns, with_group_names
from uniformer_video.data.lists.records import VideoRecord, noun_of
from uniformer_video.data.lists.texts import first_places
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, one_line, plural


def listed_name(record: VideoRecord) -> str:
    """The path of a record as its list has it, with slashes, and without the seconds of a segment."""
    name = record.name
    if record.start or record.end is not None:
        name = name.rpartition("#")[0] or name
    return name.replace("\\", "/")


def listed_names(columns: VideoColumns) -> Iterator[str]:
    """The `listed_name` of each of many videos."""
    if columns.has_segments:
        return map(listed_name, columns)
    return (name.replace("\\", "/") for name in columns.name)


def group_of(record: VideoRecord) -> tuple[str, str]:
    """What tells the groups apart. A video without one is its own; so segments of one file stay together."""
    return ("group", record.group) if record.group else ("video", record.path)


def group_places(columns: VideoColumns) -> np.ndarray:
    """Of each of many videos the place of the first one in its group, as `group_of` has them: `int64 [n]`."""
    is_filled = columns.group.is_filled
    first = np.empty(len(columns), np.int64)
    for own, texts in (
        (np.flatnonzero(is_filled), columns.group),
        (np.flatnonzero(~is_filled), columns.path),
    ):
        first[own] = own[first_places(texts.take(own))]
    return first


def count_groups(records: Iterable[VideoRecord]) -> int:
    """How many groups there are, a video without one being its own."""
    return len(np.unique(group_places(as_columns(records))))


def with_groups(records: Iterable[VideoRecord], pattern: str) -> VideoColumns:
    """The records, those without a group in the one that the regular expression `pattern` finds.

    It is looked for anywhere in the path as the list has it, see `listed_name`. The group is what its
    brackets hold, all of it without brackets; where it does not match, or they hold nothing, there is none.
    """
    columns = as_columns(records)
    if not pattern:
        return columns
    compiled = re.compile(pattern)

    def found(group: str, name: str) -> str:
        match = None if group else compiled.search(name)
        parts = (match.groups() or (match[0],)) if match else ()
        return "/".join(part or "" for part in parts) if any(parts) else group

    return with_group_names(columns, map(found, columns.group, listed_names(columns)))


def note_groups(records: Sequence[VideoRecord], pattern: str) -> list[str]:
    """Notes on the groups of all videos of a run: how many there are, and which videos have none.

    Raises `DataError` for a pattern that no path fits.
    """
    columns = as_columns(records)
    noun = noun_of(columns)
    grouped = columns.take(columns.group.is_filled)
    source = f"DATA.GROUP_PATTERN {pattern}" if pattern else "the column group"
    if not grouped:
        if pattern and columns:
            raise DataError(
                f"DATA.GROUP_PATTERN {pattern!r} is found in none of the {len(columns)} paths, such as "
                f"{listed_name(columns[0])!r}; it is a regular expression for a part of such a path, and its "
                "brackets hold the group"
            )
        return []
    single = list(dict.fromkeys(listed_names(columns.take(~columns.group.is_filled))))
    groups = dict.fromkeys(grouped.group)
    line = (
        f"Groups by {source}: {plural(len(groups), 'group')} of {plural(len(grouped), noun)} "
        f"({name_some(list(groups), 5)})"
    )
    if single:
        line += f"; {plural(len(single), noun)} without one, each by itself: {name_some(single)}"
    if len(groups) == len(np.unique(first_places(grouped.path))) > 1:
        line += f"; no two {noun}s share a group, so that groups change nothing"
    return [one_line(f"{line}."), *_note_parted_files(grouped)]


def _note_parted_files(grouped: VideoColumns) -> list[str]:
    own: dict[str, str] = {}
    pairs = zip(grouped.path, grouped.group, strict=True)
    parted = dict.fromkeys(path for path, group in pairs if own.setdefault(path, group) != group)
    if not parted:
        return []
    ordered = [path for path in own if path in parted]
    return [
        f"{plural(len(parted), 'video')} with segments in several groups, which may be parted: "
        f"{name_some(ordered)}."
    ]


def note_shared_groups(splits: Mapping[str, Sequence[VideoRecord]]) -> list[str]:
    """Notes on groups that two of the lists share, `{split: records}`: they flatter figures."""
    groups = {
        split: dict.fromkeys(filter(None, as_columns(records).group))
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
