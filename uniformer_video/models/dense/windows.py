"""Attention within windows of an image's tokens, which makes its cost linear in their number."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from uniformer_video.models.blocks import GlobalBlock, scale_branch


class WindowBlock(GlobalBlock):
    """A global block whose tokens attend to those of their own window of `window` x `window` tokens alone.

    Windows do not overlap and are not shifted. Where they do not divide the map it is filled up with zeros
    on the right and at the bottom, behind the norm, to which the others do attend: this is how the published
    models are trained and tested. The tensors are those of `GlobalBlock`.
    """

    def __init__(self, *, window: int, **arguments: Any):
        super().__init__(**arguments)
        self.window = window

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, H, W, C]` -> `[B, H, W, C]`."""
        tokens = tokens + self.pos_embed(tokens)
        tokens = tokens + self.drop_path(self.relate(tokens))
        return tokens + self.drop_path(self.feed(tokens))

    def relate(self, tokens: Tensor) -> Tensor:
        """The relation branch `[B, H, W, C]`, before DropPath."""
        _, height, width, _ = tokens.shape
        windows = split_windows(self.norm1(tokens), self.window)
        related = join_windows(self.attn(windows.flatten(0, 2)), windows.shape, self.window)
        return scale_branch(related[:, :height, :width], self.gamma_1)

    def attention_maps(self, tokens: Tensor) -> Tensor:
        """`[B, H, W, C]` -> who attends to whom in each window, `[B, windows, heads, window^2, window^2]`.

        Windows and the tokens in them come row by row, the zeros that fill them up among them.
        """
        windows = split_windows(self.norm1(tokens + self.pos_embed(tokens)), self.window)
        maps = self.attn.maps(windows.flatten(0, 2))
        return maps.unflatten(0, (windows.shape[0], -1))


def split_windows(tokens: Tensor, window: int) -> Tensor:
    """`[B, H, W, C]` -> `[B, rows, columns, window^2, C]`, filled up with zeros on the right and below."""
    _, height, width, _ = tokens.shape
    tokens = F.pad(tokens, (0, 0, 0, -width % window, 0, -height % window))
    tokens = tokens.unflatten(1, (-1, window)).unflatten(3, (-1, window))
    return tokens.transpose(2, 3).flatten(3, 4)  # from [B, rows, window, columns, window, C]


def join_windows(windows: Tensor, split: tuple[int, ...], window: int) -> Tensor:
    """`[B * rows * columns, window^2, C]` -> `[B, rows * window, columns * window, C]`.

    split: the shape that `split_windows` gave.
    """
    tokens = windows.view(*split[:3], window, window, -1)
    return tokens.transpose(2, 3).flatten(3, 4).flatten(1, 2)
