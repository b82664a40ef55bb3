"""Mixup and cutmix: mix a batch with itself in reverse order, and its targets by the same share."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from uniformer_video.errors import ConfigError

Box = tuple[int, int, int, int]  # top, bottom, left, right, in pixels


class Mixup:
    """Blend (mixup) or paste a box of (cutmix) the partner of each sample, the batch reversed.

    One share and one kind for a whole batch; with an odd batch the middle sample stays as it is.

    Args:
        mixup_alpha, cutmix_alpha: the sample's share is Beta(alpha, alpha); 0 switches a kind off.
        probability: of mixing a batch at all.
        switch_probability: of cutmix, where both kinds are on.

    Source: Zhang et al., "mixup", section 2; Yun et al., "CutMix", section 3.1.
    """

    def __init__(
        self,
        mixup_alpha: float = 0.8,
        cutmix_alpha: float = 1.0,
        probability: float = 1.0,
        switch_probability: float = 0.5,
    ):
        if min(mixup_alpha, cutmix_alpha) < 0 or max(mixup_alpha, cutmix_alpha) == 0:
            raise ConfigError(
                "mixup_alpha and cutmix_alpha are at least 0 and one of them is above 0, got "
                f"{mixup_alpha} and {cutmix_alpha}; leave mixup out to train without it"
            )
        if not (0 <= probability <= 1 and 0 <= switch_probability <= 1):
            raise ConfigError(
                "probability and switch_probability of mixup are 0 to 1, got "
                f"{probability} and {switch_probability}"
            )
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.probability = probability
        self.switch_probability = switch_probability

    def draw(self, height: int, width: int, rng: np.random.Generator) -> tuple[float, Box | None]:
        """`(share, box)`: the sample's own share in [0, 1], and the partner's box or None.

        A box is (top, bottom, left, right) in pixels; None with a share below 1 means a blend.
        """
        if rng.random() >= self.probability:
            return 1.0, None
        if not self._draws_cutmix(rng):
            return rng.beta(self.mixup_alpha, self.mixup_alpha), None
        cut = math.sqrt(1.0 - rng.beta(self.cutmix_alpha, self.cutmix_alpha))
        top, bottom = _cut_span(height, cut, rng)
        left, right = _cut_span(width, cut, rng)
        # The border clips the box, so the share is what the box really leaves.
        share = 1.0 - (bottom - top) * (right - left) / (height * width)
        return share, (top, bottom, left, right)

    def _draws_cutmix(self, rng: np.random.Generator) -> bool:
        if self.mixup_alpha == 0 or self.cutmix_alpha == 0:
            return self.cutmix_alpha > 0
        return rng.random() < self.switch_probability

    def __call__(
        self, clips: Tensor, targets: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """float `[B, C, T, H, W]`, float targets `[B, ...]` on one device -> mixed clips, mixed targets.

        The inputs are left as they are. Images, `[B, C, H, W]`, are mixed likewise.
        """
        clips, (targets,) = self.mix(clips, [targets], rng)
        return clips, targets

    def mix(
        self, clips: Tensor, targets: Sequence[Tensor], rng: np.random.Generator
    ) -> tuple[Tensor, list[Tensor]]:
        """The same for targets of several kinds, all of which are mixed by the share of the clips."""
        height, width = clips.shape[-2:]
        share, box = self.draw(height, width, rng)
        if share == 1.0:
            return clips, list(targets)  # as they are, also beside a partner that lacks some: NaN
        if box is not None:
            top, bottom, left, right = box
            partner = clips[..., top:bottom, left:right].flip(0)
            clips = clips.clone()
            clips[..., top:bottom, left:right] = partner
        else:
            clips = torch.lerp(clips.flip(0), clips, share)
        return clips, [torch.lerp(each.flip(0), each, share) for each in targets]


def _cut_span(side: int, cut: float, rng: np.random.Generator) -> tuple[int, int]:
    """(start, end) of the fraction `cut` of a side around a uniform centre, clipped, in pixels."""
    length = int(side * cut)
    start = int(rng.integers(side)) - length // 2
    return max(start, 0), min(start + length, side)
