"""Weights of UniFormers on pixels: a backbone with a norm behind each stage, and its neck and heads.

Files of the published segmentation, detection and pose models have `backbone.` before the backbone, beside
`neck.`, `decode_head.` and `auxiliary_head.`; those of image models have no such prefix.
"""

from collections.abc import Iterable, Mapping

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
    """`(tensors, layout, keys left out)`, as `choose_model` gives them, of a file whose backbone is under `prefix`.

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


def begin_with(
    state: Mapping[str, Tensor], target: Iterable[str]
) -> tuple[dict[str, Tensor], set[str], list[str]]:
    """What a model with a backbone, of the keys `target`, takes from a file to begin a training with.

    Returns the tensors under the model's keys, the model's keys that may be new, and the file's keys that are
    left out. Weights of an image model fill the backbone: its classifier is left out, the norms behind the
    stages are new. Parts that a file has nothing of, such as the head, are new. For a model without a
    backbone all is left as it is.
    """
    if not is_dense(target):
        return dict(state), set(), []
    left_out: list[str] = []
    if not any(key.startswith(BACKBONE) for key in state):
        left_out = [key for key in state if key.startswith(_CLASSIFIERS)]
        state = {BACKBONE + key: v for key, v in state.items() if key not in left_out}
    new = {BACKBONE + key for key in STAGE_NORMS if BACKBONE + key not in state}
    absent = tuple(part for part in PARTS[1:] if not any(key.startswith(part) for key in state))
    return dict(state), new | {key for key in target if key.startswith(absent)}, left_out


def check_backbone(skipped: Iterable[str], path: str) -> None:
    """Raise `CheckpointError` where a file has something for the backbone that the model has not."""
    if other := [key.removeprefix(BACKBONE) for key in skipped if key.startswith(BACKBONE)]:
        raise CheckpointError(
            f"{path} has {name_some(other)}, and the backbone has no such thing; a training starts from image "
            "weights without token labelling, or from those of a model with the same backbone"
        )
