"""Heads of semantic segmentation: from maps of a backbone to logits of classes, `[B, num_classes, H, W]`.

Modules have the names of published checkpoints (`decode_head.`, `auxiliary_head.`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from uniformer_video.models.dense.layers import (
    Classifier,
    ConvNorm,
    add_from_coarse,
    bilinear,
)

_POOLED_SIDES = (1, 2, 3, 6)


class SemanticFPNHead(Classifier):
    """Each level brought to the finest by convolutions and x2 upsampling, and their sum classified.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks" (CVPR 2019), with BatchNorm.
    in_channels: of the maps, from fine to coarse, each half as large as the one before.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, num_classes: int, dropout_rate: float
    ):
        super().__init__(channels, num_classes, dropout_rate)
        self.scale_heads = nn.ModuleList()
        for level, each in enumerate(in_channels):
            steps: list[nn.Module] = [ConvNorm(each, channels, 3)]
            steps += [_Double()] if level else []
            for _ in range(1, level):
                steps += [ConvNorm(channels, channels, 3), _Double()]
            self.scale_heads.append(nn.Sequential(*steps))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps from fine to coarse -> logits of the size of the first."""
        finest, *others = (head(x) for head, x in zip(self.scale_heads, maps, strict=True))
        for each in others:
            finest = finest + bilinear(each, finest.shape[-2:])
        return self.classify(finest)


class UperHead(Classifier):
    """Pyramid pooling on the coarsest map, a feature pyramid, and all its levels side by side classified.

    Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding" (ECCV 2018).
    in_channels: of the maps, from fine to coarse.
    """

    def __init__(
        self, in_channels: Sequence[int], channels: int, num_classes: int, dropout_rate: float
    ):
        super().__init__(channels, num_classes, dropout_rate)
        *finer, coarsest = in_channels
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), ConvNorm(coarsest, channels, 1))
            for side in _POOLED_SIDES
        )
        self.bottleneck = ConvNorm(coarsest + len(_POOLED_SIDES) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvNorm(each, channels, 1) for each in finer)
        self.fpn_convs = nn.ModuleList(ConvNorm(channels, channels, 3) for _ in finer)
        self.fpn_bottleneck = ConvNorm(len(in_channels) * channels, channels, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps from fine to coarse -> logits of the size of the first."""
        *finer, coarsest = maps
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, finer, strict=True)]
        *summed, last = add_from_coarse([*laterals, self._pool(coarsest)], "bilinear")
        levels = [conv(x) for conv, x in zip(self.fpn_convs, summed, strict=True)]
        size = levels[0].shape[-2:]
        same_size = [levels[0], *(bilinear(x, size) for x in (*levels[1:], last))]
        return self.classify(self.fpn_bottleneck(torch.cat(same_size, 1)))

    def _pool(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` -> `[B, channels, H, W]` that has seen means over large parts of the map."""
        pooled = [bilinear(pool(x), x.shape[-2:]) for pool in self.psp_modules]
        return self.bottleneck(torch.cat([x, *pooled], 1))


class AuxiliaryHead(Classifier):
    """One convolution on one map, whose loss trains the backbone below it; tests do not use it."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout_rate: float):
        super().__init__(channels, num_classes, dropout_rate)
        self.convs = nn.Sequential(ConvNorm(in_channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """A map `[B, C, H, W]` -> logits `[B, num_classes, H, W]`."""
        return self.classify(self.convs(x))


class _Double(nn.Module):
    """Bilinear upsampling by 2."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` -> `[B, C, 2 H, 2 W]`."""
        return bilinear(x, [2 * side for side in x.shape[-2:]])
