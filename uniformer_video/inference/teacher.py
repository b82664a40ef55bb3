"""Teachers, from which another model learns: a model that sees the clips, or what one has said before.

Both are plain functions for the training loop. Logits are in the order of the learner's classes.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniformer_video.data.clips.transforms import Normalisation
from uniformer_video.data.loading.dataset import ClipOrigin


class LiveTeacher:
    """A model that answers to training clips, frozen and as in a test: `teacher(clips)`.

    Args:
        model: maps `[B, 3, T, H, W]`, or of images `[B, 3, H, W]`, to logits `[B, K]`; on its device. It is
            frozen here.
        view: makes the model's input of the learner's clips: a `ClipView`; of images, an `ImageView`.
        order: which of its outputs stands for each class of the learner; None = as they are.
        autocast: a function that returns the autocast context, the learner's.
    """

    def __init__(
        self,
        model: nn.Module,
        view: Callable[[Tensor], Tensor],
        order: Sequence[int] | None,
        autocast: Callable[[], AbstractContextManager],
    ):
        self.model = model.eval().requires_grad_(False)
        self.view, self.autocast = view, autocast
        device = next(model.parameters()).device
        self.order = None if order is None else torch.tensor(order, device=device)

    @torch.no_grad()
    def __call__(self, clips: Tensor) -> Tensor:
        """The learner's clips, `float [B, 3, (T,) H, W]` -> logits `[B, K]`, float32 at least."""
        with self.autocast():
            logits = self.model(self.view(clips))
        if logits.dtype.itemsize < 4:
            logits = logits.float()
        return logits if self.order is None else logits.index_select(1, self.order)


class ClipView:
    """The learner's clips as another model takes them: the same pixels with the same augmentation, made over.

    Frames are picked evenly from the first to the last, each the nearest one, so that some are left out or
    come again; pixels are resized bilinearly as everywhere here, and normalised as the other model's were.
    Clips that are as it takes them are handed on as they are.

    Args:
        frames, size, normalise: of the learner's clips: how many, the side in pixels, the `Normalisation`.
        other_frames, other_size, other_normalise: the same of the other model's.
        device: of the clips.
    """

    def __init__(
        self,
        frames: int,
        size: int,
        normalise: Normalisation,
        other_frames: int,
        other_size: int,
        other_normalise: Normalisation,
        device: torch.device | str = "cpu",
    ):
        self.frames, self.size = other_frames, other_size
        self.places = None
        if other_frames != frames:
            self.places = torch.tensor(nearest_frames(frames, other_frames), device=device)
        self.resized = other_size != size
        self.renormalised = other_normalise != normalise
        self.turned = other_normalise.channel_order != normalise.channel_order
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (normalise.mean, normalise.std))
        if self.turned:
            mean, std = mean.flip(0), std.flip(0)
        other_std = torch.tensor(other_normalise.std, dtype=torch.float64)
        shift = (mean - torch.tensor(other_normalise.mean, dtype=torch.float64)) / other_std
        self.scale, self.shift = (
            each.view(3, 1, 1, 1).to(device) for each in (std / other_std, shift)
        )

    def __call__(self, clips: Tensor) -> Tensor:
        """`float [B, 3, T, H, W]` of the learner -> `[B, 3, T, H, W]` of the other model."""
        if self.places is not None:
            clips = clips.index_select(2, self.places)
        if self.resized:
            images = clips.flatten(1, 2)  # as images of 3 * T channels
            images = F.interpolate(
                images, (self.size, self.size), mode="bilinear", align_corners=False
            )
            clips = images.unflatten(1, (3, self.frames))
        if self.renormalised:
            clips = clips.flip(1) if self.turned else clips
            clips = torch.addcmul(self.shift.to(clips.dtype), clips, self.scale.to(clips.dtype))
        return clips


class ImageView:
    """As `ClipView` of images: `float [B, 3, H, W]` of the learner -> `[B, 3, H, W]` of the other model.

    view: a `ClipView` of one frame.
    """

    def __init__(self, view: ClipView):
        self.view = view

    def __call__(self, images: Tensor) -> Tensor:
        return self.view(images.unsqueeze(2)).squeeze(2)


def nearest_frames(have: int, want: int) -> list[int]:
    """Which of `have` frames come nearest to `want` even points from the first to the last of them.

    A single frame is the middle one; of two that are as near, the later.
    """
    if want == 1:
        return [have // 2]
    return [(2 * place * (have - 1) + want - 1) // (2 * (want - 1)) for place in range(want)]


class StoredTeacher:
    """What a model has said of whole videos before, for the clips of a batch: `teacher(origins)`.

    Args:
        logits: float32 `[videos, K]` in the order of the training list, NaN for a video that it knows nothing
            of.
        mirrored: {class: the class of its mirrored videos}, both ways: of a mirrored clip, the logits of the
            two change places.
    """

    def __init__(self, logits: np.ndarray, mirrored: Mapping[int, int]):
        self.logits = torch.from_numpy(logits)
        self.mirrored_order = [mirrored.get(column, column) for column in range(logits.shape[1])]

    def __call__(self, origins: Sequence[ClipOrigin]) -> Tensor:
        """Where the clips of a batch are from -> logits `[B, K]` on the host."""
        rows = self.logits[[origin.record for origin in origins]]
        turned = torch.tensor([origin.mirrored for origin in origins])
        return torch.where(turned[:, None], rows[:, self.mirrored_order], rows)
