"""Commands that convert, inflate and average weights files."""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.config.rows import SETTINGS
from uniformer_video.errors import ConfigError, UserError

if TYPE_CHECKING:
    from uniformer_video.data.protocol import Protocol

_LOCAL_KERNEL = (3, 5, 5)
_RECORDED = (
    "published",
    "cfg",
    "classes",
    "ema",
    "imagenet_pixels",
)  # by `convert`, in files of ours
_INFLATE_MODE = SETTINGS["UNIFORMER.INFLATE_MODE"]
log = logging.getLogger("uniformer_video")


def inflate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE.pth", help="2D ImageNet weights of a UniFormer")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--out", metavar="VIDEO.pth", help="the 3D checkpoint to write")
    target.add_argument(
        "--check-file", metavar="VIDEO.pth", help="write nothing, --check this 3D checkpoint"
    )
    parser.add_argument(
        "--mode",
        type=lambda text: text.replace("centre", "center"),
        choices=_INFLATE_MODE.choices,
        help=f"spread over time, or in the middle step ({_INFLATE_MODE.default})",
    )
    parser.add_argument("--local-kernel", metavar="T,H,W", help="of the local blocks (3,5,5)")
    _add_architecture(parser)
    parser.add_argument(
        "--cfg", metavar="CONFIG", help="for a model of one's own sizes: the config of its training"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="settings of the video model, MODEL.* and UNIFORMER.*, in place of the config's",
    )
    parser.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="FILE",
        help="hold what is written against the image weights, tensor by tensor and by what both models make "
        "of a frame: of this image or video, or of a made-up one",
    )


def inflate_command(args: Namespace) -> int:
    """Inflate 2D ImageNet weights to a 3D checkpoint, and report what became of each part.

    Linear, norm and attention weights are copied, convolutions get a time axis: "average" repeats a
    kernel along time and divides by its length, "center" puts it in the middle step. The classifier
    is dropped. --check says what a correct file must show, whether this one does, and how much the video
    model still sees of what the image model sees; the exit status is 2 where the verdict is WRONG.
    --check-file VIDEO.pth says so of a file that is there, without --mode by the mode that it names or shows.

    A model that has no name is told by the settings of its training: --cfg CONFIG, or KEY VALUE pairs such
    as UNIFORMER.DEPTH [2,2,4,2] UNIFORMER.EMBED_DIM [32,64,128,256] UNIFORMER.HEAD_DIM 32.
    """
    from uniformer_video.zoo.frame import read_frame
    from uniformer_video.zoo.inflate import check_file, inflate_file

    model, mode, kernel = _inflated_by_settings(args)
    kernel = parse_kernel(args.local_kernel) if args.local_kernel else kernel
    frame = None if args.check is None and args.out else read_frame(args.check or "")
    if args.out:
        mode = args.mode or mode
        lines = inflate_file(args.image, args.out, mode, kernel, args.model, args.head_dim, model)
        print("\n".join(lines))
    else:
        mode = args.mode or ""
    if frame is None:
        return 0
    target = args.out or args.check_file
    check = check_file(args.image, target, mode, frame, kernel, args.model, args.head_dim, model)
    print("\n".join(check.lines()))
    return 0 if check.is_correct else EXIT_USER_ERROR


def _inflated_by_settings(
    args: Namespace,
) -> tuple[tuple[str, Mapping[str, Any]] | None, str, tuple[int, ...]]:
    """((name, options) of the video model or None, mode, local kernel) by --cfg and KEY VALUE pairs."""
    if not args.cfg and not args.overrides:
        return None, _INFLATE_MODE.default, _LOCAL_KERNEL
    from uniformer_video.config.settings import load_config
    from uniformer_video.runs.build_model import model_options, name_model
    from uniformer_video.zoo.registry import find_model

    if args.model:
        raise UserError(
            "--model names the image model; beside settings, MODEL.MODEL_NAME names the video model: leave "
            "--model out"
        )
    for key in args.overrides[::2]:
        if not key.startswith(("MODEL.", "UNIFORMER.")):
            raise UserError(
                f"{key} does not change the model; inflate takes MODEL.* and UNIFORMER.*"
            )
    start = (
        []
        if "UNIFORMER.PRETRAIN_NAME" in args.overrides
        else ["UNIFORMER.PRETRAIN_NAME", args.image]
    )
    cfg = name_model(load_config(args.cfg, [*args.overrides, *start]))
    name = cfg.MODEL.MODEL_NAME
    if find_model(name).takes_images:
        raise UserError(
            f"MODEL.MODEL_NAME {name} takes images; beside settings, it names the video model"
        )
    if "local_kernel" not in find_model(name).family.options:
        raise UserError(f"MODEL.MODEL_NAME {name} takes no inflated weights; a UniFormer does")
    kernel = tuple(cfg.UNIFORMER.LOCAL_KERNEL) or _LOCAL_KERNEL
    return (name, model_options(cfg)), cfg.UNIFORMER.INFLATE_MODE, kernel


