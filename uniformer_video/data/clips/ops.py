"""What each augmentation does to pixels: whole clips at once, with Pillow's arithmetic.

An operation is a `Change`. Lookup tables come from running Pillow on a ramp of the 256 levels, so that
they stay what Pillow makes of single frames. Pixels are `Pixels` or `DevicePixels`: the operations
are the same for both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from uniformer_video.data.clips import affine
from uniformer_video.data.clips.affine import Matrix, Weights
from uniformer_video.data.clips.pixels import LEVELS, Pixels, Size, Window, blends

Drawn = Sequence[tuple[str, float | None]]  # operations in order: name, setting in its own unit
_RAMP = Image.fromarray(LEVELS[None])


@dataclass(frozen=True)
class Change:
    """One operation with its setting still open.

    `needs(setting, window, size)` is the window of the input that `window` of the output depends on,
    `apply(pixels, setting, window, weights)` that window of the output, from pixels that hold at least
    what is needed. `weights` is an interpolation of `clips/affine`. `matrix(setting, size)`, of what moves
    pixels, is the `affine.transform` that does it.
    """

    needs: Callable[[Any, Window, Size], Window]
    apply: Callable[[Pixels, Any, Window, Weights | None], Pixels]
    matrix: Callable[[float, Size], Matrix] | None = None


def lookup(make_table: Callable[[Any], np.ndarray]) -> Change:
    """Every value by one table, `make_table(setting)`."""

    def apply(pixels: Pixels, setting: Any, window: Window, weights: Weights | None) -> Pixels:
        return pixels.crop(window).look_up(make_table(setting))

    return Change(lambda setting, window, size: window, apply)


def statistical(make_tables: Callable[[Pixels, Any], torch.Tensor]) -> Change:
    """Every value by tables, `make_tables(pixels, setting)`, that each full frame has of its own."""

    def apply(pixels: Pixels, setting: Any, window: Window, weights: Weights | None) -> Pixels:
        tables = make_tables(pixels, setting)
        return pixels.crop(window).look_up(tables)

    return Change(lambda setting, window, size: Window.whole(size), apply)


def geometric(make_matrix: Callable[[float, Size], Matrix]) -> Change:
    """Pixels moved by `make_matrix(setting, size)`."""

    def needs(setting: float, window: Window, size: Size) -> Window:
        return affine.source_window(make_matrix(setting, size), window, size)

    def apply(pixels: Pixels, setting: Any, window: Window, weights: Weights | None) -> Pixels:
        assert weights is not None  # whoever draws what moves pixels says how
        return affine.transform(pixels, make_matrix(setting, pixels.size), window, weights)

    return Change(needs, apply, make_matrix)


def _table(image: Image.Image) -> np.ndarray:
    return np.array(image).reshape(256)


def posterize_table(bits: int) -> np.ndarray:
    """uint8 `[256]`. Keep the highest `bits` bits; 0, which `ImageOps.posterize` refuses, is black."""
    return LEVELS & np.uint8(256 - 2 ** (8 - bits))


def solarize_add_table(addend: int) -> np.ndarray:
    """uint8 `[256]`. Brighten the dark half of the range, by a number of levels."""
    brighter = np.minimum(LEVELS.astype(int) + addend, 255).astype(np.uint8)
    return np.where(LEVELS < 128, brighter, LEVELS)


def _auto_contrast(pixels: Pixels, _: None) -> torch.Tensor:
    """Stretch from the lowest to the highest level of each frame and channel: `[3, T, 256]`."""
    lows, highs = (levels.double()[..., None] for levels in pixels.ranges())
    levels = torch.arange(256, dtype=torch.float64, device=lows.device)
    # `ImageOps` divides first, in double precision; 255 / tensor is a product in torch.
    scales = torch.full_like(lows, 255) / (highs - lows)
    stretched = (levels * scales + -lows * scales).clamp(0, 255)
    return torch.where(highs > lows, stretched, levels).byte()


def _equalize(pixels: Pixels, _: None) -> torch.Tensor:
    """Spread the levels of each frame and channel by their rank, as `ImageOps.equalize`."""
    counts = pixels.histograms()
    levels = torch.arange(256, device=counts.device)
    highest = (levels * (counts > 0)).amax(-1, keepdim=True)
    steps = (counts.sum(-1, keepdim=True) - counts.gather(-1, highest)) // 255
    below = counts.cumsum(-1) - counts
    ranks = (steps // 2 + below) // steps.clamp(min=1)
    return torch.where(steps > 0, ranks.clamp(max=255), levels).byte()


def _contrast(pixels: Pixels, factor: float) -> torch.Tensor:
    """Away from, or towards, the mean gray of each frame: `[T, 256]`."""
    means = pixels.gray_means()
    return torch.from_numpy(blends(factor)).to(means.device, non_blocking=True)[means]


def _color(pixels: Pixels, factor: float, window: Window, weights: Weights | None) -> Pixels:
    """Away from, or towards, gray."""
    return pixels.crop(window).away_from_gray(factor)


def _sharpness_needs(setting: float, window: Window, size: Size) -> Window:
    top, left, bottom, right = window.top, window.left, window.bottom, window.right
    return Window.between(top - 1, left - 1, bottom + 1, right + 1, size)


def _sharpness(pixels: Pixels, factor: float, window: Window, weights: Weights | None) -> Pixels:
    """Away from, or towards, the smoothed frame. The border of a frame is never smoothed."""
    needed = pixels.crop(_sharpness_needs(factor, window, pixels.size))
    return needed.away_from_smooth(factor).crop(window)


CHANGES = {
    "AutoContrast": statistical(_auto_contrast),
    "Equalize": statistical(_equalize),
    "Invert": lookup(lambda _: ~LEVELS),
    "Rotate": geometric(affine.rotation),
    "Posterize": lookup(posterize_table),
    "Solarize": lookup(lambda threshold: _table(ImageOps.solarize(_RAMP, threshold))),
    "SolarizeAdd": lookup(solarize_add_table),
    "Color": Change(lambda setting, window, size: window, _color),
    "Contrast": statistical(_contrast),
    "Brightness": lookup(lambda factor: _table(ImageEnhance.Brightness(_RAMP).enhance(factor))),
    "Sharpness": Change(_sharpness_needs, _sharpness),
    "ShearX": geometric(affine.shear_x),
    "ShearY": geometric(affine.shear_y),
    "TranslateX": geometric(affine.translation_x),
    "TranslateY": geometric(affine.translation_y),
}


def change_pixels(
    frames: np.ndarray, drawn: Drawn, weights: Weights | None, window: Window | None = None
) -> Pixels:
    """The `window` (default: all) of frames after the drawn (name, setting) pairs, as `Pixels`.

    `frames` are `uint8 [T, H, W, 3]`. Nothing is computed that the window does not depend on.
    """
    size = frames.shape[1:3]
    window = window or Window.whole(size)
    pixels = Pixels.of(frames, input_window(drawn, window, size))
    return apply_changes(pixels, drawn, weights, window)


def input_window(drawn: Drawn, window: Window, size: Size) -> Window:
    """What of frames of `size` (height, width) `window` depends on, after the drawn pairs."""
    return _windows(drawn, window, size)[0]


def apply_changes(pixels: Pixels, drawn: Drawn, weights: Weights | None, window: Window) -> Pixels:
    """`window` after the drawn (name, setting) pairs, from pixels that hold its `input_window`."""
    windows = _windows(drawn, window, pixels.size)
    for (name, setting), after in zip(drawn, windows[1:], strict=True):
        pixels = CHANGES[name].apply(pixels, setting, after, weights)
    return pixels


def _windows(drawn: Drawn, window: Window, size: Size) -> list[Window]:
    """The window before the first step and after each, found from the last step to the first."""
    windows = [window]
    for name, setting in reversed(drawn):
        windows.append(CHANGES[name].needs(setting, windows[-1], size))
    return windows[::-1]
