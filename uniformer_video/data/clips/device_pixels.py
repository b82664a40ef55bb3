"""Pixels for any device, with the methods and the results of `Pixels`, by torch alone.

Nothing here waits for the device: statistics stay on it and become tables there.
"""

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.clips.pixels import Pixels, Size, Window, blends, smooth_planes


class DevicePixels(Pixels):
    """As `Pixels`, of tensors: planes `uint8 [3, T, h, w]` or columns `float32 [h, w, 3 * T]`."""

    @classmethod
    def of_window(cls, frames: Tensor, window: Window, size: Size) -> "DevicePixels":
        """The `window` of frames of `size` (height, width), as a tensor `uint8 [T, h, w, 3]`."""
        return cls(size, window, frames.permute(3, 0, 1, 2).contiguous())

    def look_up(self, tables: np.ndarray | Tensor) -> "DevicePixels":
        """As `Pixels.look_up`; tables may be NumPy's or torch's."""
        planes = self.planes()
        tables = torch.as_tensor(tables).to(planes.device, non_blocking=True)
        tables = tables.expand(*planes.shape[:2], 256).flatten(0, 1)
        return self._of(tables.gather(1, _levels(planes)).view_as(planes))

    def ranges(self) -> tuple[Tensor, Tensor]:
        """As `Pixels.ranges`."""
        return self.planes().flatten(2).aminmax(dim=-1)

    def histograms(self) -> Tensor:
        """As `Pixels.histograms`."""
        planes = self.planes()
        levels = _levels(planes)
        counts = levels.new_zeros(len(levels), 256)
        counts.scatter_add_(1, levels, counts.new_ones(1).expand_as(levels))
        return counts.view(*planes.shape[:2], 256)

    def gray_means(self) -> Tensor:
        """As `Pixels.gray_means`."""
        gray = _gray(self.planes()).flatten(1)
        return (gray.sum(1).double() / gray.shape[1] + 0.5).long()

    def away_from_gray(self, factor: float) -> "DevicePixels":
        """As `Pixels.away_from_gray`."""
        return self._blend(_gray(self.planes()), factor)

    def away_from_smooth(self, factor: float) -> "DevicePixels":
        """As `Pixels.away_from_smooth`."""
        smooth = self.planes().short()
        smooth[..., 1:-1, 1:-1] = smooth_planes(smooth)
        return self._blend(smooth, factor)

    def planes(self) -> Tensor:
        """As `Pixels.planes`."""
        if self._columns is not None:
            planes = self._columns.permute(2, 0, 1).byte().contiguous()
            self._planes = planes.unflatten(0, (3, -1))
            self._columns = None
        self._planes = self._planes.contiguous()
        return self._planes

    def columns(self) -> Tensor:
        """As `Pixels.columns`."""
        if self._columns is not None:
            return self._columns
        return self.planes().flatten(0, 1).permute(1, 2, 0).contiguous().float()

    def _of(self, planes: Tensor) -> "DevicePixels":
        return DevicePixels(self.size, self.window, planes)

    def _blend(self, other: Tensor, factor: float) -> "DevicePixels":
        """`Image.blend` of whole-number levels, `[3, T, h, w]` or one for all channels, with these."""
        planes = self.planes()
        table = torch.from_numpy(blends(factor)).to(planes.device, non_blocking=True)
        return self._of(table.flatten().take(other.long() * 256 + planes))


def _levels(planes: Tensor) -> Tensor:
    """`[3, T, h, w]` as indices, frame by frame: `int64 [3 * T, h * w]`."""
    return planes.view(-1, planes.shape[-2] * planes.shape[-1]).long()


def _gray(planes: Tensor) -> Tensor:
    """Pillow's luma of ITU-R 601-2, in whole numbers: `int32 [T, h, w]`."""
    red, green, blue = planes.int()
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
