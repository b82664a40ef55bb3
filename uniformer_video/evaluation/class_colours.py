"""A colour for each class of pixels, the same on pages and over pictures that are predicted."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from uniformer_video.data.decoding.masks import IGNORED
from uniformer_video.data.lists.class_names import ade20k_palette, class_names
from uniformer_video.errors import DataError

IGNORED_COLOUR = (22, 24, 28)  # no generated colour is near it
# The first ones can be told apart by most people with a colour-vision deficiency. Source: Okabe and Ito,
# "Color Universal Design" (2008), whose black is a grey here, as dark pixels are ignored ones.
_FIRST = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (170, 170, 170),
)
_STEPS = 16  # of a channel, between which further colours are looked for
_DARKEST, _LIGHTEST = 0.35, 0.97  # of the lightness 0 to 1 of these


def class_colours(names: Sequence[str], palette: ArrayLike | None = None) -> np.ndarray:
    """The colour of each class, RGB uint8 `[K, 3]`: its palette's, where there is one, those that ADE20K is
    usually drawn in, else generated ones.

    A generated colour depends on the number of the class alone. Raises `DataError` for a palette that is not
    of these classes.
    """
    if palette is None and list(names) == class_names("ade20k"):
        palette = ade20k_palette()
    if palette is None:
        return _generated()[: len(names)].copy()
    colours = np.asarray(palette)
    if colours.shape != (len(names), 3) or colours.min() < 0 or colours.max() > 255:
        raise DataError(
            f"a palette of {len(names)} classes has as many colours (red, green, blue) from 0 to 255; this "
            f"one has the shape {list(colours.shape)} and values from {colours.min(initial=0)} to "
            f"{colours.max(initial=0)}"
        )
    return colours.astype(np.uint8)


def full_palette(colours: np.ndarray) -> np.ndarray:
    """Colours of classes `[K, 3]` -> those of all class numbers, 255 being ignored: uint8 `[256, 3]`."""
    palette = np.tile(np.array(IGNORED_COLOUR, np.uint8), (256, 1))
    palette[: len(colours)] = colours
    return palette


@cache
def _generated() -> np.ndarray:
    """255 colours, each as far as can be from those before it: uint8 `[255, 3]`."""
    values = np.linspace(0, 255, _STEPS).round()
    candidates = np.stack(np.meshgrid(values, values, values, indexing="ij"), axis=-1).reshape(
        -1, 3
    )
    places = _perceived(candidates)
    is_clear = (places[:, 0] > _DARKEST) & (places[:, 0] < _LIGHTEST)
    candidates, places = candidates[is_clear], places[is_clear]
    colours = [np.array(colour, np.float64) for colour in _FIRST]
    distances = np.full(len(candidates), np.inf)
    for taken in (IGNORED_COLOUR, *_FIRST):
        distances = np.minimum(distances, _distances(places, np.array(taken, np.float64)))
    while len(colours) < IGNORED:
        colours.append(candidates[distances.argmax()])
        distances = np.minimum(distances, _distances(places, colours[-1]))
    return np.array(colours, np.uint8)


def _distances(places: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return np.linalg.norm(places - _perceived(colour[None]), axis=1)


def _perceived(colours: np.ndarray) -> np.ndarray:
    """sRGB, 0 to 255, `[N, 3]`, in a space whose distances are those that people see: `[N, 3]`.

    Source: Ottosson, "A perceptual color space for image processing" (Oklab, 2020).
    """
    shares = colours / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ to_cones.T) @ to_lab.T
