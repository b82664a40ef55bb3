"""The console command. The scripts in `tools/` are its sub-commands under names of their own."""

import argparse
import errno
import inspect
import logging
import os
import shlex
import sys
from pathlib import Path

from uniformer_video.errors import UserError

log = logging.getLogger("uniformer_video")

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments=None, command=None):
    """Run one sub-command and return the exit status.

    `command` fixes the sub-command, for the scripts in `tools/`. Errors that a user can act on are
    printed without a traceback and give status 2; set UNIFORMER_TRACEBACK=1 to see where they rose.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _start_logging()
    # Training and decoding share the cores; threads that wait for each other must not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        parsed = _parse(arguments, command)
        return parsed.handler(parsed) or 0
    except KeyboardInterrupt:
        log.error(
            "Interrupted; what was finished is kept, and the same command goes on from there."
        )
        return EXIT_INTERRUPTED
    except (UserError, OSError) as error:
        if os.environ.get("UNIFORMER_TRACEBACK"):
            raise
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        log.error("error: %s", _describe(error))
        return EXIT_USER_ERROR


def _parse(arguments, command):
    if command:
        parser = argparse.ArgumentParser(
            prog=Path(sys.argv[0]).name,
            description=inspect.cleandoc(_COMMANDS[command][1].__doc__),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add(parser, command)
        return parser.parse_args(arguments)
    parser = argparse.ArgumentParser(
        prog="uniformer-video", description="UniFormer for video action recognition."
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (_, handler) in _COMMANDS.items():
        summary = handler.__doc__.splitlines()[0]
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=inspect.cleandoc(handler.__doc__),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add(subparser, name)
    return parser.parse_args(arguments)


def _add(parser, command):
    add_arguments, handler = _COMMANDS[command]
    add_arguments(parser)
    parser.set_defaults(handler=handler)


def _run_arguments(parser):
    parser.add_argument("--cfg", metavar="FILE", required=True, help="a YAML config, see configs/")
    _add_overrides(parser)


def run_command(args):
    """Train, run the multi-view test, and write the report.

    An unfinished run with the same config goes on where it stopped; a finished one only reports
    again. TRAIN.ENABLE False only tests, TEST.ENABLE False only trains.

    KEY VALUE pairs override the config, such as SOLVER.BASE_LR 1e-4 DATA.PATH_TO_DATA_DIR my/data;
    `uniformer-video config --keys` lists every key.
    """
    from uniformer_video.config import load_config
    from uniformer_video.run import run
    from uniformer_video.training.trainer import Interrupted

    cfg = load_config(args.cfg, args.overrides)
    again = shlex.join(["tools/run_net.py", "--cfg", args.cfg, *args.overrides])
    try:
        run(cfg, Path(args.cfg).stem, again)
    except Interrupted:
        log.info("Stopped; all is saved. To go on, run the same command: python %s", again)
        return EXIT_INTERRUPTED
    return 0


def _config_arguments(parser):
    parser.add_argument("--cfg", metavar="FILE", help="a YAML config; without it, the defaults")
    parser.add_argument("--keys", action="store_true", help="list every key, default and meaning")
    _add_overrides(parser)


def config_command(args):
    """Print the resolved config, or with --keys what every key means."""
    from uniformer_video.config import config_text, describe, load_config

    print(describe() if args.keys else config_text(load_config(args.cfg, args.overrides)), end="\n")


def _predict_arguments(parser):
    parser.add_argument(
        "videos", nargs="+", metavar="VIDEO", help="video files, or folders of them"
    )
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="such as run/best.pt")
    parser.add_argument("--json", action="store_true", help="print data: one JSON object a video")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown (5)")
    parser.add_argument("--clips", type=int, metavar="N", help="clips of a video (as trained for)")
    parser.add_argument(
        "--crops", type=int, choices=(1, 3), help="crops of a clip (as trained for)"
    )


def predict_command(args):
    """Classify videos by name with a trained checkpoint.

    The checkpoint carries everything: architecture, sampling, normalisation, class names. A video
    that cannot be decoded is reported, the others are classified, and the exit status is 2.
    """
    import simplejson

    from uniformer_video.errors import DecodeError
    from uniformer_video.inference.predictor import Predictor, find_videos

    if args.top < 1 or (args.clips is not None and args.clips < 1):
        raise UserError("--top and --clips must be at least 1")
    videos = [video for path in args.videos for video in find_videos(path)]
    predictor = Predictor.from_checkpoint(args.checkpoint, args.clips, args.crops)
    failed = 0
    for video in videos:
        try:
            top = predictor(video).top(args.top)
        except DecodeError as error:
            failed += 1
            if args.json:
                failure = {"video": str(video), "error": str(error)}
                print(simplejson.dumps(failure, ensure_ascii=False))
            else:
                log.error("error: %s", error)
            continue
        if args.json:
            entries = [{"class": name, "score": round(score, 6)} for name, score in top]
            print(simplejson.dumps({"video": str(video), "top": entries}, ensure_ascii=False))
        else:
            print(video)
            for name, score in top:
                print(f"  {score:6.1%}  {name}")
    return EXIT_USER_ERROR if failed else 0


def _inflate_arguments(parser):
    parser.add_argument("image", metavar="IMAGE.pth", help="2D ImageNet weights of a UniFormer")
    parser.add_argument(
        "--out", required=True, metavar="VIDEO.pth", help="the 3D checkpoint to write"
    )
    parser.add_argument(
        "--mode",
        choices=("average", "center"),
        default="average",
        help="spread over time (average)",
    )
    parser.add_argument(
        "--local-kernel", default="3,5,5", metavar="T,H,W", help="of the local blocks (3,5,5)"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="video architecture (found by the file's shapes)"
    )


def inflate_command(args):
    """Inflate 2D ImageNet weights to a 3D checkpoint, and report what became of each part.

    Linear, norm and attention weights are copied, convolutions get a time axis: "average" repeats a
    kernel along time and divides by its length, "center" puts it in the middle step. The classifier
    is dropped.
    """
    from uniformer_video.models.convert import inflate_file

    try:
        kernel = tuple(int(side) for side in args.local_kernel.split(","))
    except ValueError:
        raise UserError(
            f"--local-kernel is {args.local_kernel!r}; it takes T,H,W such as 3,5,5"
        ) from None
    for line in inflate_file(args.image, args.out, args.mode, kernel, args.model):
        print(line)


def _demo_arguments(parser):
    parser.add_argument("--out", default="datasets/demo", metavar="FOLDER", help="(datasets/demo)")
    parser.add_argument("--train", type=int, default=1600, help="training videos (1600)")
    parser.add_argument("--val", type=int, default=160, help="validation videos (160)")
    parser.add_argument("--test", type=int, default=480, help="test videos (480)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")


def demo_command(args):
    """Generate the demo videos: eight motions, H.264, with train, val and test lists.

    The same seed gives the same videos; what an interrupted call has finished is kept.
    """
    from tqdm import tqdm

    from uniformer_video.data.demo import generate_demo

    if min(args.train, args.val, args.test) < 8 or args.seed < 0:
        raise UserError(
            "--train, --val and --test are at least 8, one a class; --seed is 0 or more"
        )
    total = args.train + args.val + args.test
    log.info("Making %d demo videos in %s.", total, args.out)
    with tqdm(
        total=total, unit="video", leave=False, disable=None
    ) as bar:  # None: not off a terminal
        made = generate_demo(
            args.out,
            args.train,
            args.val,
            args.test,
            args.seed,
            progress=lambda done, _: bar.update(done - bar.n),
        )
    log.info("%s: %d videos made, %d were there.", args.out, made, total - made)


def _report_arguments(parser):
    parser.add_argument("folder", metavar="FOLDER", help="holds results.json")


def report_command(args):
    """Write the report page again from the results in a folder."""
    from uniformer_video.evaluate import report

    print(report(args.folder))


_COMMANDS = {
    "run": (_run_arguments, run_command),
    "config": (_config_arguments, config_command),
    "predict": (_predict_arguments, predict_command),
    "inflate": (_inflate_arguments, inflate_command),
    "report": (_report_arguments, report_command),
    "make-demo-data": (_demo_arguments, demo_command),
}


def _add_overrides(parser):
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="settings in place of the file's",
    )


def _start_logging():
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    log.setLevel(logging.INFO)  # ours alone; libraries speak up only to warn


def _describe(error):
    if not isinstance(error, OSError):
        return str(error)
    place = f": {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{place}; free some space and run the same command again"
    return f"{error.strerror or error}{place}"


if __name__ == "__main__":
    sys.exit(main())
