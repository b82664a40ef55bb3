"""A checkpoint as a file for another runtime."""

import logging
from argparse import ArgumentParser, Namespace

from uniformer_video.errors import ConfigError
from uniformer_video.export.formats import FORMATS, METHODS, RANGES

log = logging.getLogger("uniformer_video")

EXIT_NOT_ALIKE = 1  # no file was written: it answers otherwise than the model
EXIT_NO_INT8 = 2  # the same, in int8 alone


def export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="file, address or published name of a classifier"
    )
    suffixes = ", ".join(f"{each.suffix} ({each.name})" for each in FORMATS.values())
    parser.add_argument(
        "--out", required=True, metavar="FILE", help=f"to write, a new file: {suffixes}"
    )
    parser.add_argument("--format", choices=tuple(FORMATS), help="of the file (by its suffix)")
    parser.add_argument(
        "--preprocess",
        action="store_true",
        help="with the preparation inside: uint8 frames in, probabilities out",
    )
    parser.add_argument(
        "--dynamic-size",
        action="store_true",
        help="clips may have other heights and widths, where the model allows it; not with --preprocess, "
        "whose frames always may",
    )
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX's operators (18)")
    parser.add_argument(
        "--check",
        nargs="+",
        metavar="VIDEOS",
        help="videos, folders or lists to compare on (the test list of the run)",
    )
    parser.add_argument(
        "--check-count",
        type=int,
        metavar="N",
        help="how many views to compare at most (32, with --int8 480)",
    )
    parser.add_argument(
        "--int8",
        choices=METHODS,
        help="quantised: ranges of activations measured beforehand, or as they come",
    )
    parser.add_argument(
        "--calibration",
        nargs="+",
        metavar="VIDEOS",
        help="of --int8: to measure ranges on, 64 clips (the training list of the run)",
    )
    parser.add_argument(
        "--ranges",
        choices=tuple(RANGES),
        help="of --int8 static: how they are made of what is measured (minmax)",
    )
    parser.add_argument("--json", action="store_true", help="print data: what the file records")


def export_command(args: Namespace) -> int:
    """Write a model for ONNX Runtime, torch.export or OpenVINO, once it was seen to answer as here.

    The file takes normalised clips and gives logits; with --preprocess it takes frames as they are decoded,
    and gives probabilities. Any number of clips at once. Classes, sampling, sizes, licence note and versions
    stand inside, and beside it as FILE.json. It is compared with the model on up to 32 views: a file whose
    answers differ is not written, and the exit status is 1. With --int8 the file is quantised, and written
    where it names the same class as the model for 98 % of up to 480 views of other videos than those that it
    is calibrated on; layers that hurt that are left in float. Where nothing helps, the exit status is 2.
    """
    import simplejson

    from uniformer_video.bench.generated import generate_images, generate_videos
    from uniformer_video.data.lists.media import IMAGE
    from uniformer_video.runs.export_int8 import Int8Options
    from uniformer_video.runs.export_model import export_model

    int8 = None
    if args.int8:
        int8 = Int8Options(args.int8, args.ranges, args.calibration)
    elif given := [name for name in ("calibration", "ranges") if getattr(args, name)]:
        raise ConfigError(f"--{given[0]} is for quantised files: give --int8 too, or leave it out")
    done = export_model(
        args.checkpoint,
        args.out,
        lambda folder, medium: (generate_images if medium is IMAGE else generate_videos)(folder),
        args.format,
        args.preprocess,
        args.dynamic_size,
        args.opset,
        args.check,
        int8=int8,
        check_count=args.check_count,
    )
    if args.json:
        record = {**done.to_dict(), "left_out": done.left_out}
        print(simplejson.dumps(record, ensure_ascii=False, ignore_nan=True))
    else:
        for line in done.lines():
            print(line)
    if done.fault:
        log.error("error: %s is not written: %s", args.out, done.fault)
        return EXIT_NO_INT8 if done.int8 else EXIT_NOT_ALIKE
    log.info("Written: %s", ", ".join(map(str, done.files)))
    return 0
