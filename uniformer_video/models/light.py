"""UniFormer light (XXS, XS): deep stages attend over an hourglass of tokens.

    all tokens --shrink--> [class, kept, merged] --attention, FFN--> --recover--> all tokens

A class token says which tokens matter: the row of attention that it pays, its importance. Blocks
keep the important tokens, merge the others into one, and give each merged token the update of the
merged one. The importance is a value that blocks take and return, `[B, N]`, so that two models, or
two threads, never meet.

Source: UniFormer (journal version, Li et al., TPAMI 2023), section 6, after Xu et al., "Evo-ViT".
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uniformer_video.errors import ConfigError
from uniformer_video.models.blocks import AttentionBlock, scale_branch
from uniformer_video.models.layer_groups import GroupMatcher, Patterns
from uniformer_video.models.layers import AttentionHeads
from uniformer_video.models.uniformer import UniFormer, init_weights


class ClassAttention(AttentionHeads):
    """Attention that also returns what its first token, the class token, pays to the others."""

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, 1 + N, C]` -> `[B, 1 + N, C]`, and the class token's row `[B, N]`, mean of the heads."""
        query, key, value = self.heads(tokens)
        # Elementwise, so that autocast leaves it alone: a ranking in half precision has ties.
        precise = torch.promote_types(query.dtype, torch.float32)
        scores = (query[:, :, :1].to(precise) * key.to(precise)).sum(-1)  # [B, heads, 1 + N]
        row = (scores * self.scale).softmax(-1).mean(1)[:, 1:]
        return self.mix(query, key, value), row


