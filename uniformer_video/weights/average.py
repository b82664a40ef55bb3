"""The mean of several weights of one model ("checkpoint averaging", "model soup")."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from uniformer_video.errors import CheckpointError
from uniformer_video.program import command
from uniformer_video.weights.checkpoint import CALIBRATION, Weights
from uniformer_video.weights.unwrap import key_for_messages
from uniformer_video.weights.values import check_values
from uniformer_video.words import name_some


def mean_weights(parts: Sequence[Weights]) -> Weights:
    """The mean of checkpoints of ours, in float64, all with the same share; integers are those of the last.

    Its metadata are the last one's without the score, and `averaged`: the path and the epoch, or iteration,
    of each. Raises `CheckpointError` unless all are of one model and of the same classes.
    """
    first = parts[0]
    for part in parts:
        if not part.metadata:
            raise CheckpointError(
                f"{part.path} is of another project; make a checkpoint of it first: "
                f"{command(f'convert {part.path} --out NEW.pt')}"
            )
        _check_same_model(first, part)
        check_values(part.state, part.path)
    state: dict[str, Tensor] = {}
    for key, last in parts[-1].state.items():
        state[key] = last
        if last.is_floating_point():
            # one after the other: of a large model all together in float64 would fill the memory
            total = torch.zeros(last.shape, dtype=torch.float64)
            for part in parts:
                total += part.state[key]
            state[key] = (total / len(parts)).to(last.dtype)
    dropped = ("training", "weights", "train_list", CALIBRATION)
    metadata: dict[str, Any] = {k: v for k, v in parts[-1].metadata.items() if k not in dropped}
    metadata["averaged"] = [
        {"path": part.path, **dict([part.place or ("epoch", None)])} for part in parts
    ]
    return Weights(name_some([part.path for part in parts]), state, metadata)


def _check_same_model(first: Weights, other: Weights) -> None:
    both = f"{first.path} and {other.path}"
    differing = sorted(first.state.keys() ^ other.state.keys()) or [
        key
        for key, value in first.state.items()
        if value.shape != other.state[key].shape or value.dtype != other.state[key].dtype
    ]
    if differing:
        keys = name_some([key_for_messages(key) for key in differing])
        raise CheckpointError(
            f"{both} are weights of different models: they differ in {keys}; average checkpoints of one "
            "model, such as the epoch_*.pt or iter_*.pt of a run"
        )
    for key, what in (("model", "architectures"), ("class_names", "classes"), ("task", "tasks")):
        if first.metadata.get(key) != other.metadata.get(key):
            raise CheckpointError(
                f"{both} have other {what}, so their mean says nothing; average checkpoints of one model, "
                "such as the epoch_*.pt or iter_*.pt of a run"
            )
