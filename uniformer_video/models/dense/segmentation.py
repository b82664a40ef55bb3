"""Semantic segmentation: a pyramid of maps, and a head that gives each position the logits of the classes."""

import re
from typing import Any, ClassVar

from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.dense import neck
from uniformer_video.models.dense.backbone import FIXED, LightPyramid, Pyramid
from uniformer_video.models.dense.heads import AuxiliaryHead, SemanticFPNHead, UperHead
from uniformer_video.models.dense.layers import Classifier, init_head
from uniformer_video.models.dense.neck import FeaturePyramid
from uniformer_video.models.layer_groups import GroupMatcher


class SegmentationModel(RecognitionModel):
    """A backbone with a decoder; what such models share.

    `model(x)` maps images `[B, 3, H, W]` to logits `[B, num_classes, H / 4, W / 4]`, in every mode. A
    subclass makes `decode_head`, a `Classifier`, and says in `decode` how maps become logits. The contract
    is that of `RecognitionModel`, with two differences: `training_outputs` may give logits of other sizes,
    whose losses have `output_weights`; and the last layer of `group_matcher` is all behind the backbone.

    backbone: the arguments of `pyramid`, the class of the backbone. arguments: those of the head, which a
    checkpoint records beside them.
    """

    head_std = 0.01
    unsynchronised = ("backbone",)  # as published: the heads alone are
    pyramid: ClassVar[type[Pyramid]] = Pyramid
    # Weights of the losses of `training_outputs`.
    output_weights: ClassVar[tuple[float, ...]] = (1.0,)
    decode_head: Classifier

    def __init__(self, num_classes: int, backbone: dict[str, Any], **arguments: Any):
        if not isinstance(num_classes, int) or num_classes < 1:
            raise ConfigError(f"num_classes is a whole number of at least 1, got {num_classes!r}")
        for name, value in arguments.items():
            if name.endswith("channels") and not (isinstance(value, int) and value > 0):
                raise ConfigError(f"{name} is a whole number of at least 1, got {value!r}")
        super().__init__(num_classes)
        self.backbone = self.pyramid(**backbone)
        own = {key: v for key, v in self.backbone.arguments.items() if key not in FIXED}
        self.arguments = {**own, **arguments}

    def forward(self, x: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` -> logits `[B, num_classes, H / 4, W / 4]`."""
        return self.decode(self.backbone(x))

    def decode(self, maps: tuple[Tensor, ...]) -> Tensor:
        """The four maps of the backbone -> logits `[B, num_classes, H / 4, W / 4]`."""
        return self.decode_head(maps)

    def classifiers(self) -> list[str]:
        """The names of the layers whose rows are classes; the first gives the logits."""
        return ["decode_head.conv_seg"]

    def reset_classifier(self, num_classes: int) -> None:
        """Fresh classifiers of `num_classes` rows, at least 1."""
        if num_classes < 1:
            raise ConfigError(f"num_classes is at least 1, got {num_classes}")
        for name in self.classifiers():
            parent = self.get_submodule(name.rpartition(".")[0])
            assert isinstance(parent, Classifier)
            old = parent.conv_seg
            parent.conv_seg = nn.Conv2d(old.in_channels, num_classes, 1).to(old.weight)
            self._init_classifier(parent)
        self.num_classes = num_classes

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay may leave alone, beside all of one dimension."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """The layers of the backbone; all that follows it is the last one, the head."""

        def inside(pattern: str) -> str:
            return re.sub(r"^\^", r"^backbone\\.", pattern)

        return {
            name: inside(given)
            if isinstance(given, str)
            else [(inside(pattern), place) for pattern, place in given]
            for name, given in self.backbone.group_matcher(coarse).items()
        }

    def _init_head(self) -> None:
        """The published initialisation of the heads; a neck has its own."""
        for name in self.classifiers():
            head = self.get_submodule(name.rpartition(".")[0])
            head.apply(init_head)
            self._init_classifier(head)

    def _init_classifier(self, head: Any) -> None:
        nn.init.normal_(head.conv_seg.weight, std=self.head_std)
        nn.init.zeros_(head.conv_seg.bias)


class SemanticFPN(SegmentationModel):
    """A feature pyramid network whose levels are summed.

    Args:
        num_classes: classes of the pixels.
        neck_channels, head_channels: of the feature pyramid, and of the maps that are summed.
        segmentation_dropout_rate: dropout of whole channels before the classifier.
        backbone: the arguments of `Pyramid`.
    """

    def __init__(
        self,
        num_classes: int,
        neck_channels: int = neck.CHANNELS,
        head_channels: int = 128,
        segmentation_dropout_rate: float = 0.1,
        **backbone: Any,
    ):
        super().__init__(
            num_classes, backbone, neck_channels=neck_channels, head_channels=head_channels
        )
        channels = self.backbone.channels
        self.neck = FeaturePyramid(channels, neck_channels)
        self.decode_head = SemanticFPNHead(
            [neck_channels] * len(channels), head_channels, num_classes, segmentation_dropout_rate
        )
        self._init_head()

    def decode(self, maps: tuple[Tensor, ...]) -> Tensor:
        """The four maps of the backbone -> logits `[B, num_classes, H / 4, W / 4]`."""
        return self.decode_head(self.neck(maps))


class LightSemanticFPN(SemanticFPN):
    """The same on a light backbone."""

    pyramid = LightPyramid


class UperNet(SegmentationModel):
    """Pyramid pooling and a feature pyramid, whose levels are classified side by side.

    Args:
        num_classes: classes of the pixels.
        head_channels, auxiliary_channels: of all maps inside the head, and inside the auxiliary one.
        segmentation_dropout_rate: dropout of whole channels before the classifiers.
        backbone: the arguments of `Pyramid`.
    """

    output_weights = (1.0, 0.4)
    least_batch: ClassVar[int] = 2  # one pooled value of one image has no variance to normalise by

    def __init__(
        self,
        num_classes: int,
        head_channels: int = 512,
        auxiliary_channels: int = 256,
        segmentation_dropout_rate: float = 0.1,
        **backbone: Any,
    ):
        super().__init__(
            num_classes,
            backbone,
            head_channels=head_channels,
            auxiliary_channels=auxiliary_channels,
        )
        channels, rate = self.backbone.channels, segmentation_dropout_rate
        self.decode_head = UperHead(channels, head_channels, num_classes, rate)
        self.auxiliary_head = AuxiliaryHead(channels[2], auxiliary_channels, num_classes, rate)
        self._init_head()

    def training_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """`[B, 3, H, W]` -> the logits; those of the auxiliary head `[B, num_classes, H / 16, W / 16]`."""
        maps = self.backbone(x)
        return self.decode(maps), self.auxiliary_head(maps[2])

    def classifiers(self) -> list[str]:
        """The names of the layers whose rows are classes; the first gives the logits."""
        return [*super().classifiers(), "auxiliary_head.conv_seg"]
