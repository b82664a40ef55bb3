"""Commands that make or change data."""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from uniformer_video.commands.options import add_separator
from uniformer_video.errors import CheckpointError, UserError
from uniformer_video.program import command

log = logging.getLogger("uniformer_video")

DEMO_PARTS = {"train": 1600, "val": 160, "test": 480}  # videos


def demo_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="(datasets/demo; with --hard datasets/demo_hard, with --inflation datasets/inflation, with "
        "--dense datasets/dense)",
    )
    for part, count in DEMO_PARTS.items():
        parser.add_argument(f"--{part}", type=int, metavar="N", help=f"{part} videos ({count})")
    parser.add_argument("--seed", type=int, default=0, help="(0)")
    parser.add_argument(
        "--hard",
        action="store_true",
        help="few videos of 320x240, hard where small sets of real ones are: scenes that training and test "
        "do not share, textured backgrounds that move, a shaking camera, objects that mean nothing",
    )
    parser.add_argument(
        "--inflation",
        action="store_true",
        help="stills whose class is an appearance, and videos whose class is an appearance and a motion, in "
        "datasets/inflation: what `bench inflation` trains on",
    )
    parser.add_argument(
        "--dense",
        action="store_true",
        help="pictures of textured shapes with a mask each, for segmentation, in datasets/dense; --train, "
        "--val and --test count pictures (3600, 100, 200)",
    )
    stills = parser.add_argument_group("with --inflation, beside --train, --val and --test")
    stills.add_argument("--stills", type=int, metavar="N", help="to train on (2400)")
    stills.add_argument(
        "--val-stills", type=int, metavar="N", help="to validate on, and as many to test on (360)"
    )
    hard = parser.add_argument_group("with --hard")
    hard.add_argument("--classes", type=int, metavar="N", help="motions, 2 to 8 (6)")
    hard.add_argument("--videos", type=int, metavar="N", help="of all lists together (100)")
    hard.add_argument("--scenes", type=int, metavar="N", help="3 to 8 (8)")
    hard.add_argument(
        "--usual",
        type=float,
        metavar="SHARE",
        help="of the videos whose moving object looks as it usually does in its class, so that frames tell "
        "something, as in real sets; 0 = motion alone, the hardest (0.6)",
    )


def demo_command(args: Namespace) -> None:
    """Generate the demo videos: eight motions, H.264, with train, val and test lists.

    The same seed gives the same videos; what an interrupted call has finished is kept. With --hard, the
    videos lie in one folder a class, and the lists say of each in which scene (`group`) it was filmed. With
    --inflation, there are stills in folders of classes beside the videos. With --dense, there are pictures
    and masks.
    """
    from uniformer_video.prepare.demo import generate_demo

    hard = _given(args, "classes", "videos", "scenes", "usual")
    parts = _given(args, *DEMO_PARTS)
    stills = _given(args, "stills", "val_stills")
    kinds = [f"--{kind}" for kind in ("hard", "inflation", "dense") if getattr(args, kind)]
    if len(kinds) > 1:
        raise UserError(f"{' and '.join(kinds)} make different sets; give one of them")
    if stills and not args.inflation:
        given = ", --".join(stills).replace("_", "-")
        raise UserError(f"--{given} goes with --inflation; add that, or leave it out")
    if args.hard:
        _make_hard_demo(args, hard, parts)
        return
    if hard:
        raise UserError(f"--{', --'.join(hard)} goes with --hard; add that, or leave it out")
    if args.inflation:
        _make_inflation_demo(args, {**parts, **stills})
        return
    if args.dense:
        _make_dense_demo(args, parts)
        return
    parts = {**DEMO_PARTS, **parts}
    if min(parts.values()) < 8 or args.seed < 0:
        raise UserError(
            "--train, --val and --test are at least 8, one a class; --seed is 0 or more"
        )
    out, total = args.out or "datasets/demo", sum(parts.values())
    _make(
        out, total, lambda progress: generate_demo(out, **parts, seed=args.seed, progress=progress)
    )


def _make_hard_demo(args: Namespace, numbers: dict[str, Any], parts: Collection[str]) -> None:
    from uniformer_video.prepare.hard_demo import HardDemo, generate_hard_demo

    if parts:
        raise UserError(
            f"--{', --'.join(parts)} does not go with --hard, whose scenes are divided; give --videos, the "
            "number of all"
        )
    demo = HardDemo(**numbers, seed=args.seed)
    out = args.out or "datasets/demo_hard"
    _make(out, demo.videos, lambda progress: generate_hard_demo(out, demo, progress=progress))


def _make_inflation_demo(args: Namespace, numbers: dict[str, int]) -> None:
    from uniformer_video.prepare.inflation_demo import InflationDemo, generate_inflation_demo

    demo = InflationDemo(**numbers, seed=args.seed)
    out = args.out or "datasets/inflation"
    _make(
        out,
        demo.total,
        lambda progress: generate_inflation_demo(out, demo, progress=progress),
        "stills and videos",
    )


def _make_dense_demo(args: Namespace, numbers: dict[str, int]) -> None:
    from uniformer_video.prepare.dense_demo import DenseDemo, generate_dense_demo

    demo = DenseDemo(**numbers, seed=args.seed)
    out = args.out or "datasets/dense"
    _make(
        out,
        demo.total,
        lambda progress: generate_dense_demo(out, demo, progress=progress),
        "pictures",
    )


def _make(
    out: str,
    total: int,
    generate: Callable[[Callable[[int, int], object]], int],
    what: str = "videos",
) -> None:
    """Call `generate` with what shows its progress, and say what it made."""
    from tqdm import tqdm

    log.info("Making %d demo %s in %s.", total, what, out)
    with tqdm(
        total=total, unit="file", leave=False, disable=None
    ) as bar:  # None: not off a terminal
        made = generate(lambda done, _: bar.update(done - bar.n))
    log.info("%s: %d %s made, %d were there.", out, made, what, total - made)


def _given(args: Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that stand on the command line."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


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
