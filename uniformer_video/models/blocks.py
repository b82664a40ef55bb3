"""The relation blocks: local (stages 1-2), global and divided (stages 3-4).

All read `X + DPE(X)`, then `X + DropPath(MHRA(Norm(X)))`, then `X + DropPath(FFN(Norm(X)))`
(UniFormer, section 3.1), on channels-last tokens `[B, *grid, C]`. `layer_scale` is the initial value
of a learned factor per channel on both branches (Touvron et al., "Going deeper with Image
Transformers", section 2), or None for no such factor. `dropout` is its rate in the FFN and behind the
projection of an attention, `attention_dropout` on the weights of the attention, whose further options
(`qkv_bias`, `qk_scale`) are those of `layers.AttentionHeads`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.models.layers import (
    Attention,
    AttentionHeads,
    DepthwiseConv,
    DropPath,
    Mlp,
    PointwiseConv,
    TokenBatchNorm,
)


class RelationBlock(nn.Module):
    """What all blocks share: position encoding, the FFN and the factors of layer scale.

    `gamma_shape` is the shape that the checkpoints give these factors.
    """

    norm1: nn.Module
    norm2: nn.Module
    attn: nn.Module
    mlp: nn.Module
    gamma_1: nn.Parameter | None
    gamma_2: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        ndim: int,
        drop_path: float,
        layer_scale: float | None,
        gamma_shape: Sequence[int],
    ):
        super().__init__()
        self.pos_embed = DepthwiseConv(channels, (3,) * ndim)
        self.drop_path = DropPath(drop_path)
        for name in ("gamma_1", "gamma_2"):
            gamma = None if layer_scale is None else torch.full(gamma_shape, float(layer_scale))
            self.register_parameter(name, None if gamma is None else nn.Parameter(gamma))

    def relate(self, tokens: Tensor) -> Tensor:
        """The relation branch, before DropPath; as `[B, N, C]` where attention flattens the grid."""
        return scale_branch(self.attn(self.norm1(tokens)), self.gamma_1)

    def feed(self, tokens: Tensor) -> Tensor:
        """The feed-forward branch, before DropPath."""
        return scale_branch(self.mlp(self.norm2(tokens)), self.gamma_2)


def scale_branch(branch: Tensor, gamma: Tensor | None) -> Tensor:
    """`[..., C]` times a factor per channel, if there is one."""
    return branch if gamma is None else branch * gamma.flatten()


class LocalBlock(RelationBlock):
    """Relation by a learned local neighbourhood: 1x1x1, depthwise `kernel`, 1x1x1."""

    direct_pairs = (("norm1", "conv1"), ("norm2", "mlp"))  # see inference_mode.py

    def __init__(
        self,
        channels: int,
        kernel: Sequence[int],
        mlp_ratio: float,
        drop_path: float,
        layer_scale: float | None = None,
        dropout: float = 0.0,
    ):
        ndim = len(kernel)
        super().__init__(channels, ndim, drop_path, layer_scale, (1, channels, *[1] * ndim))
        self.norm1 = TokenBatchNorm(channels)
        self.conv1 = PointwiseConv(channels, channels, ndim)
        self.attn = DepthwiseConv(channels, kernel)
        self.conv2 = PointwiseConv(channels, channels, ndim)
        self.norm2 = TokenBatchNorm(channels)
        conv = partial(PointwiseConv, ndim=ndim)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), conv, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, *grid, C]` -> `[B, *grid, C]`."""
        tokens = tokens + self.pos_embed(tokens)
        tokens = tokens + self.drop_path(self.relate(tokens))
        return tokens + self.drop_path(self.feed(tokens))

    def relate(self, tokens: Tensor) -> Tensor:
        """The relation branch `[B, *grid, C]`, before DropPath."""
        return scale_branch(self.conv2(self.attn(self.conv1(self.norm1(tokens)))), self.gamma_1)


