"""Masks: the file that says of each pixel of a picture which class it shows -> class numbers.

Class numbers are the values of a grey PNG, or the indices of one with a palette, whose colours do not count.
Masks of colours need the palette of the classes, and grey ones go by it where it has greys alone. Pixels that
are not looked at are 255 in what is read, whatever value they have in the files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from PIL import Image

from uniformer_video.data.decoding.pictures import open_picture, upright
from uniformer_video.errors import ConfigError, DecodeError
from uniformer_video.words import name_some, plural

IGNORED = 255
MOST_CLASSES = 255  # numbers 0 to 254
# Formats that keep each value as it was; a JPEG is opened to be refused by name.
_EXACT = ("PNG", "BMP", "TIFF", "GIF", "PPM")
_SMEARED = ("JPEG", "WEBP")
_REMEDY = "make it again, or take its picture out"
_SINGLE = "a mask is one picture: save the one that counts as a file of its own"
_FEW_BITS = {"L;2": 3, "L;4": 15}  # Pillow spreads such greys, up to these, over 0..255

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
    pixels that are not looked at. palette: the colour of each class, (red, green, blue), for masks of
    colours; ignored_colour: of pixels that are not looked at.
    """

    num_classes: int
    reduce_zero_label: bool = False
    ignore_label: int = IGNORED
    palette: Sequence[Colour] | None = None
    ignored_colour: Colour | None = None

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
        pixels = _read_pixels(record.mask, self._has_greys_alone)
        if size is not None:
            self.check(pixels, record, size)
        if pixels.ndim == 3:
            mask = self._by_palette(pixels, record.mask)
        else:
            mask = self._by_value(pixels, record.mask)
        if (mask == IGNORED).all():
            raise DecodeError(
                f"{record.mask} is an empty mask: all of its {plural(mask.size, 'pixel')} have a value "
                f"that is ignored, {_distinct(pixels.reshape(-1, *pixels.shape[2:]))}; {_REMEDY}"
            )
        return mask

    def check(self, mask: np.ndarray, record: Masked, size: tuple[int, int]) -> None:
        """Raise `DecodeError` for a mask `[H, W]` not of the `size`, (height, width), of its picture."""
        (height, width), (high, wide) = mask.shape[:2], size
        if (height, width) != (high, wide):
            turned = "; its EXIF data may turn the picture, and not the mask"
            raise DecodeError(
                f"{record.mask} is {width}x{height} pixels and its picture {record.path} {wide}x{high}"
                f"{turned if (height, width) == (wide, high) else ''}; both must be of one size"
            )

    def _by_value(self, values: np.ndarray, path: str) -> np.ndarray:
        """Values of a file `[H, W]` -> class numbers. Raises `DecodeError` for values of no class."""
        ignored = values == self.ignore_label
        if self.reduce_zero_label:
            ignored |= (values == 0) | (values == IGNORED)
        first = int(self.reduce_zero_label)
        last = self.num_classes - 1 + first
        wrong = ~ignored & ((values < first) | (values > last))
        if wrong.any():
            raise DecodeError(
                f"{path} has {_pixels_of(values, wrong)}; its "
                f"{plural(self.num_classes, 'class', 'classes')} are {first}..{last}, and "
                f"{'0 and ' if first else ''}{self.ignore_label} (SEGMENTATION.IGNORE_LABEL) "
                f"{'are' if first else 'is'} ignored"
            )
        return np.where(ignored, IGNORED, values - first).astype(np.uint8)

    def _by_palette(self, colours: np.ndarray, path: str) -> np.ndarray:
        """Colours `uint8 [H, W, 3]` -> class numbers `uint8 [H, W]`."""
        if self.palette is None:
            raise DecodeError(
                f"{path} is a mask of colours (the first pixel is {_in_words(colours[0, 0])}), and nothing "
                "says which class a colour is; give classes.txt lines of `name,red,green,blue`"
            )
        codes = _codes(colours)
        known, classes = self._palette_codes
        places = np.searchsorted(known, codes).clip(max=len(known) - 1)
        wrong = known[places] != codes
        if wrong.any():
            raise DecodeError(
                f"{path} has {_pixels_of(colours, wrong)}, which is no class's colour; the palette of "
                "classes.txt must have each colour of the masks"
            )
        mask = classes[places]
        mask[mask == self.ignore_label] = IGNORED
        return mask

    @property
    def _colours(self) -> list[Colour]:
        return [*(self.palette or ()), *filter(None, [self.ignored_colour])]

    @property
    def _has_greys_alone(self) -> bool:
        """Whether grey masks show colours of the palette, such as 0 and 255, and not class numbers."""
        return self.palette is not None and all(len(set(colour)) == 1 for colour in self._colours)

    @cached_property
    def _palette_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """(colours of the palette as sorted numbers, the class of each, 255 for that which is ignored)."""
        codes = _codes(np.array(self._colours, np.uint8))
        order = np.argsort(codes)
        return codes[order], np.where(order < self.num_classes, order, IGNORED).astype(np.uint8)


