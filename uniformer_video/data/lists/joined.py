"""Several lists as one: their classes by name, and videos that stand in more than one of them.

Lists come as `{owner: VideoList}`, the owner a data set or a part of one, as messages name it.
"""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from uniformer_video.data.lists.class_names import places
from uniformer_video.data.lists.columns import (
    VideoColumns,
    as_columns,
    concatenated,
    first_segments,
    with_group_names,
    with_paths,
)
from uniformer_video.data.lists.groups import listed_name
from uniformer_video.data.lists.records import VideoList, VideoRecord, noun_of, relabelled
from uniformer_video.data.lists.texts import Texts, first_places
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, one_line, plural

_CHUNK = 2**20  # bytes
Owner = TypeVar("Owner")


def align_classes(lists: Mapping[Owner, VideoList]) -> dict[Owner, VideoList]:
    """The lists, each with the classes of all by name: those of the first one, then what others add.

    Lists without names are of one numbering. Raises `DataError` where only some of them name their classes.
    """
    named = [owner for owner, listed in lists.items() if listed.class_names]
    numbered = [owner for owner in lists if owner not in named]
    if named and numbered:
        raise DataError(
            f"{named[0]} has class names and {numbered[0]} has bare numbers, so nothing tells which number "
            "is which class; name the classes in classes.txt or DATA.CLASS_NAMES"
        )
    names = list(dict.fromkeys(name for one in lists.values() for name in one.class_names or ()))
    return (
        {owner: _in_order(listed, names) for owner, listed in lists.items()} if named else {**lists}
    )


def _in_order(listed: VideoList, names: list[str]) -> VideoList:
    order = places(listed.class_names or (), names)
    return replace(listed, records=relabelled(listed.records, order), class_names=names)


def concatenate(lists: Mapping[str, VideoList]) -> VideoList:
    """The records of lists with the same classes one behind the other, and each note once."""
    first = next(iter(lists.values()))
    notes = dict.fromkeys(note for listed in lists.values() for note in listed.notes)
    records = concatenated([as_columns(listed.records) for listed in lists.values()])
    return VideoList(records, first.class_names, list(notes))


