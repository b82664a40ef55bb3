"""Patch embeddings: the strided convolution, or the convolutional stem, at the start of a stage.

Channels-first features in, channels-last tokens out. Time is halved once, in stage 1.
"""

from collections.abc import Callable

from torch import Tensor, nn

from uniformer_video.models.layers import CONV, channels_last

BATCH_NORM: dict[int, Callable[[int], nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class PatchEmbed(nn.Module):
    """A strided convolution without overlap in space, then LayerNorm over channels.

    Stage 1 takes patches of 4x4 and halves the frames, the others take patches of 2x2. `temporal`
    (the published `STD`) gives stages 2-4 a kernel of three frames. norm_eps: the LayerNorm's.
    """

    def __init__(
        self,
        stage: int,
        in_channels: int,
        out_channels: int,
        ndim: int,
        temporal: bool = False,
        norm_eps: float = 1e-5,
    ):
        super().__init__()
        if stage == 1:
            kernel, stride, padding = (3, 4, 4), (2, 4, 4), (1, 0, 0)
        elif temporal:
            kernel, stride, padding = (3, 2, 2), (1, 2, 2), (1, 0, 0)
        else:
            kernel, stride, padding = (1, 2, 2), (1, 2, 2), (0, 0, 0)
        shape = kernel[-ndim:], stride[-ndim:], padding[-ndim:]
        self.proj = CONV[ndim](in_channels, out_channels, *shape)
        self.norm = nn.LayerNorm(out_channels, eps=norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, C_in, *grid]` -> `[B, *smaller grid, C_out]`."""
        return self.norm(channels_last(self.proj(features)))


class ConvEmbed(nn.Module):
    """Overlapping 3x3 convolutions of stride 2 with batch norm: two in stage 1, one in the others.

    In video the stem's kernels are 3x3x3 and its second convolution halves the frames; stages 2-4
    have 1x3x3.
    """

    def __init__(self, stage: int, in_channels: int, out_channels: int, ndim: int):
        super().__init__()
        conv, norm = CONV[ndim], BATCH_NORM[ndim]
        if stage == 1:
            half = out_channels // 2
            self.proj = nn.Sequential(
                conv(in_channels, half, (3, 3, 3)[-ndim:], (1, 2, 2)[-ndim:], padding=1),
                norm(half),
                nn.GELU(),
                conv(half, out_channels, (3, 3, 3)[-ndim:], (2, 2, 2)[-ndim:], padding=1),
                norm(out_channels),
            )
        else:
            shape = (1, 3, 3)[-ndim:], (1, 2, 2)[-ndim:], (0, 1, 1)[-ndim:]
            self.proj = nn.Sequential(conv(in_channels, out_channels, *shape), norm(out_channels))

    def forward(self, features: Tensor) -> Tensor:
        """`[B, C_in, *grid]` -> `[B, *smaller grid, C_out]`."""
        return channels_last(self.proj(features))
