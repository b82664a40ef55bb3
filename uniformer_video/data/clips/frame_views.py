"""What a model is shown that prepares its own input: the frames of a clip as they are decoded."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.errors import DataError

_USUAL_FRAME = 3 * 360 * 640  # bytes; how large frames are, a video tells once it is open


@dataclass(frozen=True)
class FrameViews(EvalViews):
    """One view of a clip: its whole frames, in bytes. The fields say what the model makes of them itself.

    Clips of one call have frames of one size, `uint8 [3, T, H, W]`.
    """

    @classmethod
    def of(cls, views: EvalViews) -> "FrameViews":
        """The same preparation, done by the model."""
        return cls(**{field.name: getattr(views, field.name) for field in fields(EvalViews)})

    @property
    def views_of_clip(self) -> int:
        """One: the model averages its crops itself."""
        return 1

    @property
    def bytes_of_frame(self) -> int:
        """Of a frame of a usual video."""
        return _USUAL_FRAME

    def crops(self, frames: np.ndarray) -> list[Tensor]:
        """`uint8 [T, H, W, 3]` -> itself, `uint8 [3, T, H, W]`."""
        return [torch.from_numpy(frames).permute(3, 0, 1, 2)]

    def to_input(self, crop: Tensor) -> Tensor:
        """It as it is."""
        return crop


def join_frames(frames: list[Tensor]) -> Tensor:
    """Prepared frames `[view, 3, 1, H, W]` of a clip -> `[view, 3, T, H, W]`.

    Raises `DataError` for whole frames of more than one size; crops are all of one.
    """
    sizes = sorted({tuple(frame.shape[-2:]) for frame in frames})
    if len(sizes) > 1:
        words = " and ".join(f"{width} x {height}" for height, width in sizes)
        raise DataError(
            f"the picture size changes within a clip ({words}), and the model takes whole frames of one size"
        )
    return torch.cat(frames, dim=2)
