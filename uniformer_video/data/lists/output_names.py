"""What files are called that are written about the records of a list."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from uniformer_video.data.decoding import names_frames
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError

Segment = tuple[str, float, float | None]


def output_names(
    records: Sequence[VideoRecord], places: Sequence[str | Path] = ()
) -> dict[Segment, str]:
    """{`segment` of a record: the name of what is written about it, without a suffix}.

    Folders below the one that all lie in are kept. Of several files that differ in their suffix alone each
    keeps it: `a_jpg`. Raises `DataError` where two would still be called the same.
    """
    files = {record.segment: _file_of(record) for record in records}
    folders = [os.path.dirname(file) for file in files.values()]
    folders += [os.path.abspath(place) for place in places if os.path.isdir(place)]
    top = os.path.commonpath(folders)
    names = {key: _stem(os.path.relpath(file, top), key) for key, file in files.items()}
    common = _find_repeated(names.values())
    for key, name in names.items():
        if name.lower() in common:
            names[key] = f"{name}_{os.path.splitext(files[key])[1].removeprefix('.')}"
    if again := _find_repeated(names.values()):
        first, second, *_ = (key[0] for key, name in names.items() if name.lower() in again)
        raise DataError(
            f"{first} and {second} would be written under one name, {sorted(again)[0]}; predict them one by "
            "one, each into a folder of its own"
        )
    return names


def _stem(path: str, segment: Segment) -> str:
    _, start, end = segment
    stem = os.path.splitext(path)[0]
    if not start and end is None:
        return stem
    return f"{stem}_{start:g}-{'' if end is None else f'{end:g}'}"


def _find_repeated(names: Iterable[str]) -> set[str]:
    """Those that occur more than once, in small letters: on some disks these are one name."""
    return {name for name, count in Counter(map(str.lower, names)).items() if count > 1}


def _file_of(record: VideoRecord) -> str:
    """The absolute path of the file, or of what stands for one."""
    if "#" in record.path and not os.path.exists(record.path):  # in a shard
        return os.path.abspath(record.name)
    if names_frames(record.path):  # the folder of the frames names their video
        return os.path.abspath(f"{os.path.dirname(os.path.abspath(record.path))}.frames")
    return os.path.abspath(record.path)
