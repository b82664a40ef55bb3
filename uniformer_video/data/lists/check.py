"""Notes on the lists of a run before it starts: repeated videos, missing files, overlaps of splits."""

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np

from uniformer_video.data.decoding import names_frames
from uniformer_video.data.decoding.frame_names import any_frame, any_picture, is_frame_folder
from uniformer_video.data.lists.columns import VideoColumns, as_columns, segments_of
from uniformer_video.data.lists.folders import listed_files
from uniformer_video.data.lists.groups import listed_names
from uniformer_video.data.lists.media import IMAGE, MEDIA, other_than
from uniformer_video.data.lists.records import VideoRecord, label_text, noun_of, without_repeats
from uniformer_video.data.lists.texts import first_places, joined
from uniformer_video.errors import DataError
from uniformer_video.storage.address import name_for_messages
from uniformer_video.storage.members import lost_shards, member_of
from uniformer_video.words import name_some, plural

_ASKED = 256  # videos in one go
_AT_ONCE = 8  # threads that ask for files


def check_list(
    split: str,
    records: Sequence[VideoRecord],
    max_missing: float = 1.0,
    class_names: Sequence[str] = (),
) -> tuple[VideoColumns, list[str]]:
    """(the records to use, notes) of the list of a split: "train", "val" or "test".

    A test counts each video once; training takes a list as it is. Raises `DataError` for a video
    that stands there with different labels, where none of the videos exist, and where a larger share
    than `max_missing` of those that are drawn does not.
    """
    notes = []
    columns = as_columns(records)
    single = without_repeats(columns)
    if repeats := len(columns) - len(single):
        train = split == "train"
        done = "it comes as often in training" if train else "each counts once"
        lines = f"{repeats} of the {len(columns)} lines of the {split} list"
        notes.append(f"{lines} repeat {MEDIA[noun_of(columns)].one} of it; {done}.")
        columns = columns if train else single
    return columns, notes + _note_missing(split, columns, max_missing, class_names)


def check_medium(split: str, records: Sequence[VideoRecord]) -> list[str]:
    """Notes on files of a list that are images by their names where it should hold videos, or the reverse.

    Raises `DataError` where all of them are.
    """
    if not records:
        return []
    medium = MEDIA[noun_of(records)]
    other = other_than(medium)
    columns = as_columns(records)
    names = {
        place: name
        for place, name in enumerate(listed_names(columns))
        if other.fits(name) and not medium.fits(name)
    }
    odd = [
        (name, place)
        for place, name in names.items()
        if not (columns.num_frames[place] or names_frames(columns.path[place]))
    ]
    if not odd:
        return []
    name, first = odd[0][0], columns[odd[0][1]]
    if len(odd) == len(columns):
        raise DataError(
            f"the {split} list holds {other.name}s by their names, such as {name} in {first.source}, and no "
            f"{medium.name}s; set TRAIN.DATASET {other.lists}, or another format of {other.name}s, and take "
            f"a model of {other.name}s"
        )
    verbs = ("is", "counts") if len(odd) == 1 else ("are", "count")
    count = f"{len(odd)} of the {plural(len(records), medium.name)} of the {split} list"
    named = name_some([name for name, _ in odd])
    return [f"{count} {verbs[0]} no {medium.name} by the name, and {verbs[1]} as broken: {named}."]


def note_overlaps(splits: Mapping[str, Sequence[VideoRecord]]) -> list[str]:
    """Notes on videos that stand in two of the lists, `{split: records}`: they flatter figures.

    And on those that have other labels in the one than in the other.
    """
    lists = {split: as_columns(records) for split, records in splits.items()}
    notes: list[str] = []
    told: set[str] = set()
    noun = noun_of(record for records in lists.values() for record in records)
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        if first not in lists or second not in lists:
            continue
        known, other = lists[first], lists[second]
        places = np.unique(first_places(joined([known.path, other.path]))[len(known) :])
        distinct = len(np.unique(first_places(other.path)))
        if shared := int((places < len(known)).sum()):
            notes.append(f"{shared} of {distinct} {second} {noun}s are {first} {noun}s too.")
            notes += _note_conflicts(first, second, known, other, told)
    return notes


def _note_conflicts(
    first: str, second: str, known: VideoColumns, other: VideoColumns, told: set[str]
) -> Iterator[str]:
    """A line on videos with other labels in the second list, but those whose lines are `told` already."""
    wanted = {record.segment for record in other}
    own_of = {
        segment: place for place, segment in enumerate(segments_of(known)) if segment in wanted
    }
    pairs = [(own_of.get(record.segment), record) for record in other]
    differ = [(known[i], record) for i, record in pairs if i is not None]
    differ = [pair for pair in differ if pair[0].labels != pair[1].labels]
    differ = [pair for pair in differ if pair[1].source not in told]
    told |= {record.source for _, record in differ}
    if differ:
        own, record = differ[0]
        yield (
            f"{plural(len(differ), record.medium)} of {first} and {second} with different labels, such as "
            f"{record.name}: {label_text(own.labels)} in {own.source}, {label_text(record.labels)} in "
            f"{record.source}."
        )


