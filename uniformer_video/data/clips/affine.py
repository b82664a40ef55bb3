"""Affine operations on whole clips, with Pillow's conventions, by one gather for all frames.

An output pixel is a weighted sum of input pixels at the same places in every frame and channel: rows
of a table `[pixels, 3 * T]`, which `embedding_bag` sums at the speed of memory.
"""

import math

import torch
from torch.nn import functional as F

from uniformer_video.data.clips.pixels import Window

FILL = 128
# Pillow computes in double precision and rounds down, so a sum that should be whole must not fall
# short of it in single precision; 16 products of 255 err by less than this.
_SLACK = 2e-4


def linear_weights(offset):
    """Weights of the pixels 0 and 1, for a place `offset` in 0..1 behind pixel 0."""
    return {0: 1 - offset, 1: offset}


def cubic_weights(offset):
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


def rotation(degrees, size):
    """Anticlockwise about the centre; a matrix as `transform` takes it."""
    height, width = size
    radians = -math.radians(degrees % 360)
    cos, sin = round(math.cos(radians), 15), round(math.sin(radians), 15)
    x, y = width / 2, height / 2
    return cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y


def shear_x(slope, size):
    """Rows move in proportion to their depth."""
    return 1, slope, 0, 0, 1, 0


def shear_y(slope, size):
    """Columns move in proportion to their distance from the left."""
    return 1, 0, 0, slope, 1, 0


def translation_x(fraction, size):
    """To the left for a positive fraction of the width."""
    return 1, 0, fraction * size[1], 0, 1, 0


def translation_y(fraction, size):
    """Up for a positive fraction of the height."""
    return 1, 0, 0, 0, 1, fraction * size[0]


def source_window(matrix, window, size):
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


def transform(pixels, matrix, window, weights):
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


def _centres(start, stop, device):
    return torch.arange(start, stop, dtype=torch.float64, device=device) + 0.5


def _source(matrix, x, y):
    """An axis that the other has no part in stays a row, or a column, of positions."""
    a, b, c, d, e, f = matrix
    return a * x + (b * y if b else 0.0) + c, (d * x if d else 0.0) + e * y + f


def _without_idle_neighbours(weights, own, other, shift):
    """`weights`, or those of a whole shift along an axis, which needs no neighbours."""
    return weights if (own, other, shift % 1) != (1, 0, 0) else _weight_of_one


def _weight_of_one(offset):
    return {0: torch.ones_like(offset)}


def _taps(position, start, length, weights):
    """The pixels that a position along one axis shows: lists of indices from `start`, of weights.

    Beyond the edge the last pixel is repeated.
    """
    position = position - 0.5
    first = position.floor()
    shares = weights((position - first).float())
    first = first.int() - start
    return [(first + step).clamp_(0, length - 1) for step in shares], list(shares.values())


def _combine_taps(combine, rows, columns):
    """`combine` of every row's tap with every column's: a tensor `[pixels, taps]`."""
    columns = torch.stack(columns, -1)
    shape = torch.broadcast_shapes(rows[0].shape, columns.shape[:2])
    pairs = columns.new_empty(*shape, len(rows), columns.shape[-1])
    for tap, row in enumerate(rows):
        combine(row[..., None], columns, out=pairs[..., tap, :])
    return pairs.flatten(0, 1).flatten(1)
