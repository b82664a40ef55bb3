"""Peers of UniFormer from pytorchvideo: X3D, Slow, SlowFast, R(2+1)D and MViT, as `[B, K]` models.

Every peer has pytorchvideo's own state-dict keys and shapes, so its published `.pyth` files (under
`model_state`) load strictly at 400 classes. Unlike pytorchvideo's builders, every peer returns
logits, in training as in evaluation.
"""

import importlib
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.errors import ConfigError, MissingLibraryError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.layer_groups import WITH_PREVIOUS, GroupMatcher, Patterns

TOTAL_STRIDE = 32  # in space, of every peer; also the smallest side that is accepted
SLOWFAST_ALPHA = 4  # fast frames for each slow one
HEAD_DROPOUT = 0.5  # the published, before the classifier
MVIT_STAGES = (1, 3, 14)  # the blocks of MViT that widen their tokens; each begins a stage


def build_x3d(
    num_classes: int, num_frames: int, crop_size: int, head_dropout: float = HEAD_DROPOUT
) -> "ConvPeer":
    """X3D (XS, S and M differ in their input alone), for clips of `num_frames` and `crop_size` pixels.

    All builders here raise `ConfigError` for an impossible size, `MissingLibraryError` without
    pytorchvideo.
    """
    _check_sizes("X3D", num_classes, num_frames, crop_size)
    network = _pytorchvideo("x3d").create_x3d(
        input_clip_length=num_frames,
        input_crop_size=crop_size,
        inner_act=nn.SiLU,  # pytorchvideo's Swish in one step, and open to export
        **_conv_options(num_classes, head_dropout),
    )
    sizes = num_frames, crop_size
    return ConvPeer(network, "blocks.5", num_classes, *sizes, head_dropout=head_dropout)


def build_slow(
    num_classes: int, num_frames: int, crop_size: int, head_dropout: float = HEAD_DROPOUT
) -> "ConvPeer":
    """Slow, a ResNet-50 that convolves in time in its deep stages alone."""
    _check_sizes("Slow", num_classes, num_frames, crop_size)
    network = _pytorchvideo("resnet").create_resnet(
        stem_conv_kernel_size=(1, 7, 7),
        head_pool_kernel_size=(num_frames, *_window(crop_size)),
        **_conv_options(num_classes, head_dropout),
    )
    sizes = num_frames, crop_size
    return ConvPeer(network, "blocks.5", num_classes, *sizes, head_dropout=head_dropout)