def convert_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("source", metavar="WEIGHTS", help="file, address or published name")
    parser.add_argument("--out", required=True, metavar="FILE", help="to write (.safetensors too)")
    parser.add_argument(
        "--to",
        choices=("ours", "published", "mmaction2", "openmixup"),
        default="ours",
        help="the layout to write (ours)",
    )
    _add_architecture(parser)
    parser.add_argument(
        "--published", metavar="NAME", help="these are those published weights (by the file's name)"
    )
    parser.add_argument(
        "--cfg", metavar="CONFIG", help="a config that says how videos are prepared and tested"
    )
    parser.add_argument(
        "--classes", metavar="ORDER", help="order of the outputs: k400-published, ssv2, ..., a file"
    )
    parser.add_argument("--ema", action="store_true", help="take the averaged (EMA) weights")
    parser.add_argument(
        "--imagenet-pixels",
        action="store_true",
        help="ImageNet's mean and standard deviation of pixels, in place of those that are known",
    )


def convert_command(args: Namespace) -> None:
    """Convert weights of other projects to a checkpoint that carries all it needs, or back.

    Read are published UniFormer files, PySlowFast's, MMAction2's, OpenMixup's, pytorchvideo's (with
    --model), and this toolkit's own. What a file cannot tell is recorded from --model, --head-dim,
    --published, --cfg and --classes. --to published, mmaction2 or openmixup writes files for those projects.
    """
    from uniformer_video.config.settings import load_config
    from uniformer_video.data.protocol import Protocol
    from uniformer_video.zoo.convert import convert_file, export_file

    if args.to != "ours":
        given = [name for name in _RECORDED if getattr(args, name)]
        if given:
            raise UserError(
                f"--{given[0].replace('_', '-')} is recorded in files of this toolkit alone; drop --to"
            )
        lines = export_file(args.source, args.out, args.to)
    else:
        protocol = Protocol.from_cfg(load_config(args.cfg)) if args.cfg else None
        lines = convert_file(
            args.source,
            args.out,
            args.model,
            args.head_dim,
            args.published,
            args.classes,
            protocol,
            _protocol_inside,
            args.ema,
            args.imagenet_pixels,
        )
    for line in lines:
        print(line)


def average_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="checkpoints of one model, such as run/epoch_*.pt or run/iter_*.pt",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="to write (.safetensors too)")
    parser.add_argument("--ema", action="store_true", help="take their averaged (EMA) weights")
    parser.add_argument(
        "--batch-norm",
        metavar="LIST",
        help="measure BatchNorm's statistics over the videos of this list (csv) or folder",
    )


def average_command(args: Namespace) -> None:
    """Write the mean of several checkpoints of one model, such as those of its last epochs.

    A run keeps them with TRAIN.CHECKPOINT_KEEP n. The mean is tested by TEST.CHECKPOINT_FILE_PATH, and
    predicts, as any checkpoint. With --batch-norm LIST, of training videos, the statistics of BatchNorm are
    measured for the mean weights; without, they are the mean of those in the files.
    """
    from uniformer_video.inference.average import average_files

    for line in average_files(args.files, args.out, args.ema, args.batch_norm):
        print(line)


def parse_kernel(text: str) -> tuple[int, ...]:
    """`3,5,5` as a tuple."""
    try:
        kernel = tuple(int(side) for side in text.split(","))
    except ValueError:
        raise UserError(f"--local-kernel is {text!r}; it takes T,H,W such as 3,5,5") from None
    limits = SETTINGS["UNIFORMER.LOCAL_KERNEL"].limits
    if limits and not all(limits.allow(side) for side in kernel):
        raise UserError(
            f"--local-kernel is {text!r}; its sides are from {limits.lowest} to {limits.highest}"
        )
    return kernel


def _protocol_inside(settings: dict) -> "Protocol | None":
    """The `Protocol` of the settings inside a training checkpoint; None if they are not clear."""
    from uniformer_video.config.settings import config_from_tree
    from uniformer_video.data.protocol import Protocol

    try:
        return Protocol.from_cfg(config_from_tree(settings, "the weights file"))
    except ConfigError as error:
        log.warning("The settings in the file are not used: %s", error)
        return None


def _add_architecture(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="NAME", help="architecture of the file (found by its shapes)"
    )
    parser.add_argument(
        "--head-dim", type=int, metavar="N", help="width of its attention heads, if it cannot tell"
    )
