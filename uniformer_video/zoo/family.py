"""What the registry holds: named models, and the families that build, set and recognise them."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from uniformer_video.models.contract import RecognitionModel
from uniformer_video.weights.checkpoint import Weights


@dataclass(frozen=True, eq=False)
class Family:
    """Models that one function or class builds. This class does for a family without special needs.

    name: for messages. build: `build(num_classes, **options)` -> a model that keeps the contract of
        `RecognitionModel`.
    settings: the config's keys that its models read, and the option that each one sets, such as
        `{"DATA.NUM_FRAMES": "num_frames"}`.
    classifier: the state-dict name of the linear layer that gives the logits.
    sizes: the options that tell its named models apart, where a config may give them in place of a name.
    labels_pixels: its logits are those of positions of an image, `[B, num_classes, H / 4, W / 4]`.
    """

    name: str
    build: Callable[..., nn.Module]
    settings: Mapping[str, str] = field(default_factory=dict)
    classifier: str = "head"
    sizes: tuple[str, ...] = ()
    labels_pixels: bool = False

    @property
    def defaults(self) -> dict[str, Any]:
        """The options of `build` that have a default, and it."""
        return {
            key: value
            for key, value in self.signature()[0].items()
            if value is not inspect.Parameter.empty
        }

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the options that `build` takes."""
        return tuple(self.signature()[0])

    @property
    def is_open(self) -> bool:
        """Whether `build` takes any other option too, by its `**options`."""
        return self.signature()[1]

    def signature(self) -> tuple[dict[str, Any], bool]:
        """`{option: default}` of `build`, and whether it takes any other option too."""
        return parameters_of(self.build)

    def options_from_settings(
        self, model: "NamedModel", values: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The options that a config sets: `values` by key, of `settings`, without what is left open."""
        return {self.settings[key]: value for key, value in values.items()}

    def options_for_clip(self, num_frames: int, crop_size: int) -> dict[str, Any]:
        """The options for clips of `num_frames` frames and `crop_size` pixels a side."""
        sizes = {"num_frames": num_frames, "crop_size": crop_size}
        return {key: value for key, value in sizes.items() if key in self.options}

    def options_for_weights(
        self,
        model: "NamedModel",
        weights: Weights,
        models: Sequence["NamedModel"],
        options: Mapping[str, Any],
        adapt_kernel: bool = False,
    ) -> dict[str, Any]:
        """The options to build `model` with, so that it suits `weights`; those given in `options` win.

        models: all of this family. adapt_kernel: see `create_model`. Raises `CheckpointError` where
        the weights show that they cannot fit.
        """
        return {**read_model_arguments(weights, model.name), **options}

    @property
    def least_batch(self) -> int:
        """How many clips or images a slot of training has at the least, for its models' BatchNorm."""
        return getattr(self.build, "least_batch", 1)

    def facts(self, model: nn.Module) -> dict[str, str]:
        """What the results of a test tell of a built model beside its name: what no weight shows."""
        return {}

    def recognise(
        self, weights: Weights, models: Sequence["NamedModel"], options: Mapping[str, Any]
    ) -> str | None:
        """The name of the one of `models`, all of this family, that `weights` hold; None for another kind.

        options: what is known beside the weights. Raises `CheckpointError` for weights of this kind
        that are of none of the models, or may be of several.
        """
        return None


@dataclass(frozen=True)
class ListedWeights:
    """What is published about a weights file, for lists.

    source: a published name or an address, "" where it cannot be had. data: the data set's title.
    top1: its accuracy in percent. protocol: the input and the views of that accuracy, for people.
    """

    source: str
    data: str
    top1: float
    protocol: str


@dataclass(frozen=True)
class NamedModel:
    """One model of a family, under its name.

    arguments: what its family's `build` is called with, beside the classes.
    num_frames, crop_size: the native input; 0 frames for images. The side is in pixels.
    gflops: multiply-adds of a view of the native input, norms included, in 1e9; None where nobody has
        counted. They are of the model built with `figure_arguments` too, and of `num_classes` classes,
        as in its published weights.
    video_model: the name of the model that takes the inflated weights of this image model.
    """

    name: str
    family: Family
    arguments: dict[str, Any]
    num_frames: int
    crop_size: int
    num_classes: int = 400
    gflops: float | None = None
    figure_arguments: dict[str, Any] = field(default_factory=dict)
    video_model: str = ""
    weights: tuple[ListedWeights, ...] = ()

    @property
    def takes_images(self) -> bool:
        return self.num_frames == 0


def read_model_name(weights: Weights) -> str | None:
    """The name of the model that a checkpoint of this toolkit records, or None."""
    return weights.metadata.get("model", {}).get("name")


def read_model_arguments(weights: Weights, name: str) -> dict[str, Any]:
    """The arguments that a checkpoint records of the model `name`; {} where it holds another one."""
    recorded = weights.metadata.get("model", {})
    return dict(recorded.get("arguments") or {}) if recorded.get("name") == name else {}


def parameters_of(build: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """`{option: default}` of a function or class, and whether it takes any other option.

    What a class takes as `**options` are the options of the class that it derives from.
    """
    layers: list[Callable[..., Any]] = [build]
    if isinstance(build, type):
        layers = [vars(cls)["__init__"] for cls in build.__mro__ if "__init__" in vars(cls)]
        ends = [RecognitionModel.__init__, nn.Module.__init__, object.__init__]
        layers = layers[: min(layers.index(end) for end in ends if end in layers)]
    found: dict[str, Any] = {}
    is_open = False
    for layer in layers:
        parameters = list(inspect.signature(layer).parameters.values())
        is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(parameter.name, parameter.default)
        if not is_open:
            break
    for name in ("self", "num_classes"):
        found.pop(name, None)
    return found, is_open
