"""Affine operations on whole clips, with Pillow's conventions, by one gather for all frames.

An output pixel is a weighted sum of input pixels at the same places in every frame and channel: rows
of a table `[pixels, 3 * T]`, which `embedding_bag` sums at the speed of memory.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from uniformer_video.data.clips.pixels import Pixels, Size, Window

# Where an output pixel lies behind an input pixel, 0..1 -> the weights of that one's neighbours, by their
# distance to it.
Weights = Callable[[Tensor], dict[int, Tensor]]
Matrix = tuple[float, float, float, float, float, float]  # as `transform` takes it
Place = TypeVar("Place", float, Tensor)

FILL = 128
# Pillow computes in double precision and rounds down, so a sum that should be whole must not fall
# short of it in single precision; 16 products of 255 err by less than this.
_SLACK = 2e-4


def linear_weights(offset: Tensor) -> dict[int, Tensor]:
    """Weights of the pixels 0 and 1, for a place `offset` in 0..1 behind pixel 0."""
    return {0: 1 - offset, 1: offset}


def cubic_weights(offset: Tensor) -> dict[int, Tensor]:
    """Weights of the pixels -1 to 2, by the cubic kernel of a = -1 that Pillow's transforms use.

    Source: Keys, "Cubic Convolution Interpolation for Digital Image Processing", equation 15.
    """
    near, far = offset * offset, offset * offset * offset
    return {
        -1: 2 * near - far - offset,
        0: 1 - 2 * near + far,
        1: offset + near - far,
        2: far - near,
    }


def rotation(degrees: float, size: Size) -> Matrix:
    """Anticlockwise about the centre; a matrix as `transform` takes it."""
    height, width = size
    radians = -math.radians(degrees % 360)
    cos, sin = round(math.cos(radians), 15), round(math.sin(radians), 15)
    x, y = width / 2, height / 2
    return cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y


def shear_x(slope: float, size: Size) -> Matrix:
    """Rows move in proportion to their depth."""
    return 1, slope, 0, 0, 1, 0


def shear_y(slope: float, size: Size) -> Matrix:
    """Columns move in proportion to their distance from the left."""
    return 1, 0, 0, slope, 1, 0


def translation_x(fraction: float, size: Size) -> Matrix:
    """To the left for a positive fraction of the width."""
    return 1, 0, fraction * size[1], 0, 1, 0


def translation_y(fraction: float, size: Size) -> Matrix:
    """Up for a positive fraction of the height."""
    return 1, 0, 0, 0, 1, fraction * size[0]


def source_window(matrix: Matrix, window: Window, size: Size) -> Window:
    """The part of the input that `transform` reads for `window` of its output."""
    corners = [
        _source(matrix, x + 0.5, y + 0.5)
        for x in (window.left, window.right - 1)
        for y in (window.top, window.bottom - 1)
    ]
    x, y = zip(*corners, strict=True)
    top, left = math.floor(min(y) - 0.5) - 1, math.floor(min(x) - 0.5) - 1
    bottom, right = math.floor(max(y) - 0.5) + 3, math.floor(max(x) - 0.5) + 3
    return Window.between(top, left, bottom, right, size)


def transform(pixels: Pixels, matrix: Matrix, window: Window, weights: Weights) -> Pixels:
    """`window` of the transformed frames; `pixels` hold the `source_window` for it.

    `matrix` (a, b, c, d, e, f) takes the centre of an output pixel to the place (ax + by + c,
    dx + ey + f) of the input that it shows; what lies outside is `FILL`. `weights` is
    `linear_weights` or `cubic_weights`.
    """
    if tuple(matrix) == (1, 0, 0, 0, 1, 0):
        return pixels.crop(window)
    held = pixels.window
    table = pixels.columns().reshape(held.height * held.width, -1)
    x = _centres(window.left, window.right, table.device)[None]
    y = _centres(window.top, window.bottom, table.device)[:, None]
    x, y = _source(matrix, x, y)
    height, width = pixels.size
    outside = (x < 0) | (x >= width) | (y < 0) | (y >= height)
    a, b, c, d, e, f = matrix
    rows, row_shares = _taps(y, held.top, held.height, _without_idle_neighbours(weights, e, d, f))
    columns, column_shares = _taps(
        x, held.left, held.width, _without_idle_neighbours(weights, a, b, c)
    )
    places = _combine_taps(torch.add, [row * held.width for row in rows], columns)
    shares = _combine_taps(torch.mul, [share * ~outside for share in row_shares], column_shares)
    moved = F.embedding_bag(places, table, mode="sum", per_sample_weights=shares)
    moved.add_(torch.where(outside, float(FILL), _SLACK).reshape(-1, 1))
    moved.clamp_(0, 255).floor_()
    return pixels.of_columns(window, moved.reshape(window.height, window.width, -1))


def _centres(start: int, stop: int, device: torch.device) -> Tensor:
    return torch.arange(start, stop, dtype=torch.float64, device=device) + 0.5


def _source(matrix: Matrix, x: Place, y: Place) -> tuple[Place, Place]:
    """An axis that the other has no part in stays a row, or a column, of positions."""
    a, b, c, d, e, f = matrix
    return a * x + (b * y if b else 0.0) + c, (d * x if d else 0.0) + e * y + f


def _without_idle_neighbours(weights: Weights, own: float, other: float, shift: float) -> Weights:
    """`weights`, or those of a whole shift along an axis, which needs no neighbours."""
    return weights if (own, other, shift % 1) != (1, 0, 0) else _weight_of_one


def _weight_of_one(offset: Tensor) -> dict[int, Tensor]:
    return {0: torch.ones_like(offset)}


def _taps(
    position: Tensor, start: int, length: int, weights: Weights
) -> tuple[list[Tensor], list[Tensor]]:
    """The pixels that a position along one axis shows: lists of indices from `start`, of weights.

    Beyond the edge the last pixel is repeated.
    """
    position = position - 0.5
    first = position.floor()
    shares = weights((position - first).float())
    first = first.int() - start
    return [(first + step).clamp_(0, length - 1) for step in shares], list(shares.values())


def _combine_taps(
    combine: Callable[..., Tensor], rows: list[Tensor], columns: list[Tensor]
) -> Tensor:
    """`combine` of every row's tap with every column's: a tensor `[pixels, taps]`."""
    taps = torch.stack(columns, -1)
    # not torch's function, which imports sympy: 20 MB and half a second in every worker
    shape = np.broadcast_shapes(rows[0].shape, taps.shape[:2])
    pairs = taps.new_empty(*shape, len(rows), taps.shape[-1])
    for tap, row in enumerate(rows):
        combine(row[..., None], taps, out=pairs[..., tap, :])
    return pairs.flatten(0, 1).flatten(1)
