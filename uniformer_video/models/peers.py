"""Peers of UniFormer from pytorchvideo: X3D, Slow, SlowFast, R(2+1)D and MViT, as `[B, K]` models.

Every peer has pytorchvideo's own state-dict keys and shapes, so its published `.pyth` files (under
`model_state`) load strictly at 400 classes. Unlike pytorchvideo's builders, every peer returns
logits, in training as in evaluation.
"""

import importlib
import math
import sys
import threading
import types
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from uniformer_video.errors import ConfigError, MissingLibraryError

TOTAL_STRIDE = 32  # in space, of every peer; also the smallest side that is accepted
SLOWFAST_ALPHA = 4  # fast frames for each slow one
ZOO = "https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/"


@dataclass(frozen=True)
class Peer:
    """A peer's native input and what is published about it, on Kinetics-400.

    `sampling_rate` is the step between frames, `crop_size` and `test_crop_size` are sides in pixels.
    `gflops` is of one view of `crop_size` (multiply-adds, norms included; the zoo's own figures are
    for the larger test crops), `top1` (percent) of `clips` x `crops` views of `test_crop_size`.
    `weights` is the address of the published file. Frames and crop sides other than the native ones
    are accepted in multiples of `frame_multiple` and `side_multiple`.

    Sources: pytorchvideo's model zoo (docs/source/model_zoo.md) for the numbers, PySlowFast's
    configs/Kinetics/pytorchvideo for the test crops.
    """

    family: str
    num_frames: int
    sampling_rate: int
    crop_size: int
    test_crop_size: int
    top1: float
    gflops: float
    params_millions: float
    weights: str
    clips: int = 10
    crops: int = 3
    frame_multiple: int = 1
    side_multiple: int = 1


PEERS = {
    "x3d_xs": Peer("x3d", 4, 12, 160, 182, 69.12, 0.63, 3.79, ZOO + "X3D_XS.pyth"),
    "x3d_s": Peer("x3d", 13, 6, 160, 182, 73.33, 2.03, 3.79, ZOO + "X3D_S.pyth"),
    "x3d_m": Peer("x3d", 16, 5, 224, 256, 75.94, 4.90, 3.79, ZOO + "X3D_M.pyth"),
    "slow_r50": Peer("slow", 8, 8, 224, 256, 74.58, 41.92, 32.45, ZOO + "SLOW_8x8_R50.pyth"),
    # 8x8 counts the slow frames: one in SLOWFAST_ALPHA of a clip of 32 frames, 2 apart
    "slowfast_r50": Peer(
        "slowfast", 32, 2, 224, 256, 76.94, 50.58, 34.57, ZOO + "SLOWFAST_8x8_R50.pyth",
        frame_multiple=SLOWFAST_ALPHA,
    ),
    "r2plus1d_r50": Peer(
        "r2plus1d", 16, 4, 224, 256, 76.01, 57.93, 28.11, ZOO + "R2PLUS1D_16x4_R50.pyth"
    ),
    # patches of 2 frames and 4 x 4 pixels
    "mvit_base_16x4": Peer(
        "mvit", 16, 4, 224, 224, 78.85, 70.80, 36.61, ZOO + "MVIT_B_16x4.pyth",
        clips=5, crops=1, frame_multiple=2, side_multiple=4,
    ),
}  # fmt: skip


def build_peer(name, num_classes, num_frames=None, crop_size=None):
    """A fresh `PeerModel` called `name`, for clips of `num_frames` frames and `crop_size` pixels.

    Sizes left out are the native ones of `PEERS`. Errors: `ConfigError` for an unknown name or an
    impossible size, `MissingLibraryError` without pytorchvideo.
    """
    if name not in PEERS:
        raise ConfigError(f"unknown peer model {name!r}; known peers: {', '.join(PEERS)}")
    peer = PEERS[name]
    num_frames = peer.num_frames if num_frames is None else num_frames
    crop_size = peer.crop_size if crop_size is None else crop_size
    _check_classes(num_classes)
    _check_size(name, "frames", num_frames, peer.frame_multiple, peer.frame_multiple)
    _check_size(name, "pixels a side", crop_size, peer.side_multiple, TOTAL_STRIDE)
    if peer.family == "mvit":
        network = _build_mvit(num_classes, num_frames, crop_size)
        return MViTPeer(network, "head", num_classes, num_frames, crop_size)
    network = _build_conv(peer.family, num_classes, num_frames, crop_size)
    head = f"blocks.{len(network.blocks) - 1}"
    alpha = SLOWFAST_ALPHA if peer.family == "slowfast" else None
    return ConvPeer(network, head, num_classes, num_frames, crop_size, alpha)


class PeerModel(nn.Module):
    """What all peers share; holds the layers of a pytorchvideo network under their own names.

    `arguments` is what `build_peer` needs, beside name and classes, to build the model again;
    `head_keys` are the state-dict keys of the classifier's weight and bias.
    """

    head_std = 0.01

    def __init__(self, network, head, num_classes, num_frames, crop_size):
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        self.num_classes = num_classes
        self.num_frames = num_frames
        self.crop_size = crop_size
        self.arguments = {"num_frames": num_frames, "crop_size": crop_size}
        self.head_keys = (f"{head}.proj.weight", f"{head}.proj.bias")
        self._head = head

    def training_outputs(self, x):
        """`[B, 3, T, H, W]` -> a tuple of what the loss needs: the logits `[B, num_classes]`."""
        return (self(x),)

    def reset_classifier(self, num_classes):
        """Replaces the classifier by a fresh one of `num_classes` rows, on the same device."""
        _check_classes(num_classes)
        head = self.get_submodule(self._head)
        like = {"device": head.proj.weight.device, "dtype": head.proj.weight.dtype}
        head.proj = nn.Linear(head.proj.in_features, num_classes, **like)
        nn.init.trunc_normal_(head.proj.weight, std=self.head_std)
        nn.init.zeros_(head.proj.bias)
        self.num_classes = num_classes

    def no_weight_decay(self):
        """Names of the parameters that weight decay leaves alone, beside norms and biases."""
        return set()

    def _check_input(self, x, fits, sides):
        """An error unless `x` is a clip of `num_frames` and `fits(side)` for height and width."""
        if x.dim() != 5 or x.shape[1] != 3:
            raise ValueError(f"the model takes [B, 3, T, H, W], got {list(x.shape)}")
        if x.shape[2] != self.num_frames or not all(fits(side) for side in x.shape[3:]):
            raise ConfigError(
                f"the model was built for {self.num_frames} frames and {sides}, got clips of "
                f"{x.shape[2]} frames and {x.shape[3]}x{x.shape[4]} pixels; build it with their "
                "num_frames and crop_size, or change the clips"
            )


class ConvPeer(PeerModel):
    """A convolutional peer. With `alpha`, SlowFast: the slow pathway takes one frame in `alpha`.

    The head pools over windows of the size that a clip of `crop_size` fills. A larger crop gives
    several windows; see `merge_positions`.
    """

    def __init__(self, network, head, num_classes, num_frames, crop_size, alpha=None):
        super().__init__(network, head, num_classes, num_frames, crop_size)
        self.alpha = alpha

    def forward(self, x):
        """`[B, 3, T, H, W]`, with H and W of `crop_size` or more -> logits `[B, num_classes]`."""
        least = _grid(self.crop_size)
        self._check_input(
            x, lambda side: _grid(side) >= least, f"at least {self.crop_size} pixels a side"
        )
        if self.alpha:
            x = [x.index_select(2, slow_frames(x.shape[2], self.alpha, x.device)), x]
        for block in self.blocks:
            x = block(x)
        return merge_positions(x)


class MViTPeer(PeerModel):
    """MViT; its positional encodings fix both the frames and the sides of a clip."""

    head_std = 0.02

    def forward(self, x):
        """`[B, 3, num_frames, crop_size, crop_size]` -> logits `[B, num_classes]`."""
        self._check_input(x, lambda side: side == self.crop_size, f"{self.crop_size} pixels a side")
        tokens = self.cls_positional_encoding(self.patch_embed(x))
        grid = self.cls_positional_encoding.patch_embed_shape
        for block in self.blocks:
            tokens, grid = block(tokens, grid)
        return self.head(self.norm_embed(tokens))

    def no_weight_decay(self):
        """The class token and the positional encodings."""
        encoding = self.cls_positional_encoding
        return {f"cls_positional_encoding.{name}" for name, _ in encoding.named_parameters()}


def slow_frames(num_frames, alpha, device=None):
    """Indices of SlowFast's slow frames, `int64 [num_frames // alpha]`, first and last included.

    Evenly spaced and truncated, as `PackPathway` of pytorchvideo's examples has it; in integers,
    so that no device rounds otherwise.
    """
    count = num_frames // alpha
    return torch.arange(count, device=device) * (num_frames - 1) // max(count - 1, 1)


def merge_positions(logits):
    """Logits at every position of the head `[B, K, t, h, w]` -> logits of the clip `[B, K]`.

    Their softmax is the mean of the positions' softmax, which is how the published accuracies with
    test crops larger than training crops were taken; one position passes unchanged.
    """
    logits = logits.flatten(2)
    positions = logits.shape[-1]
    if positions == 1:
        return logits.squeeze(-1)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    level = logits.logsumexp(1, keepdim=True)
    return (logits - level).logsumexp(-1) - math.log(positions) + level.mean(-1)


def _grid(side):
    """Cells that a side of that many pixels has after the last stage."""
    return -(-side // TOTAL_STRIDE)


def _check_classes(num_classes):
    if num_classes < 1:
        raise ConfigError(f"num_classes is at least 1, got {num_classes}")


def _check_size(name, what, value, multiple, least):
    if value < least or value % multiple:
        allowed = f"any number of {what} from {least}"
        if multiple > 1:
            lower = max(value // multiple * multiple, least)
            allowed += f" in steps of {multiple}; use {lower} or {lower + multiple}"
        raise ConfigError(f"{name} takes {allowed}, got {value}")


def _build_conv(family, num_classes, num_frames, crop_size):
    window = (_grid(crop_size), _grid(crop_size))
    options = {
        "model_num_class": num_classes,
        "dropout_rate": 0.5,
        "head_activation": None,
        "head_output_with_global_average": False,
    }
    if family == "x3d":
        return _pytorchvideo("x3d").create_x3d(
            input_clip_length=num_frames,
            input_crop_size=crop_size,
            inner_act=nn.SiLU,  # pytorchvideo's Swish in one step, and open to export
            **options,
        )
    if family == "slowfast":
        return _pytorchvideo("slowfast").create_slowfast(
            head_pool_kernel_sizes=((num_frames // SLOWFAST_ALPHA, *window), (num_frames, *window)),
            **options,
        )
    if family == "r2plus1d":
        strided_frames = -(-num_frames // 4)  # two stages halve the frames
        return _pytorchvideo("r2plus1d").create_r2plus1d(
            head_pool_kernel_size=(strided_frames, *window), **options
        )
    return _pytorchvideo("resnet").create_resnet(
        stem_conv_kernel_size=(1, 7, 7), head_pool_kernel_size=(num_frames, *window), **options
    )


def _build_mvit(num_classes, num_frames, crop_size):
    create = _pytorchvideo("vision_transformers").create_multiscale_vision_transformers
    # The builder computes its widths with tensors and reads them, which the meta device cannot.
    with torch.device("cpu"):
        network = create(
            spatial_size=crop_size,
            temporal_size=num_frames,
            embed_dim_mul=[[1, 2.0], [3, 2.0], [14, 2.0]],
            atten_head_mul=[[1, 2.0], [3, 2.0], [14, 2.0]],
            pool_q_stride_size=[[1, 1, 2, 2], [3, 1, 2, 2], [14, 1, 2, 2]],
            pool_kv_stride_adaptive=[1, 8, 8],
            pool_kvq_kernel=[3, 3, 3],
            head_num_classes=num_classes,
        )
    return network.to(torch.get_default_device())


_IMPORT_LOCK = threading.Lock()


def _pytorchvideo(module):
    """The module `pytorchvideo.models.<module>`, with or without torchvision."""
    try:
        with _IMPORT_LOCK, roi_align_for_pytorchvideo():
            return importlib.import_module(f"pytorchvideo.models.{module}")
    except ImportError as error:
        raise MissingLibraryError(
            f"this model comes from pytorchvideo, which cannot be imported ({error}); run: "
            "pip install pytorchvideo"
        ) from error


@contextmanager
def roi_align_for_pytorchvideo():
    """Lets `pytorchvideo.models` be imported without torchvision.

    One of its modules, `head`, imports `torchvision.ops.RoIAlign`, for detection heads alone. If
    torchvision cannot be imported, an empty stand-in takes its place for as long as the block runs;
    a torchvision that works is used and nothing is touched.
    """
    if "pytorchvideo.models.head" in sys.modules or _torchvision_works():
        yield
        return
    before = _torchvision_modules()
    ops = types.ModuleType("torchvision.ops")
    ops.RoIAlign = _NoRoIAlign
    _set_torchvision_modules({"torchvision": types.ModuleType("torchvision"), ops.__name__: ops})
    try:
        yield
    finally:
        _set_torchvision_modules(before)


class _NoRoIAlign:
    def __init__(self, *args, **kwargs):
        raise MissingLibraryError(
            "detection heads need torchvision: install the build that fits your torch, and restart"
        )


def _torchvision_works():
    before = _torchvision_modules()
    try:
        return importlib.import_module("torchvision.ops").RoIAlign is not None
    except Exception:  # a build for another torch raises RuntimeError, a missing library OSError
        _set_torchvision_modules(before)
        return False


def _torchvision_modules():
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "torchvision"
    }


def _set_torchvision_modules(modules):
    for name in _torchvision_modules():
        del sys.modules[name]
    sys.modules.update(modules)
