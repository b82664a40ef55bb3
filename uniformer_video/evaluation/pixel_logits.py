"""What a model says of each pixel of one picture, at the picture's own size, in bounded memory.

Kept are the model's logits, at a quarter of its input's size. What is asked for at the picture's size is made
some rows at a time: 150 classes of 20 million pixels would take 12 GB.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.clips.pixels import Size, Window

_BLOCK_VALUES = 2**24  # of logits at the picture's size that are made at once


def _cut_rows(logits: Tensor, start: int, stop: int) -> Tensor:
    """Rows of `[K, h, w]`."""
    return logits[:, start:stop]


@dataclass(frozen=True)
class _View:
    """The logits of one view, `float32 [K, h, w]` of each window; size: (height, width) of the view."""

    size: Size
    mirrored: bool
    windows: tuple[tuple[Window, Tensor], ...]

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows of the logits at the view's size, `[K, stop - start, W]`: the mean where windows overlap."""
        first = self.windows[0][1]
        total = first.new_zeros(len(first), stop - start, self.size[1])
        count = first.new_zeros(stop - start, self.size[1])
        for window, logits in self.windows:
            top, bottom = max(start, window.top), min(stop, window.bottom)
            if top < bottom:
                rows = slice(top - start, bottom - start)
                columns = slice(window.left, window.right)
                total[:, rows, columns] += _resized_rows(
                    partial(_cut_rows, logits),
                    (logits.shape[1], logits.shape[2]),
                    (window.height, window.width),
                    top - window.top,
                    bottom - window.top,
                )
                count[rows, columns] += 1
        return total if len(self.windows) == 1 else total / count

    def rows_of_picture(self, size: Size, start: int, stop: int) -> Tensor:
        """Rows of the logits at the `size` of the picture, `[K, stop - start, W]`."""
        found = _resized_rows(self.rows, self.size, size, start, stop)
        return found.flip(2) if self.mirrored else found


@dataclass(frozen=True)
class PixelLogits:
    """What a model says of a picture of `size` (height, width), from one view or several."""

    size: Size
    views: tuple[_View, ...]

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.views[0].windows[0][1])

    @property
    def maps(self) -> list[Tensor]:
        """What the model has answered, `float32 [K, h, w]` for each of its inputs."""
        return [logits for view in self.views for _, logits in view.windows]

    def with_maps(self, maps: Sequence[Tensor]) -> "PixelLogits":
        """The same with other answers, in the order and of the shapes of `maps`."""
        given = iter(maps)
        views = (
            replace(view, windows=tuple((window, next(given)) for window, _ in view.windows))
            for view in self.views
        )
        return replace(self, views=tuple(views))

    def rows(self, start: int, stop: int) -> Tensor:
        """Of these rows of the picture `float32 [K, stop - start, W]`, on the model's device: logits of one
        view, the mean probabilities of several.
        """
        if len(self.views) == 1:
            return self.views[0].rows_of_picture(self.size, start, stop)
        total: Tensor | None = None
        for view in self.views:
            own = view.rows_of_picture(self.size, start, stop).softmax(0)
            total = own if total is None else total.add_(own)
        assert total is not None
        return total / len(self.views)

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(start, stop) of the rows that are made at once."""
        height, width = self.size
        step = max(1, _BLOCK_VALUES // (self.num_classes * width))
        for start in range(0, height, step):
            yield start, min(start + step, height)

    def classes(self) -> np.ndarray:
        """The class of each pixel: `uint8 [H, W]`, of equal ones the first."""
        parts = [self.rows(*block).max(0).indices.to(torch.uint8).cpu() for block in self.blocks()]
        return torch.cat(parts).numpy()


@torch.inference_mode()
def whole_logits(
    model: nn.Module,
    views: PixelViews,
    picture: np.ndarray,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
) -> PixelLogits:
    """What `model`, in evaluation mode on `device`, says of a picture `uint8 [H, W, 3]`.

    Logits are resized to the size of the model's input, then to the picture's; of several views the
    probabilities are averaged.
    """
    found = []
    mirrorings = views.mirrorings * len(views.ratios)
    for view, mirrored in zip(views.inputs(picture), mirrorings, strict=True):
        size: Size = (view.shape[-2], view.shape[-1])
        view = view.to(device, non_blocking=True)
        windows = []
        for window in windows_of(size, views.crop_size, views.stride):
            rows, columns = window.slices(Window.whole(size))
            with autocast():
                windows.append((window, model(view[..., rows, columns])[0].float()))
        found.append(_View(size, mirrored, tuple(windows)))
    return PixelLogits((picture.shape[0], picture.shape[1]), tuple(found))


def windows_of(size: Size, side: int, stride: int) -> list[Window]:
    """Windows of `side` that cover a picture of `size`, at steps of `stride`, those at the end moved back to
    its border. Of `side` 0 the whole picture.
    """
    if not side:
        return [Window.whole(size)]
    tops, lefts = (_starts(length, side, stride) for length in size)
    height, width = min(side, size[0]), min(side, size[1])
    return [Window(top, left, height, width) for top in tops for left in lefts]


def _starts(length: int, side: int, stride: int) -> list[int]:
    last = max(length - side, 0)
    return [min(start, last) for start in range(0, last + stride, stride)]


def _resized_rows(
    rows_of: Callable[[int, int], Tensor], old: Size, new: Size, start: int, stop: int
) -> Tensor:
    """Rows `start` to `stop` of what is resized from the size `old` to `new`, half-pixel bilinear.

    rows_of: gives rows of it as it is, `[K, rows, W]`. The result does not depend on which rows are asked for
    together.
    """
    places = (torch.arange(start, stop, dtype=torch.float64) + 0.5) * (old[0] / new[0]) - 0.5
    places = places.clamp(0, old[0] - 1)
    above = places.long()
    below = (above + 1).clamp(max=old[0] - 1)
    first = int(above[0])
    block = rows_of(first, int(below[-1]) + 1)
    weight = (places - above).float()[:, None].to(block.device)
    above, below = ((rows - first).to(block.device) for rows in (above, below))
    rows = torch.lerp(block.index_select(1, above), block.index_select(1, below), weight)
    # in the other direction torch is faster; as many rows as there are stay as they are
    return F.interpolate(rows[None], (stop - start, new[1]), mode="bilinear")[0]
