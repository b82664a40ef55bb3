"""What training does to a picture and its mask together, as published for semantic segmentation.

In this order: scaled by a random factor, cut, mirrored, distorted in its colours, normalised, filled up to
the side of the crop where it is smaller.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.clips.packed import PackedClips
from uniformer_video.data.clips.photometric import Step, distort, draw_distortion
from uniformer_video.data.clips.picture_resize import fitted_size, resize_mask, resize_picture
from uniformer_video.data.clips.pixels import Size
from uniformer_video.data.clips.transforms import Normalisation, to_channels_first
from uniformer_video.data.decoding.masks import IGNORED

_REDRAWS = 10  # of a crop of one class


@dataclass(frozen=True)
class MaskedDraws:
    """What chance decided about one picture, in the order in which it is done. Sizes are (height, width).

    frame_size: of the decoded picture; scaled_size: what it is scaled to; corner: (top, left) of the crop in
    that; mirrored: left to right; steps: of `distort`.
    """

    frame_size: Size
    scaled_size: Size
    corner: tuple[int, int]
    mirrored: bool
    steps: tuple[Step, ...] = ()


@dataclass
class MaskedAugmentation:
    """Random crops of pictures and of their masks.

    crop_size: side of the crop, in pixels. scale: (long, short) side that pictures are scaled to fit into,
    times a factor drawn from `ratio_range`. max_class_share: a crop with as much of one class, of the pixels
    that count, is drawn again, up to 10 times; 1 = none is. flip: mirror half of the pictures. photometric:
    distort colours.
    """

    crop_size: int
    scale: tuple[int, int] = (2048, 512)
    ratio_range: tuple[float, float] = (0.5, 2.0)
    max_class_share: float = 0.75
    flip: bool = True
    photometric: bool = True
    normalise: Normalisation = field(default_factory=Normalisation)
    on_device: str = "off"

    def draw(
        self, frame_size: Size, mask: np.ndarray, rng: np.random.Generator
    ) -> tuple[MaskedDraws, np.ndarray]:
        """(height, width) of the picture, classes `uint8 [H, W]` -> draws, classes `uint8 [crop, crop]`.

        Beyond the picture the classes are 255.
        """
        ratio = rng.uniform(*self.ratio_range)
        box = (int(self.scale[0] * ratio), int(self.scale[1] * ratio))
        size = fitted_size(*frame_size, box)
        corner = self._corner(size, rng)
        cut = self._cut(mask, size, corner)
        for _ in range(_REDRAWS if self.max_class_share < 1 else 0):
            if self._is_varied(cut):
                break
            corner = self._corner(size, rng)
            cut = self._cut(mask, size, corner)
        mirrored = self.flip and rng.random() < 0.5
        steps = draw_distortion(rng) if self.photometric else ()
        whole = np.full((self.crop_size, self.crop_size), IGNORED, np.uint8)
        whole[: cut.shape[0], : cut.shape[1]] = cut[:, ::-1] if mirrored else cut
        return MaskedDraws(frame_size, size, corner, mirrored, steps), whole

    def __call__(
        self,
        frames: np.ndarray,
        mask: np.ndarray,
        rng: np.random.Generator,
        mark: Callable[[str], None] = lambda step: None,
    ) -> tuple[Tensor, np.ndarray]:
        """`uint8 [1, H, W, 3]`, classes -> clip, classes of the crop: `draw`, then `apply`."""
        drawn, mask = self.draw(frames.shape[1:3], mask, rng)
        return self.apply(frames, drawn, rng, mark), mask

    def apply(
        self,
        frames: np.ndarray,
        drawn: MaskedDraws,
        rng: np.random.Generator,
        mark: Callable[[str], None] = lambda step: None,
    ) -> Tensor:
        """`uint8 [1, H, W, 3]` and what `draw` has drawn -> `float32 [3, crop, crop]`.

        `rng` is not drawn from. `mark` is called with the name of each step when it is done.
        """
        crop = self._crop_of(drawn.scaled_size)
        picture = resize_picture(frames[0], drawn.scaled_size, drawn.corner, crop)
        mark("crop and resize")
        if drawn.mirrored:
            picture = picture[:, ::-1]
        mark("flip")
        picture = distort(picture, drawn.steps)
        mark("photometric")
        clip = to_channels_first(np.ascontiguousarray(picture)[None])
        whole = torch.zeros(3, self.crop_size, self.crop_size)
        whole[:, : crop[0], : crop[1]] = self.normalise(clip)[:, 0]
        mark("normalise")
        return whole

    def finish(self, clips: Tensor | PackedClips) -> Tensor:
        """The batch as it is: nothing is left to do on the device."""
        assert isinstance(clips, Tensor)  # `apply` packs nothing
        return clips

    def _crop_of(self, size: Size) -> Size:
        """(height, width) of the crop of a picture of this size: a side that is too short is taken whole."""
        return min(size[0], self.crop_size), min(size[1], self.crop_size)

    def _corner(self, size: Size, rng: np.random.Generator) -> tuple[int, int]:
        height, width = self._crop_of(size)
        return int(rng.integers(size[0] - height + 1)), int(rng.integers(size[1] - width + 1))

    def _cut(self, mask: np.ndarray, size: Size, corner: tuple[int, int]) -> np.ndarray:
        return resize_mask(mask, size, corner, self._crop_of(size))

    def _is_varied(self, cut: np.ndarray) -> bool:
        """Whether a crop shows two classes or more, and none of them on too many pixels."""
        counts = np.bincount(cut.ravel(), minlength=IGNORED + 1)[:IGNORED]
        return bool(
            np.count_nonzero(counts) > 1 and counts.max() < self.max_class_share * counts.sum()
        )
