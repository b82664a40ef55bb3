"""What token labelling does to pictures, in the order that its label maps follow."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from uniformer_video.data.clips.images import ImageAugmentation
from uniformer_video.data.clips.pillow_ops import FILTERS, change_picture
from uniformer_video.data.clips.pixels import Size
from uniformer_video.data.clips.train_views import ClipDraws
from uniformer_video.data.clips.transforms import to_channels_first


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
        image = Image.fromarray(frames[0])
        if drawn.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mark("flip")
        if self.colors:
            image = change_picture(image, drawn.ops, self.interpolation, self.fill)
            mark(self.colors.step)
        box, side = drawn.box, self.crop_size
        cut = image.crop((box.left, box.top, box.right, box.bottom))
        crop = cut.resize((side, side), FILTERS["bicubic" if drawn.smooth else "bilinear"])
        mark("crop and resize")
        return to_channels_first(np.array(crop)[None])
