"""The family of UniFormers: its options from settings and from weights files, and what these tell of it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uniformer_video.errors import CheckpointError
from uniformer_video.program import command
from uniformer_video.weights.checkpoint import Weights
from uniformer_video.zoo.architecture import is_light, read_arguments
from uniformer_video.zoo.family import Family, NamedModel, read_model_name
from uniformer_video.zoo.published import published_by_name

log = logging.getLogger(__name__)

# What a file may decide about a model that is named beside it; the name decides all else.
_TOLD_BY_FILE = (
    "head_dim",
    "split",
    "std",
    "layer_scale",
    "aux_head",
    "embed_norm_eps",
    "qkv_bias",
    "qk_scale",
    "representation_size",
    "in_channels",
    "prune_ratio",
    "trade_off",
)
# What of an image model its video counterpart has in common with it, beside the width of its heads.
_SHARED_WITH_VIDEO = (
    "embed_dims",
    "depths",
    "mlp_ratio",
    "conv_embeds",
    "layer_scale",
    "embed_norm_eps",
    "qkv_bias",
    "qk_scale",
    "representation_size",
    "in_channels",
)
_RENAME = "; where the file is another one than its name says, rename it"


@dataclass(frozen=True, eq=False)
class UniFormerFamily(Family):
    """UniFormers, plain or `light`. Their weights show all of their architecture but `head_dim`."""

    light: bool = False

    def options_from_settings(self, model: NamedModel, values: Mapping[str, Any]) -> dict[str, Any]:
        """As for any family; factors and recomputation have a setting that switches them on."""
        values = dict(values)
        values.pop("UNIFORMER.ADAPT_KERNEL", None)  # about loading
        if values.get("UNIFORMER.QKV_BIAS"):  # as usual, or as the weights say
            values.pop("UNIFORMER.QKV_BIAS")
        init_value = values.pop("UNIFORMER.INIT_VALUE", None)
        recomputed = values.pop("MODEL.CHECKPOINT_NUM", None)
        if values.pop("MODEL.USE_CHECKPOINT", False):
            values["MODEL.CHECKPOINT_NUM"] = recomputed
        if "UNIFORMER.LAYER_SCALE" in values:
            values["UNIFORMER.INIT_VALUE"] = init_value
        options = super().options_from_settings(model, values)
        depths = options.get("depths") or model.arguments["depths"]
        for key in ("prune_ratio", "trade_off"):  # published files list more blocks than some have
            if key in options:
                pairs = zip(options[key], depths[2:], strict=False)
                options[key] = [stage[:depth] for stage, depth in pairs]
        return options

    def options_for_weights(
        self,
        model: NamedModel,
        weights: Weights,
        models: Sequence[NamedModel],
        options: Mapping[str, Any],
        adapt_kernel: bool = False,
    ) -> dict[str, Any]:
        """What the weights record or show is taken from them; inflating weights keep the ndim of `model`,
        which has the sizes that a checkpoint of its image model records.

        Where `options` contradict them the conflict shows when the weights are fitted. What no shape shows is
        never guessed: `head_dim` is that of the file, of `options`, or of a `model` that the file may hold.
        """
        ndim = model.arguments["ndim"]
        own = _read_own_arguments(weights) or read_arguments(weights)
        if own and own["ndim"] > ndim:
            raise CheckpointError(
                f"{weights.path} holds video (3D) weights, and {model.name} takes images: image weights are "
                "inflated to videos, and there is no way back; take image weights, or a video model"
            )
        inflates = bool(own) and own["ndim"] != ndim
        if own and is_light(weights.state) == self.light:
            head_dim = self._settle_head_dim(model, weights, models, own, options)
            if head_dim:
                own["head_dim"] = head_dim
            usual = model.arguments["head_dim"]
            if inflates and not options.get("head_dim") and head_dim not in (None, usual):
                log.info(
                    "%s: head_dim %d comes from the image weights %s, by itself it is %d.",
                    model.name,
                    head_dim,
                    weights.path,
                    usual,
                )
        if inflates:
            kept = ["head_dim"]
            image = next(
                (known for known in models if known.name == read_model_name(weights)), None
            )
            if image and image.video_model == model.name:
                kept += _SHARED_WITH_VIDEO
        elif read_model_name(weights) == model.name:
            kept = list(own)
        else:
            kept = [key for key in _TOLD_BY_FILE if key in self.options]
        kernel = _choose_kernel(weights, options.get("local_kernel"), adapt_kernel, ndim)
        told_by_file = {key: own[key] for key in kept if key in own}
        if not inflates:
            _note_other_pruning(weights, told_by_file, options)
        return {**told_by_file, **options, "local_kernel": kernel}

    def check_head_dim(
        self, weights: Weights, models: Sequence[NamedModel], head_dim: int | None
    ) -> None:
        """Raise `CheckpointError` where a file tells another width of its attention heads than is given.

        Attention heads of another width would load without a word and compute something else.
        """
        own = _read_own_arguments(weights) or read_arguments(weights)
        told, how = self._told_head_dim(weights, models, own)
        if told and head_dim and told != head_dim:
            raise CheckpointError(
                f"{weights.path} was made with head_dim {told}{how}, and head_dim {head_dim} is asked for; "
                "leave head_dim (UNIFORMER.HEAD_DIM, --head-dim) out, or choose the weights that fit"
                + (_RENAME if how else "")
            )

    def _settle_head_dim(
        self,
        model: NamedModel,
        weights: Weights,
        models: Sequence[NamedModel],
        own: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> int | None:
        """The head_dim to build `model` with; None where nothing but the name of the model tells it.

        Raises `CheckpointError` where the file tells another one than the name or `options`, and where it
        tells none and may be of models with several.
        """
        given, named = options.get("head_dim"), model.arguments["head_dim"]
        told, how = self._told_head_dim(weights, models, own)
        self.check_head_dim(weights, models, given)
        if given or own["ndim"] != model.arguments["ndim"]:
            if given or told:
                return given or told
            if not self._candidates(weights, models):
                return None
            image = self.recognise(weights, models, {})
            return next(known.arguments["head_dim"] for known in models if known.name == image)
        # Beside sizes that the named model does not have, its name says nothing of the heads.
        if told:
            if (
                told == named
                or read_model_name(weights) == model.name
                or not self._has_sizes(model, own)
            ):
                return told
            raise CheckpointError(
                f"{weights.path} was made with head_dim {told}{how}, and {model.name} has {named}: name the "
                f"model that it holds{self._names(weights, models, told)}, or set head_dim {told} "
                f"(UNIFORMER.HEAD_DIM, --head-dim){_RENAME if how else ''}"
            )
        found = self._candidates(weights, models)
        if (
            model in found
            or not found
            or {other.arguments["head_dim"] for other in found} == {named}
        ):
            return None
        raise _open_head_dim(weights, found)

    def _told_head_dim(
        self, weights: Weights, models: Sequence[NamedModel], own: Mapping[str, Any]
    ) -> tuple[int | None, str]:
        """`(head_dim, how)` that a file tells: recorded, in its settings, or by its published name.

        `how` is for messages, "" where the file itself says it. (None, "") where it tells none.
        """
        if own.get("head_dim"):
            return own["head_dim"], ""
        published = published_by_name(weights.path)
        known = {model.name: model for model in models}
        model = known.get(published.model) if published else None
        if not (published and model and own and self.may_stem_from(model, own)):
            return None, ""
        return model.arguments["head_dim"], f" (by its name it is the published {published.name})"

    def _has_sizes(self, model: NamedModel, own: Mapping[str, Any]) -> bool:
        """Whether a model has the channels and depths of a file, whatever its heads."""
        arguments = {**self.defaults, **model.arguments}
        sizes = ("embed_dims", "depths", "conv_embeds")
        return all(key in own and arguments[key] == own[key] for key in sizes)

    def may_stem_from(self, model: NamedModel, own: Mapping[str, Any]) -> bool:
        """Whether a file can hold the published weights of `model`, or what was made of them.

        They may have been inflated, and may lack the second head, but neither goes the other way.
        """
        arguments = {**self.defaults, **model.arguments}
        return (
            self._has_sizes(model, own)
            and own.get("mlp_ratio") == arguments["mlp_ratio"]
            and own.get("ndim", 0) >= arguments["ndim"]
            and bool(own.get("aux_head")) <= bool(arguments.get("aux_head"))
        )

    def _names(self, weights: Weights, models: Sequence[NamedModel], head_dim: int) -> str:
        """Those of `models` that a file may hold, in brackets."""
        found = [
            model.name
            for model in self._candidates(weights, models, head_dim)
            if model.arguments["head_dim"] == head_dim
        ]
        return f" ({', '.join(found)})" if found else ""

    def recognise(
        self, weights: Weights, models: Sequence[NamedModel], options: Mapping[str, Any]
    ) -> str | None:
        """As for any family. Two models may differ in `head_dim` alone, which `options` may tell."""
        shown = read_arguments(weights)
        if not shown or is_light(weights.state) != self.light:
            return None
        found = self._candidates(weights, models, options.get("head_dim"))
        if not found:
            raise CheckpointError(
                f"{weights.path} is of no known architecture: depths {shown['depths']}, channels "
                f"{shown['embed_dims']}; name the model it belongs to, see `{command('models')}`"
            )
        if len(found) > 1:
            raise _open_head_dim(weights, found)
        return found[0].name

    def _candidates(
        self, weights: Weights, models: Sequence[NamedModel], head_dim: int | None = None
    ) -> list[NamedModel]:
        """Those of `models` that a file may hold; several where only `head_dim` is open."""
        shown = read_arguments(weights)
        if not shown or is_light(weights.state) != self.light:
            return []
        head_dim = head_dim or self._told_head_dim(weights, models, shown)[0]
        found = [model for model in models if self._agrees(model, shown)]
        # Layer scale can be switched on, and off: a model with that of the file, else one without, else any.
        scales = [model.arguments.get("layer_scale", False) for model in found]
        wanted = next((s for s in (shown["layer_scale"], False) if s in scales), None)
        if wanted is not None:
            found = [model for model, scale in zip(found, scales, strict=True) if scale == wanted]
        chosen = [model for model in found if head_dim in (None, model.arguments["head_dim"])]
        return chosen or found[:1]

    def _agrees(self, model: NamedModel, shown: Mapping[str, Any]) -> bool:
        """Whether a model has the shapes of a file, layer scale aside."""
        arguments = {**self.defaults, **model.arguments}
        same = ("embed_dims", "depths", "ndim", "conv_embeds", "aux_head")
        return all(arguments[key] == shown[key] for key in same)


def _read_own_arguments(weights: Weights) -> dict[str, Any]:
    """The arguments that a checkpoint records, if it holds a UniFormer of any name."""
    recorded = weights.metadata.get("model", {}).get("arguments") or {}
    return dict(recorded) if "ndim" in recorded else {}


def _open_head_dim(weights: Weights, models: Sequence[NamedModel]) -> CheckpointError:
    """The error for a file that does not tell which one of several widths its attention heads have."""
    dims = ", ".join(f"{model.arguments['head_dim']} ({model.name})" for model in models)
    published = published_by_name(weights.path)
    other = f" (nor does its name, that of {published.model}, another network)" if published else ""
    return CheckpointError(
        f"{weights.path} does not tell the width of its attention heads{other}: head_dim changes no "
        "tensor's shape, and a wrong one loads silently and ruins the accuracy. Give the one "
        f"that it was trained with, by model name or head_dim (UNIFORMER.HEAD_DIM, --head-dim): {dims}"
    )


def _note_other_pruning(
    weights: Weights, told: Mapping[str, Any], options: Mapping[str, Any]
) -> None:
    """Say where a light model keeps or ranks its tokens otherwise than it was trained to."""
    for key in ("prune_ratio", "trade_off"):
        ours, theirs = _as_lists(options.get(key)), _as_lists(told.get(key))
        if ours and theirs and ours != theirs:
            log.warning(
                "%s was trained with %s %s, and %s is set.", weights.path, key, theirs, ours
            )


def _as_lists(value: Any) -> Any:
    """Nested tuples as nested lists, to compare them with what a file holds."""
    return [_as_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def _choose_kernel(
    weights: Weights, explicit: Sequence[int] | None, adapt_kernel: bool, ndim: int
) -> tuple[int, ...] | None:
    """The local kernel to build: the file decides, unless one is set; a conflict is an error."""
    explicit = tuple(explicit) if explicit else None
    found = weights.local_kernel
    if found is None or len(found) != ndim:
        return explicit
    if explicit and explicit != found and not adapt_kernel:
        raise CheckpointError(
            f"{weights.path} has local kernels {list(found)} and UNIFORMER.LOCAL_KERNEL is "
            f"{list(explicit)}; set UNIFORMER.LOCAL_KERNEL to {list(found)}, or "
            "UNIFORMER.ADAPT_KERNEL True to fit the weights"
        )
    return explicit or found
