"""What each augmentation does to pixels: whole clips at once, with Pillow's arithmetic.

An operation is a `Change`. Lookup tables come from running Pillow on a ramp of the 256 levels, and
blends of whole planes are Pillow's own, so that both stay what Pillow makes of single frames.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from uniformer_video.data import augment_affine as affine
from uniformer_video.data.pixels import Pixels, Window

_LEVELS = np.arange(256, dtype=np.uint8)
_RAMP = Image.fromarray(_LEVELS[None])


@dataclass(frozen=True)
class Change:
    """One operation with its setting still open.

    `needs(setting, window, size)` is the window of the input that `window` of the output depends on,
    `apply(pixels, setting, window, weights)` that window of the output, from pixels that hold at least
    what is needed. `weights` is an interpolation of `augment_affine`.
    """

    needs: Callable
    apply: Callable


def lookup(make_table):
    """Every value by one table, `make_table(setting)`."""

    def apply(pixels, setting, window, weights):
        return pixels.crop(window).look_up(make_table(setting))

    return Change(lambda setting, window, size: window, apply)


def statistical(make_tables):
    """Every value by tables, `make_tables(planes, setting)`, that each full frame has of its own."""

    def apply(pixels, setting, window, weights):
        tables = make_tables(pixels.planes(), setting)
        return pixels.crop(window).look_up(tables)

    return Change(lambda setting, window, size: Window.whole(size), apply)


def geometric(make_matrix):
    """Pixels moved by `make_matrix(setting, size)`."""

    def needs(setting, window, size):
        return affine.source_window(make_matrix(setting, size), window, size)

    def apply(pixels, setting, window, weights):
        return affine.transform(pixels, make_matrix(setting, pixels.size), window, weights)

    return Change(needs, apply)


def _table(image):
    return np.array(image).reshape(256)


def _posterize(bits):
    """Keep the highest `bits` bits; 0, which `ImageOps.posterize` refuses, is black."""
    return _LEVELS & np.uint8(256 - 2 ** (8 - bits))


def _solarize_add(addend):
    """Brighten the dark half of the range, by a number of levels."""
    brighter = np.minimum(_LEVELS.astype(int) + addend, 255).astype(np.uint8)
    return np.where(_LEVELS < 128, brighter, _LEVELS)


def _auto_contrast(planes, _):
    """Stretch from the lowest to the highest level of each frame and channel: `[3, T, 256]`."""
    flat = planes.reshape(*planes.shape[:2], -1)
    tables = np.tile(_LEVELS, (*planes.shape[:2], 1))
    lows, highs = flat.min(-1), flat.max(-1)
    for place in np.ndindex(lows.shape):
        used = slice(int(lows[place]), int(highs[place]) + 1)
        tables[place][used] = ImageOps.autocontrast(Image.fromarray(_LEVELS[None, used]))
    return tables


def _equalize(planes, _):
    """Spread the levels of each frame and channel by their rank, as `ImageOps.equalize`."""
    tables = np.tile(_LEVELS, (*planes.shape[:2], 1))
    for place in np.ndindex(planes.shape[:2]):
        counts = np.array(Image.fromarray(planes[place]).histogram())
        last = counts[counts > 0][-1]
        step = (counts.sum() - last) // 255
        if step:
            below = np.cumsum(counts) - counts
            tables[place] = np.minimum((step // 2 + below) // step, 255)
    return tables


def _contrast(planes, factor):
    """Away from, or towards, the mean gray of each frame: `[T, 256]`."""
    gray = np.asarray(_gray(planes)).reshape(planes.shape[1], -1)
    means = (gray.mean(axis=1) + 0.5).astype(int)
    return np.stack(
        [
            _table(Image.blend(Image.new("L", _RAMP.size, int(mean)), _RAMP, factor))
            for mean in means
        ]
    )


def _stacked(planes):
    """Pillow's image of `[..., h, w]`, all frames below each other; no copy."""
    return Image.fromarray(planes.reshape(-1, planes.shape[-1]))


def _gray(planes):
    return Image.merge("RGB", [_stacked(plane) for plane in planes]).convert("L")


def _color(pixels, factor, window, weights):
    planes = pixels.crop(window).planes()
    gray = _gray(planes)
    blended = [np.asarray(Image.blend(gray, _stacked(plane), factor)) for plane in planes]
    return Pixels(pixels.size, window, np.stack(blended).reshape(planes.shape))


def _sharpness_needs(setting, window, size):
    top, left, bottom, right = window.top, window.left, window.bottom, window.right
    return Window.between(top - 1, left - 1, bottom + 1, right + 1, size)


def _sharpness(pixels, factor, window, weights):
    """Away from, or towards, the smoothed frame. The border of a frame is never smoothed."""
    pixels = pixels.crop(_sharpness_needs(factor, window, pixels.size))
    planes = pixels.planes()
    sharp = np.empty_like(planes)
    for place in np.ndindex(planes.shape[:2]):
        smooth, plane = Image.fromarray(_smooth(planes[place])), Image.fromarray(planes[place])
        sharp[place] = Image.blend(smooth, plane, factor)
    return Pixels(pixels.size, pixels.window, sharp).crop(window)


def _smooth(plane):
    """`ImageFilter.SMOOTH` in whole numbers: 3 x 3 pixels, the middle one with weight 5 of 13.

    The nearest whole number is never in doubt, since 13 is odd: two lie equally near nowhere.
    """
    wide = plane.astype(np.uint16)
    rows = wide[:-2] + wide[1:-1]
    rows += wide[2:]
    sums = rows[:, :-2] + rows[:, 1:-1]
    sums += rows[:, 2:]
    sums += 4 * wide[1:-1, 1:-1]
    sums += 6
    sums //= 13
    smooth = plane.copy()
    smooth[1:-1, 1:-1] = sums
    return smooth


CHANGES = {
    "AutoContrast": statistical(_auto_contrast),
    "Equalize": statistical(_equalize),
    "Invert": lookup(lambda _: ~_LEVELS),
    "Rotate": geometric(affine.rotation),
    "Posterize": lookup(_posterize),
    "Solarize": lookup(lambda threshold: _table(ImageOps.solarize(_RAMP, threshold))),
    "SolarizeAdd": lookup(_solarize_add),
    "Color": Change(lambda setting, window, size: window, _color),
    "Contrast": statistical(_contrast),
    "Brightness": lookup(lambda factor: _table(ImageEnhance.Brightness(_RAMP).enhance(factor))),
    "Sharpness": Change(_sharpness_needs, _sharpness),
    "ShearX": geometric(affine.shear_x),
    "ShearY": geometric(affine.shear_y),
    "TranslateX": geometric(affine.translation_x),
    "TranslateY": geometric(affine.translation_y),
}


def change_pixels(frames, drawn, weights, window=None):
    """The `window` (default: all) of frames after the drawn (name, setting) pairs, as `Pixels`.

    `frames` are `uint8 [T, H, W, 3]`. Nothing is computed that the window does not depend on: what is
    needed of each step's input is found from the last step to the first.
    """
    size = frames.shape[1:3]
    windows = [window or Window.whole(size)]
    for name, setting in reversed(drawn):
        windows.append(CHANGES[name].needs(setting, windows[-1], size))
    pixels = Pixels.of(frames, windows.pop())
    for name, setting in drawn:
        pixels = CHANGES[name].apply(pixels, setting, windows.pop(), weights)
    return pixels
