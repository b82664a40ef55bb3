"""A trained model on a stream, as it happens."""

import contextlib
import logging
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from uniformer_video.commands.options import add_cuda_graph, add_device
from uniformer_video.commands.timeline import seconds
from uniformer_video.config.rows import SETTINGS
from uniformer_video.errors import UserError
from uniformer_video.signals import stop_requests
from uniformer_video.words import plural

if TYPE_CHECKING:
    from uniformer_video.inference.watch import Label
    from uniformer_video.inference.watch_window import FrameRing

log = logging.getLogger("uniformer_video")

EXIT_LOST = 1  # a stream that worked could not be had again


def watch_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="the number of a camera, such as 0; an rtsp:// or http:// address; - for standard input; a "
        "named pipe; a file, which is played in real time",
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        metavar="FILE",
        help="such as run/best.pt, or a file that `export` wrote",
    )
    parser.add_argument(
        "--every",
        type=seconds,
        default=1.0,
        metavar="TIME",
        help="from label to label, seconds (1)",
    )
    parser.add_argument(
        "--span",
        type=seconds,
        metavar="TIME",
        help="what a label is of, for a model that is tested on the whole of a video, seconds (4)",
    )
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown (5)")
    parser.add_argument(
        "--crops",
        type=int,
        choices=SETTINGS["TEST.NUM_SPATIAL_CROPS"].choices,
        help="crops of the clip (1, its centre; of an exported file that cuts crops itself, those)",
    )
    parser.add_argument(
        "--window", action="store_true", help="show frames and labels on the screen, too"
    )
    parser.add_argument(
        "--fps",
        type=float,
        metavar="RATE",
        help="frames a second that a camera is asked for, or of a stream that holds no times",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=10.0,
        metavar="TIME",
        help="without a frame, after which a camera or an address is connected again, seconds (10)",
    )
    parser.add_argument(
        "--give-up",
        type=seconds,
        default=300.0,
        metavar="TIME",
        help="without a frame, after which it is lost, seconds (300)",
    )
    add_device(parser)
    add_cuda_graph(parser)


def watch_command(args: Namespace) -> int:
    """Label a camera, an RTSP or HTTP stream, a pipe, or a file in real time, with a trained checkpoint.

    One JSON object a line on standard output, one every --every seconds: time in the stream, wall time,
    label, classes, lag, frames dropped so far. A label is of the newest clip, by the checkpoint's own
    sampling; what the model cannot follow is left out and counted, so that the lag does not grow. Networks
    and cameras are connected again when they break off. Ctrl-C ends it with a summary on standard error.

    The exit status is 0 at the end of the stream and after Ctrl-C, 1 where a stream that worked was lost,
    and 2 where it gave no label.
    """
    from uniformer_video.storage.address import public_name
    from uniformer_video.storage.hidden_arguments import replace_in_arguments

    shown = public_name(args.source)
    if shown != args.source:
        replace_in_arguments(args.source, shown)
    if sys.stdout is None:
        raise UserError("standard output is closed, where the labels are to go; send it to a file")
    with stop_requests() as stop:
        from uniformer_video.data.decoding.live_places import find_place
        from uniformer_video.export.runtime import cuts_crops
        from uniformer_video.inference.predictor import Predictor
        from uniformer_video.inference.watch import check_every, watch
        from uniformer_video.inference.watch_feed import LiveFeed, Patience
        from uniformer_video.inference.watch_window import ClipWindow, FrameRing

        check_every(args.every)
        if args.top < 1:
            raise UserError(f"--top is {args.top}; it must be 1 or more classes")
        patience = Patience(timeout=args.timeout, give_up=args.give_up)
        place = find_place(args.source, args.fps)
        crops = args.crops
        if crops is None and not cuts_crops(args.checkpoint):
            crops = 1
        predictor = Predictor.from_checkpoint(
            args.checkpoint, 1, crops, device=args.device, precision=args.precision
        )
        if args.cuda_graph:
            predictor.use_cuda_graphs()
        protocol = predictor.protocol
        window = ClipWindow.of(protocol.sampling, args.span)
        ring = FrameRing(window)
        short_side = protocol.decode_short_side or protocol.views.short_side
        with (
            _screen(args.window, place.name, ring) as (show_there, look, closed),
            LiveFeed(place, ring, short_side, args.fps, patience) as feed,
        ):

            def show(label: "Label") -> None:
                print_row(label, args.top)
                show_there(label)

            watched = watch(
                predictor, feed, args.every, show, lambda: stop.is_set() or closed(), look
            )
        for note in feed.notes():
            log.warning("%s: %s", place.name, note)
        if not watched.lags and not stop.is_set() and not closed():
            why = f"{feed.fault}; no label" if feed.fault else f"{place.name} gave no label"
            raise UserError(
                f"{why}: it ended after {plural(watched.seen, 'frame')}, and a label is of {window}"
            )
        log.info("%s: %s", place.name, watched)
        if feed.fault:
            log.error("error: %s", feed.fault)
        return EXIT_LOST if feed.fault else 0


def print_row(label: "Label", top: int) -> None:
    """One line on standard output, at once."""
    from uniformer_video.inference.prediction_rows import json_line

    sys.stdout.write(json_line(label.row(top, time.time())))
    sys.stdout.flush()


@contextlib.contextmanager
def _screen(
    wanted: bool, title: str, ring: "FrameRing"
) -> Iterator[tuple[Callable, Callable | None, Callable[[], bool]]]:
    """(what shows a label, what draws frames, whether somebody closed it) of the window on the screen."""
    if not wanted:
        yield lambda label: None, None, lambda: False
        return
    from uniformer_video.inference.watch_overlay import Overlay

    overlay = Overlay(title, ring)
    try:
        yield overlay.show, overlay.look, lambda: overlay.closed
    finally:
        overlay.close()
