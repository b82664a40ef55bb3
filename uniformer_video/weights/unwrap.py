"""The state dict in a weights file with UniFormer's keys, out of any wrapping, and its other hints."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import yaml
from torch import Tensor

from uniformer_video.errors import CheckpointError
from uniformer_video.weights import openmixup
from uniformer_video.weights.prefixes import choose_model
from uniformer_video.weights.stand_ins import Options
from uniformer_video.weights.unpickle import plain
from uniformer_video.words import name_some

log = logging.getLogger(__name__)

# Under which names files keep a model's tensors, the likeliest first
_WRAPPERS = (
    "model",
    "model_state",
    "state_dict",
    "model_state_dict",
    "module",
    "net",
    "network",
    "params",
    "weights",
    "student",
)
_AVERAGES = (
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema_state",
    "ema",
    "ema_state",
    "ema_model",
    "params_ema",
    "net_ema",
    "teacher",
)
_BODY_NAME = re.compile("backbone|body|encoder|trunk|features")
_HEAD_NAME = re.compile(r"(?:cls_)?head|classifier|fc")
# (What it is called here, and in files)
_HINTS = (("config", "cfg"), ("args", "hyper_parameters"), ("args", "args"), ("meta", "meta"))
# What holds tensors beside a model's
_OTHER_STATES = re.compile(
    r"optim|sched|scaler|moment|rng|random|loop|callback|sampler|loss|criter"
)
_COUNTERS = {"n_averaged", "steps"}  # beside the weights that an averaging wrapper holds
_PREFIXES = ("module.", "model.")
# Put by torch.compile, FSDP and activation checkpointing, before whichever module they wrap
_WRAPPED = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_MAX_NESTING = 4
_MAX_CONFIG = 1_000_000  # characters

_Content = dict[Any, Any]  # of a file, or of a part of it


def find_state(
    content: _Content, select: str, name: str, own: bool = False
) -> tuple[dict[str, Tensor], str | None]:
    """The tensors by key in `content`, a dict, without wrappings and prefixes.

    select: "model", or "ema" for averaged weights. `name` is what messages call the file. own: it is a
    checkpoint of ours, whose keys are the model's own. Returns the tensors, and the layout that they were in:
    "mmaction2", "openmixup", "dense", or None for ours. What is left out is logged. Raises
    `CheckpointError` when there are no such weights, or tensors that no model here can take.
    """
    average = find_average(content) if select == "ema" else None
    sets = _AVERAGES if average is not None else ()
    others = [key for key in sets if _holds_tensors(content.get(key))]
    found = _unwrap(content if average is None else average, own, others)
    if len(others) > 1:
        log.warning("%s: %s", name, _say_left_out(content, others))
    state = {
        key: value.detach()
        for key, value in found.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not state:
        raise CheckpointError(_no_tensors(content, found, name))
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_nested:
            raise CheckpointError(
                f"{name}: {key_for_messages(key)} is sparse, quantised or without values; save it as an "
                "ordinary tensor (to_dense(), dequantize())"
            )
    if all(not value.numel() for value in state.values()):
        raise CheckpointError(
            f"{name} holds tensors of size 0 alone, as one part of a distributed checkpoint does "
            "(DeepSpeed's zero_to_fp32.py makes one file of all parts)"
        )
    state = _strip(state, name)
    averaged_by_name = select == "ema" and average is None
    if own and not averaged_by_name:
        return state, None
    chosen = choose_model(state, averaged_by_name, name)
    if chosen is None:
        raise CheckpointError(
            f'{name} has no EMA (averaged) weights, it has {_keys(content)}; take weights="model"'
        )
    state, layout, left_out = chosen
    if openmixup.is_openmixup(state):
        state, layout = openmixup.from_openmixup(state), openmixup.LAYOUT
    if left_out:
        log.warning(
            "%s: left out, no part of the model: %s",
            name,
            name_some([key_for_messages(key) for key in left_out]),
        )
    return state, layout


def read_hints(content: _Content, layout: str | None) -> dict[str, Any]:
    """What a file of another project tells about itself, as plain data: {} or some of these.

    config: the settings of a PySlowFast run, nested. args: the options of an image training run, or of a
    run of Lightning.
    epoch: a number. meta: what MMAction2 notes (settings as text, class names). layout: the `layout`
    that `find_state` found, unless it is ours.
    """
    hints: dict[str, Any] = {"layout": layout} if layout else {}
    for key, source in _HINTS:
        value = content.get(source)
        if isinstance(value, str):
            value = _parse(value)
        if isinstance(value, (dict, Options)) and (value := plain(value)):
            hints[key] = value
    epoch = plain(content.get("epoch"))
    if isinstance(epoch, (int, float)):
        hints["epoch"] = epoch
    return hints


def find_average(content: _Content) -> _Content | None:
    """The part of `content` that holds averaged weights, or None."""
    if "mmengine_version" in (_dict(content.get("meta")) or {}) and "ema_state_dict" in content:
        # MMEngine swaps the two when it saves: `state_dict` is the average.
        return content
    training = _dict(content.get("training")) or {}
    for place in (content, training, _dict(training.get("parts")) or {}):
        for key in _AVERAGES:
            if isinstance(place.get(key), dict):
                return place[key]
    return None


def _unwrap(found: _Content, own: bool, sets: list[str] | None = None) -> _Content:
    """The dict inside `found` whose values are a model's tensors, as far as names tell.

    sets: gets the keys of the sets of tensors that stand beside each other, the one that is taken first.
    """
    for _ in range(_MAX_NESTING):
        taken = next((key for key in _WRAPPERS if _holds_tensors(found.get(key))), None)
        inner = None if taken is None else found[taken]
        if not own and sets is not None and len(sets) < 2 and (taken or _has_tensors(found)):
            beside = [key for key in _states(found) if key != taken]
            sets[:] = [taken or "the top level", *beside] if beside else sets
        if inner is None and not own and not _has_tensors(found):
            inner = _only_state(found)
        if inner is None:
            break
        found = inner
    return found


def _say_left_out(content: _Content, keys: Sequence[str]) -> str:
    """The line on the first of several sets of tensors, which is taken, and the rest, which are not."""
    taken, *others = map(key_for_messages, keys)
    line = f"takes the tensors of {taken} and leaves out those of {name_some(others)}"
    average = next((key for key in _AVERAGES if key in others), None)
    if average not in content or find_average(content) is not content[average]:
        return f"{line}; for others, save them alone: torch.save(torch.load(FILE)[NAME], ...)"
    return f'{line}; weights="ema" (convert --ema) takes {average}'


def _only_state(found: _Content) -> _Content | None:
    """The tensors in a dict whose one other part holds them, whatever its name; None for several.

    A backbone and its head, saved apart, are put together.
    """
    states = _states(found)
    if len(states) == 1:
        return next(iter(states.values()))
    if (
        len(states) == 2
        and len(bodies := [key for key in states if _BODY_NAME.fullmatch(key)]) == 1
    ):
        (head,) = [key for key in states if key not in bodies]
        if _HEAD_NAME.fullmatch(head):
            parts = {key: _unwrap(value, own=True) for key, value in states.items()}
            return {f"{part}.{key}": v for part, state in parts.items() for key, v in state.items()}
    return None


def _states(found: _Content) -> dict[str, _Content]:
    """The parts of a dict that may be a model's tensors."""
    return {
        key: value
        for key, value in found.items()
        if isinstance(key, str) and not _OTHER_STATES.search(key.lower()) and _holds_tensors(value)
    }