def build_slowfast(
    num_classes: int, num_frames: int, crop_size: int, head_dropout: float = HEAD_DROPOUT
) -> "ConvPeer":
    """SlowFast with ResNet-50s; `num_frames` are those of the fast pathway."""
    _check_sizes("SlowFast", num_classes, num_frames, crop_size, frame_multiple=SLOWFAST_ALPHA)
    window = _window(crop_size)
    network = _pytorchvideo("slowfast").create_slowfast(
        head_pool_kernel_sizes=((num_frames // SLOWFAST_ALPHA, *window), (num_frames, *window)),
        **_conv_options(num_classes, head_dropout),
    )
    sizes = num_frames, crop_size
    return ConvPeer(
        network, "blocks.6", num_classes, *sizes, SLOWFAST_ALPHA, head_dropout=head_dropout
    )


def build_r2plus1d(
    num_classes: int, num_frames: int, crop_size: int, head_dropout: float = HEAD_DROPOUT
) -> "ConvPeer":
    """R(2+1)D, a ResNet-50 whose convolutions are split into space and time."""
    _check_sizes("R(2+1)D", num_classes, num_frames, crop_size)
    strided_frames = -(-num_frames // 4)  # two stages halve the frames
    network = _pytorchvideo("r2plus1d").create_r2plus1d(
        head_pool_kernel_size=(strided_frames, *_window(crop_size)),
        **_conv_options(num_classes, head_dropout),
    )
    sizes = num_frames, crop_size
    return ConvPeer(network, "blocks.5", num_classes, *sizes, head_dropout=head_dropout)


def build_mvit(
    num_classes: int,
    num_frames: int,
    crop_size: int,
    head_dropout: float = HEAD_DROPOUT,
    drop_path_rate: float = 0.0,
) -> "MViTPeer":
    """MViT-B; its patches have 2 frames and 4 x 4 pixels, which divide the clip."""
    _check_sizes("MViT", num_classes, num_frames, crop_size, frame_multiple=2, side_multiple=4)
    create = _pytorchvideo("vision_transformers").create_multiscale_vision_transformers
    # The builder computes its widths with tensors and reads them, which the meta device cannot.
    with torch.device("cpu"):
        network = create(
            spatial_size=crop_size,
            temporal_size=num_frames,
            embed_dim_mul=[[block, 2.0] for block in MVIT_STAGES],
            atten_head_mul=[[block, 2.0] for block in MVIT_STAGES],
            pool_q_stride_size=[[block, 1, 2, 2] for block in MVIT_STAGES],
            pool_kv_stride_adaptive=[1, 8, 8],
            pool_kvq_kernel=[3, 3, 3],
            head_num_classes=num_classes,
            head_dropout_rate=head_dropout,
            droppath_rate_block=drop_path_rate,
        )
    network = network.to(torch.get_default_device())
    rates = {"head_dropout": head_dropout, "drop_path_rate": drop_path_rate}
    return MViTPeer(network, "head", num_classes, num_frames, crop_size, **rates)


class PeerModel(RecognitionModel):
    """What all peers share; holds the layers of a pytorchvideo network under their own names.

    head: the module that ends in the classifier, `proj`. rates: of dropout, which checkpoints record.
    """

    head_std = 0.01

    blocks: nn.ModuleList

    def __init__(
        self,
        network: nn.Module,
        head: str,
        num_classes: int,
        num_frames: int,
        crop_size: int,
        **rates: float,
    ):
        super().__init__(num_classes, num_frames=num_frames, crop_size=crop_size, **rates)
        for name, child in network.named_children():
            self.add_module(name, child)
        self.num_frames = num_frames
        self.crop_size = crop_size
        self._head = head

    def classifiers(self) -> list[str]:
        """The name of the layer whose rows are classes."""
        return [f"{self._head}.proj"]

    def _check_input(self, x: Tensor, fits: Callable[[int], bool], sides: str) -> None:
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

    def __init__(
        self,
        network: nn.Module,
        head: str,
        num_classes: int,
        num_frames: int,
        crop_size: int,
        alpha: int | None = None,
        **rates: float,
    ):
        super().__init__(network, head, num_classes, num_frames, crop_size, **rates)
        self.alpha = alpha

    @property
    def stage_layers(self) -> list[str]:  # type: ignore[override]
        """The four stages between the stem and what pools; of SlowFast, both pathways, the slow one first."""
        return [f"blocks.{number}" for number in range(1, 5)]

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 3, T, H, W]`, with H and W of `crop_size` or more -> logits `[B, num_classes]`."""
        least = _grid(self.crop_size)
        self._check_input(
            x, lambda side: _grid(side) >= least, f"at least {self.crop_size} pixels a side"
        )
        flow: Any = x
        if self.alpha:
            flow = [x.index_select(2, slow_frames(x.shape[2], self.alpha, x.device)), x]
        for block in self.blocks:
            flow = block(flow)
        return merge_positions(flow)

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """The stem, then the stages or their residual blocks, of both pathways at once."""
        head = self._head.removeprefix("blocks.")
        stage = rf"^blocks\.(?!{head}\.)(\d+)"
        blocks: Patterns = [(rf"{stage}\.(?:multipathway_blocks\.\d+\.)?res_blocks\.(\d+)", None)]
        return {
            "stem": r"^blocks\.0\.",
            # what fuses the pathways, behind the blocks of a stage
            "stages": stage if coarse else [*blocks, (stage, WITH_PREVIOUS)],
            # what some heads have before their classifier
            "neck": [(rf"^{re.escape(self._head)}\.(?!proj\.)", WITH_PREVIOUS)],
        }


class MViTPeer(PeerModel):
    """MViT; its positional encodings fix both the frames and the sides of a clip."""

    head_std = 0.02
    patch_embed: nn.Module
    cls_positional_encoding: Any  # pytorchvideo's
    norm_embed: nn.Module
    head: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 3, num_frames, crop_size, crop_size]` -> logits `[B, num_classes]`."""
        self._check_input(x, lambda side: side == self.crop_size, f"{self.crop_size} pixels a side")
        tokens = self.cls_positional_encoding(self.patch_embed(x))
        grid = self.cls_positional_encoding.patch_embed_shape
        for block in self.blocks:
            tokens, grid = block(tokens, grid)
        return self.head(self.norm_embed(tokens))

    @property
    def stage_layers(self) -> list[str]:  # type: ignore[override]
        """The last blocks of the stages; of the last one the last but one, behind which only the class token
        counts. They give `[B, 1 + N, C]`, the class token first, and the grid of the others.
        """
        ends = (*MVIT_STAGES, len(self.blocks) - 1)
        return [f"blocks.{end - 1}" for end in ends]

    def no_weight_decay(self) -> set[str]:
        """The class token and the positional encodings."""
        encoding = self.cls_positional_encoding
        return {f"cls_positional_encoding.{name}" for name, _ in encoding.named_parameters()}

    def group_matcher(self, coarse: bool = False) -> GroupMatcher:
        """The embedding of patches and positions, then block by block, or stage by stage."""
        starts = (0, *MVIT_STAGES, len(self.blocks))
        stages: Patterns = [
            (rf"^blocks\.(?:{'|'.join(map(str, range(start, end)))})\.", (number,))
            for number, (start, end) in enumerate(pairwise(starts))
        ]
        blocks: Patterns = stages if coarse else [(r"^blocks\.(\d+)", None)]
        return {
            "stem": r"^(?:patch_embed|cls_positional_encoding)\.",
            "blocks": [*blocks, (r"^norm_embed", WITH_PREVIOUS)],
        }


def slow_frames(num_frames: int, alpha: int, device: torch.device | None = None) -> Tensor:
    """Indices of SlowFast's slow frames, `int64 [num_frames // alpha]`, first and last included.

    Evenly spaced and truncated, as `PackPathway` of pytorchvideo's examples has it; in integers,
    so that no device rounds otherwise.
    """
    count = num_frames // alpha
    return torch.arange(count, device=device) * (num_frames - 1) // max(count - 1, 1)


def merge_positions(logits: Tensor) -> Tensor:
    """Logits at every position of the head `[B, K, t, h, w]` -> logits of the clip `[B, K]`.

    Their softmax is the mean of the positions' softmax, which is how the published accuracies with
    test crops larger than training crops were taken; one position passes unchanged.
    """
    logits = logits.flatten(2)
    positions = logits.shape[-1]
    # in a program for any size it is a symbol, not to be asked: what follows holds for one position too
    if not isinstance(positions, torch.SymInt) and positions == 1:
        return logits.squeeze(-1)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    level = logits.logsumexp(1, keepdim=True)
    # a tensor: as a float, a traced size would become a constant
    count = torch.scalar_tensor(positions, dtype=torch.float64)
    return (logits - level).logsumexp(-1) - count.log() + level.mean(-1)


def _grid(side: int) -> int:
    """Cells that a side of that many pixels has after the last stage."""
    return -(-side // TOTAL_STRIDE)


def _window(crop_size: int) -> tuple[int, int]:
    """Height and width of the head's pooling, in cells after the last stage."""
    return _grid(crop_size), _grid(crop_size)


def _conv_options(num_classes: int, head_dropout: float) -> dict[str, Any]:
    """What all convolutional networks are built with: logits at every position."""
    return {
        "model_num_class": num_classes,
        "dropout_rate": head_dropout,
        "head_activation": None,
        "head_output_with_global_average": False,
    }


def _check_sizes(
    title: str,
    num_classes: int,
    num_frames: int,
    crop_size: int,
    frame_multiple: int = 1,
    side_multiple: int = 1,
) -> None:
    if num_classes < 1:
        raise ConfigError(f"num_classes is at least 1, got {num_classes}")
    _check_size(title, "frames", num_frames, frame_multiple, frame_multiple)
    _check_size(title, "pixels a side", crop_size, side_multiple, TOTAL_STRIDE)


def _check_size(title: str, what: str, value: int, multiple: int, least: int) -> None:
    if value < least or value % multiple:
        allowed = f"any number of {what} from {least}"
        if multiple > 1:
            lower = max(value // multiple * multiple, least)
            allowed += f" in steps of {multiple}; use {lower} or {lower + multiple}"
        raise ConfigError(f"{title} takes {allowed}, got {value}")


_IMPORT_LOCK = threading.Lock()


def _pytorchvideo(module: str) -> Any:
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
def roi_align_for_pytorchvideo() -> Iterator[None]:
    """Lets `pytorchvideo.models` be imported without torchvision.

    One of its modules, `head`, imports `torchvision.ops.RoIAlign`, for detection heads alone. If
    torchvision cannot be imported, an empty stand-in takes its place for as long as the block runs;
    a torchvision that works is used and nothing is touched.
    """
    if "pytorchvideo.models.head" in sys.modules or _torchvision_works():
        yield
        return
    before = _torchvision_modules()
    ops: Any = types.ModuleType("torchvision.ops")
    ops.RoIAlign = _NoRoIAlign
    _set_torchvision_modules({"torchvision": types.ModuleType("torchvision"), ops.__name__: ops})
    try:
        yield
    finally:
        _set_torchvision_modules(before)


class _NoRoIAlign:
    def __init__(self, *args: Any, **kwargs: Any):
        raise MissingLibraryError(
            "detection heads need torchvision: install the build that fits your torch, and restart"
        )


def _torchvision_works() -> bool:
    before = _torchvision_modules()
    try:
        return importlib.import_module("torchvision.ops").RoIAlign is not None
    except Exception:  # a build for another torch raises RuntimeError, a missing library OSError
        _set_torchvision_modules(before)
        return False


def _torchvision_modules() -> dict[str, types.ModuleType]:
    return {
        name: module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "torchvision"
    }


def _set_torchvision_modules(modules: Mapping[str, types.ModuleType]) -> None:
    for name in _torchvision_modules():
        del sys.modules[name]
    sys.modules.update(modules)
