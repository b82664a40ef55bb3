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
    def stride(self) -> int:
        """Of the sliding window."""
        return self.window_stride or max(self.crop_size * 2 // 3, 1)

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
        for ratio in self.ratios:
            fitted, stretched = self.size(*picture.shape[:2], ratio)
            scaled = resize_picture(resize_picture(picture, fitted), stretched)
            for mirrored in self.mirrorings:
                shown = scaled[:, ::-1] if mirrored else scaled
                clip = to_channels_first(np.ascontiguousarray(shown)[None])
                views.append(self.normalise(clip)[None, :, 0])
        return views
