"""The families of segmentation models: their options, and what weights files tell of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from uniformer_video.errors import CheckpointError
from uniformer_video.models.dense.backbone import FIXED, Pyramid
from uniformer_video.models.dense.segmentation import SegmentationModel
from uniformer_video.program import command
from uniformer_video.weights import dense
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.zoo.architecture import is_light, read_arguments
from uniformer_video.zoo.family import NamedModel, parameters_of, read_model_arguments
from uniformer_video.zoo.published_dense import attention_by_name
from uniformer_video.zoo.uniformer_family import UniFormerFamily
from uniformer_video.zoo.uniformers import LIGHT, UNIFORMER, UNIFORMERS

ATTENTION = ("window", "hybrid")
_CLASSIFIER = "decode_head.conv_seg.weight"
_SIZES = ("embed_dims", "depths", "conv_embeds")


@dataclass(frozen=True, eq=False)
class DenseFamily(UniFormerFamily):
    """Segmentation models with one kind of head on UniFormers, plain or `light`.

    head_key: what checkpoints with this head have, and others have not.
    """

    head_key: str = ""
    labels_pixels: bool = True

    def signature(self) -> tuple[dict[str, Any], bool]:
        """The options of the head, then those of the backbone; no others."""
        head, _ = parameters_of(self.build)
        backbone, _ = parameters_of(self.pyramid)
        left_out = {*FIXED, "backbone", *(ATTENTION if self.light else ())}
        options = {**head, **backbone}
        return {key: value for key, value in options.items() if key not in left_out}, False

    @property
    def pyramid(self) -> type[Pyramid]:
        """The class of the backbones."""
        assert isinstance(self.build, type) and issubclass(self.build, SegmentationModel)
        return self.build.pyramid

    @property
    def backbone_options(self) -> tuple[str, ...]:
        """The names of the options that are those of the backbone."""
        backbone, _ = parameters_of(self.pyramid)
        return tuple(key for key in self.options if key in backbone)

    def options_from_settings(self, model: NamedModel, values: Mapping[str, Any]) -> dict[str, Any]:
        """As for other UniFormers; a window that is set says whether attention is a hybrid, -1 is none."""
        options = super().options_from_settings(model, values)
        if "window" in options:
            options["window"] = max(options["window"], 0)
            options.setdefault("hybrid", False)
        return options

    def options_for_weights(
        self,
        model: NamedModel,
        weights: Weights,
        models: Sequence[NamedModel],
        options: Mapping[str, Any],
        adapt_kernel: bool = False,
    ) -> dict[str, Any]:
        """What the weights record, or what the backbone in them shows, is taken from them.

        They may also be those of an image model, to start from. Windows of attention, which no tensor shows,
        are those that the name of a published file tells, `fpn_h14_small.pth`.
        """
        if recorded := read_model_arguments(weights, model.name):
            return {**recorded, **options}
        image = replace(model, arguments={**model.arguments, "ndim": 2})
        told = self.images.options_for_weights(
            image, _backbone_weights(weights), self._image_models(), options, adapt_kernel
        )
        recorded = weights.metadata.get("model", {}).get("arguments") or {}
        attention = {key: recorded[key] for key in ATTENTION if key in recorded}
        attention = attention or attention_by_name(weights.path)
        return {key: value for key, value in {**attention, **told}.items() if key in self.options}

    def facts(self, model: nn.Module) -> dict[str, str]:
        """`attention` of stage 3, in words; light models have none to choose."""
        assert isinstance(model, SegmentationModel)
        return {} if self.light else {"attention": model.backbone.attention}

    def recognise(
        self, weights: Weights, models: Sequence[NamedModel], options: Mapping[str, Any]
    ) -> str | None:
        """As for any family: by the head, and by the channels and depths of the backbone."""
        if self.head_key not in weights.state or not dense.is_dense(weights.state):
            return None
        inside = dense.backbone_state(weights.state)
        shown = read_arguments(_backbone_weights(weights))
        if not shown or is_light(inside) != self.light:
            return None
        for model in models:
            arguments = {**self.defaults, **model.arguments}
            if all(arguments[key] == shown[key] for key in _SIZES):
                return model.name
        raise CheckpointError(
            f"{weights.path} is of no known architecture: depths {shown['depths']}, channels "
            f"{shown['embed_dims']}; name the model it belongs to, see `{command('models')}`"
        )

    @property
    def images(self) -> UniFormerFamily:
        """The family of the image models whose weights the backbone starts from."""
        return LIGHT if self.light else UNIFORMER

    def _image_models(self) -> list[NamedModel]:
        return [model for model in UNIFORMERS if model.family is self.images and model.takes_images]


def _backbone_weights(weights: Weights) -> Weights:
    """The backbone in `weights` as an image model's: keys without prefix, what is recorded of images."""
    metadata = dict(weights.metadata)
    recorded = metadata.get("model", {})
    if arguments := recorded.get("arguments"):
        metadata["model"] = {**recorded, "arguments": {"ndim": 2, **arguments}}
    return replace(weights, state=dense.backbone_state(weights.state), metadata=metadata)
