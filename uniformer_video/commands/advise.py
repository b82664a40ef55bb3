"""Which recipe fits somebody's videos."""

import json
from argparse import ArgumentParser, Namespace

from uniformer_video.commands.options import add_overrides, add_workers, progress_bar
from uniformer_video.errors import UserError


def advise_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "data",
        metavar="DATA",
        help="a folder of class folders or lists, a list, a folder of videos, or a video",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="to start from: a path, an address, a published name, or none (the best that are here, or on "
        "the Hugging Face hub)",
    )
    parser.add_argument(
        "--sample", type=int, default=500, metavar="N", help="videos to open, of more (500)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure nothing: without time and memory"
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    add_workers(parser)
    add_overrides(parser)


def advise_command(args: Namespace) -> None:
    """Look at videos, and say which recipe, frames, stride and size fit them, and why.

    DATA may be whatever a training reads; TRAIN.DATASET NAME behind it says a format that cannot be told.
    It opens at most --sample videos, times a training step, and ends with a command that is ready to run.
    KEY VALUE pairs fix settings: the command has them as they are, and the advice is about the others.
    Videos without labels are described too, with what they lack.
    """
    from uniformer_video.advice.advise import advise

    if args.workers < 0:
        raise UserError(f"--workers is {args.workers}; it takes 1 or more, or 0 for one a core")
    if args.sample < 1:
        raise UserError(f"--sample is {args.sample}; it takes 1 or more")
    with progress_bar("video") as show:
        advice = advise(
            args.data,
            weights=args.weights,
            settings=args.overrides,
            sample=args.sample,
            workers=args.workers,
            measure=not args.quick,
            progress=show,
        )
    print(json.dumps(advice.to_dict(), indent=2) if args.json else advice)
