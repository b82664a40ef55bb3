"""The clips of all variants of a test: one opening and one decoding pass for a video."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from uniformer_video.data.clips.variants import Variant
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset, open_record, timeline_of
from uniformer_video.data.loading.watchdog import decoding
from uniformer_video.data.sampling import playback_frames
from uniformer_video.errors import DecodeError
from uniformer_video.words import one_line

_SCALED_AT_ONCE = 16  # frames: so that large ones are not all there as floats


@dataclass(frozen=True)
class VariantSample:
    """The pixels that all variants of one video need, each frame once, or the reason why there are none.

    pixels: float32 `[crops, 3, frames, crop, crop]`, RGB, 0..255. places: int `[variants, clips, T]`, where
    the frames of the clips lie among them. held: `[variants]`, how many frames of a variant's clips are the
    first or the last of the video for want of others.
    """

    index: int
    pixels: Tensor | None
    places: np.ndarray
    held: tuple[int, ...] = ()
    reason: str = ""

    def view(self, variant: int, view: int) -> Tensor:
        """The pixels of one view, clip by clip and crop by crop: float32 `[3, T, crop, crop]`."""
        assert self.pixels is not None
        clip, crop = divmod(view, len(self.pixels))
        return self.pixels[crop][:, self.places[variant, clip]]


class VariantDataset(Dataset):
    """What the `variants` of the videos of a test show: `VariantSample`s."""

    def __init__(self, tested: EvalDataset, variants: Sequence[Variant]):
        self.tested, self.variants = tested, variants

    @property
    def records(self) -> Sequence[VideoRecord]:
        """Those of the test."""
        return self.tested.records

    @property
    def faults(self) -> dict[str, str]:
        """{path: why it is not tried}, those of the test."""
        return self.tested.faults

    @property
    def num_views(self) -> int:
        """Views of a video in each variant."""
        return self.tested.num_clips * self.tested.views.num_crops

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> VariantSample:
        """The `VariantSample` of a record; a broken video gives its reason, never another video."""
        try:
            with decoding(self, index) as record:
                frames, places, held = self._decode(record)
        except (DecodeError, OSError) as error:
            return VariantSample(index, None, np.empty(0, int), reason=one_line(error))
        return VariantSample(index, self._crops(frames), places, held)

    def _decode(self, record: VideoRecord) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
        """(every frame that any variant shows, once, uint8 `[frames, H, W, 3]`; `places`; `held`)."""
        tested = self.tested
        opened = open_record(record, tested.backend, tested.opened, tested.frame_index)
        with opened as video:
            timeline = timeline_of(video, tested.sampling, record.path, record.start, record.end)
            length = len(timeline)
            own = tested.sampling.test_clips(length, tested.num_clips)
            own = playback_frames(own, length, tested.playback)
            shown = [variant.frames(own, length) for variant in self.variants]
            indices = timeline[np.stack([frames for frames, _ in shown])]
            needed, places = np.unique(indices, return_inverse=True)
            frames = video.frames(needed, tested.decode_short_side)
        return frames, places.reshape(indices.shape), tuple(held for _, held in shown)

    def _crops(self, frames: np.ndarray) -> Tensor:
        starts = range(0, len(frames), _SCALED_AT_ONCE)
        parts = [self.tested.views.crops(frames[at : at + _SCALED_AT_ONCE]) for at in starts]
        return torch.cat([torch.stack(crops) for crops in parts], dim=2)