def _has_tensors(value: _Content) -> bool:
    return any(isinstance(item, torch.Tensor) for item in value.values())


def _holds_tensors(value: object, depth: int = _MAX_NESTING) -> bool:
    """Some files have settings under a name that is a wrapper in others."""
    if not isinstance(value, dict) or not depth:
        return False
    return _has_tensors(value) or any(
        _holds_tensors(value.get(key), depth - 1) for key in _WRAPPERS
    )


def _no_tensors(content: _Content, found: _Content, name: str) -> str:
    if len(states := list(_states(found))) > 1:
        return (
            f"{name} holds several sets of tensors ({name_some(states)}), and nothing tells which is the "
            "model; save that one alone: torch.save(torch.load(FILE)[NAME], ...)"
        )
    return f"{name} holds no tensors, so it is not a model's weights; it has {_keys(content)}"


def _strip(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    clean = {_WRAPPED.sub("", key): value for key, value in state.items()}
    if len(clean) < len(state):
        raise CheckpointError(
            f"{name} has the same tensor under two names, with and without _orig_mod."
        )
    while prefix := next((prefix for prefix in _PREFIXES if _all_carry(clean, prefix)), None):
        clean = {
            key.removeprefix(prefix): value for key, value in clean.items() if key not in _COUNTERS
        }
    return clean


def _all_carry(state: Iterable[str], prefix: str) -> bool:
    keys = [key for key in state if key not in _COUNTERS]
    return bool(keys) and all(key.startswith(prefix) and key != prefix for key in keys)


def _parse(text: str) -> Any:
    if len(text) > _MAX_CONFIG:
        return None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _dict(value: object) -> _Content | None:
    return value if isinstance(value, dict) else None


def _keys(content: _Content, most: int = 8) -> str:
    return name_some([key_for_messages(key) for key in content], most) or "nothing"


def key_for_messages(key: object) -> str:
    """A file's key for a message of one line, whatever is in it."""
    text = str(key)
    return text[:80] if text.isprintable() else repr(text)[:80]
