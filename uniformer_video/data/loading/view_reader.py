"""The test views of any video in little memory: few at a time, and frame by frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from uniformer_video.data.clips.frame_views import FrameViews
from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.decoding.opened import OpenReaders
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import open_record, timeline_of
from uniformer_video.data.loading.watchdog import decoding
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError
from uniformer_video.memory import give_back_freed
from uniformer_video.words import one_line

_PART_BYTES = 64 * 2**20  # of the views that are made at once
_LARGE_FRAME = 8 * 2**20  # bytes, as RGB


@dataclass(frozen=True)
class ViewReader:
    """How a video becomes its test views; they are those of `EvalDataset` to the bit.

    A frame is scaled and cropped as soon as it is decoded, so that one alone of a large video is in memory.
    The views come in `num_parts` parts, each of whole clips, in their order.

    sampling, views, num_clips, decode_short_side: as of `EvalDataset`.
    """

    sampling: ClipSampling
    views: EvalViews
    num_clips: int
    decode_short_side: int = 0

    @property
    def view_bytes(self) -> int:
        """Of one view, the model's input, in bytes; of whole frames as of a usual video."""
        return self.sampling.num_frames * self.views.bytes_of_frame

    @property
    def _clips_at_once(self) -> int:
        return max(1, _PART_BYTES // (self.view_bytes * self.views.views_of_clip))

    @property
    def num_parts(self) -> int:
        """How many parts the views of a video come in."""
        return -(-self.num_clips // self._clips_at_once)

    def part(
        self,
        video: GuardedReader,
        path: str,
        number: int,
        start: float = 0.0,
        end: float | None = None,
    ) -> Tensor:
        """The views of part `number`, from 0: `float32 [views, 3, T, crop, crop]`, of images without T; of
        whole frames `uint8 [views, 3, T, H, W]`.

        start, end: the segment that counts, in seconds. Raises `DecodeError`, which names `path`.
        """
        first = number * self._clips_at_once
        indices = self.indices(video, path, start, end)[first : first + self._clips_at_once]
        clips = self.pixels(video, indices)
        if isinstance(self.views, FrameViews):
            return clips.flatten(0, 1)
        inputs = (self.views.to_input(view) for clip in clips for view in clip)
        first_view = next(inputs)
        views = torch.empty(clips.shape[0] * clips.shape[1], *first_view.shape)
        views[0] = first_view
        for place, view in enumerate(inputs, 1):  # one by one: all of them again would be a copy
            views[place] = view
        return views

    def indices(
        self, video: GuardedReader, path: str, start: float = 0.0, end: float | None = None
    ) -> np.ndarray:
        """Which frames the clips are made of, `int64 [num_clips, T]`; arguments as of `part`."""
        timeline = timeline_of(video, self.sampling, path, start, end)
        return timeline[self.sampling.test_clips(len(timeline), self.num_clips)]

    def pixels(self, video: GuardedReader, indices: np.ndarray) -> Tensor:
        """The crops of clips `[clips, T]`, values in 0..255: `float32 [clips, crops, 3, T, crop, crop]`;
        whole frames `uint8 [clips, 1, 3, T, H, W]`.
        """
        crops = video.map_frames(indices.ravel(), self._crops, self.decode_short_side)
        give_back_freed()
        # [clips, T, crops, 3, h, w] -> [clips, crops, 3, T, h, w]
        return torch.from_numpy(crops).unflatten(0, indices.shape).permute(0, 2, 3, 1, 4, 5)

    def _crops(self, frame: np.ndarray) -> np.ndarray:
        """`uint8 [H, W, 3]` -> `float32 [crops, 3, crop, crop]`, values in 0..255; or it whole, in bytes."""
        crops = torch.stack(self.views.crops(frame[None]))[:, :, 0].numpy()
        if frame.nbytes > _LARGE_FRAME:  # else what is free between two of them adds up
            give_back_freed()
        return crops


class PartKey(NamedTuple):
    """Part `part` of the views of the video of this number."""

    video: int
    part: int


@dataclass(frozen=True)
class PartSample:
    """A part of the views of a video, or the reason why there is none."""

    key: PartKey
    views: Tensor | None  # float32 [views, 3, T, H, W]
    reason: str = ""


def read_part(key: PartKey, make: Callable[[], Tensor]) -> PartSample:
    """What `make` gives, the views of a part, or why it cannot."""
    try:
        return PartSample(key, make())
    except (DecodeError, OSError) as error:
        return PartSample(key, None, one_line(error))


class PartDataset(Dataset):
    """Parts of the views of `records`: `dataset[PartKey]` is a `PartSample`.

    faults: {path: reason} of videos that are not tried; loaders add those that hang or crash the decoder.
    backend: as of `open_video`.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        reader: ViewReader,
        backend: str = "auto",
        faults: Mapping[str, str] | None = None,
    ):
        self.records, self.reader, self.backend = records, reader, backend
        self.faults = dict(faults or {})
        self._opened = OpenReaders()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: PartKey) -> PartSample:
        return read_part(key, lambda: self._views(key))

    def parts(self) -> list[PartKey]:
        """All parts of all videos, in their order."""
        return [
            PartKey(video, part)
            for video in range(len(self.records))
            for part in range(self.reader.num_parts)
        ]

    def _views(self, key: PartKey) -> Tensor:
        with (
            decoding(self, key.video) as record,
            open_record(record, self.backend, self._opened) as video,
        ):
            views = self.reader.part(video, record.path, key.part, record.start, record.end)
        give_back_freed()
        return views
