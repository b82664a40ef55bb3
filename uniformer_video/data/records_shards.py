"""The videos of a folder of shards -> `VideoRecord`s."""

import os

from uniformer_video.data import storage
from uniformer_video.data.records import VideoRecord
from uniformer_video.data.shards import INDEX_FILE, member_path, read_index
from uniformer_video.errors import DataError


def read_shards(folder, multi_label=None):
    """The records of a folder, or an address, of shards, in the order of the list they were made from.

    All but the path is as in that list; `multi_label` as in `labels_of`. Raises `DataError` as
    `read_index` does.
    """
    folder = folder if storage.is_address(folder) else os.path.abspath(folder)
    places, records = {}, []
    for entry in read_index(folder, multi_label):
        if entry.shard not in places:
            places[entry.shard] = storage.join(folder, entry.shard)
        records.append(
            VideoRecord(
                member_path(places[entry.shard], entry),
                entry.name,
                entry.labels,
                entry.source,
                start=entry.start,
                end=entry.end,
                weight=entry.weight,
            )
        )
    if not records:
        raise DataError(f"{storage.shown(storage.join(folder, INDEX_FILE))} lists no videos")
    return records
