"""The index of a folder of shards: where in which tar each video lies.

`index.csv`, UTF-8, one header line and then one line a video, in the order of the list that the shards
were made from:

    key,shard,offset,length,label,name
    00000000,shard-000000.tar,1536,482113,17,train/abseiling/a.mp4

key: the name of the video in its shard, without what follows the first dot. shard: a file beside the
index. offset, length: the video's own bytes in that file. label: its class. name: as the list had it.
"""

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from uniformer_video.errors import DataError
from uniformer_video.prepare.folders import write_table

INDEX_FILE = "index.csv"


@dataclass(frozen=True)
class ShardEntry:
    """One video of the shards; the columns of the index, offset and length in bytes."""

    key: str
    shard: str
    offset: int
    length: int
    label: int
    name: str


_COLUMNS = [field.name for field in fields(ShardEntry)]


def write_index(folder, entries):
    """Write `index.csv` into the folder of the shards."""
    write_table(Path(folder) / INDEX_FILE, _COLUMNS, map(astuple, entries))


def read_index(folder):
    """The `ShardEntry`s of a folder of shards, in order. Raises `DataError` for what is no index."""
    path = Path(folder) / INDEX_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            f"there is no {path}; make it with tools/prepare_dataset.py shards"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from None
    header, *rows = csv.reader(io.StringIO(text)) if text else [[]]
    if header != _COLUMNS:
        raise DataError(f"{path} does not begin with the line {','.join(_COLUMNS)}; make it again")
    try:
        return [
            ShardEntry(key, shard, int(offset), int(length), int(label), name)
            for key, shard, offset, length, label, name in rows
        ]
    except ValueError as error:
        raise DataError(f"{path} has a line that is no entry: {error}; make it again") from None


def read_member(folder, entry):
    """The bytes of a video. Raises `DataError` where the shard is shorter than its index says."""
    path = Path(folder) / entry.shard
    with open(path, "rb") as shard:
        shard.seek(entry.offset)
        data = shard.read(entry.length)
    if len(data) != entry.length:
        raise DataError(f"{path} is cut off within {entry.name}; get it again, or make it again")
    return data
