"""The published way of making a training image, by plain calls of Pillow and torch, for a comparison.

A picture stays a Pillow image until the policy is done; then it becomes a tensor of numbers from 0 to 1, is
normalised, and erased. `bench loader --baseline` times it with the draws of our own augmentation.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from uniformer_video.data.clips.augment import erase
from uniformer_video.data.clips.images import ImageAugmentation
from uniformer_video.data.clips.pillow_ops import change_picture
from uniformer_video.data.decoding.reader import first_line
from uniformer_video.data.decoding.source import source_of
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import TrainDataset
from uniformer_video.errors import ConfigError, DecodeError


class PublishedImageAugmentation:
    """What an `ImageAugmentation` with a resized crop does, with the same draws; the result is the same up to
    the rounding of the normalisation. Raises `ConfigError` where there is no resized crop.
    """

    def __init__(self, ours: ImageAugmentation):
        if not ours.area:
            raise ConfigError(
                "--baseline needs a resized crop; set DATA.TRAIN_JITTER_SCALES_RELATIVE [0.08, 1.0]"
            )
        self.ours = ours
        self.mean, self.std = (
            torch.tensor(row).view(3, 1, 1) for row in (ours.normalise.mean, ours.normalise.std)
        )

    def __call__(
        self,
        image: Image.Image,
        labels: tuple[int, ...],
        rng: np.random.Generator,
        mark: Callable[[str], None] = lambda step: None,
    ) -> tuple[torch.Tensor, tuple[int, ...]]:
        """An RGB image, classes -> `float32 [3, crop, crop]`, classes."""
        ours = self.ours
        drawn, labels = ours.draw((image.height, image.width), labels, rng)
        top, left, bottom, right = drawn.box.top, drawn.box.left, drawn.box.bottom, drawn.box.right
        image = image.crop((left, top, right, bottom))
        image = image.resize((ours.crop_size, ours.crop_size), Image.Resampling.BICUBIC)
        mark("crop and resize")
        if drawn.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mark("flip")
        if ours.colors:
            image = change_picture(image, drawn.ops, ours.interpolation, ours.fill)
            mark(ours.colors.step)
        picture = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        if ours.normalise.channel_order == "BGR":
            picture = picture.flip(0)
        picture = picture.sub_(self.mean).div_(self.std)
        mark("normalise")
        if drawn.erased:
            erase(picture[:, None], drawn.erased, rng)
        mark("erasing")
        return picture, labels


class PublishedImages:
    """Stands in for a `TrainDataset` of images where it is timed: Pillow alone opens them."""

    def __init__(self, ours: TrainDataset, augment: ImageAugmentation):
        self.augment = PublishedImageAugmentation(augment)
        self.records, self.seed, self.copies = ours.records, ours.seed, ours.copies

    def decode(self, record: VideoRecord, rng: np.random.Generator) -> Image.Image:
        """The image of a record, RGB. Raises `DecodeError` for one that Pillow cannot read."""
        try:
            with Image.open(source_of(record.path)()) as image:
                return image.convert("RGB")
        except Exception as error:  # what Pillow raises depends on the format
            raise DecodeError(f"Pillow cannot read {record.path}: {first_line(error)}") from None
