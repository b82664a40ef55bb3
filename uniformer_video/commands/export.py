"""A checkpoint as a file for another runtime."""

import logging
from argparse import ArgumentParser, Namespace

from uniformer_video.export.formats import FORMATS

log = logging.getLogger("uniformer_video")

EXIT_NOT_ALIKE = 1  # no file was written: it answers otherwise than the model


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
        help="clips may have other heights and widths, where the model allows it",
    )
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX's operators (18)")
    parser.add_argument(
        "--check",
        nargs="+",
        metavar="VIDEOS",
        help="videos, folders or lists to compare on (the test list of the run)",
    )
    parser.add_argument("--json", action="store_true", help="print data: what the file records")


def export_command(args: Namespace) -> int:
    """Write a model for ONNX Runtime, torch.export or OpenVINO, once it was seen to answer as here.

    The file takes normalised clips and gives logits; with --preprocess it takes frames as they are decoded,
    and gives probabilities. Any number of clips at once. Classes, sampling, sizes, licence note and versions
    stand inside, and beside it as FILE.json. It is compared with the model on up to 32 views: a file whose
    answers differ is not written, and the exit status is 1.
    """
    import simplejson

    from uniformer_video.bench.generated import generate_images, generate_videos
    from uniformer_video.data.lists.media import IMAGE
    from uniformer_video.runs.export_model import export_model

    done = export_model(
        args.checkpoint,
        args.out,
        lambda folder, medium: (generate_images if medium is IMAGE else generate_videos)(folder),
        args.format,
        args.preprocess,
        args.dynamic_size,
        args.opset,
        args.check,
    )
    if args.json:
        record = {
            **done.info.to_dict(),
            "parity": done.parity.to_dict(),
            "checked_on": done.source,
            "left_out": done.left_out,
        }
        print(simplejson.dumps(record, ensure_ascii=False, ignore_nan=True))
    else:
        for line in done.lines():
            print(line)
    if done.fault:
        log.error("error: %s is not written: %s", args.out, done.fault)
        return EXIT_NOT_ALIKE
    log.info("Written: %s", ", ".join(map(str, done.files)))
    return 0
