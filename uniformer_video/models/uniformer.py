"""UniFormer for images (`ndim=2`) and video (`ndim=3`): one class, options as arguments."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uniformer_video.errors import ConfigError
from uniformer_video.models.blocks import AttentionBlock, DividedBlock, GlobalBlock, LocalBlock
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.layer_groups import WITH_PREVIOUS, GroupMatcher, Patterns
from uniformer_video.models.layers import CONV, Dropout, TokenBatchNorm, channels_first
from uniformer_video.models.mixtoken import box_of_last_stage, swap_inside
from uniformer_video.models.patch_embed import ConvEmbed, PatchEmbed

DEFAULT_KERNEL = (3, 5, 5)
MIN_SIDE = 32  # four stages of spatial strides 4, 2, 2, 2


class UniFormer(RecognitionModel):
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
        conv_embeds: 1 gives stage 1 a stem of 3x3 convolutions with batch norm, 4 gives such
            embeddings to every stage, 0 to none.
        split: attend along time first, then in space, in place of jointly.
        std: patch embeddings of stages 2-4 that see three frames.
        layer_scale: a learned factor per channel on each branch: True, False, or "global" for stages
            3-4 alone; init_value: what it starts from.
        aux_head: a second head on every token, whose maximum counts half (token labelling).
        embed_norm_eps: epsilon of the LayerNorms of patch embeddings; OpenMixup's weights need 1e-6.
        qkv_bias, qk_scale: whether attention's query, key and value have a bias; what products of query
            and key are multiplied by, None for head_dim ** -0.5.
        representation_size: channels of a linear layer with tanh between the last norm and the heads, 0
            for none. (The published code has it, and cannot run it: its layer takes a list of channels.)
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first.
        global_drop_path: whether stages 3-4 have their part of it. OpenMixup's never had, by a slip.
        dropout_rate: dropout behind the first patch embedding, both layers of an FFN and the projection
            of an attention, as the published `drop_rate`.
        attention_dropout_rate: dropout of the weights of attention.
        head_dropout_rate: dropout before the classifiers.
        checkpoint_blocks: how many first blocks of each stage recompute their activations in the
            backward pass, to save memory.
        in_channels: channels of the input.

    `RecognitionModel` says what it offers beside its forward pass.

    Source: Li et al., "UniFormer: Unified Transformer for Efficient Spatial-Temporal Representation
    Learning" (ICLR 2022), sections 3 and 4.1.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        head_dim: int,
        mlp_ratio: float = 4.0,
        ndim: int = 3,
        local_kernel: Sequence[int] | None = None,
        conv_embeds: int = 0,
        split: bool = False,
        std: bool = False,
        layer_scale: bool | str = False,
        init_value: float = 0.1,
        aux_head: bool = False,
        embed_norm_eps: float = 1e-5,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        representation_size: int = 0,
        drop_path_rate: float = 0.0,
        global_drop_path: bool = True,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        head_dropout_rate: float = 0.0,
        checkpoint_blocks: Sequence[int] = (0, 0, 0, 0),
        in_channels: int = 3,
    ):
        local_kernel = DEFAULT_KERNEL[-ndim:] if local_kernel is None else local_kernel
        if isinstance(local_kernel, int):
            raise ConfigError(
                f"local_kernel is a tuple such as {DEFAULT_KERNEL}, got {local_kernel}"
            )
        super().__init__(
            num_classes,
            embed_dims=list(embed_dims),
            depths=list(depths),
            head_dim=head_dim,
            mlp_ratio=mlp_ratio,
            ndim=ndim,
            local_kernel=list(local_kernel),
            conv_embeds=conv_embeds,
            split=split,
            std=std,
            layer_scale=layer_scale,
            init_value=init_value,
            aux_head=aux_head,
            embed_norm_eps=embed_norm_eps,
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            representation_size=representation_size,
            in_channels=in_channels,
        )
        _check_arguments(num_classes, **self.arguments)
        _check_rates(
            drop_path_rate=drop_path_rate,
            dropout_rate=dropout_rate,
            attention_dropout_rate=attention_dropout_rate,
            head_dropout_rate=head_dropout_rate,
        )
        _check_recomputed(checkpoint_blocks)
        self.ndim = ndim
        self.checkpoint_blocks = tuple(checkpoint_blocks)

        rates = iter(torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist())
        local_scale = init_value if layer_scale is True else None
        global_scale = init_value if layer_scale else None
        channels = in_channels
        for stage, (dim, depth) in enumerate(zip(embed_dims, depths, strict=True), start=1):
            embed: nn.Module
            if stage <= conv_embeds:
                embed = ConvEmbed(stage, channels, dim, ndim)
            else:
                embed = PatchEmbed(stage, channels, dim, ndim, std, embed_norm_eps)
            blocks = nn.ModuleList()
            for index in range(depth):
                block: nn.Module
                if stage <= 2:
                    shape = (dim, local_kernel, mlp_ratio)
                    block = LocalBlock(*shape, next(rates), local_scale, dropout_rate)
                else:
                    block = self.global_block(
                        stage,
                        index,
                        channels=dim,
                        ndim=ndim,
                        head_dim=head_dim,
                        mlp_ratio=mlp_ratio,
                        drop_path=next(rates) if global_drop_path else 0.0,
                        layer_scale=global_scale,
                        dropout=dropout_rate,
                        attention_dropout=attention_dropout_rate,
                        qkv_bias=qkv_bias,
                        qk_scale=qk_scale,
                    )
                blocks.append(block)
            setattr(self, f"patch_embed{stage}", embed)
            setattr(self, f"blocks{stage}", blocks)
            channels = dim

        self.pos_drop = Dropout(dropout_rate)
        self.norm: nn.Module = TokenBatchNorm(channels)
        self.pre_logits: nn.Module | None = None
        if representation_size:
            self.pre_logits = PreLogits(channels, representation_size)
            channels = representation_size
        self.head_drop = Dropout(head_dropout_rate)
        self.head = nn.Linear(channels, num_classes)
        if aux_head:
            self.aux_head = nn.Linear(channels, num_classes)
        self.apply(init_weights)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, T, H, W]` (or `[B, C, H, W]` for images) -> logits `[B, num_classes]`."""
        return self.forward_head(self.forward_features(x))

    def training_outputs(self, x: Tensor, box: Tensor | None = None) -> tuple[Tensor, ...]:
        """`[B, C, T, H, W]` (or `[B, C, H, W]`) -> the logits `[B, num_classes]` alone.

        With a `box`, on the grid of the first stage's tokens, what token labelling learns from: the class
        logits `[B, num_classes]` of the mean over the tokens, and the logits of each token
        `[B, N, num_classes]`, by `aux_head`. Tokens are mixed inside the box behind the first patch
        embedding, as `mixtoken.py` says, and the token logits are put back; the class logits stay mixed.
        Raises `ConfigError` for a box without an `aux_head`.
        """
        if box is None:
            return (self(x),)
        if not self.arguments["aux_head"]:
            raise ConfigError(
                "token labelling takes a model with aux_head, such as image_uniformer_s_tl"
            )
        tokens = self.norm(self.forward_stages(x, box=box)[-1][0])
        if self.pre_logits is not None:
            tokens = self.pre_logits(tokens)
        pooled = tokens.flatten(1, -2).mean(1)
        dense = swap_inside(self.aux_head(self.head_drop(tokens)), box_of_last_stage(box))
        return self.head(self.head_drop(pooled)), dense.flatten(1, -2)

    def forward_stages(
        self, x: Tensor, stages: int = 4, until: int | None = None, box: Tensor | None = None
    ) -> list[tuple[Any, ...]]:
        """What leaves each of the first `stages`: a list of tuples, tokens `[B, *grid, C]` first.

        Behind the tokens stands what light models hand from block to block, see `carry`; for others
        there is nothing. Of the last stage only the first `until` blocks are run, if given. box: where the
        tokens of the first patch embedding are mixed, see `mixtoken.py`.
        """
        self._check_input(x)
        outputs: list[tuple[Any, ...]] = []
        flow: tuple[Any, ...] = ()
        for stage in range(1, stages + 1):
            tokens = getattr(self, f"patch_embed{stage}")(x)
            if stage == 1:
                tokens = self.pos_drop(tokens if box is None else swap_inside(tokens, box))
            flow = (tokens, *self.carry(stage, *flow))
            blocks = getattr(self, f"blocks{stage}")[: until if stage == stages else None]
            for index, block in enumerate(blocks):
                if self.training and index < self.checkpoint_blocks[stage - 1]:
                    out = checkpoint(block, *flow, use_reentrant=False)
                else:
                    out = block(*flow)
                flow = out if isinstance(out, tuple) else (out,)
            outputs.append(flow)
            x = channels_first(flow[0])
        return outputs

    def carry(self, stage: int, *flow: Any) -> tuple[Any, ...]:
        """What enters the blocks of `stage` beside its tokens, given what left the stage before.

        Nothing here; light models carry their class token and the importance of the tokens.
        """
        return ()

    def forward_features(self, x: Tensor) -> Tensor:
        """`[B, C, (T,) H, W]` -> tokens of the last stage `[B, (T',) H', W', C']`, normalised."""
        return self.norm(self.forward_stages(x)[-1][0])

    def forward_head(self, tokens: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens of `forward_features` -> logits `[B, num_classes]`; their mean with `pre_logits`."""
        tokens = tokens.flatten(1, -2)  # [B, N, C]
        if self.pre_logits is not None:
            tokens = self.pre_logits(tokens)
        pooled = tokens.mean(1)
        if pre_logits:
            return pooled
        logits = self.head(self.head_drop(pooled))
        if not self.arguments["aux_head"]:
            return logits
        return logits + 0.5 * self.aux_head(self.head_drop(tokens)).amax(1)

    def place_logits(self, x: Tensor) -> Tensor:
        """`[B, C, (T,) H, W]` -> the classifier at every place of the last map, `[B, (T',) H', W', K]`.

        Of a model without an `aux_head`, in evaluation, their mean is the logits.
        """
        tokens = self.forward_features(x)
        return self.head(tokens if self.pre_logits is None else self.pre_logits(tokens))

    def get_attention(self, x: Tensor, stage: int = 4, block: int = -1) -> Tensor:
        """The attention maps of a global block (`stage` 3 or 4) for `x` `[B, C, (T,) H, W]`.

        Joint attention gives `[B, heads, N, N]` over the `N = T'H'W'` tokens of the stage, in the
        order T, H, W: row i says what token i looks at. Divided attention gives its spatial part,
        `[B, T', heads, H'W', H'W']`. Light models give `[B, heads, 1 + N, 1 + N]`, class token first.
        """
        depth = self.arguments["depths"][stage - 1] if stage in (3, 4) else 0
        if not -depth <= block < depth:
            raise ConfigError(
                f"there is no attention in block {block} of stage {stage}; the global blocks are "
                f"those of stages 3 and 4, numbered from 0 (or from the end, -1)"
            )
        block = block % depth
        flow = self.forward_stages(x, stage, block)[-1]
        return getattr(self, f"blocks{stage}")[block].attention_maps(*flow)

    def reset_classifier(self, num_classes: int) -> None:
        """A fresh head for `num_classes`; 0 makes `model(x)` return the pooled features `[B, C]`."""
        if num_classes < 0:
            raise ConfigError(f"num_classes is 0 (no head) or more, got {num_classes}")
        self.num_classes = num_classes
        like = next(self.parameters())
        for name in self.classifiers():
            dim = self.arguments["representation_size"] or self.arguments["embed_dims"][-1]
            head = nn.Linear(dim, num_classes) if num_classes else nn.Identity()
            init_weights(head)
            setattr(self, name, head.to(like.device, like.dtype))

    def classifiers(self) -> list[str]:
        """The names of the layers whose rows are classes."""
        return ["head", "aux_head"] if self.arguments["aux_head"] else ["head"]

    def remove_head(self) -> None:
        """Remove what follows the last stage, which a loss on its maps would leave without a gradient."""
        self.reset_classifier(0)
        self.norm, self.pre_logits = nn.Identity(), None

    @property
    def stage_layers(self) -> list[str]:  # type: ignore[override]
        """The last blocks of the four stages; their tokens are channels-last."""
        depths = enumerate(self.arguments["depths"], start=1)
        return [f"blocks{stage}.{depth - 1}" for stage, depth in depths]

    @property
    def stage_channels(self) -> list[int]:
        """The channels of the maps of the four stages."""
        return list(self.arguments["embed_dims"])

    @property
    def stage_strides(self) -> list[tuple[int, ...]]:
        """Their strides against the input: of time, height and width; of images height and width."""
        return [(2, *[2 ** (stage + 1)] * 2)[-self.ndim :] for stage in range(1, 5)]

    def no_weight_decay(self) -> set[str]:
        """Parameters that are customarily exempt from weight decay, beside all of one dimension."""
        return {
            name
            for name, _ in self.named_parameters()
            if name == "cls_token" or "gamma_" in name or name.endswith("pos_embed.weight")
        }

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """The stem, then block by block, or stage by stage; an embedding goes with the block behind it."""
        stages: Patterns = [(r"^patch_embed(\d)", (0,)), (r"^blocks(\d)\.(\d+)", None)]
        if coarse:
            stages = [(r"^(?:patch_embed|blocks)(\d)", None)]
        last = (r"^(?:norm|pre_logits)", WITH_PREVIOUS)
        return {"stem": r"^patch_embed1\.", "stages": [*stages, last]}

    def global_block(self, stage: int, index: int, **arguments: Any) -> AttentionBlock:
        """A fresh block of stage 3 or 4."""
        return (DividedBlock if self.arguments["split"] else GlobalBlock)(**arguments)

    def _check_input(self, x: Tensor) -> None:
        layout = "[B, C, T, H, W]" if self.ndim == 3 else "[B, C, H, W]"
        if x.dim() != self.ndim + 2:
            raise ValueError(f"the model takes {layout}, got a tensor of shape {list(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(
                f"the model takes {layout} as floating point, scaled and normalised, got {x.dtype}; "
                "`Predictor` takes care of that for videos"
            )
        if x.shape[1] != self.arguments["in_channels"]:
            raise ValueError(
                f"the model takes {layout} with {self.arguments['in_channels']} channels, got "
                f"{int(x.shape[1])}"
            )
        if min(x.shape[-2:]) < MIN_SIDE or min(x.shape) < 1:
            shape = [int(side) for side in x.shape]  # a tracer has tensors there
            raise ValueError(
                f"the model takes {layout} with H and W of at least {MIN_SIDE} (its total stride) "
                f"and at least one frame, got {shape}; use a larger crop"
            )


class PreLogits(nn.Module):
    """A linear layer with tanh, on every token: `[..., C]` -> `[..., size]`."""

    def __init__(self, channels: int, size: int):
        super().__init__()
        self.fc = nn.Linear(channels, size)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[..., C]` -> `[..., size]`."""
        return self.fc(tokens).tanh()


def init_weights(module: nn.Module) -> None:
    """Linear layers: truncated normal, std 0.02, bias 0. Convolutions and norms keep torch's default."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, DividedBlock):
        module.init_temporal()


def _check_arguments(
    num_classes: int,
    embed_dims: Sequence[int],
    depths: Sequence[int],
    head_dim: int,
    mlp_ratio: float,
    ndim: int,
    local_kernel: Sequence[int],
    in_channels: int,
    **options: Any,
) -> None:
    if ndim not in CONV:
        raise ConfigError(f"ndim is 2 (images) or 3 (video), got {ndim}")
    if not isinstance(num_classes, int) or num_classes < 1:
        raise ConfigError(f"num_classes is a whole number of at least 1, got {num_classes!r}")
    if len(embed_dims) != 4 or len(depths) != 4:
        raise ConfigError(
            f"embed_dims and depths have four entries, one a stage; got {embed_dims} and {depths}"
        )
    if min(depths) < 1 or min(embed_dims) < 1 or head_dim < 1 or in_channels < 1:
        raise ConfigError(
            f"depths, embed_dims, head_dim and in_channels are at least 1; got {depths}, {embed_dims}, "
            f"{head_dim} and {in_channels}"
        )
    for dim in embed_dims[2:]:
        if dim % head_dim:
            raise ConfigError(
                f"head_dim {head_dim} (UNIFORMER.HEAD_DIM) does not divide the {dim} channels of a "
                "stage; choose a divisor"
            )
    if min(embed_dims) * mlp_ratio < 1:
        raise ConfigError(f"mlp_ratio {mlp_ratio} leaves no hidden channels; 4 is usual")
    odd = all(isinstance(side, int) and side > 0 and side % 2 for side in local_kernel)
    if len(local_kernel) != ndim or not odd:
        raise ConfigError(
            f"local_kernel has {ndim} odd sides, such as {list(DEFAULT_KERNEL[-ndim:])}; "
            f"got {local_kernel}"
        )
    _check_options(ndim, **options)


def _check_options(
    ndim: int,
    conv_embeds: int,
    split: bool,
    std: bool,
    layer_scale: bool | str,
    init_value: float,
    embed_norm_eps: float,
    qk_scale: float | None,
    representation_size: int,
    **_: Any,
) -> None:
    if not embed_norm_eps > 0:
        raise ConfigError(f"embed_norm_eps is above 0, got {embed_norm_eps}")
    if qk_scale is not None and not qk_scale > 0:
        raise ConfigError(f"qk_scale is above 0, or None for head_dim ** -0.5; got {qk_scale}")
    if not isinstance(representation_size, int) or representation_size < 0:
        raise ConfigError(f"representation_size is 0 (none) or more, got {representation_size!r}")
    if conv_embeds not in (0, 1, 4):
        raise ConfigError(f"conv_embeds is 0, 1 (stage 1) or 4 (all stages), got {conv_embeds!r}")
    if not isinstance(layer_scale, bool) and layer_scale != "global":
        raise ConfigError(f'layer_scale is True, False or "global", got {layer_scale!r}')
    if layer_scale and not init_value > 0:
        raise ConfigError(f"init_value (of the layer scale) is above 0, got {init_value}")
    if ndim == 2 and (split or std):
        raise ConfigError("split and std are about time; image models (ndim 2) have none")
    if std and conv_embeds == 4:
        raise ConfigError("std is about patch embeddings, and conv_embeds 4 leaves none; drop one")


def _check_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ConfigError(f"{name} is at least 0 and below 1, got {rate}")


def _check_recomputed(checkpoint_blocks: Sequence[int]) -> None:
    if len(checkpoint_blocks) != 4 or min(checkpoint_blocks) < 0:
        raise ConfigError(
            f"checkpoint_blocks has four entries of at least 0, one a stage; got {checkpoint_blocks}"
        )
