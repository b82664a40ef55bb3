"""The named segmentation models: their heads, on the UniFormers whose names they end with.

Their figures are those of images of 512x512 and 150 classes (ADE20K), without the auxiliary head, and with
attention over the whole map in stage 3.
"""

from typing import Any

from uniformer_video.models.dense.segmentation import LightSemanticFPN, SemanticFPN, UperNet
from uniformer_video.zoo.dense_family import DenseFamily
from uniformer_video.zoo.family import NamedModel
from uniformer_video.zoo.uniformers import HOURGLASS_SETTINGS, SETTINGS, UNIFORMERS

_SIDE, _CLASSES = 512, 150
_SIZES = ("embed_dims", "depths", "head_dim", "mlp_ratio", "conv_embeds")
_OF_BACKBONES = {
    key: option
    for key, option in SETTINGS.items()
    if option not in ("split", "std", "representation_size", "head_dropout_rate", "local_kernel")
}
_ATTENTION = {"UNIFORMER.WINDOW": "window", "UNIFORMER.HYBRID": "hybrid"}
_HEAD = {"UNIFORMER.HEAD_CHANNELS": "head_channels"}
_NECK = {"UNIFORMER.NECK_CHANNELS": "neck_channels"}
_FPN_KEY = "decode_head.scale_heads.0.0.conv.weight"
_UPERNET_KEY = "decode_head.psp_modules.0.1.conv.weight"

SEMANTIC_FPN = DenseFamily(
    "semantic_fpn",
    SemanticFPN,
    {**_OF_BACKBONES, **_ATTENTION, **_HEAD, **_NECK},
    "decode_head.conv_seg",
    _SIZES,
    head_key=_FPN_KEY,
)
LIGHT_SEMANTIC_FPN = DenseFamily(
    "semantic_fpn_light",
    LightSemanticFPN,
    {**_OF_BACKBONES, **HOURGLASS_SETTINGS, **_HEAD, **_NECK},
    "decode_head.conv_seg",
    _SIZES,
    light=True,
    head_key=_FPN_KEY,
)
UPERNET = DenseFamily(
    "upernet",
    UperNet,
    {**_OF_BACKBONES, **_ATTENTION, **_HEAD},
    "decode_head.conv_seg",
    _SIZES,
    head_key=_UPERNET_KEY,
)


def _model(family: DenseFamily, head: str, size: str, gflops: float) -> NamedModel:
    """`size`: of the image UniFormer whose name ends with it."""
    image = next(model for model in UNIFORMERS if model.name == f"image_uniformer_{size}")
    arguments: dict[str, Any] = {key: v for key, v in image.arguments.items() if key != "ndim"}
    return NamedModel(
        f"{head}_uniformer_{size}", family, arguments, 0, _SIDE, _CLASSES, gflops=gflops
    )


DENSE = (
    _model(LIGHT_SEMANTIC_FPN, "semantic_fpn", "xxs", 29.28),
    _model(LIGHT_SEMANTIC_FPN, "semantic_fpn", "xs", 32.89),
    _model(SEMANTIC_FPN, "semantic_fpn", "s", 45.06),
    _model(SEMANTIC_FPN, "semantic_fpn", "b", 75.97),
    _model(UPERNET, "upernet", "s", 234.37),
    _model(UPERNET, "upernet", "b", 265.29),
)
