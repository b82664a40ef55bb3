"""A UniFormer among the tensors of a larger program: without the path that it has there, with its classifier.

Lightning puts `net.` or `model.` before a model's keys and its loss beside them, Hugging Face's libraries the
model's name and `encoder.`, MMAction2 `backbone.` with the classifier under `cls_head.`. In models for pixels
that prefix stays, see `dense.py`.
"""

import re
from collections.abc import Iterable

from torch import Tensor

from uniformer_video.errors import CheckpointError
from uniformer_video.weights import dense
from uniformer_video.words import name_some

_BODY = re.compile(r"(?:^|(?<=\.))(?:blocks[1-4]\.\d+|patch_embed[1-4])\.")
# Parts of a UniFormer that may stand outside what holds its blocks.
_PARTS = re.compile(r"(?:norm|head|aux_head|norm_cls|head_cls|cls_upsample)\.\w+$|cls_token$")
_CLASSIFIER = re.compile(
    r"(?:^|[._])(?:head|fc|fc_cls|fc_cls\w*|cls|cls_head|classifier|logits|linear|new_fc)(?:[._]|$)"
)
_AVERAGE = re.compile(r"(?:^|[._])(?:ema|teacher|averaged?|swa|momentum|target)(?:[._]|$)")
# What a training keeps beside its model.
_BESIDE = re.compile(
    r"(?:\w+_)?(?:criterion|criteria|loss|losses|loss_fn|loss_function|metrics?|acc\d?|accuracy)\."
)
_ATTRIBUTE = re.compile(r"(?:module|model|net|network)\.")  # that a training keeps its model as
_MMACTION2 = "data_preprocessor."

_Chosen = tuple[dict[str, Tensor], str | None, list[str]]  # see `choose_model`


def choose_model(state: dict[str, Tensor], averaged: bool, name: str) -> _Chosen | None:
    """`(tensors by the model's own keys, layout, keys left out)` of `state`, tensors by key.

    averaged: take the averaged model among several, which its name tells; None where there is none. The
    layout is "mmaction2", "dense" or None. Keys of other architectures stay as they are. `name` is what
    messages call the file. Raises `CheckpointError` where several models could be meant.
    """
    prefixes = {key[: found.start()] for key in state if (found := _BODY.search(key))}
    averages = {prefix for prefix in prefixes if _AVERAGE.search(prefix)}
    if averaged and not averages:
        return None
    likely = averages if averaged else (prefixes - averages) or averages
    if len(likely) > 1 and _are_one(state, likely):
        state, likely = _under_one(state, likely)
    if len(likely) > 1:
        shown = name_some(sorted(prefix or "no prefix" for prefix in likely))
        raise CheckpointError(
            f"{name} holds several UniFormers ({shown}), and nothing tells which is meant; save it alone"
        )
    if not likely:
        return _without_losses(state)
    (prefix,) = likely
    if dense.is_dense(state, prefix):
        return dense.take_dense(state, prefix)
    if not prefix and prefixes == {""}:
        return _without_losses(state)
    return _take(state, prefix, prefixes - likely)


def _are_one(state: dict[str, Tensor], prefixes: set[str]) -> bool:
    """Whether the parts under several prefixes are of one model: none of them twice, as in two models."""
    keys = [
        key[found.start() :]
        for key in state
        if (found := _BODY.search(key)) and key[: found.start()] in prefixes
    ]
    return len(set(keys)) == len(keys)


def _under_one(state: dict[str, Tensor], prefixes: set[str]) -> tuple[dict[str, Tensor], set[str]]:
    """`state` with the parts under several prefixes under that of the first block, and that prefix."""
    blocks = {key[: key.index("blocks1.")] for key in state if "blocks1." in key} & prefixes
    prefix = min(blocks or prefixes)
    moved = {}
    for key, value in state.items():
        found = _BODY.search(key)
        if found and key[: found.start()] in prefixes:
            key = prefix + key[found.start() :]
        moved[key] = value
    return moved, {prefix}


def _without_losses(state: dict[str, Tensor]) -> _Chosen:
    """All of `state` but what trainings keep beside the model, if anything else is there."""
    kept = {key: value for key, value in state.items() if not _BESIDE.match(key)}
    if not kept or len(kept) == len(state):
        return state, None, []
    left_out = [key for key in state if key not in kept]
    while (found := _ATTRIBUTE.match(next(iter(kept)))) and all(
        key.startswith(found[0]) and key != found[0] for key in kept
    ):
        kept = {key.removeprefix(found[0]): value for key, value in kept.items()}
    return kept, None, left_out


def _take(state: dict[str, Tensor], prefix: str, others: set[str]) -> _Chosen:
    """The model under `prefix`; what belongs to the models under the prefixes `others` is left out."""
    taken = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    parts = prefix.split(".")
    above = [
        ".".join([*parts[:depth], ""]) if depth else "" for depth in range(len(parts) - 2, -1, -1)
    ]
    outside = [
        key
        for key in state
        if not key.startswith(prefix)
        and not any(other and key.startswith(other) for other in others)
    ]
    used = set()
    for key in outside:
        inner = next((key.removeprefix(a) for a in above if key.startswith(a)), None)
        if inner is not None and _PARTS.match(inner) and inner not in taken:
            taken[inner] = state[key]
            used.add(key)
    layout = None
    if "head.weight" not in taken:
        stem = _find_classifier(state, [key for key in outside if key not in used])
        for part in ("weight", "bias") if stem else ():
            if stem + part in state:
                taken[f"head.{part}"] = state[stem + part]
                used.add(stem + part)
        if prefix.endswith("backbone.") and (not stem or "cls_head." in stem):
            layout = "mmaction2"
    left_out = [
        key
        for key in state
        if not key.startswith(prefix) and key not in used and not key.startswith(_MMACTION2)
    ]
    return taken, layout, left_out


def _find_classifier(state: dict[str, Tensor], keys: Iterable[str]) -> str:
    """What the keys of the one layer among `keys` that looks like a classifier begin with, or ""."""
    found = [
        key.removesuffix("weight")
        for key in keys
        if key.endswith(".weight")
        and state[key].dim() == 2
        and _CLASSIFIER.search(key.removesuffix(".weight"))
        and not _BESIDE.match(key)
    ]
    return found[0] if len(found) == 1 else ""
