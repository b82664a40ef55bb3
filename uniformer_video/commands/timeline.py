"""A trained model over a long video."""

import json
import logging
import math
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from uniformer_video.commands.options import add_views, progress_bar
from uniformer_video.commands.status import EXIT_USER_ERROR
from uniformer_video.errors import UserError

log = logging.getLogger("uniformer_video")

_CLOCK = re.compile(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d+)?)")


def seconds(text: str) -> float:
    """ "75.5", "1:15.5" or "0:01:15.5" -> 75.5."""
    if found := _CLOCK.fullmatch(text):
        hours, minutes, rest = found.groups()
        return 3600 * int(hours or 0) + 60 * int(minutes) + float(rest)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"{text!r} is no time; write seconds, 75.5, or minutes, 1:15.5")
    return value


def timeline_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "video",
        metavar="VIDEO",
        help="a video file, a folder of frames, or the folder of an earlier timeline, to smooth or to score "
        "it again without decoding",
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="such as run/best.pt, or a file that `export` wrote"
    )
    parser.add_argument("--out", metavar="FOLDER", help="for data, subtitles, picture and page")
    parser.add_argument("--json", action="store_true", help="print data: one JSON object")
    where = parser.add_argument_group("windows (seconds, or minutes as 1:15.5)")
    where.add_argument(
        "--window",
        type=seconds,
        metavar="TIME",
        help="length (of a clip of the model, of two where it is tested by several)",
    )
    where.add_argument(
        "--stride",
        type=seconds,
        metavar="TIME",
        help="from one to the next (a quarter of a window)",
    )
    where.add_argument("--start", type=seconds, metavar="TIME", help="where to begin")
    where.add_argument("--end", type=seconds, metavar="TIME", help="where to stop")
    where.add_argument("--fps", type=float, metavar="RATE", help="of a video that holds no times")
    add_views(where, "window")
    how = parser.add_argument_group("from windows to segments")
    how.add_argument(
        "--smooth",
        type=float,
        metavar="WEIGHT",
        help="of a window in the exponential mean over time, up to 1, no smoothing (0.5)",
    )
    how.add_argument(
        "--enter",
        type=float,
        metavar="P",
        help="probability at which a class begins (the checkpoint's threshold, or 0.4)",
    )
    how.add_argument(
        "--leave", type=float, metavar="P", help="below which it ends (0.375 times --enter)"
    )
    parser.add_argument(
        "--score",
        metavar="TRUTH.csv",
        help="known segments to score against: columns start, end, label",
    )
    parser.add_argument(
        "--render", metavar="OUT.mp4", help="write the video with the label in it, sound kept"
    )


def timeline_command(args: Namespace) -> int:
    """Say what happens when in a long video, with a trained checkpoint.

    The video is decoded once, in memory that does not grow with its length; each window is predicted as
    a test of that segment would be. Windows are smoothed, and become segments. With --out FOLDER:
    timeline.json, windows.csv, segments.csv, subtitles (.srt, .vtt), a picture and a page. What of a broken
    video can be read is kept, the rest is named, and the exit status is 2.
    """
    from uniformer_video.inference.timeline_files import claim_out, is_stored, read_timeline
    from uniformer_video.inference.timeline_render import check_target, render_timeline
    from uniformer_video.inference.timeline_report import (
        source_of_predictor,
        source_of_record,
        summarise,
        write_all,
    )
    from uniformer_video.inference.timeline_segments import Smoothing
    from uniformer_video.inference.timeline_truth import read_truth

    stored = is_stored(args.video)
    Smoothing.of(None, args.smooth, args.enter, args.leave)  # a wrong value is told at once
    if stored:
        _refuse_with_stored(args)
        timeline, earlier = read_timeline(args.video)
        source = source_of_record(earlier)
    elif not args.checkpoint:
        raise UserError("--checkpoint is needed: the trained model, such as run/best.pt")
    if args.render:
        check_target(args.render, timeline.video if stored else args.video)
    out = claim_out(args.out) if args.out else None
    truth = None
    if not stored:
        from uniformer_video.inference.predictor import Predictor
        from uniformer_video.inference.timeline import predict_timeline

        predictor = Predictor.from_checkpoint(args.checkpoint, args.clips, args.crops)
        source = source_of_predictor(predictor, args.checkpoint)
        if args.score:
            truth = read_truth(args.score, predictor.class_names, args.video)
        with progress_bar("window") as show:
            timeline = predict_timeline(
                predictor,
                args.video,
                args.window,
                args.stride,
                args.start or 0.0,
                args.end,
                args.fps,
                progress=lambda done, total: show(done, total, 0),
            )
    elif args.score:
        truth = read_truth(args.score, timeline.class_names, timeline.video)
    smoothing = Smoothing.of(
        timeline.threshold,
        args.smooth,
        args.enter,
        args.leave,
        earlier=Smoothing(**earlier["smoothing"]) if stored else None,
    )
    record, segments = summarise(timeline, smoothing, source, truth)
    if out:
        write_all(out, timeline, record)
    if args.render:
        decoder = str(source.protocol["decoder"])
        record["notes"] += render_timeline(timeline, segments, args.render, decoder)
    if args.json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        _print(record)
    for place in filter(None, (out, args.render)):
        log.info("Written: %s", place)
    return EXIT_USER_ERROR if record["broken"] else 0


def _refuse_with_stored(args: Namespace) -> None:
    """Windows that were predicted before stay as they are."""
    given = {
        "--checkpoint": args.checkpoint,
        "--window": args.window,
        "--stride": args.stride,
        "--start": args.start,
        "--end": args.end,
        "--fps": args.fps,
        "--clips": args.clips,
        "--crops": args.crops,
    }
    if named := [name for name, value in given.items() if value is not None]:
        raise UserError(
            f"{args.video} is a timeline that was made before, whose windows stay as they are: leave out "
            f"{', '.join(named)}, or give the video in its place"
        )


def _print(record: dict) -> None:
    from uniformer_video.inference.timeline_segments import clock

    for segment in record["segments"]:
        start, end = (clock(segment[key], hours=False) for key in ("start", "end"))
        print(f"{start} - {end}  {segment['score']:6.1%}  {segment['name']}")
    if not record["segments"]:
        print(f"no class reaches {record['smoothing']['enter']:.1%} (--enter)")
    if scores := record["scores"]:
        _print_scores(scores)
    for note in [*record["notes"], *(scores["notes"] if scores else ())]:
        log.warning(note)
    level, word = (logging.ERROR, "error: ") if record["broken"] else (logging.WARNING, "")
    for part in record["failed"][:5]:
        words = part["start"], part["end"], part["reason"]
        log.log(level, "%s%.3f s to %.3f s: %s", word, *words)
    if len(record["failed"]) > 5:
        more = len(record["failed"]) - 5
        log.log(level, "%sand %d more windows without an answer", word, more)


def _print_scores(scores: dict) -> None:
    def share(value: float | None) -> str:
        return "not defined" if value is None else f"{value:.1%}"

    print(f"frame accuracy   {share(scores['frame_accuracy']['value'])}")
    print(f"edit score       {share(scores['edit'])}")
    for overlap, part in scores["f1"].items():
        print(f"{f'F1 at {overlap}%':<16} {share(part['value'])}")
    for overlap, value in scores["map"].items():
        print(f"mAP at tIoU {overlap:<4} {share(value)}")
