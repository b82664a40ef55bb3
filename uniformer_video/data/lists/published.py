"""Which of a dataset's published videos the lists of a run lack: Kinetics loses some every year."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from uniformer_video.data.lists.annotations import DATASETS, read_part
from uniformer_video.data.lists.class_names import USUAL, class_names, orders_in_use
from uniformer_video.data.lists.columns import as_columns, first_segments
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError

# Videos of the annotation files as they were published: Kinetics' of 2017 and 2018, Something-Something's.
PUBLISHED: dict[str, dict[str, int]] = {
    "k400": {"train": 246_534, "val": 19_906, "test": 39_805},
    "k600": {"train": 392_622, "val": 30_001, "test": 72_924},
    "ssv1": {"train": 86_017, "val": 11_522},
    "ssv2": {"train": 168_913, "val": 24_777},
}
# V1 and V2 have the same classes; the videos of V2 are numbered on to 220,847.
_LAST_VIDEO_OF_SSV1 = 108_499


def known_dataset(names: Sequence[str], splits: Mapping[str, Sequence[VideoRecord]]) -> str | None:
    """The dataset whose classes have these names, in whatever order; None for any other."""
    if orders := orders_in_use(names):
        return orders[0]
    own = sorted(names)
    for dataset in DATASETS:
        if own == sorted(class_names(dataset, USUAL)):
            return _something(splits) if dataset in ("ssv1", "ssv2") else dataset
    return None


def note_missing(names: Sequence[str], splits: Mapping[str, Sequence[VideoRecord]]) -> list[str]:
    """How many of the published videos each list has, where it has fewer: a sentence a list.

    names: of the classes. splits: {"train", "val" or "test": records}. A test list is that of the published
    validation videos, as results on them are published, unless it is longer.
    """
    dataset = known_dataset(names, splits)
    if dataset not in PUBLISHED:
        return []
    notes: dict[str, None] = {}
    for split, records in splits.items():
        count = len(np.unique(first_segments(as_columns(records))))
        part = _part_of(split, count, PUBLISHED[dataset])
        total = PUBLISHED[dataset][part]
        if 0 < count < total:
            notes[
                f"The {split} list has {count:,} of the {total:,} published {part} videos of {dataset} "
                f"({count / total:.1%}); {total - count:,} are missing (DATA.PUBLISHED_LISTS names them)."
            ] = None
    return list(notes)


def name_missing(
    names: Sequence[str],
    splits: Mapping[str, Sequence[VideoRecord]],
    annotations: Path | str,
    split_number: int = 1,
) -> tuple[list[str], list[tuple[str, str]]]:
    """(a sentence for each list, (list, video) of each published video that it lacks).

    annotations: the folder of official files, as `read_annotations` takes it; split_number: of UCF101 and
    HMDB51. A video is found by the name of its file or of its folder of frames. Raises `DataError` where the
    classes are of no dataset whose annotations are known.
    """
    dataset = known_dataset(names, splits)
    if dataset is None:
        raise DataError(
            "DATA.PUBLISHED_LISTS compares lists with official annotations, and the classes of this run are "
            f"none of {', '.join(DATASETS)}; leave it empty"
        )
    notes, missing = [], []
    for split, records in splits.items():
        part = _part_of(split, len(records), PUBLISHED.get(dataset, {}))
        columns = as_columns(records)
        there = {
            name
            for texts in (columns.name, columns.path)
            for text in texts
            for name in _names_of(text)
        }
        rows = read_part(dataset, annotations, part, split_number)
        lacking = [row.names[0] for row in rows if there.isdisjoint(row.names)]
        missing += [(split, name) for name in lacking]
        notes.append(
            f"The {split} list lacks {len(lacking):,} of the {len(rows):,} published {part} videos of "
            f"{dataset} ({len(lacking) / max(len(rows), 1):.1%})."
        )
    return notes, missing


def _names_of(path: str) -> Iterator[str]:
    """What a video may be called in annotations: its file without the suffix, its folder of frames."""
    name = os.path.basename(path.rstrip("/"))
    yield name
    yield os.path.splitext(name)[0]


def _part_of(split: str, count: int, totals: Mapping[str, int]) -> str:
    """The published part that a list is compared with."""
    if split != "test":
        return split
    return "test" if count > totals.get("val", count) and "test" in totals else "val"


def _something(splits: Mapping[str, Sequence[VideoRecord]]) -> str:
    """Which of the two the videos are of: V1 was published as pictures, V2 as webm, and has more of them."""
    for records in splits.values():
        for name in as_columns(records).name:
            if name.lower().endswith(".webm"):
                return "ssv2"
            number = re.fullmatch(r"(\d+)(\.\w+)?", os.path.basename(name.rstrip("/")))
            if number and int(number[1]) > _LAST_VIDEO_OF_SSV1:
                return "ssv2"
    return "ssv1"
