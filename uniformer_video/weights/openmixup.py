"""UniFormers for images as OpenMixup names their tensors, and ours: the same network, other keys.

Its LayerNorms of patch embeddings have an epsilon of 1e-6, the original ones 1e-5, which no tensor tells.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

LAYOUT = "openmixup"
EMBED_NORM_EPS = 1e-6
INIT_VALUE = 1e-6  # what its factors of layer scale start from, in every block
_PREFIX, _HEAD = "backbone.", "head.fc."
# Of which stages the blocks' norms have which letters before their number.
_STAGES = (("[12]", "bn"), ("[34]", "ln"))


def is_openmixup(state: Mapping[str, Tensor]) -> bool:
    """Whether tensors without prefix have OpenMixup's keys."""
    return any(key.startswith("patch_embed1.projection.") for key in state)


def from_openmixup(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under OpenMixup's keys, without the prefix of the backbone, under ours."""
    return {_our_key(key): value for key, value in state.items()}


def to_openmixup(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an image UniFormer under our keys as OpenMixup's whole classifier has them.

    Blocks without layer scale get factors of 1, which change nothing: OpenMixup's models have them
    everywhere, and would start from 1e-6 where a file has none.
    """
    full = dict(state)
    for key in [key for key in state if key.endswith("norm1.weight")]:
        stem, width = key.removesuffix("norm1.weight"), len(state[key])
        shape = (1, width, 1, 1) if re.match("blocks[12]", stem) else (width,)
        for name in ("gamma_1", "gamma_2"):
            full.setdefault(stem + name, torch.ones(shape, dtype=state[key].dtype))
    return {_their_key(key): value for key, value in full.items()}


def _our_key(key: str) -> str:
    key = key.replace(".projection.", ".proj.").replace(".ffn.fc", ".mlp.fc")
    for _, letters in _STAGES:
        key = re.sub(rf"^(blocks\d\.\d+\.){letters}([12])\.", r"\1norm\2.", key)
    return re.sub(r"^norm3\.", "norm.", key).replace(_HEAD, "head.")


def _their_key(key: str) -> str:
    if key.startswith("head."):
        return key.replace("head.", _HEAD)
    key = re.sub(r"^(patch_embed\d)\.proj\.", r"\1.projection.", key).replace(".mlp.fc", ".ffn.fc")
    for stages, letters in _STAGES:
        key = re.sub(rf"^(blocks{stages}\.\d+\.)norm([12])\.", rf"\1{letters}\2.", key)
    return _PREFIX + re.sub(r"^norm\.", "norm3.", key)
