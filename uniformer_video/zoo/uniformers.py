"""The named UniFormers for video and images."""

import re
from typing import Any

from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.zoo.family import ListedWeights, NamedModel
from uniformer_video.zoo.published import DATASETS, PUBLISHED
from uniformer_video.zoo.uniformer_family import UniFormerFamily

SETTINGS = {
    "MODEL.USE_CHECKPOINT": "checkpoint_blocks",
    "MODEL.CHECKPOINT_NUM": "checkpoint_blocks",
    "UNIFORMER.EMBED_DIM": "embed_dims",
    "UNIFORMER.DEPTH": "depths",
    "UNIFORMER.HEAD_DIM": "head_dim",
    "UNIFORMER.MLP_RATIO": "mlp_ratio",
    "UNIFORMER.LOCAL_KERNEL": "local_kernel",
    "UNIFORMER.ADAPT_KERNEL": "local_kernel",
    "UNIFORMER.SPLIT": "split",
    "UNIFORMER.STD": "std",
    "UNIFORMER.LAYER_SCALE": "layer_scale",
    "UNIFORMER.INIT_VALUE": "init_value",
    "UNIFORMER.QKV_BIAS": "qkv_bias",
    "UNIFORMER.QKV_SCALE": "qk_scale",
    "UNIFORMER.REPRESENTATION_SIZE": "representation_size",
    "UNIFORMER.DROP_DEPTH_RATE": "drop_path_rate",
    "UNIFORMER.DROP_DEPTH_GLOBAL": "global_drop_path",
    "UNIFORMER.DROPOUT_RATE": "dropout_rate",
    "UNIFORMER.ATTENTION_DROPOUT_RATE": "attention_dropout_rate",
    "UNIFORMER.HEAD_DROPOUT_RATE": "head_dropout_rate",
}
HOURGLASS_SETTINGS = {"UNIFORMER.PRUNE_RATIO": "prune_ratio", "UNIFORMER.TRADE_OFF": "trade_off"}
_SIZES = ("ndim", "embed_dims", "depths", "head_dim", "mlp_ratio", "conv_embeds")

UNIFORMER = UniFormerFamily("uniformer", UniFormer, SETTINGS, sizes=_SIZES)
LIGHT = UniFormerFamily(
    "uniformer_light",
    LightUniFormer,
    {**SETTINGS, **HOURGLASS_SETTINGS},
    sizes=_SIZES,
    light=True,
)

_SMALL: dict[str, Any] = {"embed_dims": [64, 128, 320, 512], "depths": [3, 4, 8, 3], "head_dim": 64}
_PLUS = {**_SMALL, "depths": [3, 5, 9, 3], "head_dim": 32, "conv_embeds": 4}
_BASE = {**_SMALL, "depths": [5, 8, 20, 7]}
# OpenMixup's: its weights need this epsilon.
_TINY: dict[str, Any] = {
    "embed_dims": [32, 64, 160, 256],
    "depths": [3, 4, 8, 3],
    "head_dim": 32,
    "layer_scale": True,
    "init_value": 1e-6,
    "embed_norm_eps": 1e-6,
}
_LARGE: dict[str, Any] = {
    "embed_dims": [128, 192, 448, 640],
    "depths": [5, 10, 24, 7],
    "head_dim": 64,
    "layer_scale": True,
    "init_value": 1e-6,
}
_XXS: dict[str, Any] = {
    "embed_dims": [56, 112, 224, 448],
    "depths": [2, 5, 8, 2],
    "head_dim": 28,
    "mlp_ratio": 3.0,
}
_XS: dict[str, Any] = {
    "embed_dims": [64, 128, 256, 512],
    "depths": [3, 5, 9, 3],
    "head_dim": 32,
    "mlp_ratio": 3.0,
}
# Token labelling adds a second head, and the first such weights have narrower attention heads.
_LABELLED: dict[str, Any] = {"aux_head": True, "head_dim": 32}


def _video(
    name: str,
    arguments: dict[str, Any],
    gflops: float,
    family: UniFormerFamily = UNIFORMER,
    num_frames: int = 16,
    crop_size: int = 224,
) -> NamedModel:
    return NamedModel(
        name,
        family,
        {**arguments, "ndim": 3},
        num_frames,
        crop_size,
        gflops=gflops,
        figure_arguments={"local_kernel": (5, 5, 5)},
        weights=_list_weights(name),
    )


def _image(
    name: str,
    arguments: dict[str, Any],
    gflops: float,
    family: UniFormerFamily = UNIFORMER,
    **more: Any,
) -> NamedModel:
    return NamedModel(
        name,
        family,
        {**arguments, "ndim": 2, **more},
        num_frames=0,
        crop_size=224,
        num_classes=1000,
        gflops=gflops,
        figure_arguments={"local_kernel": (5, 5)},
        video_model=re.sub(r"^image_|_tl|_dim64|_ls", "", name),
        weights=_list_weights(name),
    )


def _list_weights(name: str) -> tuple[ListedWeights, ...]:
    found = []
    for weights in PUBLISHED.values():
        if weights.model == name:
            source, title = weights.name if weights.url else "", DATASETS[weights.data]
            found.append(ListedWeights(source, title, weights.top1, weights.describe_protocol()))
    return tuple(found)


UNIFORMERS = (
    _video("uniformer_xxs", _XXS, 4.21, LIGHT, 16, 128),
    _video("uniformer_xs", _XS, 33.91, LIGHT, 32, 192),
    _video("uniformer_t", _TINY, 14.12),
    _video("uniformer_s", _SMALL, 41.76),
    _video("uniformer_s_plus", _PLUS, 49.01),
    _video("uniformer_b", _BASE, 96.74),
    _video("uniformer_l", _LARGE, 209.21),
    _image("image_uniformer_xxs", _XXS, 1.31, LIGHT),
    _image("image_uniformer_xs", _XS, 1.94, LIGHT),
    _image("image_uniformer_t", _TINY, 0.98),
    _image("image_uniformer_s", _SMALL, 3.64),
    _image("image_uniformer_s_plus", _PLUS, 4.21),
    _image("image_uniformer_s_plus_dim64", _PLUS, 4.21, head_dim=64),
    _image("image_uniformer_b", _BASE, 8.27),
    _image("image_uniformer_b_ls", _BASE, 8.27, layer_scale="global", init_value=1e-6),
    _image("image_uniformer_s_tl", _SMALL, 3.67, **_LABELLED),
    _image("image_uniformer_s_tl_dim64", _SMALL, 3.67, aux_head=True),
    _image("image_uniformer_s_plus_tl", _PLUS, 4.24, **_LABELLED),
    _image("image_uniformer_s_plus_tl_dim64", _PLUS, 4.24, aux_head=True, head_dim=64),
    _image("image_uniformer_b_tl", _BASE, 8.3, **_LABELLED),
    _image("image_uniformer_b_tl_dim64", _BASE, 8.3, aux_head=True),
    _image("image_uniformer_l", _LARGE, 19.72, embed_norm_eps=1e-6),
    _image("image_uniformer_l_ls_tl", _LARGE, 19.76, aux_head=True),
)
