"""The videos of a folder of shards -> `VideoRecord`s."""

import os
from pathlib import Path

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.lists.shard_index import INDEX_FILE, read_index
from uniformer_video.errors import DataError
from uniformer_video.storage.address import is_address, join, name_for_messages
from uniformer_video.storage.members import member_path


def read_shards(folder: Path | str, medium: str = "video") -> list[VideoRecord]:
    """The records of a folder, or an address, of shards, in the order of the list they were made from.

    All but the path is as in that list. medium: what they hold. Raises `DataError` as `read_index` does.
    """
    folder = folder if is_address(folder) else os.path.abspath(folder)
    places: dict[str, str] = {}
    records = []
    for entry in read_index(folder):
        if entry.shard not in places:
            places[entry.shard] = join(folder, entry.shard)
        records.append(
            VideoRecord(
                member_path(places[entry.shard], entry),
                entry.name,
                entry.labels,
                entry.source,
                start=entry.start,
                end=entry.end,
                weight=entry.weight,
                group=entry.group,
                medium=medium,
            )
        )
    if not records:
        raise DataError(f"{name_for_messages(join(folder, INDEX_FILE))} lists no {medium}s")
    return records
