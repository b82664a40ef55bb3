"""Targets of token labelling, on the device: an annotator's compact maps and the crops -> soft labels.

A compact map is `[2, 5, h, w]`: the five highest class logits at each place of a picture, and their class
numbers. All maps of a batch are of one size. Nothing here waits for the device.

Source: Jiang et al., "All Tokens Matter: Token Labeling for Training Better Vision Transformers", section
3.1; RoIAlign is that of He et al., "Mask R-CNN", section 3, in the form of its first implementations.
"""

import torch
from torch import Tensor


def token_targets(
    maps: Tensor,
    crops: Tensor,
    num_classes: int,
    side: int,
    smoothing: float = 0.0,
    box_order: str = "published",
) -> tuple[Tensor, Tensor]:
    """Soft labels of whole crops `[B, K]`, and of their tokens `[B, side * side, K]` row by row.

    The logits of the others than the five are 0 and take part in the softmax. Smoothed rows sum to
    1 + smoothing / K, as published.

    Args:
        maps: `[B, 2, 5, h, w]`, which decide the type, float32 at least.
        crops: float `[B, 4]`: (top, left, height, width) of what is shown, as shares of the picture.
        num_classes: K, above all class numbers.
        side: tokens of a row, and of a column.
        box_order: "published" hands the crop to RoIAlign with its axes exchanged, as the published code does;
            "corrected" does not.
    """
    dtype = maps.dtype if maps.dtype.itemsize >= 4 else torch.float32
    logits, numbers = maps[:, 0].to(dtype), maps[:, 1].long()
    height, width = maps.shape[-2:]
    dense = torch.zeros(len(maps), num_classes, height, width, dtype=dtype, device=maps.device)
    dense.scatter_(1, numbers, logits)
    boxes = boxes_on_map(crops, height, width, box_order)
    of_crop = pool_boxes(dense, boxes, 1).flatten(1)  # [B, K]
    of_tokens = pool_boxes(dense, boxes, side).flatten(2).transpose(1, 2)  # [B, N, K]
    return _smooth(of_crop.softmax(-1), smoothing), _smooth(of_tokens.softmax(-1), smoothing)


def boxes_on_map(crops: Tensor, height: int, width: int, box_order: str) -> Tensor:
    """Crops `[B, 4]`, (top, left, height, width) in shares of the picture -> boxes for `pool_boxes` `[B, 4]`.

    A place of the map is 1 wide, and its centre is a whole number.
    """
    top, left, tall, wide = crops.unbind(1)
    vertical = (top * height - 0.5, (top + tall) * height - 0.5)
    horizontal = (left * width - 0.5, (left + wide) * width - 0.5)
    if box_order == "published":
        vertical, horizontal = horizontal, vertical
    return torch.stack([horizontal[0], vertical[0], horizontal[1], vertical[1]], 1)


def pool_boxes(maps: Tensor, boxes: Tensor, side: int) -> Tensor:
    """RoIAlign, one box for each map: `[B, K, h, w]`, `[B, 4]` of (x1, y1, x2, y2) -> `[B, K, side, side]`.

    The legacy form: coordinates are not shifted by half a place, a box is at least 1 wide and tall. A bin is
    the mean of bilinear samples, as many along an axis as the box has places there for each bin, rounded up.
    A sample more than 1 outside the map is 0.
    """
    height, width = maps.shape[-2:]
    # As many samples as a box of the whole map has; one more, since a sum may be rounded up.
    most = -(-(max(height, width) + 1) // side)
    rows = _shares_of_places(boxes[:, 1], boxes[:, 3], side, height, most)
    columns = _shares_of_places(boxes[:, 0], boxes[:, 2], side, width, most)
    # Of all places at once: one product of matrices for a map, and not one for each of its K channels.
    shares = torch.einsum("byh,bxw->bhwyx", rows, columns).to(maps.dtype)
    return (maps.flatten(2) @ shares.flatten(3).flatten(1, 2)).unflatten(2, (side, side))


def _shares_of_places(start: Tensor, end: Tensor, bins: int, length: int, most: int) -> Tensor:
    """How much of each place along an axis is in each bin: `[B]`, `[B]` -> `[B, bins, length]`.

    The mean over a grid of bilinear samples is the same along one axis after the other. most: samples of a
    bin, at most.
    """
    size = (end - start).clamp(min=1.0)
    counts = (size / bins).ceil()  # samples of a bin
    number = torch.arange(most, dtype=size.dtype, device=size.device)
    within = (number + 0.5) / counts[:, None]  # of a bin, in 0..1 where there are so many samples
    counted = (number < counts[:, None])[:, None]
    which = torch.arange(bins, dtype=size.dtype, device=size.device)
    at = start[:, None, None] + (which[:, None] + within[:, None]) * (size / bins)[:, None, None]
    counted = counted & (at >= -1) & (at <= length)
    at = at.clamp(0, length - 1)  # [B, bins, most]
    places = torch.arange(length, dtype=size.dtype, device=size.device)
    shares = (1 - (at[..., None] - places).abs()).clamp(min=0) * counted[..., None]
    return shares.sum(2) / counts[:, None, None]


def _smooth(shares: Tensor, smoothing: float) -> Tensor:
    """Probabilities `[..., K]` with a share of all of them; they sum to 1 + smoothing / K."""
    off = smoothing / shares.shape[-1]
    return shares * (1 - smoothing + off) + off
