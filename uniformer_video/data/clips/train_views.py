"""Training views of a clip: augmentation is drawn first, then applied in a worker or on the device.

A `ClipDraws` holds all that chance decides, so who does a step, and where, changes nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.clips.augment import Box, ColorJitter, RandAugment, RandomErasing, erase
from uniformer_video.data.clips.auto_augment import AutoAugment, policy_of
from uniformer_video.data.clips.device_pixels import DevicePixels
from uniformer_video.data.clips.ops import Drawn, apply_changes, input_window
from uniformer_video.data.clips.packed import PackedClips
from uniformer_video.data.clips.pixels import Pixels, Size, Window
from uniformer_video.data.clips.transforms import (
    Normalisation,
    contiguous,
    random_crop,
    resize,
    resized_crop_box,
)
from uniformer_video.data.lists.flips import may_mirror, mirror_labels

_COLUMNS = (2, 3, 0, 1)  # from [3, T, h, w] to [h, w, 3, T] and back; the device moves bytes faster


@dataclass(frozen=True)
class ClipDraws:
    """What chance decided about one clip, in the order in which it is done. Sizes are (height, width).

    frame_size: of the decoded frames; ops: (name, setting) pairs for `apply_changes`; box: what is
    shown of the frames after these; scaled_size: what the box is scaled to; corner: (top, left) of
    the crop in that; mirrored: left to right; erased: a box of the crop for noise, or None.
    """

    frame_size: Size
    ops: Drawn
    box: Window
    scaled_size: Size
    corner: tuple[int, int]
    mirrored: bool
    erased: Box | None
    noise_seed: int = 0  # for noise that is drawn on the device

    @property
    def window(self) -> Window:
        """What of the decoded frames the clip depends on."""
        return input_window(self.ops, self.box, self.frame_size)


class Augmentation(Protocol):
    """What training does to videos or pictures and to their labels, whatever these are."""

    def draw(self, frame_size: Size, label: Any, rng: np.random.Generator, /) -> tuple[Any, Any]:
        """(height, width) of the frames, label -> all that chance decides, and the label after that."""

    def apply(
        self,
        frames: np.ndarray,
        drawn: Any,
        rng: np.random.Generator,
        mark: Callable[[str], None] = ...,
        /,
    ) -> Tensor | PackedClips:
        """Frames and what `draw` has drawn with the same `rng` -> clip."""

    def __call__(
        self,
        frames: np.ndarray,
        label: Any,
        rng: np.random.Generator,
        mark: Callable[[str], None] = ...,
        /,
    ) -> tuple[Tensor | PackedClips, Any]:
        """Both."""

    def finish(self, clips: Tensor | PackedClips) -> Tensor:
        """The rest, for a batch that is on the device."""


@dataclass
class TrainAugmentation:
    """What training does to the frames of a clip, in this order.

    policy: as `policy_of` takes it, "" for none; color_jitter: strength, used without a policy. area, ratio:
    of the resized crop; area None = plain crop after jittering the short side within `scales`.
    flip: mirror half of the clips; flip_labels: class -> class of the mirrored video;
    flip_skipped: classes that are never mirrored.

    on_device says what `finish` does to a batch on the device, and calling this not yet: "off",
    nothing; "normalise", normalising and erasing, of clips rounded to bytes; "all", everything, of the
    bytes that the clip depends on. The draws are the same, but for the values of erasing's noise,
    which differ between kinds of devices too.
    """

    crop_size: int
    policy: str = ""
    interpolation: str = "bicubic"
    color_jitter: float = 0.0
    area: tuple[float, float] | None = field(kw_only=True)
    ratio: tuple[float, float] = field(kw_only=True)
    scales: tuple[int, int] = field(kw_only=True)
    flip: bool = True
    flip_labels: tuple[tuple[int, int], ...] = ()
    flip_skipped: tuple[int, ...] = ()
    erasing: float = 0.0
    normalise: Normalisation = field(default_factory=Normalisation)
    on_device: str = "off"

    def __post_init__(self) -> None:
        self.colors: RandAugment | AutoAugment | ColorJitter | None = None
        self._erase: RandomErasing | None = None
        if self.policy:
            self.colors = policy_of(self.policy, self.interpolation)
        elif self.color_jitter:
            self.colors = ColorJitter(self.color_jitter)
        if self.erasing:
            self._erase = RandomErasing(self.erasing)

    def draw(
        self, frame_size: Size, labels: tuple[int, ...], rng: np.random.Generator
    ) -> tuple[ClipDraws, tuple[int, ...]]:
        """(height, width) of the frames, classes -> `ClipDraws`, classes."""
        side = self.crop_size
        ops = tuple(self.colors.draw(rng)) if self.colors else ()
        if self.area:
            box = Window(*resized_crop_box(*frame_size, self.area, self.ratio, rng))
            scaled_size, corner = (side, side), (0, 0)
        else:
            box = Window.whole(frame_size)
            scaled_size, corner = random_crop(*frame_size, self.scales, side, rng)
        flips = self.flip and rng.random() < 0.5 and may_mirror(labels, self.flip_skipped)
        if flips:
            labels = mirror_labels(labels, self.flip_labels)
        erased = self._erase.draw(side, side, rng) if self._erase else None
        seed = int(rng.integers(2**63)) if erased and self.on_device != "off" else 0
        return ClipDraws(frame_size, ops, box, scaled_size, corner, flips, erased, seed), labels

    def __call__(
        self,
        frames: np.ndarray,
        labels: tuple[int, ...],
        rng: np.random.Generator,
        mark: Callable[[str], None] = lambda step: None,
    ) -> tuple[Tensor | PackedClips, tuple[int, ...]]:
        """`uint8 [T, H, W, 3]`, classes -> clip, classes: `draw`, then `apply`."""
        drawn, labels = self.draw(frames.shape[1:3], labels, rng)
        return self.apply(frames, drawn, rng, mark), labels

    def apply(
        self,
        frames: np.ndarray,
        drawn: ClipDraws,
        rng: np.random.Generator,
        mark: Callable[[str], None] = lambda step: None,
    ) -> Tensor | PackedClips:
        """`uint8 [T, H, W, 3]` and what `draw` has drawn with the same `rng` -> clip.

        The clip is `float32 [3, T, crop, crop]` where nothing is left to do on the device, else a
        `PackedClips` of one. `mark` is called with the name of each step when it is done, for who
        times them.
        """
        if self.on_device == "all":
            rows, columns = drawn.window.slices(Window.whole(drawn.frame_size))
            packed = PackedClips.of(torch.from_numpy(frames[:, rows, columns].copy()), drawn)
            mark("pack")
            return packed
        clip = self._start(frames, drawn, mark)
        if self.on_device == "normalise":
            packed = PackedClips.of(_round_to_bytes(clip.permute(*_COLUMNS)), drawn)
            mark("pack")
            return packed
        clip = contiguous(clip)
        clip = self.normalise(clip, out=clip)
        mark("normalise")
        if drawn.erased:
            clip = erase(clip, drawn.erased, rng)
        mark("erasing")
        return clip

    def finish(self, clips: Tensor | PackedClips) -> Tensor:
        """The rest, for a batch that is on the device -> `float32 [B, 3, T, crop, crop]` there."""
        if isinstance(clips, Tensor):  # nothing is left to do
            return clips
        finished: Tensor | None = None
        for place, (pixels, drawn) in enumerate(clips):
            if self.on_device == "all":
                held = DevicePixels.of_window(pixels, drawn.window, drawn.frame_size)
                clip = self._crop(held, drawn)
            else:
                clip = pixels.permute(*_COLUMNS)
            if finished is None:
                finished = torch.empty(len(clips), *clip.shape, device=clip.device)
            finished[place] = clip
        assert finished is not None  # a batch has a clip
        finished = self.normalise(finished, out=finished)
        for clip, drawn in zip(finished, clips.draws, strict=True):
            if drawn.erased:
                noise = torch.Generator(finished.device).manual_seed(drawn.noise_seed)
                erase(clip, drawn.erased, noise)
        return finished

    def _start(
        self, frames: np.ndarray, drawn: ClipDraws, mark: Callable[[str], None] = lambda step: None
    ) -> Tensor:
        """All but normalising and erasing, of `uint8 [T, H, W, 3]`, as `_crop`."""
        return self._crop(Pixels.of(frames, drawn.window), drawn, mark)

    def _crop(
        self, pixels: Pixels, drawn: ClipDraws, mark: Callable[[str], None] = lambda step: None
    ) -> Tensor:
        """The crop of the changed frames: `float32 [3, T, crop, crop]`, 0..255, of any layout."""
        weights = self.colors.weights if self.colors else None
        clip = apply_changes(pixels, drawn.ops, weights, drawn.box).clip()
        if self.colors:
            mark(self.colors.step)
        top, left = drawn.corner
        clip = resize(clip, *drawn.scaled_size)
        clip = clip[..., top : top + self.crop_size, left : left + self.crop_size]
        mark("crop and resize")
        if drawn.mirrored:
            clip = clip.flip(-1)
        mark("flip")
        return clip


def _round_to_bytes(clip: Tensor) -> Tensor:
    """Values in 0..255 -> the nearest bytes, a new tensor. NumPy is several times as fast at this."""
    levels = np.empty(clip.shape, np.uint8)
    np.add(clip.numpy(), np.float32(0.5), out=levels, casting="unsafe")
    return torch.from_numpy(levels)
