"""Images: what a test sees of them and what training does to them, by Pillow as published recipes do it.

An image comes as a clip of one frame, `uint8 [1, H, W, 3]` RGB, and leaves as `float32 [3, h, w]`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uniformer_video.data.clips.ops import apply_changes
from uniformer_video.data.clips.packed import PackedClips
from uniformer_video.data.clips.pixels import Pixels, Window
from uniformer_video.data.clips.train_views import ClipDraws, TrainAugmentation
from uniformer_video.data.clips.transforms import (
    EvalViews,
    crop_offsets,
    scaled_size,
    to_channels_first,
)


@dataclass(frozen=True)
class ImageViews(EvalViews):
    """What evaluation sees of an image: the short side scaled by Pillow's bicubic filter, which smooths what
    it scales down, to whole levels; then the centre crop.
    """

    def __call__(self, clips: Iterable[np.ndarray]) -> Tensor:
        """`uint8 [clips, 1, H, W, 3]` -> `float32 [clips, 3, crop, crop]`."""
        return torch.stack([self._view(frames[0]) for frames in clips])

    def _view(self, picture: np.ndarray) -> Tensor:
        height, width = scaled_size(picture.shape[0], picture.shape[1], self.short_side)
        resized = np.array(
            Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        )
        [(top, left)] = crop_offsets(height, width, self.crop_size, 1)
        crop = resized[None, top : top + self.crop_size, left : left + self.crop_size]
        return self.normalise(to_channels_first(crop))[:, 0]


@dataclass
class ImageAugmentation(TrainAugmentation):
    """What training does to an image: resized crop, flip, then the policy on the crop, then erasing.

    Arguments and draws are those of `TrainAugmentation`, the order is that of published image recipes.
    """

    def apply(
        self,
        frames: np.ndarray,
        drawn: ClipDraws,
        rng: np.random.Generator,
        mark: Callable[[str], None] = lambda step: None,
    ) -> Tensor | PackedClips:
        """`uint8 [1, H, W, 3]` and what `draw` has drawn with the same `rng` -> `float32 [3, crop, crop]`, or
        a `PackedClips` of one.
        """
        clip = super().apply(frames, drawn, rng, mark)
        return clip.squeeze(1) if isinstance(clip, Tensor) else clip

    def finish(self, clips: Tensor | PackedClips) -> Tensor:
        """The rest, for a batch that is on the device -> `float32 [B, 3, crop, crop]` there."""
        finished = super().finish(clips)
        return finished if isinstance(clips, Tensor) else finished.squeeze(2)

    def _start(
        self, frames: np.ndarray, drawn: ClipDraws, mark: Callable[[str], None] = lambda step: None
    ) -> Tensor:
        """The crop after the policy: `float32 [3, 1, crop, crop]`, 0..255, whole levels."""
        height, width = drawn.scaled_size
        top, left, bottom, right = drawn.box.top, drawn.box.left, drawn.box.bottom, drawn.box.right
        picture = Image.fromarray(frames[0])
        scaled = picture.resize(
            (width, height), Image.Resampling.BICUBIC, (left, top, right, bottom)
        )
        row, column = drawn.corner
        crop = np.asarray(scaled)[
            None, row : row + self.crop_size, column : column + self.crop_size
        ]
        mark("crop and resize")
        crop = crop[:, :, ::-1] if drawn.mirrored else crop
        mark("flip")
        weights = self.colors.weights if self.colors else None
        whole = Window.whole(crop.shape[1:3])
        changed = apply_changes(Pixels.of(crop, whole), drawn.ops, weights, whole).clip()
        if self.colors:
            mark(self.colors.step)
        return changed
