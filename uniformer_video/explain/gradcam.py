"""Grad-CAM: which places of a feature map raise the logit of a class.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
(2017), with time as one more axis of the grid.
"""

import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.models.inference_mode import is_folded
from uniformer_video.models.uniformer import UniFormer

# Places a side that a map has to have, if a stage has so many. Measured on the demo (64 pixels, shapes of
# about 20): 16 and 8 places put 2.7 and 2.1 times as much heat into the shape as its area is, 4 and 2 no
# more than 1.3 and 1 times (benchmarks/explain_sanity.py).
LEAST_SIDE = 12
# Layers of a UniFormer that give channels first; all others give tokens, channels last.
_CONVOLVED = re.compile(r"patch_embed\d\.proj\b")


def find_layer(model: nn.Module, stage: int | None = None, layer: str | None = None) -> str:
    """The name of the layer whose map counts: the last block of a stage, the last stage unless given.

    stage: from 1, of a model with stages (`stage_layers`). layer: a name of `model.named_modules()`. Raises
    `ConfigError` for both at once, for one that is not there, and where a model without stages is given no
    layer.
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
    layers = _stages(model)
    if not layers:
        what = "no layer is given" if stage is None else f"stage is {stage}"
        raise ConfigError(
            f"{what}, and {type(model).__name__} names no stages; name a layer (--layer): "
            f"{some_layers(model)}"
        )
    number = len(layers) if stage is None else stage
    if not 1 <= number <= len(layers):
        raise choice_error("stage", number, tuple(range(1, len(layers) + 1)))
    return layers[number - 1]


def usual_stage(model: nn.Module, view: Tensor) -> int | None:
    """The deepest stage whose map of a view has at least `LEAST_SIDE` places a side; 1 where none has.

    None of a model without stages. view: `float32 [1, 3, T, H, W]`, of any values.
    """
    layers = _stages(model)
    sides: list[int] = [0] * len(layers)

    def measure(number: int) -> Any:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            found = as_grid(output)
            if found is not None:
                last = channels_last(model, layers[number])
                sides[number] = min(found.shape[2:4] if last else found.shape[3:5])

        return note

    hooks = [
        model.get_submodule(layer).register_forward_hook(measure(number))
        for number, layer in enumerate(layers)
    ]
    try:
        with torch.inference_mode():
            model(view)
    finally:
        for hook in hooks:
            hook.remove()
    fine = [number for number, side in enumerate(sides, start=1) if side >= LEAST_SIDE]
    return max(fine, default=1) if layers else None


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
    if not isinstance(features, Tensor) or as_grid(found[-1]) is None:
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
    if features.ndim == 3:  # tokens, with their grid beside them
        grid = found[-1][1]
        features, gradient = _on_grid(features, grid), _on_grid(gradient, grid)
        if not gradient.any():
            raise ConfigError(
                f"behind layer {layer} only the class token counts, which has no place; name an earlier one"
            )
    elif not channels_last(model, layer):
        features, gradient = features.movedim(1, -1), gradient.movedim(1, -1)
    weights = gradient[0].mean((0, 1, 2))
    return (features[0].detach() @ weights).clamp(min=0).float()


def _stages(model: nn.Module) -> tuple[str, ...]:
    """The `stage_layers` of a model, none where it does not say; `ConfigError` for one that is not there."""
    layers = tuple(getattr(model, "stage_layers", ()))
    names = {name for name, _ in model.named_modules()}
    for layer in layers:
        if layer not in names:
            raise ConfigError(
                f"{type(model).__name__} names {layer!r} as a stage, and has no such layer; correct its "
                "stage_layers"
            )
    return layers


def as_grid(output: Any) -> Tensor | None:
    """The map of five dimensions that a layer gives; None where it gives none.

    Of several, as of pathways, the first. Tokens `[B, N, C]` with their grid beside them, as MViT's blocks
    give, become `[B, C, T, H, W]`.
    """
    several = isinstance(output, (tuple, list)) and len(output) > 0
    first = output[0] if several else output
    if not isinstance(first, Tensor):
        return None
    if first.ndim == 3 and several and len(output) == 2 and isinstance(output[1], (tuple, list)):
        count = math.prod(output[1]) if len(output[1]) == 3 else -1
        if first.shape[1] - count in (0, 1):
            return _on_grid(first, output[1]).movedim(-1, 1)
    return first if first.ndim == 5 else None


def _on_grid(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """`[B, N, C]`, perhaps a class token before them -> `[B, *grid, C]`, without that."""
    return tokens[:, tokens.shape[1] - math.prod(grid) :].unflatten(1, tuple(grid))


def channels_last(model: nn.Module, layer: str) -> bool:
    """Whether the map that a layer gives has its channels last, as tokens have them."""
    if isinstance(model, UniFormer):
        return not _CONVOLVED.match(layer)
    return isinstance(model.get_submodule(layer), (nn.LayerNorm, nn.Linear))


def some_layers(model: nn.Module, most: int = 12) -> str:
    """The layers near the top of a model, in words."""
    names = [name for name, _ in model.named_modules() if name and name.count(".") <= 2]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"there are {', '.join(names[-most:])}{more}"
