"""Classify videos."""

import logging
import sys
from argparse import ArgumentParser, Namespace
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from uniformer_video.commands.options import progress_bar
from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.config.rows import SETTINGS
from uniformer_video.errors import UserError
from uniformer_video.words import name_some, plural

if TYPE_CHECKING:
    from uniformer_video.data.lists.records import VideoRecord
    from uniformer_video.inference.predictor import Predictor

log = logging.getLogger("uniformer_video")


def predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of frames, folders of either, lists (csv, txt), shards; for a model of "
        "images, pictures",
    )
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="such as run/best.pt")
    parser.add_argument("--json", action="store_true", help="print data: one JSON object a video")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write a table (.csv, .parquet) or JSON lines (.jsonl) and print nothing; the same command goes "
        "on with a file that is begun",
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown (5)")
    parser.add_argument("--clips", type=int, metavar="N", help="clips of a video (as trained for)")
    parser.add_argument(
        "--crops",
        type=int,
        choices=SETTINGS["TEST.NUM_SPATIAL_CROPS"].choices,
        help="crops of a clip (as trained for)",
    )
    parser.add_argument(
        "--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (a GPU where there is one)"
    )
    parser.add_argument(
        "--precision",
        choices=SETTINGS["TRAIN.PRECISION"].choices,
        help="arithmetic (as in the test)",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="views of a pass, of one video or several (16; on a processor as many as 16 MB hold)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=-1,
        metavar="N",
        help="decoding processes (one a core); 0 = none",
    )


def predict_command(args: Namespace) -> int:
    """Classify videos, or images, by name with a trained checkpoint.

    The checkpoint carries everything: architecture, sampling, normalisation, class names. A video
    that cannot be decoded is reported, the others are classified, and the exit status is 2. Of a
    checkpoint for videos with several labels each score is a probability by itself. Published weights need
    no conversion under their own name.

    With --out a run that was killed goes on where it was: each video has one row, in the order in which they
    are given, broken ones with the reason.

    The temperature of a calibrated checkpoint, and its threshold for "none of these", are applied by the very
    views that they are for: with --clips or --crops that differ they are not, which is said.
    """
    from uniformer_video.inference.prediction_file import check_target
    from uniformer_video.inference.predictor import Predictor
    from uniformer_video.inference.records import check_is_here, records_at

    _check_numbers(args)
    for place in args.videos:
        check_is_here(place)
    if args.out is not None:
        check_target(Path(args.out))
    predictor = Predictor.from_checkpoint(
        args.checkpoint,
        args.clips,
        args.crops,
        batch_size=args.batch_size,
        device=args.device,
        precision=args.precision,
    )
    records, repeats = records_at(args.videos, predictor.medium)
    noun = predictor.medium.name
    if repeats:
        log.info(
            "%s more than once; each is predicted once.",
            plural(repeats, f"{noun} is named", f"{noun}s are named"),
        )
    if predictor.task.prediction_note and not args.json:
        log.info(predictor.task.prediction_note)
    failed = _into_file(args, predictor, records) if args.out else _print(args, predictor, records)
    if failed and len(records) > 1:
        log.error(
            "error: %s of %d cannot be predicted: %s",
            plural(len(failed), noun),
            len(records),
            name_some(failed, 20),
        )
    return EXIT_USER_ERROR if failed else 0


def _check_numbers(args: Namespace) -> None:
    if args.top < 1:
        raise UserError("--top must be at least 1")
    if args.batch_size is not None and args.batch_size < 1:
        raise UserError(f"--batch-size is {args.batch_size}; it must be at least 1")
    if args.workers < -1:
        raise UserError(f"--workers is {args.workers}; it must be 0 or more, or -1 for one a core")
    if args.out is not None and args.json:
        raise UserError(
            "--json prints and --out writes; give one of them (--out FILE.jsonl for JSON)"
        )


def _marks(predictor: "Predictor") -> dict[str, object]:
    marks: dict[str, object] = dict(predictor.task.mark())
    if predictor.calibration:
        marks["temperature"] = predictor.applied.temperature if predictor.applied else None
    return marks


def _print(args: Namespace, predictor: "Predictor", records: list["VideoRecord"]) -> list[str]:
    """Print all predictions; the names of the videos that failed."""
    from uniformer_video.inference.prediction_rows import entry_of, json_line
    from uniformer_video.tasks.prediction import FailedPrediction

    marks, noun, failed = _marks(predictor), predictor.medium.name, []
    show_bar = not sys.stdout.isatty() and len(records) > 1
    bar: AbstractContextManager = progress_bar(noun) if show_bar else nullcontext(_show_nothing)
    with bar as show:
        outcomes = predictor.predict_records(records, args.workers)
        for number, (record, outcome) in enumerate(zip(records, outcomes, strict=True), start=1):
            is_failure = isinstance(outcome, FailedPrediction)
            if is_failure:
                failed.append(record.name)
            if args.json:
                entry = entry_of(record, outcome, noun, marks, args.top)
                print(json_line(entry), end="", flush=True)
            elif isinstance(outcome, FailedPrediction):
                log.error("error: %s", outcome.reason)
            else:
                print("\n".join([record.name, *(f"  {line}" for line in outcome.lines(args.top))]))
            show(number, len(records), len(failed))
    return failed


def _into_file(args: Namespace, predictor: "Predictor", records: list["VideoRecord"]) -> list[str]:
    """Write the predictions that `--out` lacks; the names of all videos in it that failed."""
    from uniformer_video.inference.prediction_file import PredictionFile, asked_of

    top, noun = min(args.top, len(predictor.class_names)), predictor.medium.name
    asked = asked_of(args.checkpoint, predictor.used_protocol, predictor.class_names, top)
    marks = _marks(predictor)
    with (
        PredictionFile(Path(args.out), records, asked, noun, marks, top) as file,
        progress_bar(noun) as show,
    ):
        left = file.left
        done, failed = len(records) - len(left), len(file.failures)
        if done:
            log.info("%s has %s already; %d to go.", args.out, plural(done, noun), len(left))
        for record, outcome in zip(
            left, predictor.predict_records(left, args.workers), strict=True
        ):
            file.add(record, outcome)
            done, failed = done + 1, failed + (not outcome)
            show(done, len(records), failed)
        notes, failures = file.finish(), file.failures
    for note in notes:
        log.warning(note)
    log.info("Predictions of %s in %s.", plural(len(records) - len(failures), noun), args.out)
    return failures


def _show_nothing(finished: int, total: int, failed: int) -> None:
    """In place of a bar."""
