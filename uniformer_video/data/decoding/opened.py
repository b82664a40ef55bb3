"""Readers that stay open: where a list has many segments of a file, each process opens it once."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.decoding.index_store import IndexStore

_LIMIT = 3  # readers of a process; of a large file each keeps up to 64 MB


class OpenReaders:
    """The readers of the files that were read last, for a dataset whose records are segments.

    To open a file is to list all of its packets, which of a long one takes longer than to decode a segment.
    A file that has changed is opened anew, and so is one on which reading failed. A copy in another process,
    forked or not, begins with none. Not for several threads.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._readers: OrderedDict[tuple[Any, ...], GuardedReader] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, _: dict[str, Any]) -> None:
        self._begin()

    @contextmanager
    def reader(
        self, path: str, backend: str, num_frames: int = 0, kept: IndexStore | None = None
    ) -> Iterator[GuardedReader]:
        """As `open_video` for a block, and open after it, for the next one of the same file."""
        if self._process != os.getpid():
            self._begin()  # the files of the parent are its own
        key = (path, backend, num_frames, *_identity(path))
        reader = self._readers.pop(key, None) or open_video(path, backend, num_frames, kept)
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        self._readers[key] = reader
        while len(self._readers) > _LIMIT:
            self._readers.popitem(last=False)[1].close()


def _identity(path: str) -> tuple[int, ...]:
    """What changes where a file is another one; nothing for what is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns
