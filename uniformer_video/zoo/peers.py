"""The named models of pytorchvideo's families, and what is published about them on Kinetics-400.

Sources: pytorchvideo's model zoo (docs/source/model_zoo.md) for the numbers, PySlowFast's
configs/Kinetics/pytorchvideo for the test crops. The zoo's own GFLOPs are those of the test crops.
"""

from uniformer_video.models.peers import (
    build_mvit,
    build_r2plus1d,
    build_slow,
    build_slowfast,
    build_x3d,
)
from uniformer_video.zoo.family import Family, ListedWeights, NamedModel

_ZOO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"
_SETTINGS = {
    "DATA.NUM_FRAMES": "num_frames",
    "DATA.TRAIN_CROP_SIZE": "crop_size",
    "MODEL.DROPOUT_RATE": "head_dropout",
}

X3D = Family("x3d", build_x3d, _SETTINGS, "blocks.5.proj")
SLOW = Family("slow", build_slow, _SETTINGS, "blocks.5.proj")
SLOWFAST = Family("slowfast", build_slowfast, _SETTINGS, "blocks.6.proj")
R2PLUS1D = Family("r2plus1d", build_r2plus1d, _SETTINGS, "blocks.5.proj")
MVIT = Family(
    "mvit", build_mvit, {**_SETTINGS, "MVIT.DROPPATH_RATE": "drop_path_rate"}, "head.proj"
)


def _peer(
    name: str,
    family: Family,
    num_frames: int,
    stride: int,
    crop_size: int,
    gflops: float,
    top1: float,
    tested: tuple[int, str],
    file: str,
) -> NamedModel:
    """`tested`: the side in pixels, and the clips x crops of the published accuracy, `top1`."""
    side, views = tested
    protocol = f"{num_frames} frames, stride {stride}, {side} pixels, {views} views"
    return NamedModel(
        name,
        family,
        {"num_frames": num_frames, "crop_size": crop_size},
        num_frames,
        crop_size,
        gflops=gflops,
        weights=(ListedWeights(_ZOO + file, "K400", top1, protocol),),
    )


PEERS = (
    _peer("x3d_xs", X3D, 4, 12, 160, 0.63, 69.12, (182, "10x3"), "X3D_XS.pyth"),
    _peer("x3d_s", X3D, 13, 6, 160, 2.03, 73.33, (182, "10x3"), "X3D_S.pyth"),
    _peer("x3d_m", X3D, 16, 5, 224, 4.90, 75.94, (256, "10x3"), "X3D_M.pyth"),
    _peer("slow_r50", SLOW, 8, 8, 224, 41.92, 74.58, (256, "10x3"), "SLOW_8x8_R50.pyth"),
    # 8x8 counts the frames of the slow pathway: one in four of a clip of 32 frames, 2 apart
    _peer(
        "slowfast_r50", SLOWFAST, 32, 2, 224, 50.58, 76.94, (256, "10x3"), "SLOWFAST_8x8_R50.pyth"
    ),
    _peer(
        "r2plus1d_r50", R2PLUS1D, 16, 4, 224, 57.93, 76.01, (256, "10x3"), "R2PLUS1D_16x4_R50.pyth"
    ),
    _peer("mvit_base_16x4", MVIT, 16, 4, 224, 70.80, 78.85, (224, "5x1"), "MVIT_B_16x4.pyth"),
)