def note_class_differences(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Notes on classes that not all joined data sets have, `{data set: its class names}`."""
    union = list(dict.fromkeys(name for own in names.values() for name in own))
    common = [name for name in union if all(name in own for own in names.values())]
    if len(common) == len(union):
        return []
    parts = [f"{len(union)} in all, {len(common)} of them in every set"]
    for owner, own in names.items():
        others = {name for other, given in names.items() if other != owner for name in given}
        if only := [name for name in own if name not in others]:
            parts.append(f"only {owner} has {name_some(only, 8)}")
    notes = [f"The joined data sets differ in their classes: {'; '.join(parts)}."]
    spelt: dict[str, str] = {}
    for name in union:
        plain = " ".join(name.replace("_", " ").replace("-", " ").casefold().split())
        other = spelt.setdefault(plain, name)
        if other != name:
            notes.append(f"{other!r} and {name!r} count as two classes; are they one?")
    return [one_line(note) for note in notes]


def same_files(sets: Mapping[str, Sequence[VideoRecord]]) -> dict[str, str]:
    """`{path: the path of the same file in an earlier set}`: links to it, and copies, byte by byte.

    Only files of this machine are looked at, and more than their size only where two sets have some of that
    size. Empty files are copies of nothing.
    """
    paths = {owner: _each_once(as_columns(records).path) for owner, records in sets.items()}
    sizes = {
        owner: np.fromiter(map(_file_size, own), np.int64, len(own)) for owner, own in paths.items()
    }
    of_all = np.concatenate([np.zeros(0, np.int64), *map(np.unique, sizes.values())])
    found_sizes, holders = np.unique(of_all, return_counts=True)
    shared = found_sizes[(holders > 1) & (found_sizes > 0)]
    first: dict[str | bytes, tuple[str, str]] = {}  # by where a file lies, and by its content
    found: dict[str, str] = {}
    for owner, own in paths.items():
        for path in own.take(np.flatnonzero(np.isin(sizes[owner], shared))):
            place = os.path.realpath(path)
            if place not in first:
                first[place] = first.setdefault(_digest(path), (owner, path))
            known_owner, known = first[place]
            if known_owner != owner and known != path:
                found[path] = known
    return found


def _each_once(texts: Texts) -> Texts:
    return texts.take(np.unique(first_places(texts)))


def _file_size(path: str) -> int:
    """Bytes; 0 for what is no file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # the latter for a name that no file can have
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _digest(path: str) -> bytes:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return os.fsencode(path)  # like no other; decoding tells that it cannot be read
    return digest.digest()


def at_first_path(listed: VideoList, same: Mapping[str, str]) -> VideoList:
    """The list with the paths that `same_files` gives in place of those of their copies."""
    if not same:
        return listed
    columns = as_columns(listed.records)
    return replace(
        listed, records=with_paths(columns, (same.get(path, path) for path in columns.path))
    )


def without_shared(
    lists: Mapping[str, VideoList], what: str, also_own: bool = False
) -> tuple[dict[str, VideoList], list[str]]:
    """(the lists, each without the videos, or segments of them, that an earlier one has; notes).

    The lists have the same classes. what: they are, for notes. also_own: nor is a video kept that stands
    earlier in the same list. A group that only one of the two names is that of both. Raises `DataError` for a
    video that has other labels there.
    """
    videos = concatenated([as_columns(listed.records) for listed in lists.values()])
    counts = [len(listed.records) for listed in lists.values()]
    owners, places = np.repeat(np.arange(len(lists)), counts), np.arange(len(videos))
    first = first_segments(videos)
    is_kept = first == places
    if not also_own:
        is_kept |= owners[first] == owners
    repeated: list[str] = []
    for place in np.flatnonzero(~is_kept).tolist():
        record, known = videos[place], videos[int(first[place])]
        if known.labels != record.labels:
            names = [*lists.values()][owners[place]].class_names or ()
            raise DataError(
                f"{record.source}: {record.name} is {_labels(record, names)}, and the same "
                f"{record.medium}, {known.name} in {known.source}, is {_labels(known, names)}; "
                "leave out one of them, or mend its label"
            )
        repeated.append(listed_name(record))
    videos = _with_groups_of_all(videos, first)
    kept = {
        owner: replace(listed, records=videos.take(is_kept & (owners == number)))
        for number, (owner, listed) in enumerate(lists.items())
    }
    if not repeated:
        return kept, []
    noun = noun_of(record for one in lists.values() for record in one.records)
    verbs = ("stands", "counts") if len(repeated) == 1 else ("stand", "count")
    count = f"{plural(len(repeated), noun)} of {what} {verbs[0]} there twice and {verbs[1]} once"
    return kept, [f"{count}: {name_some(list(dict.fromkeys(repeated)))}."]


def _with_groups_of_all(videos: VideoColumns, first: np.ndarray) -> VideoColumns:
    """The videos, those without a group in the one that the same segment has elsewhere.

    first: the place of the first one with the same segment, `int64 [n]`.
    """
    is_filled = videos.group.is_filled
    lacking = np.flatnonzero(~is_filled)
    if len(lacking) in (0, len(videos)):
        return videos
    with_group = np.full(len(videos), -1)
    with_group[first[is_filled]] = np.flatnonzero(is_filled)  # of equal places the last one stays
    source = np.where(is_filled, np.arange(len(videos)), with_group[first])
    groups = videos.group.take(np.where(source < 0, lacking[0], source))
    return with_group_names(videos, groups)


def _labels(record: VideoRecord, names: Sequence[str]) -> str:
    shown = [
        repr(names[label]) if 0 <= label < len(names) else str(label) for label in record.labels
    ]
    return name_some(shown) or "without a label"
