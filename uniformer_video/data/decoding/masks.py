"""Masks: the file that says of each pixel of a picture which class it shows -> class numbers.

Class numbers are the values of a grey PNG of 8 or 16 bits, or the indices of one with a palette, whose
colours do not count. Masks of colours need the palette of the classes. Pixels that are not looked at are 255
in what is read, whatever value they have in the files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from PIL import Image

from uniformer_video.data.decoding.pictures import open_picture, upright
from uniformer_video.errors import ConfigError, DecodeError
from uniformer_video.words import plural

IGNORED = 255
MOST_CLASSES = 255  # numbers 0 to 254
# Formats that keep each value as it was; a JPEG is opened to be refused by name.
_EXACT = ("PNG", "BMP", "TIFF", "GIF", "PPM")
_SMEARED = ("JPEG", "WEBP")
_REMEDY = "make it again, or take its picture out"
_SINGLE = "a mask is one picture: save the one that counts as a file of its own"
_FEW_BITS = {"L;2": 85, "L;4": 17}  # Pillow spreads such greys over 0..255 by these factors

Colour = tuple[int, int, int]


class Masked(Protocol):
    """What is asked of a record: its picture, its mask, what reports call it."""

    @property
    def path(self) -> str: ...
    @property
    def mask(self) -> str: ...
    @property
    def name(self) -> str: ...


@dataclass(frozen=True)
class MaskReader:
    """Reads masks of `num_classes` classes, at most 255.

    reduce_zero_label: 0 in a file is no class, and 1 the first one. ignore_label: the value in files of
    pixels that are not looked at. palette: the colour of each class, (red, green, blue), for masks of colours.
    """

    num_classes: int
    reduce_zero_label: bool = False
    ignore_label: int = IGNORED
    palette: Sequence[Colour] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.num_classes <= MOST_CLASSES:
            raise ConfigError(
                f"masks tell at most {MOST_CLASSES} classes apart, and there are {self.num_classes}"
            )
        if self.palette is not None and len(self.palette) != self.num_classes:
            raise ConfigError(
                f"the palette has {plural(len(self.palette), 'colour')} for "
                f"{plural(self.num_classes, 'class', 'classes')}; give each class one"
            )

    def read(self, record: Masked, size: tuple[int, int] | None = None) -> np.ndarray:
        """The classes of the pixels of a picture: `uint8 [H, W]`, 255 where they are not looked at.

        size: (height, width) of the picture, where it is known; see `check`. Raises `DecodeError`, which
        names the mask and what is wrong with it: it is missing, damaged, of a format that smears values, of
        colours or values that are no classes, or without any pixel of a class.
        """
        if not record.mask:
            raise DecodeError(f"{record.path} has no mask; give it one, or take it out")
        numbers = self._numbers(record.mask)
        if size is not None:
            self.check(numbers, record, size)
        mask = self._classes(numbers, record.mask)
        if (mask == IGNORED).all():
            raise DecodeError(
                f"{record.mask} is an empty mask: each of its {mask.size} pixels has a value that is ignored "
                f"({', '.join(map(str, np.unique(numbers)[:3]))}); {_REMEDY}"
            )
        return mask

    def check(self, mask: np.ndarray, record: Masked, size: tuple[int, int]) -> None:
        """Raise `DecodeError` for a mask `[H, W]` not of the `size`, (height, width), of its picture."""
        if mask.shape != tuple(size):
            (height, width), (high, wide) = mask.shape, size
            turned = "; its EXIF data may turn the picture, and not the mask"
            raise DecodeError(
                f"{record.mask} is {width}x{height} pixels and its picture {record.path} {wide}x{high}"
                f"{turned if (height, width) == (wide, high) else ''}; both must be of one size"
            )

    def _numbers(self, path: str) -> np.ndarray:
        """The values of a file: whole numbers `[H, W]`, for colours those of the palette."""
        with open_picture(path, path, _EXACT + _SMEARED, _REMEDY, _SINGLE) as image:
            if image.format in _SMEARED:
                raise DecodeError(
                    f"{path} is a {image.format}, which smears the values of masks; save masks as PNG"
                )
            factor = _FEW_BITS.get(_raw_mode(image), 1)
            mode = image.mode
            pixels = np.asarray(upright(image))
            if mode in ("1", "L", "P"):
                return pixels.astype(np.uint8) // factor
            if mode in ("LA", "PA"):
                return pixels[..., 0]
            if mode == "I" or mode.startswith("I;16"):
                return pixels
            if mode in ("RGB", "RGBA"):
                return self._by_palette(pixels[..., :3], path)
        raise DecodeError(
            f"{path} is a picture of the mode {mode}; a mask is a PNG of class numbers, grey or with a "
            "palette, or RGB by the palette of classes.txt"
        )

    def _by_palette(self, pixels: np.ndarray, path: str) -> np.ndarray:
        """Colours `uint8 [H, W, 3]` -> class numbers `uint8 [H, W]`."""
        if self.palette is None:
            red, green, blue = pixels[0, 0]
            raise DecodeError(
                f"{path} is a mask of colours (the first pixel is {red},{green},{blue}), and nothing says "
                "which class a colour is; give classes.txt lines of `name,red,green,blue`"
            )
        codes = _codes(pixels)
        known, order = self._palette_codes
        places = np.searchsorted(known, codes).clip(max=len(known) - 1)
        strange = known[places] != codes
        if strange.any():
            row, column = np.argwhere(strange)[0]
            red, green, blue = pixels[row, column]
            raise DecodeError(
                f"{path} has {plural(int(strange.sum()), 'pixel')} of colours that are no class's, such as "
                f"{red},{green},{blue} at row {row}, column {column}; the palette of classes.txt must have "
                "each colour of the masks"
            )
        return order[places]

    @cached_property
    def _palette_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """(colours of the palette as sorted numbers, the class of each)."""
        codes = _codes(np.array(self.palette, np.uint8))
        order = np.argsort(codes)
        return codes[order], order.astype(np.uint8)

    def _classes(self, numbers: np.ndarray, path: str) -> np.ndarray:
        """Values of a file -> class numbers `uint8 [H, W]`. Raises `DecodeError` for values of no class."""
        ignored = numbers == self.ignore_label
        if self.reduce_zero_label:
            ignored |= (numbers == 0) | (numbers == IGNORED)
        first = int(self.reduce_zero_label)
        last = self.num_classes - 1 + first
        wrong = ~ignored & ((numbers < first) | (numbers > last))
        if wrong.any():
            values = ", ".join(map(str, np.unique(numbers[wrong])[:3]))
            raise DecodeError(
                f"{path} has {plural(int(wrong.sum()), 'pixel')} of the value {values}; "
                f"its {plural(self.num_classes, 'class', 'classes')} are {first}..{last}, and "
                f"{'0 and ' if first else ''}{self.ignore_label} (SEGMENTATION.IGNORE_LABEL) is ignored"
            )
        return np.where(ignored, IGNORED, numbers - first).astype(np.uint8)


def _codes(colours: np.ndarray) -> np.ndarray:
    """`uint8 [..., 3]` -> one number a colour, `int32 [...]`."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _raw_mode(image: Image.Image) -> str:
    """How the values of a file that is not decoded yet are stored, in Pillow's words."""
    arguments = image.tile[0][3] if image.tile else ""
    return arguments if isinstance(arguments, str) else str((arguments or ("",))[0])