class AttentionBlock(RelationBlock):
    """Relation by similarity, what the blocks of stages 3-4 share: an `attention` over tokens."""

    attn: AttentionHeads

    def __init__(
        self,
        channels: int,
        ndim: int,
        head_dim: int,
        mlp_ratio: float,
        drop_path: float,
        layer_scale: float | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        attention: Callable[..., AttentionHeads] = Attention,
        **attention_options: Any,
    ):
        super().__init__(channels, ndim, drop_path, layer_scale, (channels,))
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = attention(channels, head_dim, attention_dropout, dropout, **attention_options)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), nn.Linear, dropout)


class GlobalBlock(AttentionBlock):
    """Relation by similarity: joint attention over every position of the grid."""

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, *grid, C]` -> `[B, *grid, C]`; tokens attend in the order T, H, W."""
        tokens = tokens + self.pos_embed(tokens)
        grid = tokens.shape[1:-1]
        tokens = tokens.flatten(1, -2)  # [B, N, C]
        tokens = tokens + self.drop_path(self.relate(tokens))
        tokens = tokens + self.drop_path(self.feed(tokens))
        return tokens.unflatten(1, grid)

    def attention_maps(self, tokens: Tensor) -> Tensor:
        """`[B, *grid, C]` -> who attends to whom, `[B, heads, N, N]`; rows sum to 1."""
        tokens = tokens + self.pos_embed(tokens)
        return self.attn.maps(self.norm1(tokens.flatten(1, -2)))


class DividedBlock(GlobalBlock):
    """Attention along time at each position, then within each frame (the published `SPLIT`).

    The temporal sum feeds the spatial attention only; the spatial branch is added to the block's
    tokens as they were before it. The temporal branch starts at zero: its `qkv` is zero at first.
    """

    def __init__(
        self,
        channels: int,
        ndim: int,
        head_dim: int,
        mlp_ratio: float,
        drop_path: float,
        layer_scale: float | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        **attention_options: Any,
    ):
        rates = (drop_path, layer_scale, dropout, attention_dropout)
        super().__init__(channels, ndim, head_dim, mlp_ratio, *rates, **attention_options)
        self.t_norm = nn.LayerNorm(channels, eps=1e-6)
        self.t_attn = Attention(channels, head_dim, attention_dropout, dropout, **attention_options)

    def init_temporal(self) -> None:
        """The published initialisation of the temporal attention."""
        nn.init.zeros_(self.t_attn.qkv.weight)
        if self.t_attn.qkv.bias is not None:
            nn.init.zeros_(self.t_attn.qkv.bias)
        nn.init.ones_(self.t_attn.proj.weight)
        nn.init.zeros_(self.t_attn.proj.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, T, H, W, C]` -> `[B, T, H, W, C]`; DropPath per position, per frame, per sample."""
        tokens = tokens + self.pos_embed(tokens)
        batch, time, height, width, _ = tokens.shape
        frames = self._after_time(tokens)
        spatial = self.drop_path(self.relate(frames))  # [B * T, H * W, C]
        tokens = tokens + spatial.view(batch, time, height, width, -1)
        return tokens + self.drop_path(self.feed(tokens))

    def attention_maps(self, tokens: Tensor) -> Tensor:
        """`[B, T, H, W, C]` -> spatial attention of each frame, `[B, T, heads, H * W, H * W]`."""
        frames = self._after_time(tokens + self.pos_embed(tokens))
        return self.attn.maps(self.norm1(frames)).unflatten(0, tokens.shape[:2])

    def _after_time(self, tokens: Tensor) -> Tensor:
        """`[B, T, H, W, C]` -> frames `[B * T, H * W, C]` that have attended along time."""
        batch, time, height, width, channels = tokens.shape
        tracks = tokens.flatten(2, 3).transpose(1, 2).flatten(0, 1)  # [B * H * W, T, C]
        tracks = tracks + self.drop_path(self.t_attn(self.t_norm(tracks)))
        tracks = tracks.view(batch, height * width, time, channels)
        return tracks.transpose(1, 2).flatten(0, 1)