def missing_files(records: Iterable[VideoRecord]) -> dict[int, str]:
    """`{place of a video: what of it is not there}`, in the order of the list.

    That is its file, its first frame, its part of a shard, or its mask.
    """
    columns = as_columns(records)
    rest = np.flatnonzero(~listed_files(columns.path))  # all but files that their folders name
    members = [member_of(path) for path in columns.take(rest).path]
    lost = lost_shards(filter(None, members))
    whole = (math.inf, "")
    in_shards = [
        member is not None and member.end <= lost.get(member.shard, whole)[0] for member in members
    ]
    rest = rest[~np.array(in_shards, bool)]
    rest = rest[~_exist(columns.take(rest))]
    gone = {}
    for place in rest.tolist():
        record = columns[place]
        file = f"{record.path}{_what_is(record.path, record.medium)}"
        if member := member_of(record.path):
            file = f"{name_for_messages(member.shard)} ({lost.get(member.shard, whole)[1]})"
        gone[place] = file
    if columns.mask.is_filled.any():
        for place in np.flatnonzero(~listed_files(columns.mask)).tolist():
            if place not in gone and not os.path.isfile(columns.mask[place]):
                gone[place] = _missing_mask(columns[place])
    return dict(sorted(gone.items()))


def _exist(columns: VideoColumns) -> np.ndarray:
    """`bool [n]`: which videos are there, each asked for: many at a time, for a disk may be far away."""
    parts = [columns[first : first + _ASKED] for first in range(0, len(columns), _ASKED)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda part: [*map(_exists, part)], parts)
        return np.array([*chain.from_iterable(answers)], bool)


def _missing_mask(record: VideoRecord) -> str:
    """What to call a mask that is not there."""
    if not record.mask:
        return f"{record.path} (no mask is given)"
    return f"{record.mask}{_what_is(record.mask, record.medium)}"


def _exists(record: VideoRecord) -> bool:
    if record.num_frames:
        return any_frame(record.path)
    if os.path.isfile(record.path):
        return True
    if record.medium == IMAGE.name:
        return False
    return is_frame_folder(record.path) or (names_frames(record.path) and any_frame(record.path))


def _note_missing(
    split: str, records: VideoColumns, allowed: float, class_names: Sequence[str]
) -> list[str]:
    missing = missing_files(records)
    if not missing:
        return []
    first, place = records[next(iter(missing))], next(iter(missing.values()))
    if len(missing) == len(records):
        raise DataError(
            f"none of the {len(records)} {split} {first.medium}s exist; the first is {place}, from "
            f"{first.source}; {_remedy(first)}"
        )
    places = ", ".join(list(dict.fromkeys(missing.values()))[:3])
    noun = f"{first.medium}s{' or masks' if records.mask.is_filled.any() else ''}"
    told = f"{len(missing)} of {len(records)} {split} {noun} do not exist"
    if len({records.path[i] for i in missing if records.weight[i]}) > allowed * len(records):
        raise DataError(
            f"{told}, more than DATA.MAX_BAD_RATIO {allowed:g} allows: {places}; get them, leave them "
            "out of the list, or raise it"
        )
    return [f"{told}: {places}{_classes_without(records, missing, class_names)}"]


def _classes_without(
    records: VideoColumns, missing: Collection[int], class_names: Sequence[str]
) -> str:
    """What to add on classes of which no video is left; nothing where the classes have no names."""
    is_missing = np.zeros(len(records), bool)
    is_missing[list(missing)] = True
    owners, labels = records.labels.flat()
    gone = np.setdiff1d(labels[is_missing[owners]], labels[~is_missing[owners]])
    named = [class_names[label] for label in gone.tolist() if label < len(class_names)]
    return f"; no {noun_of(records)} is left of {name_some(named)}" if named else ""


def _remedy(record: VideoRecord) -> str:
    if member_of(record.path):
        return "the shards belong beside their index.csv"
    template = ", or DATA.IMAGE_TEMPLATE to the names of the frames" if record.num_frames else ""
    if template and (name := any_picture(os.path.dirname(record.path))):
        template += f", such as {name}"
    return f"set DATA.PATH_PREFIX to the folder that the paths start from{template}"


def _what_is(path: str, medium: str) -> str:
    """What stands where a video or a mask should, for messages."""
    if os.path.isdir(path) and medium == IMAGE.name:
        return " (a folder; an image is a file)"
    if os.path.isdir(path):
        return " (a folder without frames)"
    if os.path.islink(path):
        return " (a broken link)"
    spelling = "with / in place of \\ it is not there either"
    return f" (a path as on Windows; {spelling})" if "\\" in path else ""
