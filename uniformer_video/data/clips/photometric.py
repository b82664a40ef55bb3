"""Photometric distortion of a picture: brightness, contrast, saturation and hue, each by a coin.

As published for semantic segmentation: values are cut to bytes after every step, hue and saturation move in
OpenCV's HSV of bytes, hue from 0 to 179.
"""

from collections.abc import Callable

import numpy as np

BRIGHTNESS = 32.0
CONTRAST = SATURATION = (0.5, 1.5)
HUE = 18
_SHIFT = 12  # bits behind the point of OpenCV's tables
_HUES = 180

Step = tuple[str, float]


def draw_distortion(rng: np.random.Generator) -> tuple[Step, ...]:
    """The steps that a picture goes through, in their order, with what each of them draws."""
    steps: list[Step] = []
    if rng.random() < 0.5:
        steps.append(("brightness", rng.uniform(-BRIGHTNESS, BRIGHTNESS)))
    contrast_first = rng.random() < 0.5
    contrast = [("contrast", rng.uniform(*CONTRAST))] if rng.random() < 0.5 else []
    if contrast_first:
        steps += contrast
    if rng.random() < 0.5:
        steps.append(("saturation", rng.uniform(*SATURATION)))
    if rng.random() < 0.5:
        steps.append(("hue", int(rng.integers(-HUE, HUE))))
    if not contrast_first:
        steps += contrast
    return tuple(steps)


def distort(picture: np.ndarray, steps: tuple[Step, ...]) -> np.ndarray:
    """`uint8 [H, W, 3]` RGB after the steps of `draw_distortion`."""
    for name, value in steps:
        picture = _STEPS[name](picture, value)
    return picture


def _brighten(picture: np.ndarray, shift: float) -> np.ndarray:
    return _to_bytes(picture.astype(np.float32) + np.float32(shift))


def _contrast(picture: np.ndarray, factor: float) -> np.ndarray:
    return _to_bytes(picture.astype(np.float32) * np.float32(factor))


def _saturate(picture: np.ndarray, factor: float) -> np.ndarray:
    hsv = to_hsv(picture)
    hsv[..., 1] = _contrast(hsv[..., 1], factor)
    return from_hsv(hsv)


def _turn_hue(picture: np.ndarray, turn: float) -> np.ndarray:
    hsv = to_hsv(picture)
    hsv[..., 0] = (hsv[..., 0].astype(np.int32) + int(turn)) % _HUES
    return from_hsv(hsv)


_STEPS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "brightness": _brighten,
    "contrast": _contrast,
    "saturation": _saturate,
    "hue": _turn_hue,
}


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Cut to 0..255 and to whole numbers."""
    return values.clip(0, 255).astype(np.uint8)


def to_hsv(picture: np.ndarray) -> np.ndarray:
    """`uint8 [..., 3]` RGB -> the same in HSV, hue 0..179, by OpenCV's arithmetic of whole numbers."""
    red, green, blue = np.moveaxis(picture.astype(np.int32), -1, 0)
    value = picture.max(-1).astype(np.int32)
    spread = value - picture.min(-1)
    sixths = np.where(
        value == red,
        green - blue,
        np.where(value == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    half = 1 << (_SHIFT - 1)
    saturation = (spread * _per_value(255)[value] + half) >> _SHIFT
    hue = (sixths * _per_value(_HUES / 6)[spread] + half) >> _SHIFT
    hue += _HUES * (hue < 0)
    return np.stack([hue, saturation, value], -1).astype(np.uint8)


def _per_value(full: float) -> np.ndarray:
    """`full` divided by each of 0..255, in parts of 2^12, as whole numbers; 0 for 0."""
    table = np.zeros(256, np.int32)
    table[1:] = np.rint(full * (1 << _SHIFT) / np.arange(1, 256))
    return table


def from_hsv(hsv: np.ndarray) -> np.ndarray:
    """`uint8 [..., 3]` of `to_hsv` -> RGB, rounded."""
    hue, saturation, value = np.moveaxis(hsv.astype(np.float32), -1, 0)
    saturation /= np.float32(255)
    place = hue * np.float32(6 / _HUES)
    sector = np.floor(place)
    along = place - sector
    low = value * (1 - saturation)
    falling = value * (1 - saturation * along)
    rising = value * (1 - saturation * (1 - along))
    sector = sector.astype(np.int32) % 6
    red = np.choose(sector, [value, falling, low, low, rising, value])
    green = np.choose(sector, [rising, value, value, falling, low, low])
    blue = np.choose(sector, [low, low, rising, value, value, falling])
    return np.rint(np.stack([red, green, blue], -1)).clip(0, 255).astype(np.uint8)
