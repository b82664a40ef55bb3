"""What a command is given, files, folders, lists and shards, as one list of videos; labels do not matter."""

import os
from collections.abc import Sequence
from pathlib import Path

from uniformer_video.data.lists.folders import list_videos
from uniformer_video.data.lists.media import VIDEO, Medium
from uniformer_video.data.lists.records import VideoRecord, listed_path, read_csv
from uniformer_video.data.lists.shard_index import shard_folder
from uniformer_video.data.lists.sharded import read_shards
from uniformer_video.data.lists.table import (
    NEEDED,
    OPTIONAL,
    Table,
    is_header,
    segment_name,
    segment_of,
)
from uniformer_video.data.lists.text import filled_lines, without_quotes
from uniformer_video.errors import DataError
from uniformer_video.program import command
from uniformer_video.storage.address import public_name
from uniformer_video.storage.members import member_of

LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".lst", ".list")
_LABEL = "label"


def records_at(
    places: Sequence[str | Path], medium: Medium = VIDEO
) -> tuple[list[VideoRecord], int]:
    """(the videos, or files of another `medium`, at all `places` in their order; how many were repeats).

    A place is a file, a folder of frames, a folder of either, a list of them (`LIST_SUFFIXES`), with labels,
    which are not looked at, or without, a folder of shards, its index, or one shard. Raises `DataError` for
    an empty folder or list, and for what is no place on this machine.
    """
    found: dict[tuple[str, float, float | None], VideoRecord] = {}
    count = 0
    for place in places:
        for record in _records_at(os.fspath(place), medium):
            count += 1
            path, start, end = record.segment
            found.setdefault((os.path.abspath(path), start, end), record)
    return list(found.values()), count - len(found)


def check_is_here(place: str) -> None:
    """Raise `DataError` for an address, and for an empty name."""
    if "://" in place or not place:
        name = repr(public_name(place))
        raise DataError(
            f"{name} is not a file or a folder here; download it first, or see `{command('watch')}` "
            "for streams"
        )


def _records_at(place: str, medium: Medium) -> Sequence[VideoRecord]:
    check_is_here(place)
    if member_of(place) and not os.path.exists(place):
        return [VideoRecord(place, place, ())]
    folder = shard_folder(place)
    if folder is not None:
        return read_shards(folder)
    if place.lower().endswith(".tar") and os.path.isfile(place):
        return _of_shard(place)
    if place.lower().endswith(LIST_SUFFIXES) and os.path.isfile(place):
        return _of_list(place, medium)
    if not os.path.isdir(place):
        return [VideoRecord(place, place, ())]
    files = [str(Path(place) / name) for name in list_videos(place, medium)]
    return [VideoRecord(file, file, ()) for file in files]


def _of_shard(path: str) -> list[VideoRecord]:
    """The videos of one tar file, by the index beside it."""
    folder, name = os.path.split(path)
    if shard_folder(folder or ".") is None:
        raise DataError(
            f"{path} is a tar file without an index.csv beside it; unpack it, or make shards "
            "of its videos by `prepare shards`"
        )
    shard = os.path.join(os.path.abspath(folder), name)
    return [record for record in read_shards(folder or ".") if record.path.startswith(f"{shard}#")]


def _of_list(path: str, medium: Medium) -> Sequence[VideoRecord]:
    """The videos of a text list: one path a line, or as `read_csv` reads it, where labels may lack."""
    lines = list(filled_lines(path))
    folder = os.path.dirname(path)
    if lines and is_header(lines[0][1], "auto") and _LABEL not in lines[0][1].lower():
        return _of_table(lines, folder)
    names = [without_quotes(line.strip()) for _, line in lines]
    if names and all(medium.fits(name) or os.path.exists(Path(folder, name)) for name in names):
        return [
            VideoRecord(listed_path(folder, name, source), name, ())
            for (source, _), name in zip(lines, names, strict=True)
        ]
    return read_csv(path)


def _of_table(lines: Sequence[tuple[str, str]], folder: str) -> list[VideoRecord]:
    """Of a list with a header line that names no labels."""
    (source, header), *rest = lines
    separator = "auto" if set(header) & set(",;\t") else ","  # one column has none
    table = Table(header, separator, source, ("path",), (*NEEDED, "mask", *OPTIONAL))
    records = []
    for source, line in rest:
        row = table.row(line, source)
        start, end = segment_of(row, source)
        name = segment_name(row["path"], start, end)
        place = listed_path(folder, row["path"], source)
        records.append(VideoRecord(place, name, (), source, start=start, end=end))
    if not records:
        raise DataError(f"{lines[0][0]}: there is no video below the header line")
    return records
