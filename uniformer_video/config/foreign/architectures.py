"""What decides the network of a PySlowFast model, and which values of that are the networks here.

Sources: slowfast/config/defaults.py, models/video_model_builder.py and models/ptv_model_builder.py of
facebookresearch/SlowFast; our side is what `models/peers.py` builds.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Key:
    """A key of theirs that decides an architecture: their default, and what the peer has.

    native: only PySlowFast's own class reads it, not the one from pytorchvideo.
    """

    theirs: object
    ours: object
    native: bool = False


def _same(value: object, native: bool = False) -> Key:
    return Key(value, value, native)


_NO_BLOCKS: list[list[list[Any]]] = [[[]], [[]], [[]], [[]]]
_BOTTLENECKS = {
    "RESNET.DEPTH": _same(50),
    "RESNET.NUM_GROUPS": _same(1),
    "RESNET.WIDTH_PER_GROUP": _same(64),
    "RESNET.TRANS_FUNC": _same("bottleneck_transform"),
    "RESNET.STRIDE_1X1": _same(False),
    "RESNET.NUM_BLOCK_TEMP_KERNEL": _same([[3], [4], [6], [3]], native=True),
    "RESNET.SPATIAL_STRIDES": _same([[1], [2], [2], [2]]),
    "RESNET.SPATIAL_DILATIONS": _same([[1], [1], [1], [1]]),
    "NONLOCAL.LOCATION": _same(_NO_BLOCKS, native=True),
}
_WIDENED = [[1, 2.0], [3, 2.0], [14, 2.0]]  # block, factor
ARCHITECTURES = {
    "resnet": {"MODEL.ARCH": Key("slowfast", "slow"), **_BOTTLENECKS},
    "slowfast": {
        "MODEL.ARCH": _same("slowfast"),
        "SLOWFAST.ALPHA": Key(8, 4),
        "SLOWFAST.BETA_INV": _same(8),
        "SLOWFAST.FUSION_CONV_CHANNEL_RATIO": _same(2),
        "SLOWFAST.FUSION_KERNEL_SZ": Key(5, 7),
        **_BOTTLENECKS,
    },
    "x3d": {
        "X3D.WIDTH_FACTOR": Key(1.0, 2.0),
        "X3D.DEPTH_FACTOR": Key(1.0, 2.2),
        "X3D.BOTTLENECK_FACTOR": Key(1.0, 2.25),
        "X3D.DIM_C5": _same(2048),
        "X3D.DIM_C1": _same(12),
        "X3D.SCALE_RES2": _same(False, native=True),
        "X3D.BN_LIN5": _same(False),
        "X3D.CHANNELWISE_3x3x3": _same(True, native=True),
        "RESNET.TRANS_FUNC": Key("bottleneck_transform", "x3d_transform"),
        "RESNET.STRIDE_1X1": _same(False),
        "RESNET.SPATIAL_DILATIONS": _same([[1], [1], [1], [1]], native=True),
    },
    "r2plus1d": {"RESNET.DEPTH": _same(50), "RESNET.WIDTH_PER_GROUP": _same(64)},
    "mvit": {
        "MVIT.REV.ENABLE": _same(False),
        "MVIT.PATCH_2D": _same(False),
        "MVIT.DEPTH": _same(16),
        "MVIT.EMBED_DIM": _same(96),
        "MVIT.NUM_HEADS": _same(1),
        "MVIT.MLP_RATIO": _same(4.0),
        "MVIT.PATCH_KERNEL": _same([3, 7, 7]),
        "MVIT.PATCH_STRIDE": _same([2, 4, 4]),
        "MVIT.PATCH_PADDING": Key([2, 4, 4], [1, 3, 3]),
        "MVIT.POOL_FIRST": _same(False),
        "MVIT.MODE": _same("conv"),
        "MVIT.NORM": _same("layernorm"),
        "MVIT.NORM_STEM": _same(False),
        "MVIT.QKV_BIAS": _same(True),
        "MVIT.CLS_EMBED_ON": _same(True),
        "MVIT.USE_MEAN_POOLING": _same(False),
        "MVIT.SEP_POS_EMBED": Key(False, True),
        "MVIT.USE_ABS_POS": _same(True),
        "MVIT.USE_FIXED_SINCOS_POS": _same(False),
        "MVIT.REL_POS_SPATIAL": _same(False),
        "MVIT.REL_POS_TEMPORAL": _same(False),
        "MVIT.DIM_MUL_IN_ATT": _same(False),
        "MVIT.RESIDUAL_POOLING": _same(False),
        "MVIT.LAYER_SCALE_INIT_VALUE": _same(0.0),
        "MVIT.DIM_MUL": Key([], _WIDENED),
        "MVIT.HEAD_MUL": Key([], _WIDENED),
        "MVIT.POOL_Q_STRIDE": Key([], [[1, 1, 2, 2], [3, 1, 2, 2], [14, 1, 2, 2]]),
        "MVIT.POOL_KV_STRIDE_ADAPTIVE": Key(None, [1, 8, 8]),
        "MVIT.POOL_KVQ_KERNEL": Key(None, [3, 3, 3]),
    },
}
