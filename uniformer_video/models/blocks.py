"""The two relation blocks: local (stages 1-2) and global (stages 3-4).

Both read `X + DPE(X)`, then `X + DropPath(MHRA(Norm(X)))`, then `X + DropPath(FFN(Norm(X)))`
(UniFormer, section 3.1), on channels-last tokens `[B, *grid, C]`.
"""

from functools import partial

from torch import nn

from uniformer_video.models.layers import (
    Attention,
    DepthwiseConv,
    DropPath,
    Mlp,
    PointwiseConv,
    TokenBatchNorm,
)


class LocalBlock(nn.Module):
    """Relation by a learned local neighbourhood: 1x1x1, depthwise `kernel`, 1x1x1."""

    def __init__(self, channels, kernel, mlp_ratio, drop_path):
        super().__init__()
        ndim = len(kernel)
        self.pos_embed = DepthwiseConv(channels, (3,) * ndim)
        self.norm1 = TokenBatchNorm(channels)
        self.conv1 = PointwiseConv(channels, channels, ndim)
        self.attn = DepthwiseConv(channels, kernel)
        self.conv2 = PointwiseConv(channels, channels, ndim)
        self.norm2 = TokenBatchNorm(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), partial(PointwiseConv, ndim=ndim))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens):
        """`[B, *grid, C]` -> `[B, *grid, C]`."""
        tokens = tokens + self.pos_embed(tokens)
        relation = self.conv2(self.attn(self.conv1(self.norm1(tokens))))
        tokens = tokens + self.drop_path(relation)
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class GlobalBlock(nn.Module):
    """Relation by similarity: joint attention over every position of the grid."""

    def __init__(self, channels, ndim, head_dim, mlp_ratio, drop_path):
        super().__init__()
        self.pos_embed = DepthwiseConv(channels, (3,) * ndim)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, head_dim)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), nn.Linear)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens):
        """`[B, *grid, C]` -> `[B, *grid, C]`; tokens attend in the order T, H, W."""
        tokens = tokens + self.pos_embed(tokens)
        grid = tokens.shape[1:-1]
        tokens = tokens.flatten(1, -2)  # [B, N, C]
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens.unflatten(1, grid)
