"""The feature pyramid network (Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017)."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from uniformer_video.models.dense.backbone import Pyramid
from uniformer_video.models.dense.layers import add_from_coarse, init_head

CHANNELS = 256


class FeaturePyramid(nn.Module):
    """Maps of several channels as maps of `out_channels` each that see the coarser ones too.

    in_channels: of the maps, from fine to coarse.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = CHANNELS):
        super().__init__()
        self.lateral_convs = nn.ModuleList(_Conv(each, out_channels, 1) for each in in_channels)
        self.fpn_convs = nn.ModuleList(_Conv(out_channels, out_channels, 3) for _ in in_channels)
        self.apply(init_head)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps `[B, C_i, H_i, W_i]`, from fine to coarse -> as many `[B, out_channels, H_i, W_i]`."""
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, maps, strict=True)]
        summed = add_from_coarse(laterals, "nearest")
        return [conv(x) for conv, x in zip(self.fpn_convs, summed, strict=True)]


class PyramidWithNeck(nn.Module):
    """A backbone with its neck, as detectors take them: five maps of the same channels under names.

    `model(x)` takes images `[B, 3, H, W]` and gives an ordered dictionary: "0" to "3", from fine to coarse,
    and "pool", every second position of "3". `channels` and `strides` have an entry a map, `out_channels` is
    what torchvision's detectors ask for. The tensors have the names of published detection models.
    """

    head_keys: tuple[str, ...] = ()  # no classifiers

    def __init__(self, backbone: Pyramid, out_channels: int = CHANNELS):
        super().__init__()
        self.backbone = backbone
        self.neck = FeaturePyramid(backbone.channels, out_channels)
        self.out_channels = out_channels
        self.channels = [out_channels] * (len(backbone.channels) + 1)
        self.strides = [*backbone.strides, 2 * backbone.strides[-1]]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """`[B, 3, H, W]` -> `{"0": [B, out_channels, H / 4, W / 4], ..., "pool": [..., H / 64, W / 64]}`."""
        maps = self.neck(self.backbone(x))
        named = OrderedDict((str(level), each) for level, each in enumerate(maps))
        named["pool"] = F.max_pool2d(maps[-1], kernel_size=1, stride=2)
        return named


class _Conv(nn.Module):
    """A convolution under the name that checkpoints give it, with "same" padding and a bias."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C_in, H, W]` -> `[B, C_out, H, W]`."""
        return self.conv(x)
