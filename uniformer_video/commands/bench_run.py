"""`bench run` and `bench model`, and what all benches share: figures in a file, and a comparison with it."""

import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniformer_video.commands.options import CONFIG_HELP, add_overrides
from uniformer_video.errors import UserError

if TYPE_CHECKING:
    from uniformer_video.bench.figures import Measured

_MOST = 1_000_000  # of rounds, steps, clips, videos


def add_record(parser: ArgumentParser) -> None:
    """`--json` and `--compare`, of what is measured."""
    parser.add_argument("--json", metavar="FILE", help="also write the figures, with the machine")
    parser.add_argument(
        "--compare", metavar="FILE", help="ratios to the figures that --json wrote earlier"
    )


def add_config(parser: ArgumentParser, default: str = "the defaults") -> None:
    """`--cfg`; default: what is measured without it."""
    parser.add_argument("--cfg", metavar="FILE", help=f"{CONFIG_HELP} (default: {default})")


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


def begin(args: Namespace, bench: str) -> dict[str, Any] | None:
    """Before anything is measured: what to compare with, or None. Raises `ConfigError`, also for --json."""
    from uniformer_video.bench.figures import read_earlier
    from uniformer_video.files import check_new_file

    if args.json:
        check_new_file(Path(args.json), "--json")
    return read_earlier(args.compare, bench) if args.compare else None


def measured(
    args: Namespace,
    measure: Callable[[], object],
    tell: Callable[[], None],
    is_there: Callable[[], object],
    found: "Measured | None" = None,
) -> None:
    """Measure and tell; an interrupt ends that once what was complete by then is told.

    is_there: whether there is something to tell. found: is marked as interrupted, where there is one.
    """
    from uniformer_video.signals import Interrupted

    try:
        measure()
    except (
        KeyboardInterrupt,
        Interrupted,
    ):  # the second says that a run is saved, and this is none
        if is_there():
            print("INTERRUPTED: what was complete by then, some of it of fewer rounds")
            if found:
                found.interrupted = True
            tell()
            args.kept = "what was complete by then stands above"
        raise KeyboardInterrupt from None
    tell()


def whole_numbers(args: Namespace, least: int, *names: str) -> None:
    """Raise `UserError` for an option of these names that is less than that, or too large for anything."""
    for name in names:
        if not least <= (value := getattr(args, name)) <= _MOST:
            raise UserError(f"--{name} is {value}; it is at least {least} and at most {_MOST}")


def record(
    args: Namespace,
    found: "Measured",
    measure: Callable[[], object],
    lines: Callable[[], Iterable[str]],
    earlier: Mapping[str, Any] | None,
    words: Sequence[str],
) -> None:
    """Measure into `found`; then, and of what an interrupt leaves, print the `lines`, compare it, write it.

    earlier: what `begin` has read. words: what was typed behind `bench`, for who wants to repeat it.
    """
    from uniformer_video.bench.figures import comparison
    from uniformer_video.program import command

    def tell() -> None:
        print("\n".join(lines()))
        if earlier:
            print("\n".join(comparison(found, earlier, args.compare)))
        if args.json:
            print(found.write(args.json, command(shlex.join(["bench", *words]))))

    measured(args, measure, tell, lambda: found.figures, found)


def model_arguments(parser: ArgumentParser) -> None:
    """The arguments of `bench model`."""
    add_config(parser)
    parser.add_argument("--batch", type=int, default=2, metavar="N", help="clips (2)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="rounds (5)")
    parser.add_argument(
        "--precisions", default="fp32,bf16", metavar="NAME,NAME", help="arithmetic (fp32,bf16)"
    )
    parser.add_argument(
        "--depthwise",
        action="store_true",
        help="in place of that, the ways to compute depthwise convolutions on a processor, by layer",
    )
    add_record(parser)
    add_overrides(parser)


def model(args: Namespace) -> None:
    """A forward pass and a training step of the config's model, by precision, with the limit beside them.

    The limit is what its operations would take at the rate that this machine reaches with large matrix
    products.
    """
    from uniformer_video.bench.figures import Measured
    from uniformer_video.bench.model import lines, measure
    from uniformer_video.config.settings import load_config

    whole_numbers(args, 1, "batch", "repeat")
    if args.depthwise:
        return _depthwise(args)
    earlier = begin(args, "model")
    cfg = load_config(args.cfg, args.overrides)
    found, words = Measured("model", {}), typed(args, "cfg", "batch", "repeat", "precisions")
    record(
        args,
        found,
        lambda: measure(cfg, args.batch, args.repeat, _precisions(args), found),
        lambda: lines(found),
        earlier,
        ["model", *words, *args.overrides],
    )


def _depthwise(args: Namespace) -> None:
    from uniformer_video.bench.depthwise import lines, measure
    from uniformer_video.bench.figures import Measured

    if args.cfg or args.overrides:
        raise UserError(
            "--depthwise times the layers of UniFormer-S; leave out --cfg and KEY VALUE"
        )
    earlier = begin(args, "model --depthwise")
    found = Measured("model --depthwise", {})
    record(
        args,
        found,
        lambda: measure(_precisions(args), args.repeat, args.batch, found),
        lambda: lines(found),
        earlier,
        ["model", *typed(args, "depthwise", "batch", "precisions", "repeat")],
    )


def _precisions(args: Namespace) -> list[str]:
    """As they are given, each once."""
    return list(dict.fromkeys(args.precisions.split(",")))


_OF_A_TEST = {"videos": 8, "repeat": 3}  # options that say something with --test alone


def run_arguments(parser: ArgumentParser) -> None:
    """The arguments of `bench run`."""
    add_config(parser, "the defaults, generated videos")
    parser.add_argument("--steps", type=int, default=8, metavar="N", help="timed steps (8)")
    parser.add_argument(
        "--test", action="store_true", help="time the config's multi-view test from files, too"
    )
    parser.add_argument("--videos", type=int, metavar="N", help="of a test (8)")
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds of it (3)")
    add_record(parser)
    add_overrides(parser)


def run(args: Namespace) -> None:
    """A slice of a training, and of a test from files: where the time goes, with the limit beside it.

    Some steps of the training that the config asks for, by its own loop and loader, on a copy that is
    thrown away: waiting for data, transfer, augmentation on the device, forward, backward, optimiser,
    logging; what the processes take to decode and augment; the loader alone; and what the model's matrix
    products would take at the rate that this machine reaches with large ones. Nothing is written beside the
    data or into OUTPUT_DIR: clips are decoded without kept frames (DATA.CACHE_GB) and without an index.
    """
    from uniformer_video.signals import delay_interrupts

    for name, default in _OF_A_TEST.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif not args.test:
            raise UserError(f"--{name} is of a test; give --test too, or leave it out")
    whole_numbers(args, 1, "steps", *_OF_A_TEST)
    with delay_interrupts():
        from uniformer_video.bench.figures import Measured
        from uniformer_video.bench.run import measure
        from uniformer_video.bench.run_lines import lines
        from uniformer_video.config.settings import load_config

    earlier = begin(args, "run")
    cfg = load_config(args.cfg, args.overrides)
    found, videos = Measured("run", {}), args.videos if args.test else 0
    words = typed(args, "cfg", "steps", "test", *(_OF_A_TEST if args.test else ()))
    record(
        args,
        found,
        lambda: measure(cfg, args.steps, videos, args.repeat, found),
        lambda: lines(found),
        earlier,
        ["run", *words, *args.overrides],
    )
