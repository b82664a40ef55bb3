"""The state dict in a weights file with UniFormer's keys, out of any wrapping, and its other hints."""

import re

import torch
import yaml

from uniformer_video.errors import CheckpointError
from uniformer_video.weights.unpickle import Options, plain

_WRAPPERS = ("model", "model_state", "state_dict", "model_state_dict", "module")
_AVERAGES = (
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "model_ema_state",
    "ema",
    "ema_state",
    "ema_model",
)
_COUNTERS = {"n_averaged", "steps"}  # beside the weights that an averaging wrapper holds
_PREFIXES = ("module.", "model.")
# Put by torch.compile, FSDP and activation checkpointing, before whichever module they wrap
_WRAPPED = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
_MMACTION2 = ("backbone.", "cls_head.", "data_preprocessor.")
_MAX_NESTING = 4
_MAX_CONFIG = 1_000_000  # characters


def find_state(content, select, name):
    """The tensors by key in `content`, a dict, without wrappings and prefixes.

    select: "model", or "ema" for averaged weights. `name` is what messages call the file. Returns the
    tensors, and the layout that they were in: "mmaction2", or None for ours. Raises `CheckpointError`
    when there are no such weights, or tensors that no model here can take.
    """
    found = content if select == "model" else _find_average(content, name)
    for _ in range(_MAX_NESTING):
        found = next((found[key] for key in _WRAPPERS if _may_be_state(found.get(key))), found)
    state = {
        key: value.detach()
        for key, value in found.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if not state:
        raise CheckpointError(
            f"{name} holds no tensors, so it is not a model's weights; it has {_keys(content)}"
        )
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta or value.is_nested:
            raise CheckpointError(
                f"{name}: {key_for_messages(key)} is sparse, quantised or without values; save it as an "
                "ordinary tensor (to_dense(), dequantize())"
            )
    state = _strip(state, name)
    if _is_mmaction2(state):
        return _from_mmaction2(state), "mmaction2"
    return state, None


def read_hints(content, layout):
    """What a file of another project tells about itself, as plain data: {} or some of these.

    config: the settings of a PySlowFast run, nested. args: the options of an image training run.
    epoch: a number. meta: what MMAction2 notes (settings as text, class names). layout: the `layout`
    that `find_state` found, unless it is ours.
    """
    hints = {"layout": layout} if layout else {}
    for key, source in (("config", "cfg"), ("args", "args"), ("meta", "meta")):
        value = content.get(source)
        if isinstance(value, str):
            value = _parse(value)
        if isinstance(value, (dict, Options)) and (value := plain(value)):
            hints[key] = value
    epoch = plain(content.get("epoch"))
    if isinstance(epoch, (int, float)):
        hints["epoch"] = epoch
    return hints


def _find_average(content, name):
    if "mmengine_version" in (_dict(content.get("meta")) or {}) and "ema_state_dict" in content:
        # MMEngine swaps the two when it saves: `state_dict` is the average.
        return content
    for place in (content, _dict(content.get("training")) or {}):
        for key in _AVERAGES:
            if isinstance(place.get(key), dict):
                return place[key]
    raise CheckpointError(
        f'{name} has no EMA (averaged) weights, it has {_keys(content)}; take weights="model"'
    )


def _may_be_state(value):
    """Some files have settings under a name that is a wrapper in others."""
    return isinstance(value, dict) and (
        any(isinstance(item, torch.Tensor) for item in value.values())
        or any(key in value for key in _WRAPPERS)
    )


def _strip(state, name):
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


def _all_carry(state, prefix):
    keys = [key for key in state if key not in _COUNTERS]
    return bool(keys) and all(key.startswith(prefix) and key != prefix for key in keys)


def _is_mmaction2(state):
    known = all(key.startswith(_MMACTION2) for key in state)
    return known and any(key.startswith("backbone.") for key in state)


def _from_mmaction2(state):
    """MMAction2 puts the classifier's linear layer, under a name of its choice, beside the backbone."""
    linear = [
        key.removesuffix("weight")
        for key, value in state.items()
        if key.startswith("cls_head.") and key.endswith(".weight") and value.dim() == 2
    ]
    classifier = linear[0] if len(linear) == 1 else None
    renamed = {}
    for key, value in state.items():
        if key.startswith("data_preprocessor."):
            continue
        if classifier and key.startswith(classifier):
            key = "head." + key.removeprefix(classifier)
        renamed[key.removeprefix("backbone.")] = value
    return renamed


def _parse(text):
    if len(text) > _MAX_CONFIG:
        return None
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _dict(value):
    return value if isinstance(value, dict) else None


def _keys(content, most=8):
    keys = [key_for_messages(key) for key in content]
    if not keys:
        return "nothing"
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def key_for_messages(key):
    """A file's key for a message of one line, whatever is in it."""
    text = str(key)
    return text[:80] if text.isprintable() else repr(text)[:80]
