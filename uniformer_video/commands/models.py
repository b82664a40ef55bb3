"""What models there are and what they cost."""

import re
from argparse import ArgumentParser, Namespace

from uniformer_video.config.setting import MAX_CLASSES
from uniformer_video.errors import UserError, is_want_of_memory, quote
from uniformer_video.program import command

_MOST_PIXELS = 1 << 26  # of an input that is counted


def models_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--filter", default="*", metavar="PATTERN", help="such as uniformer_s, 'image_*', x3d"
    )
    parser.add_argument(
        "--markdown", action="store_true", help="one line a model, a table in Markdown"
    )


def models_command(args: Namespace) -> None:
    """List every named model: parameters, GFLOPs, input, and the published weights it loads.

    Parameters and GFLOPs (multiply-adds, norms included) are those of the published form: 5x5x5
    local kernels, 400 classes (1000 for images). Views are clips x crops.
    """
    from uniformer_video.zoo.listing import as_markdown, as_text, list_entries

    entries = list_entries(args.filter)
    if not entries:
        raise UserError(f"no model's name fits {args.filter!r}; `{command('models')}` lists them")
    print(as_markdown(entries) if args.markdown else as_text(entries))


def flops_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a name from `uniformer-video models`")
    parser.add_argument("--frames", type=int, metavar="T", help="of a clip (the model's own)")
    parser.add_argument(
        "--size", metavar="PIXELS", help="side, or HEIGHTxWIDTH such as 512x2048 (the model's own)"
    )
    parser.add_argument(
        "--classes", type=int, metavar="K", help="(400; images: 1000; segmentation: 150)"
    )
    parser.add_argument(
        "--local-kernel", metavar="T,H,W", help="of UniFormers; images: H,W (5,5,5, as published)"
    )
    parser.add_argument(
        "--window",
        type=int,
        metavar="TOKENS",
        help="segmentation: stage 3 attends within windows of this side, such as 14 (over the whole map)",
    )
    parser.add_argument(
        "--hybrid",
        action="store_true",
        help="segmentation: every fourth block of stage 3 attends over the whole map, the others in windows",
    )


def flops_command(args: Namespace) -> None:
    """Count the parameters and the multiply-adds of a model for one view.

    fvcore's count, which published figures use: linear layers, convolutions, the two matrix products
    of attention, norms, and the resizing of maps. Segmentation models are counted with their head, up to the
    logits of a quarter of the sides; auxiliary heads, which only training has, are parameters alone.
    """
    from uniformer_video.commands.weights import parse_kernel
    from uniformer_video.models.flops import count_by_part
    from uniformer_video.zoo.create import build_network, count_parameters
    from uniformer_video.zoo.listing import input_size
    from uniformer_video.zoo.registry import find_model

    known = find_model(args.model)
    if known.takes_images and args.frames:
        raise UserError(f"{args.model} takes images; leave --frames out")
    for flag, most in (
        ("frames", _MOST_PIXELS),
        ("classes", MAX_CLASSES),
        ("window", _MOST_PIXELS),
    ):
        value = getattr(args, flag)
        if value is not None and not 1 <= value <= most:
            raise UserError(f"--{flag} is {quote(value)}; it is from 1 to {most:,}")
    frames = args.frames or known.num_frames
    height, width = _parse_size(args.size, known.crop_size)
    view = input_size(frames, height, width)
    pixels = max(frames, 1) * height * width
    if pixels > _MOST_PIXELS:
        raise UserError(
            f"an input of {view} has {pixels:,} pixels, and the model runs on it once to "
            f"be counted; give at most {_MOST_PIXELS:,}, such as 256 frames of 512x512 (--frames, --size)"
        )
    options = {**known.figure_arguments, **known.family.options_for_clip(frames, height)}
    if "crop_size" in options and height != width:
        raise UserError(f"{args.model} takes squares; give --size one side, not {args.size}")
    if args.local_kernel:
        options["local_kernel"] = parse_kernel(args.local_kernel)
    for option in ("window", "hybrid"):
        if getattr(args, option):
            options[option] = getattr(args, option)
    model = build_network(args.model, args.classes or known.num_classes, **options)
    shape = (1, 3, frames, height, width) if frames else (1, 3, height, width)
    try:
        flops = count_by_part(model, shape)
    except ValueError as error:
        raise UserError(str(error)) from None
    except (MemoryError, RuntimeError) as error:
        if not is_want_of_memory(error):
            raise
        raise UserError(
            f"there is not enough memory to run {args.model} on {view} once; give fewer --frames or a "
            "smaller --size"
        ) from None
    parameters = count_parameters(model)
    print(
        f"{args.model}  {view}: {flops[''] / 1e9:.2f} GFLOPs (multiply-adds), {parameters:,} parameters"
    )
    if known.family.labels_pixels:
        parts = [
            f"{name} {flops[name] / 1e9:.2f}" for name, _ in model.named_children() if flops[name]
        ]
        print(f"    of these: {', '.join(parts)}")


def _parse_size(text: str | None, usual: int) -> tuple[int, int]:
    """Height and width of `224`, or of `512x2048`; `usual` for both without a text."""
    sides = str(text or usual).lower().split("x")
    if not (len(sides) <= 2 and all(re.fullmatch("[0-9]{1,9}", side) for side in sides)):
        raise UserError(
            f"--size is {quote(text)}; it is a side in pixels, such as 224, or HEIGHTxWIDTH, such as 512x2048"
        )
    height, width = int(sides[0]), int(sides[-1])
    if not (1 <= height <= _MOST_PIXELS and 1 <= width <= _MOST_PIXELS):
        raise UserError(f"--size is {quote(text)}; its sides are from 1 to {_MOST_PIXELS:,}")
    return height, width