class HourglassBlock(AttentionBlock):
    """Attention over the class token, the kept tokens and the merge of the others.

    keep_ratio: share of the tokens that are kept, 1 for all. blend: share of the block's own row in
    the new importance.

    With layer scale, blocks for images that drop tokens have a third vector, `gamma_3`: the dropped tokens
    get the merged one's updates times it, and not times `gamma_1` and `gamma_2`, as they do in video.
    """

    gamma_3: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        ndim: int,
        head_dim: int,
        mlp_ratio: float,
        drop_path: float,
        layer_scale: float | None,
        keep_ratio: float,
        blend: float,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        **attention_options: Any,
    ):
        rates = (drop_path, layer_scale, dropout, attention_dropout)
        super().__init__(
            channels, ndim, head_dim, mlp_ratio, *rates, ClassAttention, **attention_options
        )
        self.keep_ratio, self.blend = float(keep_ratio), float(blend)
        third = layer_scale if ndim == 2 and self.keep_ratio < 1 else None
        gamma = None if third is None else nn.Parameter(torch.full((channels,), float(third)))
        self.register_parameter("gamma_3", gamma)

    def forward(
        self, tokens: Tensor, cls: Tensor, importance: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens `[B, *grid, C]`, class token `[B, 1, C]`, importance `[B, N]` or None; the same."""
        tokens = tokens + self.pos_embed(tokens)
        grid = tokens.shape[1:-1]
        step = self._with_all if self.keep_ratio == 1.0 else self._update_kept_tokens
        tokens, cls, importance = step(tokens.flatten(1, -2), cls, importance)
        return tokens.unflatten(1, grid), cls, importance

    def attention_maps(self, tokens: Tensor, cls: Tensor, importance: Tensor | None) -> Tensor:
        """Who attends to whom, `[B, heads, 1 + N, 1 + N]`, the class token first; rows sum to 1.

        Merged tokens have the merged token's row, and split its column by their importance.
        """
        tokens = (tokens + self.pos_embed(tokens)).flatten(1, -2)
        if self.keep_ratio == 1.0:
            return self.attn.maps(self.norm1(torch.cat([cls, tokens], 1)))
        short, rest, order, _, share = self._shrink(tokens, cls, importance)
        maps = self.attn.maps(self.norm1(short))
        columns = maps[..., -1:] * share[:, None, None]
        maps = torch.cat([maps[..., :-1], columns], -1)
        maps = torch.cat([maps[:, :, :-1], maps[:, :, -1:].expand(-1, -1, rest.shape[1], -1)], 2)
        back = F.pad(order.argsort(1) + 1, (1, 0))[:, None, :]  # the class token stays first
        rows = back.unsqueeze(-1).expand_as(maps)
        return maps.gather(2, rows).gather(3, rows.transpose(2, 3))

    def _with_all(
        self, tokens: Tensor, cls: Tensor, importance: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The block without pruning, on `[B, N, C]`."""
        short, _, row = self._update(torch.cat([cls, tokens], 1))
        importance = row if importance is None else torch.lerp(importance, row, self.blend)
        return short[:, 1:], short[:, :1], importance

    def _update_kept_tokens(
        self, tokens: Tensor, cls: Tensor, importance: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shrink `[B, N, C]`, update, recover: the rest gets what the merged token was given."""
        short, rest, order, ranked, _ = self._shrink(tokens, cls, importance)
        short, update, row = self._update(short)
        tokens = torch.cat([short[:, 1:-1], rest + update[:, -1:]], 1)
        kept = row.shape[1] - 1  # the last column is the merged token's
        blended = torch.lerp(ranked[:, :kept], row[:, :kept], self.blend)
        importance = torch.cat([blended, ranked[:, kept:]], 1)
        back = order.argsort(1)
        return _take(tokens, back), short[:, :1], importance.gather(1, back)

    def _update(self, short: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both residual branches on `[B, n, C]`: the result, what dropped tokens get of them, class row."""
        related, row = self.attn(self.norm1(short))
        relation = scale_branch(related, self.gamma_1)
        short = short + self.drop_path(relation)
        raw = self.mlp(self.norm2(short))
        fed = scale_branch(raw, self.gamma_2)
        update = relation + fed
        if self.gamma_3 is not None:
            update = scale_branch(related + raw, self.gamma_3)
        return short + self.drop_path(fed), update, row

    def _shrink(
        self, tokens: Tensor, cls: Tensor, importance: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """`[B, N, C]` -> `[class, kept, merged]`, and the way back.

        Returns the short `[B, 2 + kept, C]`, the rest `[B, N - kept, C]`, the order `[B, N]`, the
        importance in that order, and the shares of the rest in the merged token.
        """
        assert importance is not None  # the first block of all keeps every token
        order = importance.argsort(dim=1, descending=True, stable=True)
        ranked = importance.gather(1, order)
        tokens = _take(tokens, order)
        count = _part_of(tokens.shape[1], self.keep_ratio)
        kept, rest, share = tokens[:, :count], tokens[:, count:], ranked[:, count:]
        smallest = torch.finfo(share.dtype).tiny  # a peaked attention may leave the rest nothing
        share = (share / share.sum(1, keepdim=True).clamp_min(smallest)).to(tokens.dtype)
        merged = (share.unsqueeze(-1) * rest).sum(1, keepdim=True)
        return torch.cat([cls, kept, merged], 1), rest, order, ranked, share


class LightUniFormer(UniFormer):
    """UniFormer with a convolutional stem and hourglass blocks in stages 3-4.

    Args, beyond those of `UniFormer`:
        prune_ratio, trade_off: for stages 3 and 4, one number a block: the share of tokens that is
            kept, and the share of the block's own row in the new importance. Left out, 1 in the
            first block of stage 3 and 0.5 in all others, as published.

    In training `training_outputs` adds the logits of the class token, `head_cls`.
    """

    def __init__(
        self,
        num_classes: int,
        embed_dims: Sequence[int],
        depths: Sequence[int],
        head_dim: int,
        mlp_ratio: float = 3.0,
        conv_embeds: int = 1,
        prune_ratio: Sequence[Sequence[float]] | None = None,
        trade_off: Sequence[Sequence[float]] | None = None,
        **options: Any,
    ):
        if options.get("split"):
            raise ConfigError("light models have no divided attention; leave split out")
        if options.get("representation_size"):
            raise ConfigError("light models have two plain heads; leave representation_size out")
        # Before the base class, whose constructor makes the blocks through `global_block`.
        self.prune_ratio = _per_block(prune_ratio, depths, "prune_ratio")
        self.trade_off = _per_block(trade_off, depths, "trade_off")
        super().__init__(
            num_classes, embed_dims, depths, head_dim, mlp_ratio, conv_embeds=conv_embeds, **options
        )
        self.arguments |= {"prune_ratio": self.prune_ratio, "trade_off": self.trade_off}
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims[2]))
        self.cls_upsample = nn.Linear(embed_dims[2], embed_dims[3])
        self.norm_cls: nn.Module = nn.LayerNorm(embed_dims[3])
        self.head_cls = nn.Linear(embed_dims[3], num_classes)
        init_weights(self.cls_upsample)
        init_weights(self.head_cls)

    def training_outputs(self, x: Tensor, box: Tensor | None = None) -> tuple[Tensor, ...]:
        """`[B, C, T, H, W]` -> the logits of both heads, two `[B, num_classes]`; mean their losses.

        Raises `ConfigError` for a `box`: there is no token labelling of light models.
        """
        if box is not None:
            raise ConfigError(
                "light models have no token labelling; take one such as image_uniformer_s_tl"
            )
        tokens, cls, _ = self.forward_stages(x)[-1]
        cls = self.head_drop(self.norm_cls(cls[:, 0]))
        return self.forward_head(self.norm(tokens)), self.head_cls(cls)

    def carry(self, stage: int, *flow: Any) -> tuple[Any, ...]:
        """The class token joins before stage 3; before stage 4 it and the importance are resized."""
        if stage == 3:
            (tokens,) = flow
            return self.cls_token.expand(tokens.shape[0], -1, -1), None
        if stage == 4:
            tokens, cls, importance = flow
            return self.cls_upsample(cls), _pool_importance(importance, tokens.shape[1:-1])
        return ()

    def classifiers(self) -> list[str]:
        """The names of the layers whose rows are classes."""
        return [*super().classifiers(), "head_cls"]

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """As of other UniFormers; the class token is of stage 3, where it joins, and then of stage 4."""
        first = () if coarse else (0,)
        joining: Patterns = [(r"^cls_token", (3, *first)), (r"^cls_upsample", (4, *first))]
        matcher = super().group_matcher(coarse)
        return {**matcher, "stages": [*joining, *matcher["stages"]]}

    def remove_head(self) -> None:
        """Remove what follows the last stage, the class token's part of it too."""
        super().remove_head()
        self.norm_cls = nn.Identity()

    def global_block(self, stage: int, index: int, **arguments: Any) -> HourglassBlock:
        """The hourglass block number `index` of a stage."""
        return HourglassBlock(
            **arguments,
            keep_ratio=self.prune_ratio[stage - 3][index],
            blend=self.trade_off[stage - 3][index],
        )


def _take(tokens: Tensor, order: Tensor) -> Tensor:
    """Rows of `[B, N, C]` in the `order` `[B, N]`."""
    return tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def _part_of(count: int, ratio: float) -> int:
    """`int(count * ratio)`, which would fix the count of a traced model; in integers where they do."""
    numerator, denominator = ratio.as_integer_ratio()
    if denominator <= 64:  # such as 0.5: the product is exact
        return count * numerator // denominator
    return torch.sym_int(count * ratio)  # OpenVINO has no such operation


def _pool_importance(importance: Tensor, grid: Sequence[int]) -> Tensor:
    """`[B, N]` -> `[B, N / 4]` by 2x2 averages (odd sides floored), with the sum as it was."""
    pool = F.avg_pool3d if len(grid) == 3 else F.avg_pool2d
    pooled = pool(importance.unflatten(1, grid).unsqueeze(1), (1, 2, 2)[-len(grid) :]).flatten(1)
    smallest = torch.finfo(pooled.dtype).tiny
    return pooled * (importance.sum(1, True) / pooled.sum(1, True).clamp_min(smallest))


def _as_lists(values: Any) -> Sequence[Any]:
    return values if isinstance(values, (list, tuple)) else [values]


def _per_block(values: Any, depths: Sequence[int], name: str) -> list[list[float]]:
    """Two lists, for the blocks of stages 3 and 4, in place of None; the published ones by default."""
    if values is None:
        return [[1.0] + [0.5] * (depths[2] - 1), [0.5] * depths[3]]
    if not all(isinstance(stage, (list, tuple)) for stage in _as_lists(values)):
        raise ConfigError(f"{name} is {values!r}; it takes two lists, for stages 3 and 4")
    values = [[float(value) for value in stage] for stage in values]
    if [len(stage) for stage in values] != list(depths[2:]):
        raise ConfigError(
            f"{name} is {values}; it takes two lists, for the {depths[2]} blocks of stage 3 and the "
            f"{depths[3]} of stage 4"
        )
    if name == "prune_ratio" and values[0][0] != 1:
        raise ConfigError(
            f"prune_ratio starts with {values[0][0]:g}; the first block of stage 3 must keep all "
            "tokens (1), since no importance is known before it"
        )
    if not all(0 <= value <= 1 for stage in values for value in stage):
        raise ConfigError(f"{name} is {values}; its values lie between 0 and 1")
    return values
