"""The pixels of a clip during augmentation: only the part of its frames that is still needed.

Operations on values work on planes, those that move pixels on columns; `Pixels` holds either and
turns one into the other. What an operation asks of pixels is a method here, by NumPy and Pillow, which
are the fastest on a processor; `device_pixels` has the same methods for any device.
"""

from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image

LEVELS = np.arange(256, dtype=np.uint8)

Size = tuple[int, int]  # height, width
AnyArray = TypeVar("AnyArray", np.ndarray, torch.Tensor)


class Window(NamedTuple):
    """A box of whole pixels within a frame."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def between(cls, top: int, left: int, bottom: int, right: int, size: Size) -> "Window":
        """The box of these edges, cut to a frame of `size` (height, width); never empty."""
        height, width = size
        top, left = min(max(top, 0), height - 1), min(max(left, 0), width - 1)
        bottom, right = min(max(bottom, top + 1), height), min(max(right, left + 1), width)
        return cls(top, left, bottom - top, right - left)

    @classmethod
    def whole(cls, size: Size) -> "Window":
        """All of a frame of `size` (height, width)."""
        return cls(0, 0, *size)

    @property
    def bottom(self) -> int:
        """The first row below."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column to the right."""
        return self.left + self.width

    def slices(self, outer: "Window") -> tuple[slice, slice]:
        """The rows and columns of this window in pixels that hold the window `outer`."""
        top, left = self.top - outer.top, self.left - outer.left
        assert top >= 0 and left >= 0, (self, outer)
        assert self.bottom <= outer.bottom and self.right <= outer.right, (self, outer)
        return slice(top, top + self.height), slice(left, left + self.width)


