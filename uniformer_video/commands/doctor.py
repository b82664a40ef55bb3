"""Whether all works on this machine."""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def doctor_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="only look; make no videos and train nothing"
    )


def doctor_command(args: Namespace) -> int:
    """Check Python, libraries, devices, decoders, disk and memory, and try everything for a minute.

    Each line is `fine`, a `note` (slower, or without something) or WRONG, with what to do. The exit status
    is 1 where something is wrong, else 0.
    """
    from tempfile import TemporaryDirectory

    from uniformer_video.doctor import examine
    from uniformer_video.doctor.finding import Level

    wrong = 0
    with TemporaryDirectory(prefix="uniformer-video-") as folder:
        for finding in examine.examine(None if args.quick else Path(folder)):
            print("\n".join(finding.lines(examine.WIDTH)), flush=True)
            wrong += finding.level is Level.WRONG
    things = "thing" if wrong == 1 else "things"
    print(
        f"{wrong} {things} will not work; see WRONG above."
        if wrong
        else "All that is needed works."
    )
    return 1 if wrong else 0
