"""What a weights file tells about the architecture of a UniFormer; no model is built here."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from uniformer_video.weights import openmixup
from uniformer_video.weights.checkpoint import Weights


def read_arguments(weights: Weights) -> dict[str, Any]:
    """The arguments of `UniFormer` that `weights` show; {} for another kind of model.

    What changes no shape is among them only where the settings that training left in the file tell it:
    `head_dim`, and of light models `prune_ratio` and `trade_off`; or the layout of a project that has one
    answer: `head_dim`, `embed_norm_eps` and `init_value`. Light models are told by `is_light`.
    """
    shown = _read_shapes(weights.state)
    if not shown:
        return {}
    settings = weights.hints.get("config", {}).get("UNIFORMER", {})
    settings = settings if isinstance(settings, dict) else {}
    options = weights.hints.get("args", {})
    told = (settings.get("HEAD_DIM"), options.get("head_dim"), _head_dim_by_name(options))
    if head_dim := next((value for value in told if type(value) is int and value > 0), None):
        shown["head_dim"] = head_dim
    if weights.hints.get("layout") == openmixup.LAYOUT:
        shown["embed_norm_eps"] = openmixup.EMBED_NORM_EPS
        if shown["layer_scale"]:
            shown["init_value"] = openmixup.INIT_VALUE
        if not head_dim:
            shown |= _head_dim_of_openmixup(shown)
    if is_light(weights.state):
        for key in ("prune_ratio", "trade_off"):
            stages = settings.get(key.upper())
            if isinstance(stages, list) and all(isinstance(stage, list) for stage in stages):
                # Published files list more blocks than some models have.
                pairs = zip(stages, shown["depths"][2:], strict=False)
                shown[key] = [stage[:depth] for stage, depth in pairs]
    return shown


def _head_dim_by_name(options: Mapping[str, Any]) -> int | None:
    """What the name of the model tells among the options of an image training run, where it is clear."""
    name = options.get("model")
    found = re.search(r"uniformer.*_dim(\d+)", name) if isinstance(name, str) else None
    return int(found[1]) if found else None


def _head_dim_of_openmixup(shown: Mapping[str, Any]) -> dict[str, int]:
    """The width of the attention heads that OpenMixup gives its named sizes; {} for others."""
    widths = {(32, 64, 160, 256): 32, (64, 128, 320, 512): 64, (128, 192, 448, 640): 64}
    width = widths.get(tuple(shown["embed_dims"]))
    if width is None:
        return {}
    return {"head_dim": 32 if shown["conv_embeds"] else width}


def _read_shapes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    depths = [0] * 4
    for key in state:
        if match := re.match(r"blocks([1-4])\.(\d+)\.", key):
            stage = int(match[1]) - 1
            depths[stage] = max(depths[stage], int(match[2]) + 1)
    tensors = [
        *(_embedding(state, stage) for stage in range(1, 5)),
        _first_convolution(state),
        state.get("blocks1.0.attn.weight"),
        state.get("blocks1.0.mlp.fc1.weight"),
    ]
    found = [value for value in tensors if value is not None and value.dim() > 1 and value.numel()]
    if 0 in depths or len(found) < len(tensors):
        return {}
    *embeds, first, kernel, hidden = found
    conv_embeds = sum(f"patch_embed{stage}.proj.0.weight" in state for stage in range(1, 5))
    second = embeds[1]
    return {
        "embed_dims": [embed.shape[0] for embed in embeds],
        "depths": depths,
        "mlp_ratio": hidden.shape[0] / hidden.shape[1],
        "ndim": kernel.dim() - 2,
        "local_kernel": list(kernel.shape[2:]),
        "conv_embeds": conv_embeds,
        "split": "blocks3.0.t_attn.qkv.weight" in state,
        "std": conv_embeds < 4 and second.dim() == 5 and second.shape[2] == 3,
        "layer_scale": _layer_scale(state),
        "aux_head": "aux_head.weight" in state,
        "qkv_bias": "blocks3.0.attn.qkv.bias" in state,
        "representation_size": _rows(state, "pre_logits.fc.weight"),
        "in_channels": first.shape[1],
    }


def is_light(state: Mapping[str, Tensor]) -> bool:
    """Whether `state` is of a light model: it has a class token."""
    return "cls_token" in state


def _embedding(state: Mapping[str, Tensor], stage: int) -> Tensor | None:
    """The last convolution of a stage's embedding, or None."""
    names = ("proj.weight", "proj.3.weight", "proj.0.weight")
    return next((state[k] for n in names if (k := f"patch_embed{stage}.{n}") in state), None)


def _first_convolution(state: Mapping[str, Tensor]) -> Tensor | None:
    return state.get("patch_embed1.proj.weight", state.get("patch_embed1.proj.0.weight"))


def _rows(state: Mapping[str, Tensor], key: str) -> int:
    """The outputs of a linear layer, 0 where there is none."""
    return len(state[key]) if key in state else 0


def _layer_scale(state: Mapping[str, Tensor]) -> bool | str:
    if "blocks1.0.gamma_1" in state:
        return True
    return "global" if "blocks3.0.gamma_1" in state else False
