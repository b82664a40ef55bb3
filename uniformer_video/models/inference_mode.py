"""BatchNorm folded into its neighbours, for models that only predict.

In evaluation BatchNorm is a factor and a summand per channel, which a convolution before it takes over, and
so does a 1x1x1 convolution or a linear layer behind it; a larger one behind it does not, since its padding
is of zeros that BatchNorm would have moved.

The layer behind then reads what BatchNorm read, and rounding in half precision is a share of that: where
channels have means far larger than their deviations, BatchNorm stays, so that autocast is as exact as before.

Weights keep their type: autocast casts them in each pass, which costs little, and a predictor may move to a
device that computes otherwise. Their memory format is another one where that is faster, see `lay_out`. Both
are measured in `benchmarks/README.md`.

Only layers of which it is certain that one alone reads what the other gives are folded: neighbours in an
`nn.Sequential`, and pairs that a class names. A class of ours names them as `direct_pairs`, and as
`first_layer` the child that alone reads what a module takes; both count for the class itself and not for its
subclasses, whose `forward` may be another. Those of pytorchvideo stand here.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uniformer_video.errors import ConfigError
from uniformer_video.models.layers import PointwiseConv, TokenBatchNorm

log = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)

_NORM_OF: dict[type, type] = {
    nn.Conv1d: nn.BatchNorm1d,
    nn.Conv2d: nn.BatchNorm2d,
    nn.Conv3d: nn.BatchNorm3d,
}

# By class: children of which the second alone reads what the first gives.
_PYTORCHVIDEO_PAIRS = {
    "pytorchvideo.models.stem.ResNetBasicStem": (("conv", "norm"),),
    "pytorchvideo.models.resnet.ResBlock": (("branch1_conv", "branch1_norm"),),
    "pytorchvideo.models.resnet.BottleneckBlock": (
        ("conv_a", "norm_a"),
        ("conv_b", "norm_b"),
        ("conv_c", "norm_c"),
    ),
    "pytorchvideo.models.slowfast.FuseFastToSlow": (("conv_fast_to_slow", "norm"),),
    "pytorchvideo.models.x3d.ProjectedPool": (
        ("pre_conv", "pre_norm"),
        ("post_conv", "post_norm"),
    ),
}
_CONV_2_PLUS_1 = "pytorchvideo.layers.convolutions.Conv2plus1d"  # its order is an option
_MOST_ROUNDING = 2.0  # times that of BatchNorm's output, root mean square over the channels
_MARK = "output_is_folded"  # an attribute of layers


def prepare_for_inference(model: Model) -> Model:
    """`model` as tests and predictions run it: by its own `for_inference()`, or as it is where it has none.

    Never for a model that is trained on, which could not be any more. Raises `ConfigError` where the method,
    which may be anybody's, gives no model.
    """
    own = getattr(model, "for_inference", None)
    if own is None:
        log.debug("%s has no for_inference() and predicts as it was trained.", type(model).__name__)
        return model.eval()
    prepared = own()
    if not isinstance(prepared, nn.Module):
        raise ConfigError(
            f"for_inference() of {type(model).__name__} gives {type(prepared).__name__}; it returns the model"
        )
    if prepared is not model and (name := getattr(model, "registered_name", None)):
        prepared.registered_name = name
    return cast(Model, prepared)  # one from outside keeps the contract


def lay_out(model: nn.Module, device: torch.device, precision: str) -> None:
    """Put the weights of 3D convolutions into the memory format that is the faster one there, in place.

    Channels-last for "bf16" on a processor, else contiguous: in float32 channels-last was slower.
    """
    is_faster = device.type == "cpu" and precision == "bf16"
    form = torch.channels_last_3d if is_faster else torch.contiguous_format
    for layer in model.modules():
        if type(layer) is nn.Conv3d:
            layer.to(memory_format=form)  # type: ignore[call-overload]


def is_folded(layer: nn.Module) -> bool:
    """Whether a layer gives something else than it was trained to give, since a neighbour was folded."""
    return bool(getattr(layer, _MARK, False))


def for_inference(model: Model) -> Model:
    """Fold BatchNorm layers of `model` into their neighbours, in place, and return it in evaluation mode.

    The outputs stay what they are, but for rounding. The model can no longer be trained, nor take weights of
    its former architecture: load them before. New weights are computed in float64 and have the type and the
    device of the old ones. BatchNorm without a neighbour that can take it over stays, as does one that is
    shared, is watched by a hook or has no running statistics. A second call changes nothing.
    """
    model.eval()
    uses = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    for parent in list(model.modules()):
        for first, second in _pairs(parent):
            before, behind = _last_layers(parent, first), _first_layers(parent, second)
            if all(uses[id(each)] == 1 and _is_plain(each) for each in (*before, *behind)):
                _fold(model, before, behind)
    for module in model.modules():
        if hasattr(module, "only_predicts"):  # a RecognitionModel, which refuses to be trained then
            module.only_predicts = True  # type: ignore[assignment]
    return model


def _pairs(parent: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of children of which the second alone reads what the first gives, and nothing else."""
    if not _is_plain(parent):
        return
    names = [name for name, _ in parent.named_children()]
    found: Any = vars(type(parent)).get("direct_pairs", ())
    kind = _class_name(parent)
    if type(parent) is nn.Sequential:
        names = list(parent._modules)  # one module twice has two names
        found = pairwise(names)
    elif kind == _CONV_2_PLUS_1:
        order = ["conv_t", "conv_xy"]
        found = ((order[bool(parent.conv_xy_first)], "norm"),)
    elif kind in _PYTORCHVIDEO_PAIRS:
        found = _PYTORCHVIDEO_PAIRS[kind]
    yield from ((first, second) for first, second in found if {first, second} <= set(names))


