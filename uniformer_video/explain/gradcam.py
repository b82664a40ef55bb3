"""Grad-CAM: which places of a feature map raise the logit of a class.

Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization"
(2017), with time as one more axis of the grid.
"""

from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.layer_maps import (
    as_grid,
    channels_last,
    on_grid,
    some_layers,
    stage_layers_of,
    watching,
)

# Places a side that a map has to have, if a stage has so many. Measured on the demo (64 pixels, shapes of
# about 20): 16 and 8 places put 2.7 and 2.1 times as much heat into the shape as its area is, 4 and 2 no
# more than 1.3 and 1 times (benchmarks/explain_sanity.py).
LEAST_SIDE = 12


def usual_stage(model: nn.Module, view: Tensor) -> int | None:
    """The deepest stage whose map of a view has at least `LEAST_SIDE` places a side; 1 where none has.

    None of a model without stages. view: `float32 [1, 3, T, H, W]`, of any values.
    """
    layers = stage_layers_of(model)
    names = {model.get_submodule(layer): layer for layer in layers}
    sides: dict[str, int] = {}

    def measure(stage: nn.Module, output: Any) -> None:
        if (found := as_grid(output)) is not None:
            last = channels_last(model, names[stage])
            sides[names[stage]] = min(found.shape[2:4] if last else found.shape[3:5])

    with watching(names, measure), torch.inference_mode():
        model(view)
    fine = [
        number for number, layer in enumerate(layers, start=1) if sides.get(layer, 0) >= LEAST_SIDE
    ]
    return max(fine, default=1) if layers else None


def gradcam(model: nn.Module, view: Tensor, class_index: int, layer: str) -> Tensor:
    """The heat of one class at `layer` for one view: `float32 [T', H', W']`, at least 0, in logits.

    The weight of a channel is the mean of the class logit's gradient over time, height and width; the heat is
    the positive part of the weighted sum of the channels. Computed in float32.

    view: `float32 [1, 3, T, H, W]`, on the device of the model. Raises `ConfigError` for a layer that is not
    run, gives no map of time, height and width, or does not reach the logit.
    """
    found: list[Any] = []
    keep = watching([model.get_submodule(layer)], lambda _, output: found.append(output))
    with keep, torch.enable_grad():
        logits = model(view.detach().clone().requires_grad_())
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
        features, gradient = on_grid(features, grid), on_grid(gradient, grid)
        if not gradient.any():
            raise ConfigError(
                f"behind layer {layer} only the class token counts, which has no place; name an earlier one"
            )
    elif not channels_last(model, layer):
        features, gradient = features.movedim(1, -1), gradient.movedim(1, -1)
    weights = gradient[0].mean((0, 1, 2))
    return (features[0].detach() @ weights).clamp(min=0).float()
