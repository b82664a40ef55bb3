"""The published loader's way of making a training clip, written small: what ours is measured against.

Each frame becomes a Pillow image at full size and goes through RandAugment or colour jitter by itself;
then numpy, a float tensor of full size, normalisation, and only then the resized crop, flip and erasing.
`bench loader --baseline` times it with the draws of our own augmentation on the same videos; the tests
take `pillow_ops` as the truth about single frames.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from uniformer_video.data.clips.augment import RandomErasing
from uniformer_video.data.clips.pillow_ops import change_picture
from uniformer_video.data.clips.train_views import TrainAugmentation
from uniformer_video.data.clips.transforms import resized_crop_box
from uniformer_video.data.decoding.reader import first_line
from uniformer_video.data.decoding.source import is_member, source_of
from uniformer_video.data.lists.flips import may_mirror, mirror_labels
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import TrainDataset
from uniformer_video.errors import ConfigError, DecodeError


def apply_with_pillow(
    frames: np.ndarray, drawn: Iterable[tuple[str, Any]], interpolation: str = "bicubic"
) -> np.ndarray:
    """`uint8 [T, H, W, 3]` and (name, setting) pairs -> the same shape, frame by frame."""
    drawn = list(drawn)
    images = [change_picture(Image.fromarray(frame), drawn, interpolation) for frame in frames]
    return np.stack([np.asarray(image) for image in images])


class PublishedAugmentation:
    """The order and the settings of a `TrainAugmentation` with a resized crop, done the published way.

    The same generator gives the same clip, up to the rounding of geometric operations. Raises `ConfigError`
    where there is no resized crop.
    """

    def __init__(self, ours: TrainAugmentation):
        if not ours.area:
            raise ConfigError(
                "--baseline needs a resized crop; set DATA.TRAIN_JITTER_SCALES_RELATIVE [0.08, 1.0]"
            )
        self.ours, self.area = ours, ours.area
        self.erase = RandomErasing(ours.erasing) if ours.erasing else None
        self.mean, self.std = torch.tensor(ours.normalise.mean), torch.tensor(ours.normalise.std)

    def __call__(
        self,
        frames: np.ndarray,
        labels: tuple[int, ...],
        rng: np.random.Generator,
        mark: Callable[[str], None] = lambda step: None,
    ) -> tuple[torch.Tensor, tuple[int, ...]]:
        """As `TrainAugmentation`: `float32 [3, T, crop, crop]`, classes."""
        ours = self.ours
        if ours.colors:
            frames = apply_with_pillow(frames, ours.colors.draw(rng), ours.interpolation)
            mark(ours.colors.step)
        clip = torch.stack([torch.from_numpy(frame).float() / 255 for frame in frames])
        if ours.normalise.channel_order == "BGR":
            clip = clip.flip(-1)
        clip = ((clip - self.mean) / self.std).permute(3, 0, 1, 2)
        mark("normalise")
        tall, wide = clip.shape[-2:]
        top, left, height, width = resized_crop_box(tall, wide, self.area, ours.ratio, rng)
        clip = F.interpolate(
            clip[..., top : top + height, left : left + width].transpose(0, 1),
            (ours.crop_size, ours.crop_size),
            mode="bilinear",
            align_corners=False,
        ).transpose(0, 1)
        mark("crop and resize")
        if ours.flip and rng.random() < 0.5 and may_mirror(labels, ours.flip_skipped):
            clip = clip.flip(-1)
            labels = mirror_labels(labels, ours.flip_labels)
        mark("flip")
        if self.erase:
            clip = self.erase(clip, rng)
        clip = clip.contiguous()
        mark("erasing")
        return clip, labels


class PublishedDataset:
    """Stands in for a `TrainDataset` where it is timed: decord alone decodes, if it is installed."""

    def __init__(self, ours: TrainDataset):
        if not isinstance(ours.augment, TrainAugmentation):
            raise ConfigError(
                "the published way is known of videos and of classes of images; leave out --baseline"
            )
        self.ours, self.augment = ours, PublishedAugmentation(ours.augment)
        self.records, self.seed, self.copies = ours.records, ours.seed, ours.copies

    def decode(self, record: VideoRecord, rng: np.random.Generator) -> np.ndarray:
        """The same frames as `TrainDataset.decode`; folders of frames are left to it.

        Raises `DecodeError` for a video that decord cannot read.
        """
        try:
            import decord
        except ImportError:
            return self.ours.decode(record, rng)
        if record.num_frames or not (is_member(record.path) or os.path.isfile(record.path)):
            return self.ours.decode(record, rng)
        try:
            return self._decode(decord, record, rng)
        except Exception as error:  # decord has kinds of its own
            raise DecodeError(f"decord cannot read {record.path}: {first_line(error)}") from None

    def _decode(self, decord: Any, record: VideoRecord, rng: np.random.Generator) -> np.ndarray:
        reader = decord.VideoReader(source_of(record.path)(), num_threads=1)
        sampling = self.ours.sampling
        timeline = sampling.timeline(len(reader), reader.get_avg_fps(), record.start, record.end)
        return reader.get_batch(timeline[sampling.train_clip(len(timeline), rng)]).asnumpy()
