"""Weights and inputs of the parity data: every tensor is a function of its key and shape alone."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

FIXTURES = Path(__file__).parents[1] / "fixtures"
CASES = tuple(json.loads((FIXTURES / "parity.json").read_text()))
# Of images: {case: the model that its weights belong to}.
IMAGE_CASES = {
    "openmixup_tiny": "image_uniformer_t",
    "openmixup_small_plus": "image_uniformer_s_plus",
    "tl_uniformer_small": "image_uniformer_s_tl",
    "tl_uniformer_large_ls": "image_uniformer_l_ls_tl",
}
# Of segmentation, detection and pose: {case: (the model that its weights belong to, its attention)}.
DENSE_CASES = {
    "backbone_s_windows14": ("uniformer_s", {"window": 14}),
    "backbone_s_hybrid14_512": ("uniformer_s", {"window": 14, "hybrid": True}),
    "backbone_xxs": ("uniformer_xxs", {}),
    "fpn_xxs": ("semantic_fpn_uniformer_xxs", {}),
    "upernet_s_hybrid14": ("upernet_uniformer_s", {"window": 14, "hybrid": True}),
    "pose_s": ("uniformer_s", {}),
}


def dense_case(name):
    """(facts, {output: every so many of its float64 values}) of the published implementation."""
    facts = json.loads((FIXTURES / "parity_dense.json").read_text())[name]
    with np.load(FIXTURES / "parity_dense.npz") as outputs:
        return facts, {key: outputs[f"{name}/{key}"] for key in facts["outputs"]}


def case(name):
    """(facts, float64 logits) of the published implementation."""
    file = "parity_images" if name in IMAGE_CASES else "parity"
    facts = json.loads((FIXTURES / f"{file}.json").read_text())[name]
    with np.load(FIXTURES / f"{file}.npz") as logits:
        return facts, logits[name]


def state(keys):
    """The state dict for `{key: shape}`, float64."""
    return {key: torch.from_numpy(np.asarray(_tensor(key, shape))) for key, shape in keys.items()}


def image_facts(name):
    """(facts, {what was recorded: values}) of a case of images."""
    facts = json.loads((FIXTURES / "parity_images.json").read_text())[name]
    with np.load(FIXTURES / "parity_images.npz") as values:
        prefix = f"{name}/"
        return facts, {k.removeprefix(prefix): values[k] for k in values if k.startswith(prefix)}


def clip(shape, seed=0):
    """The input, N(0, 1), float64."""
    return torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).standard_normal(shape))


def _tensor(key, shape):
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    is_factor = key.endswith("running_var") or "gamma_" in key
    if is_factor or (key.endswith(".weight") and len(shape) == 1):
        return 0.5 + rng.random(shape)
    if key.endswith(("running_mean", "bias")):
        return 0.1 * rng.standard_normal(shape)
    if key == "cls_token":
        return rng.standard_normal(shape)
    gain = 2.0 if ".qkv." in key else 1.0
    return gain * rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
