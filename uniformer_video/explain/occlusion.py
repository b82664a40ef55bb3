"""Occlusion: how far the logit of a class falls where a part of the clip is hidden."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

SLICES = 8  # of time, at most
PATCHES = 7  # a side, at most

Part = tuple[slice, slice, slice]  # of time, height and width


def occlusion(
    logits_of: Callable[[Tensor], np.ndarray], view: Tensor, class_index: int, batch_size: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """The fall of the class's logit for each slice of time and each patch of space that is hidden.

    What is hidden has the mean colour of the clip; a patch is hidden in all frames.

    Args:
        logits_of: `float32 [B, 3, T, H, W]` to logits `[B, K]`.
        view: `float32 [3, T, H, W]`.
        batch_size: views that are made and computed at once.

    Returns `float32 [S]` over time and `float32 [H', W']` over space, in logits; below 0 where the logit
    rises.
    """
    times, rows, columns = parts_of(view)
    everything = slice(None)
    hidden: list[Part] = [(time, everything, everything) for time in times]
    hidden += [(everything, row, column) for row in rows for column in columns]
    colour = view.mean((1, 2, 3))[:, None, None, None]
    whole = logits_of(view[None])[0, class_index]
    falls: list[float] = []
    for first in range(0, len(hidden), batch_size):
        chosen = hidden[first : first + batch_size]
        views = view.repeat(len(chosen), 1, 1, 1, 1)
        for changed, (time, row, column) in zip(views, chosen, strict=True):
            changed[:, time, row, column] = colour
        falls += [float(whole - value) for value in logits_of(views)[:, class_index]]
    found = np.asarray(falls, np.float32)
    return found[: len(times)], found[len(times) :].reshape(len(rows), len(columns))


def parts_of(view: Tensor) -> tuple[list[slice], list[slice], list[slice]]:
    """The slices of time, of rows and of columns of `[3, T, H, W]` that are hidden by turns."""
    time, height, width = view.shape[1:]
    return _cut(time, SLICES), _cut(height, PATCHES), _cut(width, PATCHES)


def spread(time: np.ndarray, space: np.ndarray, view: Tensor) -> Tensor:
    """Heat over the pixels of `[3, T, H, W]`: `float32 [T, H, W]`.

    The geometric mean of the falls by time and by space, of which those below 0 count as 0.
    """
    heat = torch.zeros(view.shape[1:])
    times, rows, columns = parts_of(view)
    for s, when in enumerate(times):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                product = max(float(time[s]), 0.0) * max(float(space[i, j]), 0.0)
                heat[when, row, column] = product**0.5
    return heat


def _cut(length: int, most: int) -> list[slice]:
    """`length` places in at most `most` parts, as equal as may be."""
    count = min(length, most)
    edges = [length * index // count for index in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(edges)]