def _last_layers(parent: nn.Module, name: str) -> list[nn.Module]:
    """The child, the last layer inside it, and so on: what gives the child's output comes last."""
    layers = [parent.get_submodule(name)]
    while True:
        layer = layers[-1]
        if type(layer) is nn.Sequential and len(layer):
            layers.append(layer[-1])
        elif _class_name(layer) == _CONV_2_PLUS_1:
            layers.append(layer.conv_t if layer.conv_xy_first else layer.conv_xy)  # type: ignore[arg-type]
        else:
            return layers


def _first_layers(parent: nn.Module, name: str) -> list[nn.Module]:
    """The child, the first layer inside it, and so on: what alone reads the child's input comes last."""
    layers = [parent.get_submodule(name)]
    while True:
        layer = layers[-1]
        if type(layer) is nn.Sequential and len(layer):
            layers.append(layer[0])
        elif inner := vars(type(layer)).get("first_layer"):
            layers.append(layer.get_submodule(inner))
        else:
            return layers


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _is_plain(module: nn.Module) -> bool:
    """Whether a module runs the `forward` of its class alone, watched or changed by nobody."""
    hooks = (module._forward_hooks, module._forward_pre_hooks)
    return not any(hooks) and "forward" not in vars(module)


def _fold(model: nn.Module, sources: list[nn.Module], readers: list[nn.Module]) -> None:
    """Fold the last of `sources` or of `readers`, the one that is a BatchNorm, into the other, if it can be.

    The sources, which all give the same, then give something else, and are marked.
    """
    before, behind = sources[-1], readers[-1]
    if _takes_over_before(before, behind):
        norm, layer = behind, before
        scale, shift = _scale_and_shift(norm)
        weight, bias = _in_float64(layer.weight), shift
        if layer.bias is not None:
            bias = _in_float64(layer.bias) * scale + shift
        weight = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
    elif _takes_over_behind(before, behind) and _rounds_alike(before, behind):
        norm, layer = before, behind
        scale, shift = _scale_and_shift(norm)
        weight = _in_float64(layer.weight)
        bias = weight.flatten(1) @ shift
        if layer.bias is not None:
            bias = _in_float64(layer.bias) + bias
        weight = weight * scale.reshape(1, -1, *[1] * (weight.dim() - 2))
    else:
        return
    old: Any = layer.weight
    for name, value in (("weight", weight), ("bias", bias)):
        setattr(layer, name, nn.Parameter(value.to(old), requires_grad=old.requires_grad))
    gone = nn.Identity().eval()
    for parent in model.modules():
        for name, child in parent.named_children():
            if child is norm:
                setattr(parent, name, gone)
    for source in sources:
        setattr(gone if source is norm else source, _MARK, True)


def _takes_over_before(layer: nn.Module, norm: nn.Module) -> bool:
    """Whether `layer` is a convolution to the channels of the BatchNorm behind it."""
    fits = type(norm) is _NORM_OF.get(type(layer))
    return fits and _has_statistics(norm) and layer.out_channels == norm.num_features


def _takes_over_behind(norm: nn.Module, layer: nn.Module) -> bool:
    """Whether `layer` mixes the channels of the BatchNorm before it, position by position."""
    if type(norm) is TokenBatchNorm:
        fits = type(layer) in (PointwiseConv, nn.Linear)
    else:
        fits = type(norm) is _NORM_OF.get(type(layer)) and _is_pointwise(layer)
    return fits and _has_statistics(norm) and layer.weight.shape[1] == norm.num_features  # type: ignore[index]


def _rounds_alike(norm: nn.Module, layer: nn.Module) -> bool:
    """Whether `layer` would be about as exact in half precision if it read what `norm` reads.

    Rounding is a share of the values: what counts are the mean squares of the channels, times the weights.
    """
    scale, shift = _scale_and_shift(norm)
    mean, variance = _in_float64(norm.running_mean), _in_float64(norm.running_var)
    weights = _in_float64(layer.weight).flatten(1).square().sum(0)
    read = scale.square() * (mean.square() + variance) * weights
    given = ((scale * mean + shift).square() + scale.square() * variance) * weights
    return bool(read.sum() <= _MOST_ROUNDING**2 * given.sum())


def _is_pointwise(layer: Any) -> bool:
    padded = any(layer.padding) if isinstance(layer.padding, tuple) else False
    return set(layer.kernel_size) == {1} and not padded and layer.groups == 1


def _has_statistics(norm: nn.Module) -> bool:
    return isinstance(norm, _BatchNorm) and norm.running_mean is not None


def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """What BatchNorm does in evaluation, float64 `[C]`: its output is the input times scale, plus shift."""
    scale = (_in_float64(norm.running_var) + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * _in_float64(norm.weight)
    shift = -_in_float64(norm.running_mean) * scale
    return scale, shift if norm.bias is None else shift + _in_float64(norm.bias)


def _in_float64(values: Any) -> Tensor:
    """On the processor: not every device has float64."""
    return values.detach().to("cpu", torch.float64)
