"""Weights of UniFormers on pixels: a backbone with a norm behind each stage, and its neck and heads.

Files of the published segmentation, detection and pose models have `backbone.` before the backbone, beside
`neck.`, `decode_head.` and `auxiliary_head.`; those of image models have no such prefix.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from uniformer_video.errors import CheckpointError
from uniformer_video.words import name_some

LAYOUT = "dense"
BACKBONE = "backbone."
# What a model here may be made of; the heads of detectors and pose models are none of it.
PARTS = (BACKBONE, "neck.", "decode_head.", "auxiliary_head.")
STAGE_NORMS = tuple(f"norm{stage}.{part}" for stage in range(1, 5) for part in ("weight", "bias"))
# Of classifiers of images, which no backbone has.
_CLASSIFIERS = ("norm.", "head.", "norm_cls.", "head_cls.")


def is_dense(state: Iterable[str], prefix: str = BACKBONE) -> bool:
    """Whether the keys of a file hold, under `prefix`, a backbone with a norm behind each stage."""
    keys = set(state)
    return all(prefix + key in keys for key in STAGE_NORMS)


def take_dense(
    state: Mapping[str, Tensor], prefix: str
) -> tuple[dict[str, Tensor], str | None, list[str]]:
    """`(tensors, layout, keys left out)`, as `choose_model` gives them; the backbone is under `prefix`.

    The tensors have `backbone.`, `neck.` and so on before their keys, or none where the backbone is alone.
    """
    if not prefix.endswith(BACKBONE):
        taken = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
        return taken, LAYOUT, [key for key in state if not key.startswith(prefix)]
    above = prefix.removesuffix(BACKBONE)
    inner = {key: key.removeprefix(above) for key in state if key.startswith(above)}
    kept = {key: short for key, short in inner.items() if short.startswith(PARTS)}
    taken = {short: state[key] for key, short in kept.items()}
    return taken, LAYOUT, [key for key in state if key not in kept]


def backbone_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the backbone under its own keys; of a file without such a prefix, all of them."""
    inside = {key.removeprefix(BACKBONE): v for key, v in state.items() if key.startswith(BACKBONE)}
    return inside or dict(state)


class Begin(NamedTuple):
    """What a model with a backbone takes from a file to begin with.

    state: tensors under the model's keys. new: the model's keys that may be new, by what they are of.
    left_out: the file's keys that are of no backbone. prefix: of the backbone in the model; None for a model
    without one, which takes all.
    """

    state: dict[str, Tensor]
    new: dict[str, list[str]]
    left_out: list[str]
    prefix: str | None

    @property
    def new_keys(self) -> set[str]:
        """The model's keys that may be new."""
        return {key for keys in self.new.values() for key in keys}

    def notes(self) -> list[str]:
        """The line on what is new, if anything is."""
        return [f"new in the model: {', '.join(self.new)}"] if self.new else []

    def check_backbone(self, skipped: Iterable[str], path: str) -> None:
        """Raise `CheckpointError` where a file has something for the backbone that the model has not.

        skipped: the keys of `state` that the model has not.
        """
        if self.prefix is None:
            return
        if other := [key for key in skipped if key.startswith(self.prefix)]:
            named = name_some([key.removeprefix(BACKBONE) for key in other])
            raise CheckpointError(
                f"{path} has {named}, and the backbone has no such thing; it starts from image weights "
                "without token labelling, or from those of a model with the same backbone"
            )


def begin_with(state: Mapping[str, Tensor], target: Iterable[str]) -> Begin:
    """What a model of the keys `target` takes from a file to begin a training with.

    Weights of an image model fill the backbone: their classifier is left out, the norms behind the stages are
    new. Parts that a file has nothing of, such as the head, are new.
    """
    keys = list(target)
    prefix = next((prefix for prefix in (BACKBONE, "") if is_dense(keys, prefix)), None)
    if prefix is None:
        return Begin(dict(state), {}, [], None)
    if any(key.startswith(BACKBONE) for key in state):
        left_out = [key for key in state if not (prefix or key.startswith(BACKBONE))]
    else:
        left_out = [key for key in state if key.startswith(_CLASSIFIERS)]
        state = {key if key in left_out else BACKBONE + key: v for key, v in state.items()}
    taken = {
        key if prefix else key.removeprefix(BACKBONE): value
        for key, value in state.items()
        if key not in left_out
    }
    norms = [prefix + key for key in STAGE_NORMS if prefix + key not in taken]
    new = {"the norms behind the backbone's stages": norms}
    for part in PARTS[1:]:
        if not any(key.startswith(part) for key in taken):
            new[part[:-1]] = [key for key in keys if key.startswith(part)]
    return Begin(taken, {what: each for what, each in new.items() if each}, left_out, prefix)
