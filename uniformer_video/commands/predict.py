"""Classify videos."""

import logging
from argparse import ArgumentParser, Namespace

from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.config.rows import SETTINGS
from uniformer_video.errors import UserError

log = logging.getLogger("uniformer_video")


def predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of frames, or folders of them; for a model of images, pictures",
    )
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="such as run/best.pt")
    parser.add_argument("--json", action="store_true", help="print data: one JSON object a video")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown (5)")
    parser.add_argument("--clips", type=int, metavar="N", help="clips of a video (as trained for)")
    parser.add_argument(
        "--crops",
        type=int,
        choices=SETTINGS["TEST.NUM_SPATIAL_CROPS"].choices,
        help="crops of a clip (as trained for)",
    )


def predict_command(args: Namespace) -> int:
    """Classify videos, or images, by name with a trained checkpoint.

    The checkpoint carries everything: architecture, sampling, normalisation, class names. A video
    that cannot be decoded is reported, the others are classified, and the exit status is 2. Of a
    checkpoint for videos with several labels each score is a probability by itself. Published weights need
    no conversion under their own name.

    The temperature of a calibrated checkpoint, and its threshold for "none of these", are applied by the very
    views that they are for: with --clips or --crops that differ they are not, which is said.
    """
    import simplejson

    from uniformer_video.errors import DecodeError
    from uniformer_video.inference.predictor import Predictor, videos_at

    if args.top < 1:
        raise UserError("--top must be at least 1")
    predictor = Predictor.from_checkpoint(args.checkpoint, args.clips, args.crops)
    videos = [video for path in args.videos for video in videos_at(path, predictor.medium)]
    task = predictor.task
    marks = task.mark()
    if predictor.calibration:
        marks["temperature"] = predictor.applied.temperature if predictor.applied else None
    if task.prediction_note and not args.json:
        log.info(task.prediction_note)
    failed = 0
    for video in videos:
        try:
            prediction = predictor(video)
        except DecodeError as error:
            failed += 1
            if args.json:
                failure = {predictor.medium.name: str(video), "error": str(error)}
                print(simplejson.dumps(failure, ensure_ascii=False))
            else:
                log.error("error: %s", error)
            continue
        if args.json:
            found = {predictor.medium.name: str(video), **marks, **prediction.to_dict(args.top)}
            print(simplejson.dumps(found, ensure_ascii=False))
        else:
            print(video)
            for line in prediction.lines(args.top):
                print(f"  {line}")
    return EXIT_USER_ERROR if failed else 0
