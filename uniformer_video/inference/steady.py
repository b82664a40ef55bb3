"""Logits of the frames of a video, made steady: an exponential mean over time, which ends at a cut."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

WEIGHT = 0.5  # of the new frame
CUT = 0.2  # of the range of luma, the mean difference of two thumbnails
_SIDE = 64  # of a thumbnail, in pixels
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G and B


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """The luma of `uint8 [H, W, 3]` RGB in small: float32 `[64, 64]` from 0 to 1."""
    small = Image.fromarray(picture).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32) @ (_LUMA / 255)


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether two thumbnails differ so much that the second one shows another scene."""
    return float(np.abs(after - before).mean()) > CUT


class SteadyMean:
    """The exponential mean of the logits of the frames of one video, given in their order.

    At a cut, and where the pictures change their size, it begins anew. `cuts`: how often that was.
    """

    def __init__(self) -> None:
        self.cuts = 0
        self._mean: list[Tensor] = []
        self._thumbnail: np.ndarray | None = None

    def __call__(self, maps: Sequence[Tensor], picture: np.ndarray) -> list[Tensor]:
        """The mean up to this frame.

        maps: what the network says of the frame, float `[K, h, w]` each, one for each of its inputs. picture:
        the frame, `uint8 [H, W, 3]` RGB.
        """
        now = thumbnail(picture)
        if self._thumbnail is not None and (is_cut(self._thumbnail, now) or not self._fits(maps)):
            self.cuts += 1
            self._mean = []
        self._thumbnail = now
        if self._mean:
            self._mean = [old.lerp(new, WEIGHT) for old, new in zip(self._mean, maps, strict=True)]
        else:
            self._mean = list(maps)
        return self._mean

    def _fits(self, maps: Sequence[Tensor]) -> bool:
        return [each.shape for each in maps] == [each.shape for each in self._mean]
