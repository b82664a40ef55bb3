"""What necks and heads are made of. Maps are `[B, C, H, W]`, lists of them go from fine to coarse."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class ConvNorm(nn.Module):
    """A convolution with "same" padding, without bias; BatchNorm; ReLU."""

    direct_pairs = (("conv", "bn"),)  # see inference_mode.py

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C_in, H, W]` -> `[B, C_out, H, W]`."""
        return self.bn(self.conv(x)).relu()


class Classifier(nn.Module):
    """The end of a head: dropout of whole channels, then a linear layer on every position.

    conv_seg: the layer whose rows are classes.
    """

    def __init__(self, channels: int, num_classes: int, dropout_rate: float):
        super().__init__()
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        self.dropout = nn.Dropout2d(dropout_rate)

    def classify(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` -> logits `[B, num_classes, H, W]`."""
        return self.conv_seg(self.dropout(x))


def bilinear(x: Tensor, size: Sequence[int]) -> Tensor:
    """`[B, C, H, W]` resized to the sides `size`; positions are the middles of pixels."""
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def add_from_coarse(maps: Sequence[Tensor], mode: str) -> list[Tensor]:
    """Each map plus those that are coarser, resized: the top-down path of a feature pyramid.

    mode: how they are resized, "nearest" or "bilinear".
    """
    summed = [maps[-1]]
    for finer in maps[-2::-1]:
        size = finer.shape[-2:]
        coarse = bilinear(summed[0], size) if mode == "bilinear" else nearest(summed[0], size)
        summed.insert(0, finer + coarse)
    return summed


def nearest(x: Tensor, size: Sequence[int]) -> Tensor:
    """`[B, C, H, W]` resized to the sides `size` by its nearest positions."""
    return F.interpolate(x, size=tuple(size), mode="nearest")


def init_head(module: nn.Module) -> None:
    """Kaiming normal convolutions (fan out, ReLU), as published; `conv_seg` has an initialiser of its own."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
