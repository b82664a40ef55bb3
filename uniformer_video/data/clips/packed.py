"""Batches of clips as workers send them to the device: finished, or with the augmentation still to do."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from uniformer_video.data.clips.transforms import empty_tensor


@dataclass(frozen=True)
class PackedClips:
    """Clips of bytes, of any sizes, in one piece of memory, and the `ClipDraws` for the rest of each.

    One piece because each tensor between processes costs an open file, and each transfer a start.
    """

    memory: Tensor  # uint8 [bytes of all clips]
    shapes: tuple[tuple[int, ...], ...]  # of each clip
    draws: tuple[Any, ...]  # likewise, each a `ClipDraws`

    @classmethod
    def of(cls, clip: Tensor, drawn: Any) -> "PackedClips":
        """A batch of one clip, a contiguous `uint8` tensor, whose memory it takes over."""
        return cls(clip.view(-1), (tuple(clip.shape),), (drawn,))

    @classmethod
    def join(cls, batches: Sequence["PackedClips"]) -> "PackedClips":
        """One batch of several; a single one is not copied."""
        if len(batches) == 1:
            return batches[0]
        memory = empty_tensor((sum(len(batch.memory) for batch in batches),), np.uint8)
        return cls(
            torch.cat([batch.memory for batch in batches], out=memory),
            sum((batch.shapes for batch in batches), ()),
            sum((batch.draws for batch in batches), ()),
        )

    def __len__(self) -> int:
        return len(self.shapes)

    def __iter__(self) -> Iterator[tuple[Tensor, Any]]:
        """(clip, drawn) in turn; clips are views."""
        sizes = [math.prod(shape) for shape in self.shapes]
        for clip, shape, drawn in zip(
            self.memory.split(sizes), self.shapes, self.draws, strict=True
        ):
            yield clip.view(shape), drawn

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PackedClips":
        """As a tensor's."""
        return replace(self, memory=self.memory.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PackedClips":
        """As a tensor's; the loader's pinning thread calls it."""
        return replace(self, memory=self.memory.pin_memory())


Clips = Tensor | PackedClips


def stack(clips: list[Clips]) -> Clips:
    """Clips of one size, or packed ones -> a batch of them; a single clip is not copied."""
    if isinstance(clips[0], PackedClips):
        return PackedClips.join(cast("list[PackedClips]", clips))
    tensors = cast("list[Tensor]", clips)
    return torch.stack(tensors) if len(tensors) > 1 else tensors[0][None]


def join(batches: list[Clips]) -> Clips:
    """Batches of packed clips, or `float32 [B, C, T, H, W]` -> one."""
    if isinstance(batches[0], PackedClips):
        return PackedClips.join(cast("list[PackedClips]", batches))
    tensors = cast("list[Tensor]", batches)
    shape = (sum(len(batch) for batch in tensors), *tensors[0].shape[1:])
    return torch.cat(tensors, out=empty_tensor(shape))
