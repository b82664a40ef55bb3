"""The operations of RandAugment and AutoAugment on one picture, by Pillow.

Clips of many frames are changed by `clips/ops`, whose pixels are these.
"""

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageEnhance, ImageOps

from uniformer_video.data.clips.ops import Drawn

Colour = tuple[int, int, int]  # levels of red, green, blue

GRAY: Colour = (128, 128, 128)
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_Operation = Callable[[Image.Image, Any], Image.Image]


def _posterize(image: Image.Image, bits: int) -> Image.Image:
    """Keep the highest `bits` bits; 0 is black."""
    return image.point([value & (256 - 2 ** (8 - bits)) for value in range(256)] * 3)


def _solarize_add(image: Image.Image, addend: int) -> Image.Image:
    """Brighten the dark half of the range, by a number of levels."""
    table = [min(value + addend, 255) if value < 128 else value for value in range(256)]
    return image.point(table * 3)


_ON_VALUES: dict[str, _Operation] = {  # (image, setting) -> image
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Posterize": _posterize,
    "Solarize": ImageOps.solarize,
    "SolarizeAdd": _solarize_add,
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
}
_MATRICES: dict[str, Callable[[Image.Image, float], tuple[float, ...]]] = {
    "ShearX": lambda image, slope: (1, slope, 0, 0, 1, 0),
    "ShearY": lambda image, slope: (1, 0, 0, slope, 1, 0),
    "TranslateX": lambda image, fraction: (1, 0, fraction * image.width, 0, 1, 0),
    "TranslateY": lambda image, fraction: (1, 0, 0, 0, 1, fraction * image.height),
}


def change_picture(
    image: Image.Image, drawn: Drawn, interpolation: str = "bicubic", fill: Colour = GRAY
) -> Image.Image:
    """An RGB `image` after the drawn (name, setting) pairs; `fill` is the colour of what lies outside of it.

    interpolation: of `FILTERS`, of what moves pixels.
    """
    how = FILTERS[interpolation]
    for name, setting in drawn:
        if name == "Rotate":
            assert setting is not None
            image = image.rotate(setting, how, fillcolor=fill)
        elif name in _MATRICES:
            assert setting is not None
            matrix: Sequence[float] = _MATRICES[name](image, setting)
            affine = Image.Transform.AFFINE
            image = image.transform(image.size, affine, matrix, how, fillcolor=fill)
        else:
            image = _ON_VALUES[name](image, setting)
    return image
