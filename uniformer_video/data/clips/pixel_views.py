"""What a test of segmentation sees of a picture: all of it, in one size or several, maybe mirrored too."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from uniformer_video.data.clips.images import ImageViews
from uniformer_video.data.clips.picture_resize import fitted_size, resize_picture
from uniformer_video.data.clips.pixels import Size
from uniformer_video.data.clips.transforms import to_channels_first

_LEAST_SIDE = 32  # of less, the last stage of a model sees nothing


@dataclass(frozen=True)
class PixelViews(ImageViews):
    """The whole picture, scaled to fit into a box, as published for semantic segmentation.

    short_side, long_side: of the box. crop_size: side of a window that slides over the picture, 0 = the whole
    picture at once; window_stride: its steps, in pixels, 0 = two thirds of its side. align: both sides are
    stretched to multiples of it, in a second resizing. ratios: factors of the box, one view each; flip: each
    of them mirrored too.
    """

    long_side: int = 2048
    align: int = 1
    ratios: tuple[float, ...] = (1.0,)
    flip: bool = False
    window_stride: int = 0

    @property
    def mirrorings(self) -> tuple[bool, ...]:
        """Whether each view of one size is mirrored."""
        return (False, True) if self.flip else (False,)

    @property
    def views_of_clip(self) -> int:
        """Of a picture: each ratio, and mirroring in it."""
        return len(self.ratios) * len(self.mirrorings)

    @property
    def stride(self) -> int:
        """Of the sliding window."""
        return self.window_stride or max(self.crop_size * 2 // 3, 1)

    def in_words(self) -> str:
        """What is seen: "whole images, scaled to fit into 2048 x 512 pixels, sides multiples of 32"."""
        parts = [f"whole images, scaled to fit into {self.long_side} x {self.short_side} pixels"]
        if self.ratios != (1.0,):
            parts.append(f"that times {', '.join(f'{ratio:g}' for ratio in self.ratios)}")
        if self.align > 1:
            parts.append(f"sides multiples of {self.align}")
        if self.flip:
            parts.append("mirrored too")
        if self.crop_size:
            parts.append(f"by windows of {self.crop_size} pixels at steps of {self.stride}")
        return ", ".join(parts)

    def size(self, height: int, width: int, ratio: float) -> tuple[Size, Size]:
        """(height, width) that a picture is scaled to, and to which that is stretched."""
        fitted = fitted_size(
            height, width, (int(self.long_side * ratio), int(self.short_side * ratio))
        )
        high, wide = (max(side, _LEAST_SIDE) for side in fitted)
        align = self.align
        return (high, wide), (-(-high // align) * align, -(-wide // align) * align)

    def inputs(self, picture: np.ndarray) -> list[Tensor]:
        """`uint8 [H, W, 3]` -> one `float32 [1, 3, h, w]` for each ratio and, in it, mirroring."""
        views = []
        height, width = picture.shape[:2]
        for ratio in self.ratios:
            fitted, stretched = self.size(height, width, ratio)
            scaled = resize_picture(resize_picture(picture, fitted), stretched)
            for mirrored in self.mirrorings:
                shown = scaled[:, ::-1] if mirrored else scaled
                clip = to_channels_first(np.ascontiguousarray(shown)[None])
                views.append(self.normalise(clip)[None, :, 0])
        return views
