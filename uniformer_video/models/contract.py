"""What every model offers to those that build, train, test, store and list it."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.inference_mode import for_inference
from uniformer_video.models.layer_groups import GroupMatcher

if TYPE_CHECKING:
    from typing_extensions import Self


class RecognitionModel(nn.Module):
    """A network for clips or images that keeps the contract of the registry.

    The contract:

    - `model(x)` maps `[B, C, T, H, W]` (images: `[B, C, H, W]`) to logits `[B, num_classes]`, in training
      as in evaluation; to `[B, num_classes, H / 4, W / 4]` where the classes are those of pixels, see
      `dense/segmentation.py`. No softmax, and no state that one call leaves to the next.
    - `num_classes`: how many classes the logits are of.
    - `arguments`: the architecture as plain data. The family's `build(num_classes, **arguments)` makes the
      model again; checkpoints record it. What only training needs (stochastic depth, recomputation)
      stays out.
    - `training_outputs(x)`: a tuple of logits `[B, num_classes]`, the model's own first; their losses are
      averaged. A model that learns from token labels takes more, see `UniFormer.training_outputs`.
    - `classifiers()`: the names of the linear layers whose rows are classes; the first one gives the
      logits, and is the family's `classifier`.
    - `head_keys`: the state-dict keys of these layers. They are made anew where the classes differ, and
      put into the order of the data's classes.
    - `reset_classifier(num_classes)`: fresh classifiers in their place, with the model's device and type.
    - `no_weight_decay()`: the names of parameters that weight decay may spare, beside all of one dimension.
    - `group_matcher(coarse)`: patterns that put the parameters into layers by depth, as timm's models have
      it; see `models/layer_groups.py`. The first layer is the stem, the last one holds the classifiers alone.
    - `stage_layers`: the name of the last layer of each stage, whose map `[B, C, T, H, W]` (images: without
      T) is that of the stage; none of a model without stages. `explain` has them by number.
    - `for_inference()`: make it a model that only predicts, faster; see `models/inference_mode.py`, whose
      function of this name does it for any model.

    Models with stages offer feature maps too, see `FeatureExtractor`: `stage_channels`, `stage_strides`,
    `forward_stages(x, stages)` and `remove_head()`.

    A model of another origin keeps the contract by having these attributes; this class is the short way.
    For it a model passes its arguments up, and calls its classifier `head` or overrides `classifiers`:

        class Small(RecognitionModel):
            def __init__(self, num_classes, width=64):
                super().__init__(num_classes, width=width)
    """

    head_std = 0.02  # of the weights of fresh classifiers
    # children whose BatchNorm is not synchronised over processes where that of the others is
    unsynchronised: tuple[str, ...] = ()
    stage_layers: Sequence[str] = ()  # a model with stages overrides it, by a property or a value
    only_predicts = False  # set by `for_inference`
    registered_name: str | None = (
        None  # such as "uniformer_s", of a model that was made by its name
    )

    def __init__(self, num_classes: int, **arguments: Any):
        super().__init__()
        self.num_classes = num_classes
        self.arguments = arguments

    def for_inference(self) -> "Self":
        """Fold BatchNorm into neighbouring layers, in place, and return the model, in evaluation mode.

        The outputs stay what they are, but for rounding. **The model can no longer be trained**, nor take
        weights of its architecture: load them before. What stays as it is says
        `models/inference_mode.py`. A second call changes nothing.
        """
        return for_inference(self)

    def train(self, mode: bool = True) -> "Self":
        """As of any module; `ConfigError` for training mode once `for_inference` was called."""
        if mode and self.only_predicts:
            raise ConfigError(
                "this model is for inference alone: for_inference() has folded its BatchNorm layers into "
                "others; to train, build it again and load its weights"
            )
        return super().train(mode)

    def training_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """`[B, C, (T,) H, W]` -> a tuple of logits `[B, num_classes]` whose losses are averaged."""
        return (self(x),)

    def classifiers(self) -> list[str]:
        """The names of the layers whose rows are classes; the first gives the logits."""
        return ["head"]

    @property
    def head_keys(self) -> tuple[str, ...]:
        """The checkpoint keys that depend on the classes, those of the logits first."""
        return tuple(f"{name}.{part}" for name in self.classifiers() for part in ("weight", "bias"))

    def reset_classifier(self, num_classes: int) -> None:
        """Fresh classifiers of `num_classes` rows, at least 1."""
        if num_classes < 1:
            raise ConfigError(f"num_classes is at least 1, got {num_classes}")
        for name in self.classifiers():
            parent, _, child = name.rpartition(".")
            old = cast(nn.Linear, self.get_submodule(name))
            device, dtype = old.weight.device, old.weight.dtype
            head = nn.Linear(old.in_features, num_classes, device=device, dtype=dtype)
            nn.init.trunc_normal_(head.weight, std=self.head_std)
            nn.init.zeros_(head.bias)
            setattr(self.get_submodule(parent), child, head)
        self.num_classes = num_classes

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that weight decay leaves alone, beside norms and biases."""
        return set()

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """Patterns of the parameters' names, a layer each, from the input on; `coarse`: a stage each.

        Here each child of the model is a layer, in the order in which they were registered, and what the
        model holds itself belongs to the first one. What no pattern matches is the head.
        """
        tails = [name for name in self.classifiers() if name]
        no_head = f"(?!(?:{'|'.join(re.escape(tail) for tail in tails)})\\.)" if tails else ""
        children = [
            name
            for name, child in self.named_children()
            if name not in tails and any(True for _ in child.parameters())
        ]
        matcher: GroupMatcher = {name: f"^{no_head}{re.escape(name)}\\." for name in children}
        if children:
            matcher[children[0]] = f"^{no_head}(?:{re.escape(children[0])}\\.|[^.]+$)"
        return matcher


def name_of(model: nn.Module) -> str:
    """What users know a model by: its name in the registry; the class of one that was not made by a name."""
    return getattr(model, "registered_name", None) or type(model).__name__


_NEEDED = (
    "num_classes",
    "arguments",
    "training_outputs",
    "classifiers",
    "head_keys",
    "reset_classifier",
    "no_weight_decay",
)


def check_contract(model: Any, name: str, classifier: str, options: Collection[str]) -> None:
    """Raise `ConfigError` unless `model`, called `name`, offers what a run needs.

    classifier: the name of the layer that its family says gives the logits. options: it was built with.
    """
    missing = [attribute for attribute in _NEEDED if not hasattr(model, attribute)]
    if missing:
        raise ConfigError(
            f"the model {name} has no {', '.join(missing)}; derive {type(model).__name__} from "
            "uniformer_video.RecognitionModel, which says what they are"
        )
    if options and not model.arguments:
        raise ConfigError(
            f"the model {name} was built with {', '.join(options)} and records nothing in its arguments, so "
            f"no checkpoint could build it again; hand the options of {type(model).__name__} that change its "
            "tensors or what it computes to RecognitionModel.__init__"
        )
    own = model.classifiers()[0]
    if own != classifier:
        raise ConfigError(
            f"the model {name} is registered with the classifier {classifier!r}, and its classifiers() "
            f"begin with {own!r}; register it with classifier={own!r}"
        )
