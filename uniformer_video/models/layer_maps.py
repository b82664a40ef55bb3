"""The layers of a model by name, the maps that they give, and what passes through them in a forward pass."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from threading import get_ident
from typing import Any

from torch import Tensor, nn

from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.models.contract import name_of
from uniformer_video.models.inference_mode import is_folded
from uniformer_video.models.uniformer import UniFormer

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
        raise ConfigError(f"layer is {layer!r}, which {name_of(model)} does not have; {hint}")
    layers = stage_layers_of(model)
    if not layers:
        what = "no layer is given" if stage is None else f"stage is {stage}"
        raise ConfigError(
            f"{what}, and {name_of(model)} names no stages; name a layer (--layer): "
            f"{some_layers(model)}"
        )
    number = len(layers) if stage is None else stage
    if not 1 <= number <= len(layers):
        raise choice_error("stage", number, tuple(range(1, len(layers) + 1)))
    return layers[number - 1]


def stage_layers_of(model: nn.Module) -> tuple[str, ...]:
    """The `stage_layers` of a model, none where it does not say; `ConfigError` for one that is not there."""
    layers = tuple(getattr(model, "stage_layers", ()))
    names = {name for name, _ in model.named_modules()}
    for layer in layers:
        if layer not in names:
            raise ConfigError(
                f"{name_of(model)} names {layer!r} as a stage, and has no such layer; correct its "
                "stage_layers"
            )
    return layers


@contextmanager
def watching(
    layers: Iterable[nn.Module], see: Callable[[nn.Module, Any], object], entering: bool = False
) -> Iterator[None]:
    """Inside, `see(layer, output)` is called as each of the layers is run, by this thread alone: others may
    predict with the same model meanwhile. entering: `see(layer, inputs)`, a tuple, before it is run.
    """
    thread = get_ident()

    def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any = None) -> None:
        if get_ident() == thread:
            see(layer, inputs if entering else output)

    hooks = [
        layer.register_forward_pre_hook(hook) if entering else layer.register_forward_hook(hook)
        for layer in layers
    ]
    try:
        yield
    finally:
        for each in hooks:
            each.remove()


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
            return on_grid(first, output[1]).movedim(-1, 1)
    return first if first.ndim == 5 else None


def on_grid(tokens: Tensor, grid: Sequence[int]) -> Tensor:
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


def _check_as_trained(model: nn.Module, layer: str) -> None:
    """Raise `ConfigError` for a layer whose map is not the one that was learnt."""
    if is_folded(model.get_submodule(layer)):
        raise ConfigError(
            f"layer {layer} gives something else since BatchNorm was folded (for_inference()); open the "
            "checkpoint by Predictor.from_checkpoint(..., fold=False), or name a block"
        )
