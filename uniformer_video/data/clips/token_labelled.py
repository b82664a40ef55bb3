"""What token labelling does to pictures, in the order that its label maps follow."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uniformer_video.data.clips.images import ImageAugmentation
from uniformer_video.data.clips.ops import change_pixels
from uniformer_video.data.clips.pixels import Size
from uniformer_video.data.clips.train_views import ClipDraws


@dataclass(frozen=True)
class TokenLabelledDraws(ClipDraws):
    """smooth: whether the crop is resized by Pillow's bicubic filter; else by its bilinear one."""

    smooth: bool = True


@dataclass
class TokenLabelledAugmentation(ImageAugmentation):
    """Flip, the policy on the whole picture, the resized crop, bilinear or bicubic at even odds, erasing.

    Arguments are those of `ImageAugmentation`, with an `area`: label maps follow a resized crop alone.
    """

    def draw(
        self, frame_size: Size, labels: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[ClipDraws, tuple[int, ...]]:
        """(height, width) of the picture, classes -> `TokenLabelledDraws`, classes."""
        drawn, labels = super().draw(frame_size, labels, rng)
        return TokenLabelledDraws(**vars(drawn), smooth=bool(rng.random() < 0.5)), labels

    def _start(
        self, frames: np.ndarray, drawn: ClipDraws, mark: Callable[[str], None] = lambda step: None
    ) -> Tensor:
        """The crop of the changed picture: `float32 [3, 1, crop, crop]`, 0..255, whole levels."""
        assert isinstance(drawn, TokenLabelledDraws)
        frames = frames[:, :, ::-1] if drawn.mirrored else frames
        mark("flip")
        weights = self.colors.weights if self.colors else None
        [cut] = change_pixels(frames, drawn.ops, weights, drawn.box).frames()
        if self.colors:
            mark(self.colors.step)
        kind = Image.Resampling.BICUBIC if drawn.smooth else Image.Resampling.BILINEAR
        crop = np.array(Image.fromarray(cut).resize((self.crop_size, self.crop_size), kind))
        mark("crop and resize")
        return torch.from_numpy(crop).permute(2, 0, 1)[:, None].float()
