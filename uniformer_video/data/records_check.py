"""What is worth a note about the lists of a run before it starts: repeats, missing files, overlaps."""

import os

from uniformer_video.data.records import missing_files, without_repeats
from uniformer_video.errors import DataError


def check_list(split, records, multi_label=False):
    """(the records to use, notes) of the list of a split: "train", "val" or "test".

    A test counts each video once; training takes a list as it is. Raises `DataError` for a video
    that stands there with different labels, and where none of the videos exist.
    """
    notes = []
    single = without_repeats(records, multi_label)
    if repeats := len(records) - len(single):
        train = split == "train"
        done = "it comes as often in training" if train else "each counts once"
        lines = f"{repeats} of the {len(records)} lines of the {split} list"
        notes.append(f"{lines} repeat a video of it; {done}.")
        records = records if train else single
    return records, notes + _note_missing(split, records)


def note_overlaps(splits):
    """Notes on videos that stand in two of the lists, `{split: records}`: they flatter figures."""
    paths = {split: {record.path for record in records} for split, records in splits.items()}
    notes = []
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        if shared := len(paths.get(first, set()) & paths.get(second, set())):
            notes.append(
                f"{shared} of {len(paths[second])} {second} videos are {first} videos too."
            )
    return notes


def _note_missing(split, records):
    missing = missing_files(records)
    if len(missing) == len(records):
        first = missing[0]
        template = ", or DATA.IMAGE_TEMPLATE to the names of the frames" if first.num_frames else ""
        raise DataError(
            f"none of the {len(records)} {split} videos exist; the first is {first.path}"
            f"{_what_is(first.path)}, from {first.source}; set DATA.PATH_PREFIX to the folder that the "
            f"paths start from{template}"
        )
    if not missing:
        return []
    shown = ", ".join(f"{record.path}{_what_is(record.path)}" for record in missing[:3])
    return [f"{len(missing)} of {len(records)} {split} videos do not exist: {shown}"]


def _what_is(path):
    """What stands where a video should, for messages."""
    if os.path.isdir(path):
        return " (a folder)"
    return " (a broken link)" if os.path.islink(path) else ""
