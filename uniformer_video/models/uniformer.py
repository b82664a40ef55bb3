"""UniFormer for images (`ndim=2`) and video (`ndim=3`): one class, options as arguments."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from uniformer_video.errors import ConfigError
from uniformer_video.models.blocks import GlobalBlock, LocalBlock
from uniformer_video.models.layers import CONV, TokenBatchNorm, channels_last

DEFAULT_KERNEL = (3, 5, 5)
MIN_SIDE = 32  # four stages of spatial strides 4, 2, 2, 2


class PatchEmbed(nn.Module):
    """A strided convolution, then LayerNorm over channels. Channels-first in, tokens out."""

    def __init__(self, in_channels, out_channels, kernel, stride, padding):
        super().__init__()
        self.proj = CONV[len(kernel)](in_channels, out_channels, kernel, stride, padding)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, features):
        """`[B, C_in, *grid]` -> `[B, *smaller grid, C_out]`."""
        return self.norm(channels_last(self.proj(features)))


class UniFormer(nn.Module):
    """UniFormer: local relation blocks in stages 1-2, global ones in stages 3-4.

    Args:
        num_classes: classes of the linear head.
        embed_dims, depths: channels and blocks of the four stages.
        head_dim: channels of an attention head. It changes no shape, so a checkpoint cannot show a
            wrong value: take it from the checkpoint's metadata.
        mlp_ratio: hidden channels of an FFN, as a multiple of the stage's channels.
        ndim: 3 for clips `[B, C, T, H, W]`, 2 for images `[B, C, H, W]`.
        local_kernel: sides of the local blocks' depthwise convolution, odd; (3, 5, 5) by default in
            video, (5, 5) in images. Published video weights need (5, 5, 5).
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        checkpoint_blocks: how many first blocks of each stage recompute their activations in the
            backward pass, to save memory.
        in_channels: channels of the input.

    `arguments` holds the architecture as plain data, which checkpoints record.

    Source: Li et al., "UniFormer: Unified Transformer for Efficient Spatial-Temporal Representation
    Learning" (ICLR 2022), sections 3 and 4.1.
    """

    def __init__(
        self,
        num_classes,
        embed_dims,
        depths,
        head_dim,
        mlp_ratio=4.0,
        ndim=3,
        local_kernel=None,
        drop_path_rate=0.0,
        checkpoint_blocks=(0, 0, 0, 0),
        in_channels=3,
    ):
        super().__init__()
        local_kernel = tuple(local_kernel or DEFAULT_KERNEL[-ndim:])
        _check_arguments(num_classes, embed_dims, depths, head_dim, mlp_ratio, ndim, local_kernel)
        self.arguments = {
            "embed_dims": list(embed_dims),
            "depths": list(depths),
            "head_dim": head_dim,
            "mlp_ratio": mlp_ratio,
            "ndim": ndim,
            "local_kernel": list(local_kernel),
            "in_channels": in_channels,
        }
        self.ndim = ndim
        self.num_classes = num_classes
        self.checkpoint_blocks = tuple(checkpoint_blocks)

        rates = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()
        channels = in_channels
        for stage, (dim, depth) in enumerate(zip(embed_dims, depths, strict=True)):
            stage_rates, rates = rates[:depth], rates[depth:]
            if stage < 2:
                blocks = [LocalBlock(dim, local_kernel, mlp_ratio, rate) for rate in stage_rates]
            else:
                blocks = [GlobalBlock(dim, ndim, head_dim, mlp_ratio, rate) for rate in stage_rates]
            setattr(self, f"patch_embed{stage + 1}", _patch_embed(stage, channels, dim, ndim))
            setattr(self, f"blocks{stage + 1}", nn.ModuleList(blocks))
            channels = dim

        self.norm = TokenBatchNorm(channels)
        self.head = nn.Linear(channels, num_classes)
        self.apply(_init_weights)

    def forward_features(self, x):
        """`[B, C, (T,) H, W]` -> tokens of the last stage `[B, (T',) H', W', C']`, normalised."""
        self._check_input(x)
        for stage in range(4):
            tokens = getattr(self, f"patch_embed{stage + 1}")(x)
            for index, block in enumerate(getattr(self, f"blocks{stage + 1}")):
                if self.training and index < self.checkpoint_blocks[stage]:
                    tokens = checkpoint(block, tokens, use_reentrant=False)
                else:
                    tokens = block(tokens)
            x = tokens.movedim(-1, 1)
        return self.norm(tokens)

    def forward(self, x):
        """`[B, C, T, H, W]` (or `[B, C, H, W]` for images) -> logits `[B, num_classes]`."""
        tokens = self.forward_features(x)
        return self.head(tokens.flatten(1, -2).mean(1))

    def _check_input(self, x):
        layout = "[B, C, T, H, W]" if self.ndim == 3 else "[B, C, H, W]"
        if x.dim() != self.ndim + 2:
            raise ValueError(f"the model takes {layout}, got a tensor of shape {list(x.shape)}")
        if min(x.shape[-2:]) < MIN_SIDE or min(x.shape) < 1:
            raise ValueError(
                f"the model takes {layout} with H and W of at least {MIN_SIDE} (its total stride) "
                f"and at least one frame, got {list(x.shape)}; use a larger crop"
            )


def _patch_embed(stage, in_channels, out_channels, ndim):
    """Stage 1 halves the frames and quarters the sides, the others halve the sides."""
    if stage == 0:
        kernel, stride, padding = (3, 4, 4), (2, 4, 4), (1, 0, 0)
    else:
        kernel, stride, padding = (1, 2, 2), (1, 2, 2), (0, 0, 0)
    return PatchEmbed(in_channels, out_channels, kernel[-ndim:], stride[-ndim:], padding[-ndim:])


def _init_weights(module):
    """Linear layers: truncated normal, std 0.02, bias 0. Everything else keeps torch's default."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _check_arguments(num_classes, embed_dims, depths, head_dim, mlp_ratio, ndim, local_kernel):
    if ndim not in CONV:
        raise ConfigError(f"ndim is 2 (images) or 3 (video), got {ndim}")
    if num_classes < 1:
        raise ConfigError(f"num_classes is at least 1, got {num_classes}")
    if len(embed_dims) != 4 or len(depths) != 4:
        raise ConfigError(
            f"embed_dims and depths have four entries, one a stage; got {list(embed_dims)} and "
            f"{list(depths)}"
        )
    if min(depths) < 1 or min(embed_dims) < 1 or head_dim < 1:
        raise ConfigError(
            f"depths, embed_dims and head_dim are at least 1; got {list(depths)}, "
            f"{list(embed_dims)} and {head_dim}"
        )
    for dim in embed_dims[2:]:
        if dim % head_dim:
            raise ConfigError(
                f"head_dim {head_dim} (UNIFORMER.HEAD_DIM) does not divide the {dim} channels of a "
                "stage; choose a divisor"
            )
    if min(embed_dims) * mlp_ratio < 1:
        raise ConfigError(f"mlp_ratio {mlp_ratio} leaves no hidden channels; 4 is usual")
    if len(local_kernel) != ndim or any(side < 1 or side % 2 == 0 for side in local_kernel):
        raise ConfigError(
            f"local_kernel has {ndim} odd sides, such as {list(DEFAULT_KERNEL[-ndim:])}; "
            f"got {list(local_kernel)}"
        )
