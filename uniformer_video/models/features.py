"""Feature maps of a model's stages, for detection, segmentation and the like."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.contract import name_of
from uniformer_video.models.layers import channels_first


class ModelWithStages(Protocol):
    """What `FeatureExtractor` asks of a model."""

    @property
    def stage_channels(self) -> Sequence[int]: ...
    @property
    def stage_strides(self) -> Sequence[tuple[int, ...]]: ...
    def forward_stages(self, x: Tensor, stages: int) -> Sequence[tuple[Any, ...]]: ...
    def remove_head(self) -> None: ...


class FeatureExtractor(nn.Module):
    """A model with stages, such as `UniFormer`, without its head: `extractor(x)` gives their maps.

    The model offers `stage_channels` and `stage_strides`, an entry a stage, `forward_stages(x, stages)`, a
    list of what leaves the first `stages` (tuples, whose first is the tokens `[B, *grid, C]`), and
    `remove_head()`, which leaves nothing behind the last stage. It is changed: its head is gone.

    `out_stages` are numbered from 1; left out, they are all. Each map is `[B, C_s, (T_s,) H_s, W_s]`, as it
    leaves its stage, before the final norm. `channels` and `strides` (of time, height and width against
    the input; height and width for images) have an entry a map.
    """

    def __init__(self, model: nn.Module, out_stages: Collection[int] | None = None):
        super().__init__()
        if not hasattr(model, "forward_stages"):
            raise ConfigError(
                "feature maps (features_only) are those of models with stages, such as UniFormers; "
                f"{name_of(model)} has none"
            )
        self.model = cast(ModelWithStages, model)
        count = len(self.model.stage_channels)
        self.out_stages = tuple(range(1, count + 1) if out_stages is None else out_stages)
        if not self.out_stages or not set(self.out_stages) <= set(range(1, count + 1)):
            known = ", ".join(str(stage) for stage in range(1, count))
            raise ConfigError(f"out_stages are some of {known} and {count}, got {self.out_stages}")
        self.model.remove_head()
        self.channels = [self.model.stage_channels[stage - 1] for stage in self.out_stages]
        self.strides = [self.model.stage_strides[stage - 1] for stage in self.out_stages]

    def forward(self, x: Tensor) -> list[Tensor]:
        """`[B, C, (T,) H, W]` -> a list of maps `[B, C_s, (T_s,) H_s, W_s]`."""
        flows = self.model.forward_stages(x, max(self.out_stages))
        return [channels_first(flows[stage - 1][0]) for stage in self.out_stages]
