"""Occlusion: how far the logit of a class falls where a part of the clip is hidden."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

SLICES = 8  # of time, at most
PATCHES = 7  # a side, at most
_SECONDS = 8.0  # a longer video is cut into seconds

Part = tuple[slice | Tensor, slice, slice]  # of time (or which frames, bool), height and width


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
    found = _falls(logits_of, view, hidden, class_index, batch_size)
    return found[: len(times)], found[len(times) :].reshape(len(rows), len(columns))


def occlusion_of_seconds(
    logits_of: Callable[[Tensor], np.ndarray],
    views: Tensor,
    times: np.ndarray,
    class_index: int,
    batch_size: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """The fall of the class's logit, the mean of the clips, where a stretch of the video is hidden in all.

    Args:
        logits_of, batch_size: as of `occlusion`.
        views: `float32 [clips, 3, T, H, W]`.
        times: when each of their frames is shown, float64 `[clips, T]`, in seconds.

    Returns the edges of the stretches, float64 `[S + 1]` in seconds, and the falls, `float32 [S]`; NaN of a
    stretch of which no clip has a frame.
    """
    edges = stretches(times)
    falls = np.zeros(len(edges) - 1, np.float32)
    of_frames = np.searchsorted(edges, times, side="right") - 1  # which stretch each is in
    for view, places in zip(views, of_frames, strict=True):
        touched = np.unique(places)
        everything = slice(None)
        hidden: list[Part] = [
            (torch.from_numpy(places == place), everything, everything) for place in touched
        ]
        falls[touched] += _falls(logits_of, view, hidden, class_index, batch_size)
    falls[np.setdiff1d(np.arange(len(falls)), of_frames)] = np.nan
    return edges, falls / len(views)


def stretches(times: np.ndarray) -> np.ndarray:
    """The edges of what is hidden by turns, float64 `[S + 1]`: seconds, of a short video 8 equal parts.

    They begin with the first frame of `times`, `[clips, T]`, and end when the last one has been shown.
    """
    first, last = float(times.min()), float(times.max())
    steps = np.diff(np.unique(times))
    last += float(np.median(steps)) if len(steps) else 1.0
    count = SLICES if last - first <= _SECONDS else int(np.ceil(last - first))
    return np.linspace(first, last, count + 1)


def _falls(
    logits_of: Callable[[Tensor], np.ndarray],
    view: Tensor,
    hidden: Sequence[Part],
    class_index: int,
    batch_size: int,
) -> np.ndarray:
    """The fall of the class's logit for each part of `[3, T, H, W]` that is hidden: `float32 [P]`."""
    colour = view.mean((1, 2, 3))[:, None, None, None]
    whole = logits_of(view[None])[0, class_index]
    falls: list[float] = []
    for first in range(0, len(hidden), batch_size):
        chosen = hidden[first : first + batch_size]
        views = view.repeat(len(chosen), 1, 1, 1, 1)
        for changed, (time, row, column) in zip(views, chosen, strict=True):
            changed[:, time, row, column] = colour
        falls += [float(whole - value) for value in logits_of(views)[:, class_index]]
    return np.asarray(falls, np.float32)


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
