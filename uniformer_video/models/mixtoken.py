"""MixToken: tokens of an image that are replaced, inside a box, by those of its partner, the batch reversed.

A box is a tensor, int64 `[4]`: (row start, column start, row end, column end) on a grid of tokens, ends
excluded; an empty one, zeros, mixes nothing. It is drawn outside and handed in, as a tensor on the device, so
that nothing waits for it and a compiled model is the same for all boxes.

Source: Jiang et al., "All Tokens Matter: Token Labeling for Training Better Vision Transformers", section
3.2.
"""

import torch
from torch import Tensor

STRIDE = 8  # of the last stage's tokens against those of the first


def swap_inside(tokens: Tensor, box: Tensor) -> Tensor:
    """Tokens `[B, ..., h, w, C]` with those inside `box` exchanged for the partner's."""
    return torch.where(inside(box, *tokens.shape[-3:-1])[..., None], tokens.flip(0), tokens)


def inside(box: Tensor, height: int, width: int) -> Tensor:
    """Which places of a grid lie in `box`: bool `[height, width]`."""
    top, left, bottom, right = box
    rows = torch.arange(height, device=box.device)
    columns = torch.arange(width, device=box.device)
    return ((rows >= top) & (rows < bottom))[:, None] & ((columns >= left) & (columns < right))


def box_of_last_stage(box: Tensor) -> Tensor:
    """A box of the first stage's tokens on the grid of the last stage, int64 `[4]`.

    Its edges are rounded down, as published: at each edge up to 7 rows of the first stage belong to the other
    image than the last stage's token says.
    """
    return torch.div(box, STRIDE, rounding_mode="floor")
