"""Spatial transforms on whole clips: resize, crop, flip, normalise.

Clips are `uint8 [T, H, W, 3]` RGB frames on the way in and normalised `float32 [3, T, h, w]` on the
way out. Resizing is bilinear with half-pixel centres and no antialiasing, the published protocol.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import DTypeLike
from torch import Tensor
from torch.nn import functional as F

from uniformer_video.data.clips.pixels import Size

CHANNEL_MEAN = (0.45, 0.45, 0.45)
CHANNEL_STD = (0.225, 0.225, 0.225)


@dataclass(frozen=True)
class Normalisation:
    """From bytes to what the model sees: scale to [0, 1], subtract `mean`, divide by `std`."""

    mean: tuple[float, ...] = CHANNEL_MEAN
    std: tuple[float, ...] = CHANNEL_STD
    channel_order: str = "RGB"

    def __call__(self, clip: Tensor, out: Tensor | None = None) -> Tensor:
        """`[..., 3, T, H, W]` with values in 0..255, RGB -> the same shape, `float32`, normalised.

        Bytes and batches will do, on any device, so that it can follow the transfer. `out` may be a
        `float32` clip itself, whose memory is used again.
        """
        if self.channel_order == "BGR":
            clip = clip.flip(-4)
        mean = torch.tensor(self.mean, dtype=torch.float64)
        scale = 1 / (255 * torch.tensor(self.std, dtype=torch.float64))
        shift = -255 * mean * scale
        shift, scale = (
            each.float().view(3, 1, 1, 1).to(clip.device, non_blocking=True)
            for each in (shift, scale)
        )
        return torch.addcmul(shift, clip.float(), scale, out=out)


@dataclass(frozen=True)
class EvalViews:
    """What evaluation sees of a video: `num_clips` clips of `num_crops` square crops each.

    short_side: side after resizing; crop_size: side of the crop, in pixels. Views are ordered clip by
    clip, crop 0 first (left or top, centre, right or bottom).
    """

    short_side: int
    crop_size: int
    num_crops: int = 1
    normalise: Normalisation = field(default_factory=Normalisation)

    @property
    def views_of_clip(self) -> int:
        """How many views of a clip there are."""
        return self.num_crops

    @property
    def bytes_of_frame(self) -> int:
        """Of one frame of a view, as the model takes it."""
        return 4 * 3 * self.crop_size**2

    def __call__(self, clips: Iterable[np.ndarray]) -> Tensor:
        """`uint8 [clips, T, H, W, 3]` -> `float32 [clips * crops, 3, T, crop, crop]`."""
        return torch.stack([self.to_input(crop) for frames in clips for crop in self.crops(frames)])

    def crops(self, frames: np.ndarray) -> list[Tensor]:
        """The crops of `uint8 [T, H, W, 3]`, each `float32 [3, T, crop, crop]` with values in 0..255."""
        clip = shrink_frames(frames, self.short_side)
        height, width = clip.shape[-2:]
        side = self.crop_size
        offsets = crop_offsets(height, width, side, self.num_crops)
        return [clip[..., top : top + side, left : left + side] for top, left in offsets]

    def to_input(self, crop: Tensor) -> Tensor:
        """A crop of `crops` as the model takes it, normalised: `float32 [3, T, crop, crop]`."""
        return self.normalise(crop)


def shrink_frames(frames: np.ndarray, side: int) -> Tensor:
    """`uint8 [T, H, W, 3]` -> `float32 [3, T, h, w]`, as `resize_short_side` gives it of `to_channels_first`.

    Of large frames only the rows that count become floats: of 2160 to 224 a fifth.
    """
    height, width = scaled_size(frames.shape[1], frames.shape[2], side)
    rows = _rows_read(frames.shape[1], height)
    if len(rows) > frames.shape[1] / 2:
        return resize(to_channels_first(frames), height, width)
    clip = torch.empty(frames.shape)  # torch's: pages that nobody touches take no memory
    values = clip.numpy()
    for row in rows:  # one by one: no copy of them all as bytes
        values[:, row] = frames[:, row]
    return resize(clip.permute(3, 0, 1, 2), height, width)


def _rows_read(height: int, scaled: int) -> np.ndarray:
    """The rows that bilinear scaling from `height` to `scaled` reads, and those that rounding might."""
    places = (np.arange(scaled) + 0.5) * (height / scaled) - 0.5
    first = np.floor(places[:, None] + (-0.01, 0.01)).astype(np.int64)
    return np.unique(np.clip(np.concatenate([first, first + 1]), 0, height - 1))


def to_channels_first(frames: np.ndarray) -> Tensor:
    """`uint8 [T, H, W, 3]` numpy -> `float32 [3, T, H, W]` with values in 0..255."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float()