def _read_pixels(path: str, greys_are_colours: bool) -> np.ndarray:
    """The values of a mask, whole numbers `[H, W]`, or its colours, `uint8 [H, W, 3]`."""
    with open_picture(path, path, _EXACT + _SMEARED, _REMEDY, _SINGLE) as image:
        if image.format in _SMEARED:
            raise DecodeError(
                f"{path} is a {image.format}, which smears the values of masks; save masks as PNG"
            )
        stored = _stored(image)
        most = _FEW_BITS.get(stored[0], 0)
        if image.format == "PPM":  # whose header says up to which, and that Pillow spreads as well
            most = next((part for part in stored if isinstance(part, int)), 0)
        mode = image.mode
        pixels = np.asarray(upright(image))
    if greys_are_colours and mode in ("1", "L", "LA"):
        greys = (
            pixels[..., 0]
            if mode == "LA"
            else pixels.astype(np.uint8) * (255 if mode == "1" else 1)
        )
        return np.stack([greys] * 3, -1)
    if mode in ("L", "I") and most:
        full = 255 if mode == "L" else 65_535
        return np.rint(pixels * (most / full)).astype(np.int32)
    if mode in ("1", "L", "P"):
        return pixels.astype(np.uint8)
    if mode in ("LA", "PA"):
        return pixels[..., 0]
    if mode == "I" or mode.startswith("I;16"):
        return pixels.astype(np.int32)
    if mode in ("RGB", "RGBA"):
        return pixels[..., :3]
    raise DecodeError(
        f"{path} is a picture of the mode {mode}; a mask is a PNG of class numbers, grey or with a palette, "
        "or RGB by the palette of classes.txt"
    )


def _pixels_of(pixels: np.ndarray, wrong: np.ndarray) -> str:
    """How many pixels are `wrong`, of which values, and where the first of them is, for messages."""
    row, column = np.argwhere(wrong)[0]
    count = plural(int(wrong.sum()), "pixel")
    return (
        f"{count} of the value {_distinct(pixels[wrong])} (the first in row {row}, column {column})"
    )


def _distinct(pixels: np.ndarray) -> str:
    """The different values among `[N]`, or the different colours among `uint8 [N, 3]`, for messages."""
    if pixels.ndim == 1:
        return name_some([*map(str, np.unique(pixels))])
    codes = np.unique(_codes(pixels))
    return name_some(
        [_in_words((code >> 16, (code >> 8) & 255, code & 255)) for code in codes], mark="; "
    )


def _in_words(colour: Iterable[int]) -> str:
    """A colour as in `classes.txt`."""
    return ",".join(map(str, colour))


def _codes(colours: np.ndarray) -> np.ndarray:
    """`uint8 [..., 3]` -> one number a colour, `int32 [...]`."""
    red, green, blue = np.moveaxis(colours.astype(np.int32), -1, 0)
    return (red << 16) | (green << 8) | blue


def _stored(image: Image.Image) -> tuple:
    """How the values of a file that is not decoded yet are stored, in Pillow's words: a mode comes first."""
    tiles = getattr(image, "tile", None)  # of files alone
    arguments = tiles[0][3] if tiles else ""
    return arguments if isinstance(arguments, tuple) and arguments else (arguments,)
