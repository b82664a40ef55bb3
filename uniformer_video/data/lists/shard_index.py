"""Videos in tar files, and the index of a folder of them: where in which tar each video lies.

`index.csv`, UTF-8, one header line and then one line a video, in the order of the list that the shards
were made from:

    key,shard,offset,length,label,name
    00000000,shard-000000.tar,1536,482113,17,train/abseiling/a.mp4

key: the name of the video in its shard, without what follows the first dot. shard: a file beside the
index. offset, length: the video's own bytes in that file. label: its class, or its classes with blanks
between, or their names with ";" between. name: as the list had it. Where the list had segments, weights
or groups, columns start, end, weight and group follow; an empty cell says nothing.

A video of a shard is opened by the text `SHARD#OFFSET+LENGTH`, such as `train/shard-000000.tar#1536+482113`.
"""

import csv
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from uniformer_video.data.lists.table import OPTIONAL, label_cell, labels_of, segment_of, weight_of
from uniformer_video.data.lists.text import read_text, whole_number
from uniformer_video.errors import DataError
from uniformer_video.program import command
from uniformer_video.storage.address import is_address, join, name_for_messages

INDEX_FILE = "index.csv"
COLUMNS = ("key", "shard", "offset", "length", "label", "name")


class ShardEntry(NamedTuple):
    """One line of the index; offset and length in bytes, start and end in seconds as in `VideoRecord`.

    source: "file:line", for messages.
    """

    key: str
    shard: str
    offset: int
    length: int
    labels: tuple[Any, ...]
    name: str
    start: float = 0.0
    end: float | None = None
    weight: float = 1.0
    source: str = ""
    group: str = ""


def read_index(folder: Path | str) -> Iterator[ShardEntry]:
    """Yield the `ShardEntry`s of a folder or an address, in order.

    Raises `DataError` for what is no index or a part of one, with file and line where one is wrong.
    """
    place = join(folder, INDEX_FILE)
    text = read_text(place)
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    place = name_for_messages(place)
    header = tuple(next(lines, ()))
    extra = header[len(COLUMNS) :]
    if header[: len(COLUMNS)] != COLUMNS or len(set(extra) & set(OPTIONAL)) < len(extra):
        raise DataError(
            f"{place} does not begin with the line {','.join(COLUMNS)} (and, where wanted, "
            f"{', '.join(OPTIONAL)}); make it with `{command('prepare shards')}`"
        )
    if not text.endswith(("\n", "\r")):
        raise DataError(
            f"{place} is cut off: its last line has no end; get it again, or make it again"
        )
    try:
        for cells in lines:
            if cells:
                yield _entry(cells, header, f"{place}:{lines.line_num}")
    except csv.Error as error:
        raise DataError(f"{place}:{lines.line_num}: cannot be read as csv, {error}") from None


def _entry(cells: Sequence[str], header: Sequence[str], source: str) -> ShardEntry:
    if len(cells) != len(header):
        raise DataError(f"{source}: {len(cells)} cells below a header of {len(header)}")
    row = dict(zip(header, cells, strict=True))
    offset, length = whole_number(row["offset"]), whole_number(row["length"])
    if offset is None or offset < tarfile.BLOCKSIZE or length is None or length < 0:
        raise DataError(
            f"{source}: offset {row['offset']!r} and length {row['length']!r} are no bytes of a tar "
            f"file; an offset is {tarfile.BLOCKSIZE} or more, a length 0 or more"
        )
    shard = row["shard"]
    if shard in ("", ".", "..") or "/" in shard or "\\" in shard:
        raise DataError(f"{source}: the shard is {shard!r}; it must be a file beside the index")
    labels = labels_of(row, source)
    entry = ShardEntry(row["key"], shard, offset, length, labels, row["name"], source=source)
    if len(row) == len(COLUMNS):
        return entry
    start, end = segment_of(row, source)
    group = row.get("group", "").strip()
    return entry._replace(start=start, end=end, weight=weight_of(row, source), group=group)


def index_table(entries: Sequence[ShardEntry]) -> tuple[tuple[str, ...], list[list[Any]]]:
    """(header, rows) of the index of `ShardEntry`s, with the further columns that some of them need."""
    plain = ShardEntry("", "", 0, 0, (), "")
    extra = [
        column
        for column in OPTIONAL
        if any(getattr(entry, column) != getattr(plain, column) for entry in entries)
    ]
    # An empty cell is what None becomes, and means the same.
    return (*COLUMNS, *extra), [
        [
            entry.key,
            entry.shard,
            entry.offset,
            entry.length,
            label_cell(entry.labels),
            entry.name,
            *(getattr(entry, column) for column in extra),
        ]
        for entry in entries
    ]


def shard_folder(place: Path | str) -> str | None:
    """The folder or address of shards that `place` is, or whose index it is; None for another."""
    parent, name = os.path.split(place)
    folder = (parent or ".") if name == INDEX_FILE else os.fspath(place)
    if is_address(place):
        return folder
    index = os.path.join(folder, INDEX_FILE)
    is_one = os.path.isfile(index) and read_text(index).startswith(",".join(COLUMNS))
    return folder if is_one else None
