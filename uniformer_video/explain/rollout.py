"""Attention rollout: which tokens the answer of a UniFormer draws on, through all of its joint attention.

Source: Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (2020): a block passes on half of what
a token was and half of what its attention, the mean of the heads, gathers; blocks are multiplied.

What it is here: the logits are of the mean over the tokens of stage 4, so it begins with equal parts of them;
between the stages a token of stage 4 is made of 2 x 2 tokens of stage 3, in equal parts. Stages 1 and 2 have
no attention: their convolutions stand in front of the map, which therefore says where tokens of stage 3 lie,
and not which pixels these saw, more than those below them. It is of no class.
"""

from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.blocks import AttentionBlock, DividedBlock
from uniformer_video.models.contract import name_of
from uniformer_video.models.layer_maps import watching
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer

CAVEAT = (
    "Rollout is the same for every class, and begins at the grid of stage 3: the convolutions of stages 1 "
    "and 2 in front of it have no attention, so it shows which tokens are drawn on, not which pixels they saw"
)


def check_rollout(model: nn.Module) -> None:
    """Raise `ConfigError` for a model whose attention there is no rollout of."""
    instead = "take gradcam or occlusion"
    if not isinstance(model, UniFormer):
        raise ConfigError(
            f"rollout is of the joint space-time attention of UniFormers, and {name_of(model)} has "
            f"none; {instead}"
        )
    if any(isinstance(block, DividedBlock) for block in _blocks(model)):
        raise ConfigError(
            "rollout is of joint attention, and this model attends along time and in space by turns "
            f"(split); {instead}"
        )


@torch.no_grad()
def rollout(model: nn.Module, view: Tensor) -> Tensor:
    """What share of the answer each token that enters stage 3 has: `float32 [T', H', W']`, at least 0.

    The sum is 1, less what a light model draws on its class token, which has no place. Attention is computed
    here alone, in float32, from what entered each block: one block's at a time, `N x N` a head.

    view: `float32 [1, 3, T, H, W]`, on the device of the model. Raises `ConfigError` as `check_rollout`.
    """
    check_rollout(model)
    assert isinstance(model, UniFormer)
    entered = _entered(model, view)
    grids = [flow[0].shape[1:-1] for _, flow in entered]
    classes = int(isinstance(model, LightUniFormer))  # tokens of class, first
    share = view.new_full((1, classes + grids[-1].numel()), 1 / grids[-1].numel())
    share[:, :classes] = 0.0  # the logits of a test are of the others
    grid = grids[-1]
    for (block, flow), own in zip(reversed(entered), reversed(grids), strict=True):
        if own != grid:
            places = _spread(share[:, classes:].unflatten(1, grid), own)
            share, grid = torch.cat([share[:, :classes], places.flatten(1)], 1), own
        attention = block.attention_maps(*flow).float().mean(1)  # [1, N, N]
        share = 0.5 * share + 0.5 * (share[:, None] @ attention)[:, 0]
    return share[0, classes:].unflatten(0, grid).float()


def _entered(model: UniFormer, view: Tensor) -> list[tuple[AttentionBlock, tuple[Any, ...]]]:
    """Each block of attention with what enters it, in the order in which they are run."""
    found: list[tuple[AttentionBlock, tuple[Any, ...]]] = []

    def keep(block: nn.Module, flow: tuple[Any, ...]) -> None:
        assert isinstance(block, AttentionBlock)
        found.append((block, flow))

    with watching(_blocks(model), keep, entering=True):
        model(view)
    return found


def _blocks(model: nn.Module) -> list[AttentionBlock]:
    return [module for module in model.modules() if isinstance(module, AttentionBlock)]


def _spread(share: Tensor, grid: torch.Size) -> Tensor:
    """The shares of `[1, T, H, W]` tokens, each in equal parts on those of the finer `grid` it was made of.

    An odd row or column at the edge, which a patch embedding passes over, gets nothing.
    """
    times, rows, columns = (
        _parts(coarse, fine, share) for coarse, fine in zip(share.shape[1:], grid, strict=True)
    )
    return torch.einsum("bthw,ti,hj,wk->bijk", share, times, rows, columns)


def _parts(coarse: int, fine: int, like: Tensor) -> Tensor:
    """Which part of a coarse token each of `fine` is, along an axis: `[coarse, fine]`, rows sum to 1."""
    owner = torch.arange(fine, device=like.device) // max(round(fine / coarse), 1)
    own = (owner == torch.arange(coarse, device=like.device)[:, None]).to(like.dtype)
    return own / own.sum(1, keepdim=True)
