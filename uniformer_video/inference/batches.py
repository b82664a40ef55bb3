"""Views of many videos through a model in batches of one size, wherever one video ends and another begins."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.loading.view_reader import PartSample


@dataclass
class _Unfinished:
    """A video whose views are not all through the model yet."""

    reason: str = ""
    parts: int = 0  # that have come
    waiting: int = 0  # views
    logits: list[np.ndarray] = field(default_factory=list)


class BatchedLogits:
    """From the parts of videos, one video after another, to the logits of each video.

    Args:
        view_logits: views of one size `[n, 3, T, H, W]` -> logits `float32 [n, K]`.
        batch_size: views that are handed to it at once, of the last ones fewer.
        num_parts: in how many parts the views of each video come.
    """

    def __init__(
        self, view_logits: Callable[[Tensor], np.ndarray], batch_size: int, num_parts: int
    ):
        self._view_logits, self._batch_size = view_logits, batch_size
        self._num_parts = num_parts
        self._videos: OrderedDict[int, _Unfinished] = OrderedDict()
        self._views: deque[tuple[int, Tensor]] = deque()
        self._held = 0

    def __call__(self, samples: Iterable[PartSample]) -> Iterator[tuple[int, np.ndarray | str]]:
        """(index of a video, logits `[views, K]` or why there are none), in the order of `samples`."""
        for sample in samples:
            self._take(sample)
            while self._held >= self._batch_size:
                self._pass()
            yield from self._finished()
        while self._held:
            self._pass()
        yield from self._finished()

    def _take(self, sample: PartSample) -> None:
        index = sample.key.video
        video = self._videos.setdefault(index, _Unfinished())
        video.parts += 1
        video.reason = video.reason or sample.reason
        if sample.views is not None and not video.reason:
            self._views.append((index, sample.views))
            self._held += len(sample.views)
            video.waiting += len(sample.views)

    def _pass(self) -> None:
        """The next batch through the model."""
        owners, parts, room = [], [], self._batch_size
        size = self._views[0][1].shape[1:]
        # whole frames of the next video may be of another size, which is another batch
        while self._views and room and self._views[0][1].shape[1:] == size:
            index, views = self._views.popleft()
            if len(views) > room:
                self._views.appendleft((index, views[room:]))
                views = views[:room]
            owners.append((index, len(views)))
            parts.append(views)
            room -= len(views)
        self._held -= sum(count for _, count in owners)
        logits = self._view_logits(parts[0] if len(parts) == 1 else torch.cat(parts))
        start = 0
        for index, count in owners:
            video = self._videos[index]
            video.logits.append(logits[start : start + count])
            video.waiting -= count
            start += count

    def _finished(self) -> Iterator[tuple[int, np.ndarray | str]]:
        """The first videos, as far as all of their views are through."""
        while self._videos:
            index, video = next(iter(self._videos.items()))
            if video.parts < self._num_parts or video.waiting:
                return
            del self._videos[index]
            yield index, video.reason or np.concatenate(video.logits)
