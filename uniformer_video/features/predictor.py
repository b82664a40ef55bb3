"""The features of videos: what a layer of a model gives, for each view."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.models.contract import RecognitionModel, name_of
from uniformer_video.models.layer_maps import (
    as_grid,
    channels_last,
    find_layer,
    some_layers,
    watching,
)

HEAD = "head"  # in place of a layer's name: what the classifier reads


class FeaturePredictor(Predictor):
    """`FeaturePredictor.from_checkpoint("best.pt")("video.mp4")`: features in place of a prediction.

    All that a `Predictor` does, `predict_many` and `predict_records` too, gives features: float32
    `[view, D]`, the mean over the places of a map, or whole maps `[view, T', H', W', C]`.
    """

    layer: str | None = None
    maps = False

    @classmethod
    def from_export(cls, path: Any, *_: Any, **__: Any) -> Any:
        """Raises `ConfigError`: an exported file has no layers."""
        raise ConfigError(
            f"{path} is an exported model, which has no layers to take features of; give the checkpoint that "
            "it was made of"
        )

    def use_cuda_graphs(self) -> "FeaturePredictor":
        """Raises `ConfigError`: a layer is looked at by a hook, which does not run in a graph."""
        raise ConfigError(
            "CUDA graphs are for predictions; features are taken by hooks, without them"
        )

    def take(self, layer: str | None = None, maps: bool = False) -> "FeaturePredictor":
        """Choose the layer, by a name of `model.named_modules()`; None = what the classifier reads.

        Returns self. maps: whole maps, of a layer that has such. Raises `ConfigError` for a layer that is
        not there.
        """
        if layer is not None:
            find_layer(self.model, None, layer)
        elif maps:
            raise ConfigError(
                f"the classifier reads one vector, no map; name a layer (--layer): {some_layers(self.model)}"
            )
        self.layer, self.maps = layer, maps
        return self

    def made_by(self) -> dict[str, Any]:
        """Plain data that say how features are made, but for the weights."""
        return {
            "protocol": self.used_protocol.to_dict(),
            "layer": self.layer or HEAD,
            "what is kept of it": "map" if self.maps else "mean",
        }

    @torch.inference_mode()
    def view_logits(self, views: Tensor) -> np.ndarray:
        """Features of prepared views: float32 `[view, D]`, or maps. Other threads may ask meanwhile."""
        caught: list[Tensor] = []
        of_head = self.layer is None
        watched = self.model.get_submodule(self.layer or _classifier(self.model))
        with watching(
            [watched], lambda _, given: caught.append(self._kept(given).float().cpu()), of_head
        ):
            super().view_logits(views)
        if sum(map(len, caught)) != len(views):
            raise ConfigError(
                f"layer {self.layer or HEAD} is run {len(caught)} times for {len(views)} views, so that it "
                f"has no features of each; {some_layers(self.model)}"
            )
        return torch.cat(caught).numpy()

    def _kept(self, given: Any) -> Tensor:
        """`[view, D]`, or the map `[view, *grid, C]`, of what a layer gives."""
        found = given[0] if isinstance(given, (tuple, list)) and len(given) else given
        if not isinstance(found, Tensor) or found.ndim < 2:
            shape = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(
                f"layer {self.layer or HEAD} gives {shape}, no features of views; {some_layers(self.model)}"
            )
        grid = as_grid(given)
        if found.ndim == 3 and grid is not None:  # tokens of a peer, without that of the class
            found = grid.movedim(1, -1)
        elif found.ndim > 3 and self.layer and not channels_last(self.model, self.layer):
            found = found.movedim(1, -1)
        if not self.maps:
            return found.flatten(1, -2).mean(1) if found.ndim > 2 else found
        if found.ndim < 4:
            raise ConfigError(
                f"layer {self.layer} gives {list(found.shape)}, no map; leave out --maps, or name another "
                f"layer: {some_layers(self.model)}"
            )
        return found

    def answer(self, path: str, scores: np.ndarray) -> Any:
        """The features themselves: there is no task that could answer."""
        return scores


def difference(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """In which of their facts features were made otherwise."""
    return [key for key in wanted if known.get(key) != wanted[key]]


def _classifier(model: nn.Module) -> str:
    names = model.classifiers() if isinstance(model, RecognitionModel) else []
    if not names:
        raise ConfigError(
            f"{name_of(model)} names no classifier whose input could be taken; name a layer (--layer): "
            f"{some_layers(model)}"
        )
    return names[0]
