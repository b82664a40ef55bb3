"""Numbers that no trained model has, refused by the name of their tensor."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from uniformer_video.errors import CheckpointError
from uniformer_video.weights.unwrap import key_for_messages
from uniformer_video.words import name_some

# Last parts of the keys of what is learnt or averaged, which are fractions in every model.
_FRACTIONS = (
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "gamma_1",
    "gamma_2",
    "gamma_3",
    "cls_token",
    "pos_embed",
)


def check_values(
    state: Mapping[str, Tensor], path: Path | str, target: Mapping[str, Tensor] | None = None
) -> None:
    """Raise `CheckpointError` for tensors of `state` that are complex, whole numbers where weights are
    fractions, variances below zero, or not finite.

    state: tensors by key. target: those of the model that takes them, which tell where fractions belong;
    left out, the keys tell.
    """
    whole, not_finite, negative = [], [], []
    for key, value in state.items():
        if value.is_complex():
            raise CheckpointError(
                f"{path} holds complex numbers ({_dtype(value)}) in {key_for_messages(key)}; weights are "
                "real numbers"
            )
        if not value.is_floating_point():
            if _takes_fractions(key, target):
                whole.append(f"{key_for_messages(key)} ({_dtype(value)})")
            continue
        if value.dtype.itemsize == 1:
            value = value.float()  # torch has no such tests for 8-bit floats
        if not torch.isfinite(value).all():
            not_finite.append(key_for_messages(key))
        elif key.rpartition(".")[2] == "running_var" and (value < 0).any():
            negative.append(key_for_messages(key))
    if whole:
        raise CheckpointError(
            f"{path} holds whole numbers in {name_some(whole)}, where weights are fractions; of a quantised "
            "model, take the weights before its quantisation"
        )
    if not_finite:
        raise CheckpointError(
            f"{path} holds values that are not finite, in {name_some(not_finite)}: its training failed"
        )
    if negative:
        raise CheckpointError(
            f"{path} holds variances below zero, in {name_some(negative)}, so it is damaged; get it again "
            "from where it came"
        )


def _takes_fractions(key: str, target: Mapping[str, Tensor] | None) -> bool:
    if target is not None and key in target:
        return target[key].is_floating_point()
    return key.rpartition(".")[2] in _FRACTIONS


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
