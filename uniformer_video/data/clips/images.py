"""Images: what a test sees of them and what training does to them, by Pillow as published recipes do it.

An image comes as a clip of one frame, `uint8 [1, H, W, 3]` RGB, and leaves as `float32 [3, h, w]`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from uniformer_video.data.clips.packed import PackedClips
from uniformer_video.data.clips.pillow_ops import Colour, change_picture
from uniformer_video.data.clips.pixels import Size, Window
from uniformer_video.data.clips.train_views import ClipDraws, TrainAugmentation
from uniformer_video.data.clips.transforms import EvalViews, to_channels_first
from uniformer_video.errors import ConfigError

_BICUBIC = Image.Resampling.BICUBIC
# Nothing larger is made only to cut a piece of it: a line of 1 x 10,000 pixels would become 256 x 2,560,000.
_MOST_PIXELS = 2**26


@dataclass(frozen=True)
class ImageViews(EvalViews):
    """What evaluation sees of an image: the short side scaled by Pillow's bicubic filter, which smooths what
    it scales down, to whole levels; then the centre crop. All as in the published evaluation.
    """

    def crops(self, frames: np.ndarray) -> list[Tensor]:
        """The centre of `uint8 [1, H, W, 3]`, `float32 [3, 1, crop, crop]` with values in 0..255."""
        picture = frames[0]
        height, width = picture.shape[:2]
        size = image_size(height, width, self.short_side)
        crop = scale_and_cut(picture, size, centre(size, self.crop_size), self.crop_size)
        return [to_channels_first(np.array(crop)[None])]

    def to_input(self, crop: Tensor) -> Tensor:
        """`float32 [3, 1, crop, crop]` -> `float32 [3, crop, crop]`, normalised."""
        return self.normalise(crop)[:, 0]


def image_size(height: int, width: int, side: int) -> Size:
    """(height, width) with a short side of `side`; the long side is cut to whole pixels.

    In whole numbers, unlike `scaled_size`, where 1.1 times 250 may be 274.
    """
    if width <= height:
        return side * height // width, side
    return side, side * width // height


def centre(size: Size, crop: int) -> tuple[int, int]:
    """(top, left) of the middle square; of a half pixel the nearest even number, as Python rounds."""
    height, width = size
    return round((height - crop) / 2), round((width - crop) / 2)


def scale_and_cut(
    picture: np.ndarray, size: Size, corner: tuple[int, int], crop: int
) -> Image.Image:
    """`uint8 [H, W, 3]` scaled to `size` (height, width), and of that the square at `corner` (top, left).

    Where the whole would be enormous only the square is made: the same up to the rounding of single pixels.
    """
    (height, width), (top, left) = size, corner
    image = Image.fromarray(picture)
    if height * width <= _MOST_PIXELS:
        scaled = image.resize((width, height), _BICUBIC)
        return scaled.crop((left, top, left + crop, top + crop))
    down, right = image.height / height, image.width / width
    shown = (
        left * right,
        top * down,
        min((left + crop) * right, image.width),
        min((top + crop) * down, image.height),
    )
    return image.resize((crop, crop), _BICUBIC, shown)


def check_on_device(on_device: str) -> None:
    """Raise `ConfigError` for what `AUG.ON_DEVICE` cannot be for images."""
    if on_device == "all":
        raise ConfigError(
            "AUG.ON_DEVICE all is for videos: images are cropped and augmented by Pillow, as published, and "
            "nothing on a device makes the same pixels; set it to normalise (with erasing) or off"
        )


@dataclass
class ImageAugmentation(TrainAugmentation):
    """What training does to an image: resized crop, flip, then the policy on the crop, then erasing.

    Arguments and draws are those of `TrainAugmentation`, the order is that of published image recipes. Raises
    `ConfigError` for `on_device` "all".
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_on_device(self.on_device)

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
        side, box = self.crop_size, drawn.box
        if self.area:
            rows, columns = box.slices(Window.whole(drawn.frame_size))
            # cut first: the filter sees nothing of what lies around the box
            image = Image.fromarray(frames[0, rows, columns]).resize((side, side), _BICUBIC)
        else:
            image = scale_and_cut(frames[0], drawn.scaled_size, drawn.corner, side)
        mark("crop and resize")
        if drawn.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        mark("flip")
        if self.colors:
            image = change_picture(image, drawn.ops, self.interpolation, self.fill)
            mark(self.colors.step)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float()[:, None]

    @property
    def fill(self) -> Colour:
        """What moves into the picture from outside of it: the mean of the normalisation, in levels."""
        red, green, blue = self.normalise.mean
        if self.normalise.channel_order == "BGR":
            red, blue = blue, red
        red, green, blue = (min(round(255 * level), 255) for level in (red, green, blue))
        return red, green, blue
