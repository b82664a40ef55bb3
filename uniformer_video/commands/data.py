"""Commands that make or change data."""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from uniformer_video.commands.options import add_separator
from uniformer_video.errors import CheckpointError, UserError
from uniformer_video.program import command

log = logging.getLogger("uniformer_video")


def demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", default="datasets/demo", metavar="FOLDER", help="(datasets/demo)")
    parser.add_argument("--train", type=int, default=1600, help="training videos (1600)")
    parser.add_argument("--val", type=int, default=160, help="validation videos (160)")
    parser.add_argument("--test", type=int, default=480, help="test videos (480)")
    parser.add_argument("--seed", type=int, default=0, help="(0)")


def demo_command(args: Namespace) -> None:
    """Generate the demo videos: eight motions, H.264, with train, val and test lists.

    The same seed gives the same videos; what an interrupted call has finished is kept.
    """
    from tqdm import tqdm

    from uniformer_video.prepare.demo import generate_demo

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


def remap_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("list", metavar="LIST.csv", help="one path and label a line")
    order = "class names of its numbers: a known order, a file of names, or a checkpoint"
    parser.add_argument("--from", required=True, dest="given", metavar="NAMES", help=order)
    parser.add_argument(
        "--to", required=True, dest="wanted", metavar="NAMES", help="such as --from"
    )
    parser.add_argument("--out", required=True, metavar="NEW.csv", help="the list to write")
    add_separator(parser)


def remap_command(args: Namespace) -> None:
    """Write a list with its labels counted in another class order.

    NAMES is a known order such as k400 (the usual one) or k400-published (outputs of the published
    weights), a file with one class name a line, or a checkpoint that records its class names. Both
    orders must be of the same names. Paths, lines and separators stay as they are.
    """
    from uniformer_video.data.lists.class_names import identify
    from uniformer_video.data.lists.remap import remap_list

    given = _names_of(args.given, "--from")
    wanted = _names_of(args.wanted, "--to")
    videos, changed = remap_list(args.list, args.out, given, wanted, args.separator)
    print(f"{args.out}: {videos} videos, {changed} labels changed")
    order = identify(wanted) or "FILE, which holds the names of --to"
    print(f"Its numbers now stand for DATA.CLASS_NAMES {order}; that goes before a classes.txt.")


def _names_of(text: str, flag: str) -> Sequence[str]:
    """Class names of a known order, of a text file, or of a checkpoint."""
    from uniformer_video.data.lists.class_names import named_classes
    from uniformer_video.runs.class_order import known_names

    if not _is_binary(text):
        return named_classes(text, flag)
    from uniformer_video.weights.checkpoint import read_weights

    names = known_names(read_weights(text))
    if not names:
        raise CheckpointError(
            f"{flag} {text} records no class names; give a known order, such as k400-published, or a "
            f"file of names (`{command('convert')}` records names in a checkpoint)"
        )
    return names


def _is_binary(path: str) -> bool:
    """True for a file that is no text, as every kind of weights file."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        start = file.read(4096)
    return b"\0" in start or start[:1] == b"\x80"  # the latter begins a pickle
