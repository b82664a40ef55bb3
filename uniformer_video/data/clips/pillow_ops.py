"""The operations of RandAugment and AutoAugment on one picture, by Pillow.

Clips of many frames are changed by `clips/ops`, whose pixels are these.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from uniformer_video.data.clips.ops import CHANGES, Drawn, posterize_table, solarize_add_table

Colour = tuple[int, int, int]  # levels of red, green, blue

GRAY: Colour = (128, 128, 128)
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_Operation = Callable[[Image.Image, Any], Image.Image]


def _look_up(image: Image.Image, table: np.ndarray) -> Image.Image:
    return image.point(table.tolist() * 3)


_ON_VALUES: dict[str, _Operation] = {  # (image, setting) -> image
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Posterize": lambda image, bits: _look_up(image, posterize_table(bits)),
    "Solarize": ImageOps.solarize,
    "SolarizeAdd": lambda image, addend: _look_up(image, solarize_add_table(addend)),
    "Color": lambda image, factor: ImageEnhance.Color(image).enhance(factor),
    "Contrast": lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
    "Brightness": lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
    "Sharpness": lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
}


def change_picture(
    image: Image.Image, drawn: Drawn, interpolation: str = "bicubic", fill: Colour = GRAY
) -> Image.Image:
    """An RGB `image` after the drawn (name, setting) pairs; `fill` is the colour of what lies outside of it.

    interpolation: of `FILTERS`, of what moves pixels.
    """
    how = FILTERS[interpolation]
    for name, setting in drawn:
        matrix = CHANGES[name].matrix
        if matrix is None:
            image = _ON_VALUES[name](image, setting)
        else:
            assert setting is not None  # what moves pixels says how far
            place = matrix(setting, (image.height, image.width))
            affine = Image.Transform.AFFINE
            image = image.transform(image.size, affine, place, how, fillcolor=fill)
    return image