def resize(clip: Tensor, height: int, width: int) -> Tensor:
    """`float [C, T, H, W]` -> `[C, T, height, width]`."""
    if clip.shape[-2:] == (height, width):
        return clip
    if _in_columns(clip):  # as one image of C * T channels it goes several times as fast
        images = clip.permute(2, 3, 0, 1).flatten(2)[None].permute(0, 3, 1, 2)
    else:
        images = clip.transpose(0, 1)
    images = F.interpolate(images, (height, width), mode="bilinear", align_corners=False)
    return images[0].unflatten(0, clip.shape[:2]) if len(images) == 1 else images.transpose(0, 1)


def contiguous(clip: Tensor) -> Tensor:
    """`[C, T, H, W]` in that order in memory."""
    if not _in_columns(clip):
        return clip.contiguous()
    columns = clip.permute(2, 3, 0, 1).reshape(-1, clip.shape[0] * clip.shape[1])
    planes = empty_tensor(columns.shape[::-1])
    return planes.copy_(columns.t()).view(clip.shape)  # a matrix is transposed in blocks


def empty_tensor(shape: Sequence[int], dtype: DTypeLike = np.float32) -> Tensor:
    """Memory from NumPy, which asks for huge pages: torch's costs up to 4 times as much."""
    return torch.from_numpy(np.empty(tuple(shape), dtype))


def _in_columns(clip: Tensor) -> bool:
    """True where all values of a pixel, of every channel and frame, lie side by side."""
    return clip.stride(1) == 1 and clip.stride(0) == clip.shape[1]


def resize_short_side(clip: Tensor, side: int) -> Tensor:
    """Scale `[C, T, H, W]` as `scaled_size` says."""
    height, width = clip.shape[-2:]
    return resize(clip, *scaled_size(height, width, side))


def scaled_size(height: int, width: int, side: int) -> Size:
    """(height, width) with a short side of `side`; the long side is cut to whole pixels."""
    if width <= height:
        return math.floor(height / width * side), side
    return side, math.floor(width / height * side)


def crop_offsets(height: int, width: int, crop: int, num_crops: int) -> list[tuple[int, int]]:
    """(top, left) of 1 centre crop, or of 3 crops along the longer side."""
    top, left = math.ceil((height - crop) / 2), math.ceil((width - crop) / 2)
    if num_crops == 1:
        return [(top, left)]
    if height > width:
        return [(0, left), (top, left), (height - crop, left)]
    return [(top, 0), (top, left), (top, width - crop)]


def random_crop(
    height: int, width: int, scales: tuple[int, int], crop: int, rng: np.random.Generator
) -> tuple[Size, tuple[int, int]]:
    """((height, width), (top, left)): what to scale to and where the `crop` x `crop` window is in that.

    The short side is drawn from `scales` = (min, max), then the window's place.
    """
    height, width = scaled_size(height, width, int(rng.integers(scales[0], scales[1] + 1)))
    top = int(rng.integers(0, height - crop + 1))
    left = int(rng.integers(0, width - crop + 1))
    return (height, width), (top, left)


def resized_crop_box(
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a random box; area uniform, ratio (w / h) log-uniform.

    Ten tries, then the largest central box whose ratio lies within `ratio`. Source: Szegedy et al.,
    "Going Deeper with Convolutions", training methodology.
    """
    for _ in range(10):
        target = height * width * rng.uniform(*area)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(0, height - h + 1))
            return top, int(rng.integers(0, width - w + 1)), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w
