"""Classify videos."""

import logging
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from uniformer_video.commands.options import (
    add_batch_size,
    add_cuda_graph,
    add_device,
    add_views,
    progress_bar,
)
from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.errors import UserError
from uniformer_video.words import name_some, plural

if TYPE_CHECKING:
    from uniformer_video.commands.predict_jobs import Job
    from uniformer_video.inference.predictor import Predictor
    from uniformer_video.inference.segmenter import Segmenter

log = logging.getLogger("uniformer_video")


def predict_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO",
        help="video files, folders of frames, folders of either, lists (csv, txt), shards; for a model of "
        "images, pictures; for one of segmentation, pictures and videos",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="FILE",
        help="such as run/best.pt, or a file that `export` wrote",
    )
    parser.add_argument("--json", action="store_true", help="print data: one JSON object a video")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write a table (.csv, .parquet) or JSON lines (.jsonl) and print nothing; the same command goes "
        "on with a file that is begun",
    )
    parser.add_argument(
        "--overlay",
        metavar="FOLDER",
        help="of a segmentation model: write masks (NAME.png), and pictures or videos with their classes "
        "in colours",
    )
    parser.add_argument(
        "--masks",
        action="store_true",
        help="with --overlay: the mask of each frame of a video, too",
    )
    parser.add_argument(
        "--steady",
        action="store_true",
        help="average the logits of a segmentation model over the frames of a video: it flickers less",
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown (5)")
    add_views(parser)
    add_device(parser)
    add_cuda_graph(parser)
    add_batch_size(parser)
    parser.add_argument(
        "--workers",
        type=int,
        default=-1,
        metavar="N",
        help="decoding processes (one a core); 0 = none, as of a segmentation model",
    )


def predict_command(args: Namespace) -> int:
    """Classify videos, or images, by name with a trained checkpoint; or the pixels of pictures and videos.

    The checkpoint carries everything: architecture, sampling, normalisation, class names. A video
    that cannot be decoded is reported, the others are classified, and the exit status is 2. Of a
    checkpoint for videos with several labels each score is a probability by itself. Published weights need
    no conversion under their own name.

    With --out a run that was killed goes on where it was: each video has one row, in the order in which they
    are given, broken ones with the reason.

    The temperature of a calibrated checkpoint, and its threshold for "none of these", are applied by the very
    views that they are for: with --clips or --crops that differ they are not, which is said.

    A segmentation model tells the shares of the pixels. With --overlay FOLDER it writes NAME.png, an indexed
    PNG of class numbers, and NAME_overlay.jpg; of a video, which is decoded once, NAME.mp4 with its sound,
    and with --masks NAME_masks/000000.png and so on. --steady is the exponential mean of the logits over
    time, half of it the new frame; at a cut it begins anew.
    """
    from uniformer_video.inference.opened import open_checkpoint
    from uniformer_video.inference.overlay_folder import check_overlay_folder
    from uniformer_video.inference.prediction_file import check_target
    from uniformer_video.inference.records import check_is_here

    _check_words(args)
    for place in args.videos:
        check_is_here(place)
    if args.out is not None:
        check_target(Path(args.out))
    if args.overlay is not None:
        check_overlay_folder(Path(args.overlay))
    model = open_checkpoint(
        args.checkpoint,
        args.device,
        args.precision,
        num_clips=args.clips,
        num_crops=args.crops,
        batch_size=args.batch_size,
    )
    with ExitStack() as stack:
        job = _job(args, model, stack)
        noun = job.noun
        if job.repeats:
            log.info(
                "%s more than once; each is predicted once.",
                plural(job.repeats, f"{noun} is named", f"{noun}s are named"),
            )
        if job.note and not args.json:
            log.info(job.note)
        failed = _into_file(args, job) if args.out else _print(args, job)
    if args.overlay:
        log.info("Masks and overlays in %s.", args.overlay)
    if failed and len(job.records) > 1:
        log.error(
            "error: %s of %d cannot be predicted: %s",
            plural(len(failed), noun),
            len(job.records),
            name_some(failed, 20),
        )
    return EXIT_USER_ERROR if failed or job.broken else 0


def _job(args: Namespace, model: "Predictor | Segmenter", stack: ExitStack) -> "Job":
    from uniformer_video.commands.predict_jobs import classify, segment
    from uniformer_video.inference.segmenter import Segmenter

    return segment(args, model, stack) if isinstance(model, Segmenter) else classify(args, model)


def _check_words(args: Namespace) -> None:
    if args.top < 1:
        raise UserError("--top must be at least 1")
    if args.batch_size is not None and args.batch_size < 1:
        raise UserError(f"--batch-size is {args.batch_size}; it must be at least 1")
    if args.workers < -1:
        raise UserError(f"--workers is {args.workers}; it must be 0 or more, or -1 for one a core")
    if args.overlay == "":
        raise UserError("--overlay names no folder; give one for masks and overlays")
    if args.masks and args.overlay is None:
        raise UserError("--masks are written into the folder of --overlay; give that too")
    if args.out is not None and args.json:
        raise UserError(
            "--json prints and --out writes; give one of them (--out FILE.jsonl for JSON)"
        )


def _print(args: Namespace, job: "Job") -> list[str]:
    """Print all predictions; the names of the files that failed."""
    from uniformer_video.inference.prediction_rows import entry_of, json_line
    from uniformer_video.tasks.prediction import FailedPrediction

    records, failed = job.records, list[str]()
    show_bar = not sys.stdout.isatty() and (len(records) > 1 or job.is_of_frames)
    with _progress(job) if show_bar else nullcontext((_show_nothing, _show_nothing)) as shown:
        show, show_frames = shown
        outcomes = job.predict(records, show_frames)
        for number, (record, outcome) in enumerate(zip(records, outcomes, strict=True), start=1):
            is_failure = isinstance(outcome, FailedPrediction)
            if is_failure:
                failed.append(record.name)
            if args.json:
                entry = entry_of(record, outcome, job.noun, job.marks, args.top)
                print(json_line(entry), end="", flush=True)
            elif isinstance(outcome, FailedPrediction):
                log.error("error: %s", outcome.reason)
            else:
                print("\n".join([record.name, *(f"  {line}" for line in outcome.lines(args.top))]))
            job.tell(record, outcome)
            show(number, len(records), len(failed))
    return failed


def _into_file(args: Namespace, job: "Job") -> list[str]:
    """Write the predictions that `--out` lacks; the names of all files in it that failed."""
    from uniformer_video.inference.prediction_file import PredictionFile

    noun, records = job.noun, job.records
    with (
        PredictionFile(Path(args.out), records, job.asked, noun, job.marks, job.table) as file,
        _progress(job) as (show, show_frames),
    ):
        without_row = {record.segment for record in file.left}
        known_failures = set(file.failures)
        left = [
            record
            for record in records
            if record.segment in without_row
            or not (record.name in known_failures or job.is_kept(record))
        ]
        done, failed = len(records) - len(left), len(known_failures)
        if done:
            log.info("%s has %s already; %d to go.", args.out, plural(done, noun), len(left))
        for record, outcome in zip(left, job.predict(left, show_frames), strict=True):
            if record.segment in without_row:
                file.add(record, outcome)
            job.tell(record, outcome)
            done, failed = done + 1, failed + (not outcome)
            show(done, len(records), failed)
        notes, failures = file.finish(), file.failures
        losses = {name: loss for name, loss in file.losses.items() if name not in job.broken}
    for name, loss in losses.items():  # of earlier runs
        log.warning("%s: %s", name, loss)
        job.broken.append(name)
    for note in notes:
        log.warning(note)
    log.info("Predictions of %s in %s.", plural(len(records) - len(failures), noun), args.out)
    return failures


@contextmanager
def _progress(
    job: "Job",
) -> Iterator[tuple[Callable[[int, int, int], None], Callable[[int, int], None]]]:
    """(shows files done, of how many, failed; shows frames of a video done, of how many): a bar of either."""
    with progress_bar("frame" if job.is_of_frames else job.noun) as show:
        if job.is_of_frames:
            yield _show_nothing, lambda done, total: show(done, total, 0)
        else:
            yield show, _show_nothing


def _show_nothing(*_: int) -> None:
    """In place of a bar."""
