"""Feature maps of the four stages, for detection, segmentation and the like."""

from torch import nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.layers import channels_first
from uniformer_video.models.uniformer import UniFormer


class FeatureExtractor(nn.Module):
    """A `UniFormer` without its head: `extractor(x)` gives the maps of `out_stages`.

    Each map is `[B, C_s, (T_s,) H_s, W_s]`, as it leaves its stage, before the final norm. `channels`
    and `strides` (of time, height and width against the input; height and width for images) have an
    entry a map.
    """

    def __init__(self, model, out_stages=(1, 2, 3, 4)):
        super().__init__()
        if not isinstance(model, UniFormer):
            raise ConfigError(
                f"feature maps are those of UniFormer's stages; {type(model).__name__} has none"
            )
        self.model = model
        self.out_stages = tuple(out_stages)
        if not self.out_stages or not set(self.out_stages) <= {1, 2, 3, 4}:
            raise ConfigError(f"out_stages are some of 1, 2, 3 and 4, got {self.out_stages}")
        # Nothing stays that a loss on the maps would leave without a gradient.
        model.reset_classifier(0)
        for name in ("norm", "norm_cls"):
            if hasattr(model, name):
                setattr(model, name, nn.Identity())
        dims = model.arguments["embed_dims"]
        self.channels = [dims[stage - 1] for stage in self.out_stages]
        self.strides = [(2, *[2 ** (stage + 1)] * 2)[-model.ndim :] for stage in self.out_stages]

    def forward(self, x):
        """`[B, C, (T,) H, W]` -> a list of maps `[B, C_s, (T_s,) H_s, W_s]`."""
        flows = self.model.forward_stages(x, max(self.out_stages))
        return [channels_first(flows[stage - 1][0]) for stage in self.out_stages]