class Pixels:
    """One window of the frames of a clip, all frames alike.

    Made of planes, `uint8 [3, T, h, w]`, or of columns, `float32 [h, w, 3 * T]` of whole numbers 0 to
    255: one pixel of all channels and frames side by side, so that what moves a pixel moves a row of
    memory. Lookups wait until the planes are needed, and those that follow each other become one.

    size: (height, width) of the full frames; window: what is here of them.
    """

    def __init__(
        self,
        size: Size,
        window: Window,
        planes: Any = None,
        columns: torch.Tensor | None = None,
        tables: np.ndarray | None = None,
    ):
        assert (planes is None) != (columns is None) and (tables is None or columns is None)
        self.size, self.window = size, window
        self._planes, self._columns, self._tables = planes, columns, tables

    @classmethod
    def of(cls, frames: np.ndarray, window: Window) -> "Pixels":
        """A copy of `window` of the frames `uint8 [T, H, W, 3]`."""
        rows, columns = window.slices(Window.whole(frames.shape[1:3]))
        planes = frames[:, rows, columns].transpose(3, 0, 1, 2)
        return cls(frames.shape[1:3], window, planes=np.array(planes, order="C"))

    def crop(self, window: Window) -> "Pixels":
        """The part in `window`, which lies within this one."""
        rows, columns = window.slices(self.window)
        if self._columns is not None:
            return self.of_columns(window, self._columns[rows, columns])
        planes = self._planes[..., rows, columns]
        return type(self)(self.size, window, planes, tables=self._tables)

    def of_columns(self, window: Window, columns: torch.Tensor) -> "Pixels":
        """Another window of the same clip, made of `float32 [h, w, 3 * T]`."""
        return type(self)(self.size, window, columns=columns)

    def look_up(self, tables: np.ndarray | torch.Tensor) -> "Pixels":
        """Values replaced by `tables[value]`: `uint8 [256]`, `[T, 256]` or `[3, T, 256]`."""
        planes = self._planes if self._planes is not None else self.planes()
        tables = np.asarray(tables)
        if self._tables is not None:
            tables = _chain_tables(self._tables, tables)
        return Pixels(self.size, self.window, planes, tables=tables)

    def ranges(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest and the highest level of each frame and channel: two of `uint8 [3, T]`."""
        planes = self.planes()
        flat = planes.reshape(*planes.shape[:2], -1)
        return torch.from_numpy(flat.min(-1)), torch.from_numpy(flat.max(-1))

    def histograms(self) -> torch.Tensor:
        """How often each frame and channel has each level: `int64 [3, T, 256]`."""
        planes = self.planes()
        counts = [Image.fromarray(plane).histogram() for frames in planes for plane in frames]
        return torch.tensor(counts).view(*planes.shape[:2], 256)

    def gray_means(self) -> torch.Tensor:
        """The mean gray of each frame, rounded: `int64 [T]`."""
        planes = self.planes()
        gray = np.asarray(_gray(planes)).reshape(planes.shape[1], -1)
        return torch.from_numpy((gray.mean(axis=1) + 0.5).astype(np.int64))

    def away_from_gray(self, factor: float) -> "Pixels":
        """`Image.blend` of every pixel's gray with each of its channels."""
        planes = self.planes()
        gray = _gray(planes)
        blended = [np.asarray(Image.blend(gray, _stack_frames(plane), factor)) for plane in planes]
        return Pixels(self.size, self.window, np.stack(blended).reshape(planes.shape))

    def away_from_smooth(self, factor: float) -> "Pixels":
        """`Image.blend` of every pixel smoothed with itself; those at the border stay as they are."""
        planes = self.planes()
        changed = np.empty_like(planes)
        for place in np.ndindex(planes.shape[:2]):
            smooth, plane = planes[place].copy(), Image.fromarray(planes[place])
            smooth[1:-1, 1:-1] = smooth_planes(planes[place].astype(np.uint16))
            changed[place] = Image.blend(Image.fromarray(smooth), plane, factor)
        return Pixels(self.size, self.window, changed)

    def planes(self) -> Any:
        """`uint8 [3, T, h, w]`, contiguous, of NumPy (of torch in `DevicePixels`); to be left as it is."""
        if self._columns is not None:
            columns = self._columns.reshape(-1, self._columns.shape[-1]).numpy()
            planes = np.ascontiguousarray(columns.astype(np.uint8).T)
            self._planes = planes.reshape(3, -1, self.window.height, self.window.width)
            self._columns = None
        elif self._tables is not None:
            self._planes = _looked_up(self._planes, self._tables)
            self._tables = None
        else:
            self._planes = np.ascontiguousarray(self._planes)
        return self._planes

    def columns(self) -> torch.Tensor:
        """`float32 [h, w, 3 * T]`, whole numbers, channel by channel; to be left as it is."""
        if self._columns is not None:
            return self._columns
        height, width = self.window.height, self.window.width
        planes = self.planes().reshape(-1, height * width)
        columns = np.ascontiguousarray(planes.T).astype(np.float32)  # NumPy is faster at both
        return torch.from_numpy(columns).reshape(height, width, -1)

    def clip(self) -> torch.Tensor:
        """`float32 [3, T, h, w]`, whole numbers: a view that interpolates fast, not contiguous."""
        columns = self.columns()
        return columns.permute(2, 0, 1).reshape(3, -1, *columns.shape[:2])

    def frames(self) -> np.ndarray:
        """`uint8 [T, h, w, 3]`, a new array."""
        return np.array(self.planes().transpose(1, 2, 3, 0), order="C")


def blends(factor: float) -> np.ndarray:
    """`Image.blend` of every level with every other by a factor: `uint8 [256, 256]`."""
    first, second = np.meshgrid(LEVELS, LEVELS, indexing="ij")
    return np.array(Image.blend(Image.fromarray(first), Image.fromarray(second), factor))


def smooth_planes(planes: AnyArray) -> AnyArray:
    """`ImageFilter.SMOOTH` in whole numbers of 16 bits: 3 x 3 pixels, the middle one weighs 5 of 13.

    `[..., h, w]`, of NumPy or torch -> what is not at the border, `[..., h - 2, w - 2]`. The nearest
    whole number is never in doubt, since 13 is odd: two lie equally near nowhere.
    """
    rows = planes[..., :-2, :] + planes[..., 1:-1, :]
    rows += planes[..., 2:, :]
    sums = rows[..., :-2] + rows[..., 1:-1]
    sums += rows[..., 2:]
    sums += 4 * planes[..., 1:-1, 1:-1]
    sums += 6
    sums //= 13
    return sums


def _stack_frames(planes: np.ndarray) -> Image.Image:
    """Pillow's image of `[..., h, w]`, all frames below each other; no copy."""
    return Image.fromarray(planes.reshape(-1, planes.shape[-1]))


def _gray(planes: np.ndarray) -> Image.Image:
    return Image.merge("RGB", [_stack_frames(plane) for plane in planes]).convert("L")


def _chain_tables(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One table in place of two."""
    if second.ndim == 1:
        return second[first]
    first, second = np.broadcast_arrays(first, second)
    return np.take_along_axis(second, first.astype(np.intp), axis=-1)


def _looked_up(planes: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """`bytearray.translate` is the fastest lookup of bytes there is without a compiler."""
    planes = np.ascontiguousarray(planes)
    if tables.ndim == 1:
        changed = bytearray(planes).translate(tables.tobytes())
        return np.frombuffer(changed, np.uint8).reshape(planes.shape)
    result = np.empty_like(planes)
    tables = np.broadcast_to(tables, (*planes.shape[:2], 256))
    for place in np.ndindex(planes.shape[:2]):
        changed = planes[place].tobytes().translate(tables[place].tobytes())
        result[place] = np.frombuffer(changed, np.uint8).reshape(planes.shape[2:])
    return result
