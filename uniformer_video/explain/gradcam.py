"""Grad-CAM: which places of a feature map raise the logit of a class.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
(2017), with time as one more axis of the grid.
"""

import re
from difflib import get_close_matches
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.models.inference_mode import is_folded
from uniformer_video.models.uniformer import UniFormer

_STAGES = (1, 2, 3, 4)
# Layers of a UniFormer that give channels first; all others give tokens, channels last.
_CONVOLVED = re.compile(r"patch_embed\d\.proj\b")


def find_layer(model: nn.Module, stage: int | None = None, layer: str | None = None) -> str:
    """The name of the layer whose map counts: the last block of a stage, the last stage unless given.

    stage: 1 to 4, of a UniFormer. layer: a name of `model.named_modules()`. Raises `ConfigError` for both
    at once, for one that is not there, and where a model without stages is given no layer.
    """
    if stage is not None and layer is not None:
        raise ConfigError(f"stage {stage} and layer {layer!r} are both given; name one of them")
    if layer is not None:
        names = [name for name, _ in model.named_modules() if name]
        if layer in names:
            _check_as_trained(model, layer)
            return layer
        near = get_close_matches(layer, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else some_layers(model)
        raise ConfigError(f"layer is {layer!r}, which {type(model).__name__} does not have; {hint}")
    if not isinstance(model, UniFormer):
        what = "no layer is given" if stage is None else f"stage is {stage}"
        raise ConfigError(
            f"{what}, and {type(model).__name__} has no stages by number; name a layer (--layer): "
            f"{some_layers(model)}"
        )
    number = _STAGES[-1] if stage is None else stage
    if number not in _STAGES:
        raise choice_error("stage", number, _STAGES)
    return f"blocks{number}.{len(getattr(model, f'blocks{number}')) - 1}"


def _check_as_trained(model: nn.Module, layer: str) -> None:
    """Raise `ConfigError` for a layer whose map is not the one that was learnt."""
    if is_folded(model.get_submodule(layer)):
        raise ConfigError(
            f"layer {layer} gives something else since BatchNorm was folded (for_inference()); open the "
            "checkpoint by Predictor.from_checkpoint(..., fold=False), or name a block"
        )


def gradcam(model: nn.Module, view: Tensor, class_index: int, layer: str) -> Tensor:
    """The heat of one class at `layer` for one view: `float32 [T', H', W']`, at least 0, in logits.

    The weight of a channel is the mean of the class logit's gradient over time, height and width; the heat is
    the positive part of the weighted sum of the channels. Computed in float32.

    view: `float32 [1, 3, T, H, W]`, on the device of the model. Raises `ConfigError` for a layer that is not
    run, gives no map of time, height and width, or does not reach the logit.
    """
    found: list[Any] = []
    thread = get_ident()

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        if get_ident() == thread:  # others may predict with the same model meanwhile
            found.append(output)

    hook = model.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(view.detach().clone().requires_grad_())
    finally:
        hook.remove()
    if not found:
        raise ConfigError(f"layer {layer} is not run in a test; {some_layers(model)}")
    features = found[-1][0] if isinstance(found[-1], (tuple, list)) else found[-1]
    if not isinstance(features, Tensor) or features.ndim != 5:
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ConfigError(
            f"layer {layer} gives {shape}, no map of channels, time, height and width; "
            f"{some_layers(model)}"
        )
    gradient = None
    if features.requires_grad:
        (gradient,) = torch.autograd.grad(logits[0, class_index], features, allow_unused=True)
    if gradient is None:
        raise ConfigError(f"the logits do not depend on layer {layer}; name another one")
    if not channels_last(model, layer):
        features, gradient = features.movedim(1, -1), gradient.movedim(1, -1)
    weights = gradient[0].mean((0, 1, 2))
    return (features[0].detach() @ weights).clamp(min=0).float()


def channels_last(model: nn.Module, layer: str) -> bool:
    if isinstance(model, UniFormer):
        return not _CONVOLVED.match(layer)
    return isinstance(model.get_submodule(layer), nn.LayerNorm)


def some_layers(model: nn.Module, most: int = 12) -> str:
    """The layers near the top of a model, in words."""
    names = [name for name, _ in model.named_modules() if name and name.count(".") <= 2]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"there are {', '.join(names[-most:])}{more}"
