"""Notes on the lists of a run before it starts: repeated videos, missing files, overlaps of splits."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence

from uniformer_video.data.decoding import names_frames
from uniformer_video.data.decoding.frame_names import any_frame, any_picture, is_frame_folder
from uniformer_video.data.lists.groups import listed_name
from uniformer_video.data.lists.media import IMAGE, MEDIA, other_than
from uniformer_video.data.lists.records import VideoRecord, label_text, noun_of, without_repeats
from uniformer_video.errors import DataError
from uniformer_video.storage.address import name_for_messages
from uniformer_video.storage.members import lost_shards, member_of
from uniformer_video.words import name_some, plural


def check_list(
    split: str,
    records: list[VideoRecord],
    max_missing: float = 1.0,
    class_names: Sequence[str] = (),
) -> tuple[list[VideoRecord], list[str]]:
    """(the records to use, notes) of the list of a split: "train", "val" or "test".

    A test counts each video once; training takes a list as it is. Raises `DataError` for a video
    that stands there with different labels, where none of the videos exist, and where a larger share
    than `max_missing` of those that are drawn does not.
    """
    notes = []
    single = without_repeats(records)
    if repeats := len(records) - len(single):
        train = split == "train"
        done = "it comes as often in training" if train else "each counts once"
        lines = f"{repeats} of the {len(records)} lines of the {split} list"
        notes.append(f"{lines} repeat {MEDIA[noun_of(records)].one} of it; {done}.")
        records = records if train else single
    return records, notes + _note_missing(split, records, max_missing, class_names)


def check_medium(split: str, records: Sequence[VideoRecord]) -> list[str]:
    """Notes on files of a list that are images by their names where it should hold videos, or the reverse.

    Raises `DataError` where all of them are.
    """
    if not records:
        return []
    medium = MEDIA[noun_of(records)]
    other = other_than(medium)
    files = [record for record in records if not (record.num_frames or names_frames(record.path))]
    names = [(listed_name(record), record) for record in files]
    odd = [(name, r) for name, r in names if other.fits(name) and not medium.fits(name)]
    if not odd:
        return []
    name, first = odd[0]
    if len(odd) == len(records):
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
    paths = {split: {record.path for record in records} for split, records in splits.items()}
    notes: list[str] = []
    told: set[str] = set()
    noun = noun_of(record for records in splits.values() for record in records)
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        if shared := len(paths.get(first, set()) & paths.get(second, set())):
            notes.append(
                f"{shared} of {len(paths[second])} {second} {noun}s are {first} {noun}s too."
            )
            notes += _note_conflicts(first, second, splits, told)
    return notes


def _note_conflicts(
    first: str, second: str, splits: Mapping[str, Sequence[VideoRecord]], told: set[str]
) -> Iterator[str]:
    """A line on videos with other labels in the second list, but those whose lines are `told` already."""
    known = {record.segment: record for record in splits[first]}
    pairs = [(known.get(record.segment), record) for record in splits[second]]
    differ = [(own, other) for own, other in pairs if own and own.labels != other.labels]
    differ = [pair for pair in differ if pair[1].source not in told]
    told |= {other.source for _, other in differ}
    if differ:
        own, other = differ[0]
        yield (
            f"{plural(len(differ), other.medium)} of {first} and {second} with different labels, such as "
            f"{other.name}: {label_text(own.labels)} in {own.source}, {label_text(other.labels)} in "
            f"{other.source}."
        )


def missing_files(records: Sequence[VideoRecord]) -> list[tuple[VideoRecord, str]]:
    """(record, what is not there) of the records whose file, first frame, part of a shard or mask is not."""
    members = [member_of(record.path) for record in records]
    lost = lost_shards(filter(None, members))
    have_masks = any(record.mask for record in records)
    missing = []
    for record, member in zip(records, members, strict=True):
        whole = (math.inf, "")
        present, problem = lost.get(member.shard, whole) if member else whole
        if (member and member.end <= present) or _exists(record):
            if have_masks and not os.path.isfile(record.mask):
                missing.append((record, _missing_mask(record)))
            continue
        file = f"{record.path}{_what_is(record.path, record.medium)}"
        missing.append(
            (record, f"{name_for_messages(member.shard)} ({problem})" if member else file)
        )
    return missing


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
    split: str, records: Sequence[VideoRecord], allowed: float, class_names: Sequence[str]
) -> list[str]:
    missing = missing_files(records)
    if not missing:
        return []
    first, place = missing[0]
    if len(missing) == len(records):
        raise DataError(
            f"none of the {len(records)} {split} {first.medium}s exist; the first is {place}, from "
            f"{first.source}; {_remedy(first)}"
        )
    places = ", ".join(list(dict.fromkeys(place for _, place in missing))[:3])
    masked = any(record.mask for record in records)
    told = f"{len(missing)} of {len(records)} {split} {first.medium}s{' or masks' * masked} do not exist"
    if len({record.path for record, _ in missing if record.weight}) > allowed * len(records):
        raise DataError(
            f"{told}, more than DATA.MAX_BAD_RATIO {allowed:g} allows: {places}; get them, leave them "
            "out of the list, or raise it"
        )
    return [f"{told}: {places}{_classes_without(records, missing, class_names)}"]


def _classes_without(
    records: Sequence[VideoRecord],
    missing: Sequence[tuple[VideoRecord, str]],
    class_names: Sequence[str],
) -> str:
    """What to add on classes of which no video is left; nothing where the classes have no names."""
    lost = {id(record) for record, _ in missing}
    left = {label for record in records if id(record) not in lost for label in record.labels}
    gone = {label for record, _ in missing for label in record.labels} - left
    named = [class_names[label] for label in sorted(gone) if label < len(class_names)]
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
