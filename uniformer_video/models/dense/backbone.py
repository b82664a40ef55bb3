"""The backbone of detectors, segmentation and pose models: an image UniFormer without its classifier."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.blocks import AttentionBlock
from uniformer_video.models.dense.windows import WindowBlock
from uniformer_video.models.layer_groups import WITH_PREVIOUS, GroupMatcher, Patterns
from uniformer_video.models.layers import channels_first
from uniformer_video.models.light import HourglassBlock, LightUniFormer
from uniformer_video.models.uniformer import UniFormer

WINDOW = 14  # tokens a side, the published default
# Arguments of UniFormers that are about time or about classifiers: pyramids take none of them.
FIXED = ("ndim", "split", "std", "aux_head", "representation_size", "head_dropout_rate")
_GLOBAL_EVERY = 4  # in a hybrid, this block and each so many blocks later


class Pyramid(UniFormer):
    """An image UniFormer that gives the maps of its four stages, each behind a norm of its own.

    `pyramid(x)` takes images `[B, 3, H, W]` of any size of at least 32 and gives a tuple of four maps
    `[B, C, H / stride, W / stride]`. `channels` and `strides` have an entry a map.

    Args, beyond those of `UniFormer` that concern images and their stages:
        window: the side of the windows, in tokens, within which the blocks of stage 3 attend; published are
            14 and 32. 0 for none: all blocks are global, as those of stage 4 always are.
        hybrid: every fourth block of stage 3 is global (the fourth, the eighth, ...), the others attend
            within windows, of 14 if `window` is left out.

    Neither changes a tensor: weights that were trained with one kind of attention can be tested with another.
    The backbones of the published detection and pose models are the same network. Source: UniFormer (journal
    version, Li et al., TPAMI 2023), on dense prediction.
    """

    def __init__(
        self,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        head_dim: int,
        window: int = 0,
        hybrid: bool = False,
        **options: Any,
    ):
        if not isinstance(window, int) or window < 0:
            raise ConfigError(
                f"window is the side of attention's windows in tokens, such as 14 or 32, or 0 for none; got "
                f"{window!r}"
            )
        # Before the base class, whose constructor makes the blocks through `global_block`.
        self.window, self.hybrid = window or (WINDOW if hybrid else 0), bool(hybrid)
        super().__init__(1, embed_dims, depths, head_dim, ndim=2, **options)
        self.remove_head()
        self.arguments |= {"window": self.window, "hybrid": self.hybrid}
        for stage, channels in enumerate(embed_dims, start=1):
            setattr(self, f"norm{stage}", nn.LayerNorm(channels, eps=1e-6))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]  # no logits
        """`[B, 3, H, W]` -> four maps `[B, C, H / stride, W / stride]`, from fine to coarse."""
        return tuple(
            channels_first(getattr(self, f"norm{stage}")(tokens))
            for stage, (tokens, *_) in enumerate(self.forward_stages(x), start=1)
        )

    @property
    def channels(self) -> list[int]:
        """The channels of the maps."""
        return self.stage_channels

    @property
    def strides(self) -> list[int]:
        """Their strides against the image, of height and width alike."""
        return [stride for stride, _ in self.stage_strides]

    @property
    def attention(self) -> str:
        """To what the tokens of stage 3 attend, in words."""
        if not self.window:
            return "over the whole map"
        within = f"within windows of {self.window} tokens"
        return f"{within}, over the whole map in every fourth block" if self.hybrid else within

    def global_block(self, stage: int, index: int, **arguments: Any) -> AttentionBlock:
        """A fresh block of stage 3 or 4."""
        if stage == 4 or not self.window or (self.hybrid and (index + 1) % _GLOBAL_EVERY == 0):
            return super().global_block(stage, index, **arguments)
        return WindowBlock(window=self.window, **arguments)

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """As of other UniFormers; the norm of a stage goes with its last block."""
        norms: Patterns = [(r"^norm([1-4])\.", None if coarse else WITH_PREVIOUS)]
        matcher = super().group_matcher(coarse)
        return {**matcher, "stages": [*norms, *matcher["stages"]]}


class LightPyramid(Pyramid, LightUniFormer):
    """The same of the light models. They rank the tokens of a whole stage, so that they have no windows."""

    def __init__(
        self, embed_dims: Sequence[int], depths: Sequence[int], head_dim: int, **options: Any
    ):
        if options.pop("window", 0) or options.pop("hybrid", False):
            raise ConfigError(
                "light models rank the tokens of a whole stage, and have no attention within windows; leave "
                "window and hybrid out"
            )
        super().__init__(embed_dims, depths, head_dim, **options)
        self.arguments.pop("window")
        self.arguments.pop("hybrid")

    def global_block(self, stage: int, index: int, **arguments: Any) -> HourglassBlock:
        """The hourglass block number `index` of a stage."""
        return LightUniFormer.global_block(self, stage, index, **arguments)
