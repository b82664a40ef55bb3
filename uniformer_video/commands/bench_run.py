"""`bench run`: where the time of a whole training and of a test goes."""

from argparse import ArgumentParser, Namespace

from uniformer_video.commands.options import CONFIG_HELP, add_overrides
from uniformer_video.commands.status import EXIT_INTERRUPTED
from uniformer_video.errors import UserError


def add_record(parser: ArgumentParser) -> None:
    """`--json` and `--compare`, of what is measured."""
    parser.add_argument("--json", metavar="FILE", help="also write the figures, with the machine")
    parser.add_argument(
        "--compare", metavar="FILE", help="ratios to the figures that --json wrote earlier"
    )


def typed(args: Namespace, *names: str) -> list[str]:
    """The options of these names as they are typed, those that were given or have a default."""
    words: list[str] = []
    for name in names:
        value = getattr(args, name)
        if value is True:
            words.append(f"--{name}")
        elif value not in (None, False):
            words += [f"--{name}", str(value)]
    return words


def run_arguments(parser: ArgumentParser) -> None:
    """The arguments of `bench run`."""
    parser.add_argument(
        "--cfg", metavar="FILE", help=f"{CONFIG_HELP} (default: the defaults, generated videos)"
    )
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="timed steps (8)")
    parser.add_argument(
        "--test", action="store_true", help="time the config's multi-view test from files, too"
    )
    parser.add_argument("--videos", type=int, default=8, metavar="N", help="of a test (8)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="rounds of it (3)")
    add_record(parser)
    add_overrides(parser)


def run(args: Namespace) -> int | None:
    """A slice of a training, and of a test from files: where the time goes, with the limit beside it.

    Some steps of the training that the config asks for, by its own loop and loader, on a copy that is
    thrown away: waiting for data, transfer, augmentation on the device, forward, backward, optimiser,
    logging; what the processes take to decode and augment; the loader alone; and what the model's matrix
    products would take at the rate that this machine reaches with large ones.
    """
    from uniformer_video.signals import Interrupted, delay_interrupts

    if min(args.steps, args.videos, args.repeat) < 1:
        raise UserError("--steps, --videos and --repeat are at least 1")
    with delay_interrupts():
        from uniformer_video.bench.figures import check_target, comparison, read_earlier
        from uniformer_video.bench.run import measure
        from uniformer_video.bench.run_lines import lines
        from uniformer_video.config.settings import load_config

    if args.json:
        check_target(args.json)
    earlier = read_earlier(args.compare, "run") if args.compare else None
    cfg = load_config(args.cfg, args.overrides)
    try:
        found = measure(cfg, args.steps, args.videos if args.test else 0, args.repeat)
    except Interrupted:
        return EXIT_INTERRUPTED
    print("\n".join(lines(found)))
    if earlier:
        print("\n".join(comparison(found, earlier, args.compare)))
    if args.json:
        words = typed(args, "cfg", "steps", "test", "videos", "repeat")
        found.write(args.json, ["run", *words, *args.overrides])
        print(f"Written: {args.json}")
    return 0
