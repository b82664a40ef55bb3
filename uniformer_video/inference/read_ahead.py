"""Parts of the views of videos of any kind, decoded in this thread or a little ahead by others."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from torch import Tensor

from uniformer_video.data.lists.media import Medium
from uniformer_video.data.loading.view_reader import PartKey, PartSample, ViewReader, read_part
from uniformer_video.errors import DecodeError, quote
from uniformer_video.inference.inputs import Source, Video, find_source
from uniformer_video.words import one_line


@dataclass
class ReadAhead:
    """The parts of `videos`, one after another, taken from the iterable only as they are wanted.

    workers: threads that decode ahead, 0 = none: PyAV lets others run while it decodes. names: gets what each
    video is called, by its number, before its first part comes.
    """

    videos: Iterable[Video]
    reader: ViewReader
    medium: Medium
    backend: str
    workers: int
    names: dict[int, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[PartSample]:
        if not self.workers:
            yield from (self._read(*task) for task in self._tasks())
            return
        running: deque[Future[PartSample]] = deque()
        pool = ThreadPoolExecutor(self.workers)
        try:
            for task in self._tasks():
                running.append(pool.submit(self._read, *task))
                if len(running) > 2 * self.workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _tasks(self) -> Iterator[tuple[PartKey, Source | str]]:
        """Each part of each video with its source, or why it has none."""
        for index, video in enumerate(self.videos):
            source: Source | str
            try:
                source = find_source(video, self.medium, self.backend)
                self.names[index] = source.name
            except (DecodeError, OSError) as error:
                source = one_line(error)
                self.names[index] = _name(video)
            for part in range(self.reader.num_parts):
                yield PartKey(index, part), source

    def _read(self, key: PartKey, source: Source | str) -> PartSample:
        if isinstance(source, str):
            return PartSample(key, None, source)
        return read_part(key, partial(self._views, source, key.part))

    def _views(self, source: Source, part: int) -> Tensor:
        with source.open() as video:
            return self.reader.part(video, source.name, part)


def _name(video: object) -> str:
    """What a video without a source is called."""
    if isinstance(video, (str, os.PathLike)):
        return os.fspath(video)
    return "array" if isinstance(video, (np.ndarray, Tensor, tuple)) else quote(video, 60)
