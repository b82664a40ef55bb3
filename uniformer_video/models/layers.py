"""Small pieces that work on channels-last tokens, `[B, *grid, C]` with grid (T, H, W) or (H, W).

Keeping the channel last in memory makes 1x1x1 convolutions, norms and attention plain linear algebra
on contiguous rows. The depthwise convolutions see the same memory as a `channels_last` tensor.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from uniformer_video.models.attention import attend
from uniformer_video.models.depthwise import AUTO, depthwise_conv

# By the number of the grid's axes.
CONV: dict[int, Callable[..., nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


def channels_first(tokens: Tensor) -> Tensor:
    """`[B, *grid, C]` -> `[B, C, *grid]`, the same memory."""
    return tokens.movedim(-1, 1)


def channels_last(features: Tensor) -> Tensor:
    """`[B, C, *grid]` -> `[B, *grid, C]`, contiguous; free when the memory is channels-last."""
    return features.movedim(1, -1).contiguous()


class PointwiseConv(nn.Module):
    """A 1x1x1 (or 1x1) convolution that runs as a linear layer over the last axis.

    The weight has the convolution's shape `[C_out, C_in, 1, 1(, 1)]` and its default initialisation,
    so that checkpoints and fresh models agree with a real convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, ndim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *[1] * ndim))
        self.bias = nn.Parameter(torch.empty(out_channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -1 / math.sqrt(in_channels), 1 / math.sqrt(in_channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """`[..., C_in]` -> `[..., C_out]`."""
        return F.linear(tokens, self.weight.flatten(1), self.bias)


class DepthwiseConv(nn.Module):
    """A depthwise convolution over the grid with "same" zero padding; odd kernel sides.

    `kernel` has one side per grid axis. The weight is `[C, 1, *kernel]`. `way`: by which way it is
    computed, one of `depthwise.WAYS` or "auto", the fastest known.
    """

    way = AUTO

    def __init__(self, channels: int, kernel: Sequence[int]):
        super().__init__()
        conv = CONV[len(kernel)](channels, channels, kernel, groups=channels)
        self.weight, self.bias = conv.weight, conv.bias
        self.kernel = tuple(kernel)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, *grid, C]` -> `[B, *grid, C]`."""
        return depthwise_conv(tokens, self.weight, self.bias, self.kernel, self.way)


class TokenBatchNorm(_BatchNorm):
    """Batch norm over the last axis of `[B, *grid, C]`, with the buffers of `BatchNorm3d`."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, *grid, C]` -> `[B, *grid, C]`."""
        return channels_last(super().forward(channels_first(tokens)))


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch per sample, rescale the kept ones.

    `rate` is the probability of dropping. Source: Huang et al., "Deep Networks with Stochastic
    Depth", section 3, with the rescaling at training time.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = float(rate)

    def forward(self, branch: Tensor) -> Tensor:
        """`[B, ...]` -> `[B, ...]`."""
        if self.rate == 0.0 or not self.training:
            return branch
        keep = 1.0 - self.rate
        mask = branch.new_empty(branch.shape[0], *[1] * (branch.dim() - 1)).bernoulli_(keep)
        return branch * mask.div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


class Dropout(nn.Dropout):
    """torch's dropout, which leaves a traced graph nothing where it does nothing."""

    def forward(self, input: Tensor) -> Tensor:
        """`[...]` -> `[...]`."""
        return super().forward(input) if self.training and self.p else input


class Mlp(nn.Module):
    """fc1, exact GELU, fc2 on the last axis. `linear(in, out)` makes each layer.

    dropout: its rate behind both.
    """

    first_layer = "fc1"  # see inference_mode.py

    def __init__(
        self,
        channels: int,
        hidden: int,
        linear: Callable[[int, int], nn.Module],
        dropout: float = 0.0,
    ):
        super().__init__()
        self.fc1 = linear(channels, hidden)
        self.fc2 = linear(hidden, channels)
        self.drop = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[..., C]` -> `[..., C]`."""
        # a trace must not ask for the size: the program would be for batches up to this one
        if not _only_predicts(tokens) or tokens.numel() <= _ROWS_AT_ONCE * tokens.shape[-1]:
            return self._of_all(tokens)
        parts = tokens.flatten(0, -2).split(_ROWS_AT_ONCE)
        return torch.cat([self._of_all(part) for part in parts]).unflatten(0, tokens.shape[:-1])

    def _of_all(self, tokens: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(tokens)))))


# Tokens whose hidden layer, the largest tensor of a model, is in memory together while a processor predicts.
_ROWS_AT_ONCE = 4096


def _only_predicts(tokens: Tensor) -> bool:
    """Whether nobody learns from these tokens, nor traces what becomes of them, on a processor."""
    # first: compilers know no inference mode
    if torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return torch.is_inference_mode_enabled() and tokens.device.type == "cpu"


class AttentionHeads(nn.Module):
    """What layers of multi-head self-attention share (UniFormer, section 3.2, deep layers).

    Rows of `qkv` are q, then k, then v, heads contiguous inside each.
    attention_dropout: its rate on the weights of attention; dropout: on what is projected. qkv_bias: whether
    `qkv` has one. qk_scale: what products of q and k are multiplied by; None for `head_dim ** -0.5`.
    """

    def __init__(
        self,
        channels: int,
        head_dim: int,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
    ):
        super().__init__()
        self.num_heads, self.attention_dropout = channels // head_dim, attention_dropout
        self.qk_scale = qk_scale
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)
        self.proj_drop = Dropout(dropout)

    @property
    def scale(self) -> float:
        """What products of a query and a key are multiplied by."""
        if self.qk_scale is not None:
            return self.qk_scale
        return (self.qkv.in_features // self.num_heads) ** -0.5

    def maps(self, tokens: Tensor) -> Tensor:
        """`[B, N, C]` -> the attention itself, `[B, heads, N, N]`; row i is what token i looks at."""
        query, key, _ = self.heads(tokens)
        return (query @ key.transpose(-2, -1) * self.scale).softmax(-1)

    def heads(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """`[B, N, C]` -> query, key and value, each `[B, heads, N, head_dim]`."""
        batch, length, _ = tokens.shape
        qkv = self.qkv(tokens).view(batch, length, 3, self.num_heads, -1)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Values mixed by attention and projected, `[B, N, C]`."""
        dropout = self.attention_dropout if self.training else 0.0
        mixed = attend(query, key, value, dropout, self.qk_scale)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))


class Attention(AttentionHeads):
    """Self-attention over all tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, N, C]` -> `[B, N, C]`."""
        return self.mix(*self.heads(tokens))
