"""Resizing of one picture and of its mask, as OpenCV does it: half-pixel centres, no antialiasing.

Of a large picture only the pixels that count are touched, so that a crop costs what the crop has.
"""

import numpy as np

from uniformer_video.data.clips.pixels import Size


def fitted_size(height: int, width: int, box: tuple[int, int]) -> Size:
    """(height, width) of a picture scaled to fit into `box`, (long side, short side), its shape kept."""
    factor = min(max(box) / max(height, width), min(box) / min(height, width))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def resize_picture(
    picture: np.ndarray, size: Size, corner: tuple[int, int] = (0, 0), crop: Size | None = None
) -> np.ndarray:
    """`uint8 [H, W, 3]` scaled to `size` (height, width), bilinear, rounded to bytes; of that the `crop`
    (height, width) at `corner` (top, left), all of it without one.
    """
    high, wide = crop or size
    if picture.shape[:2] == tuple(size):
        return picture[corner[0] : corner[0] + high, corner[1] : corner[1] + wide]
    above, below, down = _neighbours(picture.shape[0], size[0], corner[0], high)
    before, after, right = _neighbours(picture.shape[1], size[1], corner[1], wide)
    first = before[0]
    columns = picture[:, first : after[-1] + 1]
    # rows first: no more than the rows of the crop become floats
    rows = _mix(columns[above], columns[below], down[:, None, None])
    mixed = _mix(rows[:, before - first], rows[:, after - first], right[:, None])
    return (mixed + np.float32(0.5)).astype(np.uint8)


def resize_mask(
    mask: np.ndarray, size: Size, corner: tuple[int, int] = (0, 0), crop: Size | None = None
) -> np.ndarray:
    """`[H, W]` scaled to `size`, each pixel that of the place floor(its own * scale), cut as the picture."""
    high, wide = crop or size
    rows = np.arange(corner[0], corner[0] + high) * mask.shape[0] // size[0]
    columns = np.arange(corner[1], corner[1] + wide) * mask.shape[1] // size[1]
    return mask[rows[:, None], columns]


def _neighbours(
    length: int, scaled: int, start: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of `count` places from `start` on a side of `scaled` pixels: the pixels of `length` on both sides, and
    the weight of the latter, `float32`.
    """
    places = (np.arange(start, start + count) + 0.5) * (length / scaled) - 0.5
    places = np.clip(places, 0, length - 1)
    first = places.astype(np.int64)
    return first, np.minimum(first + 1, length - 1), (places - first).astype(np.float32)


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`first * (1 - weight) + second * weight`, `float32`."""
    first = first.astype(np.float32)
    return first + (second.astype(np.float32) - first) * weight
