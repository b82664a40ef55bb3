"""Commands around a run: train and test, settings, the report."""

import logging
import shlex
from argparse import ArgumentParser, Namespace
from pathlib import Path

from uniformer_video.commands.options import CONFIG_HELP, add_overrides
from uniformer_video.commands.status import EXIT_INTERRUPTED
from uniformer_video.distributed.environment import rank
from uniformer_video.errors import ConfigError
from uniformer_video.program import run_again

log = logging.getLogger("uniformer_video")


def run_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cfg", metavar="FILE", required=True, help=CONFIG_HELP)
    parser.add_argument(
        "--from",
        choices=["best"],
        dest="start_from",
        help="go on from best.pt of the run, at the step after it, with fresh moments; SOLVER.*, "
        "TRAIN.PRECISION and what is frozen may then differ from before",
    )
    add_overrides(parser)


def run_command(args: Namespace) -> int:
    """Train, run the multi-view test, and write the report.

    An unfinished run with the same config goes on where it stopped; a finished one only reports
    again. TRAIN.ENABLE False only tests, TEST.ENABLE False only trains.

    KEY VALUE pairs override the config, such as SOLVER.BASE_LR 1e-4 DATA.PATH_TO_DATA_DIR my/data;
    `uniformer-video config --keys` lists every key.
    """
    from uniformer_video.signals import Interrupted, delay_interrupts

    with delay_interrupts():
        from uniformer_video.torch_internals import check_torch

        check_torch()
        from uniformer_video.config.settings import config_name, load_config
        from uniformer_video.runs.run import run

    cfg = load_config(args.cfg, args.overrides)
    if args.start_from and not cfg.TRAIN.ENABLE:
        raise ConfigError("--from best trains on, and TRAIN.ENABLE is False; leave one of them out")
    # without --from: once begun, the run goes on from its last checkpoint
    again = shlex.join([*run_again(), "--cfg", args.cfg, *args.overrides])
    try:
        run(cfg, config_name(cfg), again, from_best=args.start_from == "best")
    except Interrupted:
        return EXIT_INTERRUPTED
    return 0


def find_lr_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cfg", metavar="FILE", required=True, help=CONFIG_HELP)
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="at the most (100)")
    parser.add_argument(
        "--lowest", type=float, default=1e-7, metavar="RATE", help="of the first step (1e-7)"
    )
    parser.add_argument(
        "--highest", type=float, default=1.0, metavar="RATE", help="of the last step (1)"
    )
    add_overrides(parser)


def find_lr_command(args: Namespace) -> int:
    """Look for a learning rate: train a copy with a rate that rises, and see where the loss falls.

    Draws the curve into OUTPUT_DIR (find_lr.svg, its numbers in find_lr.json) and prints the SOLVER.BASE_LR
    that it suggests: a tenth of the rate where the smoothed loss is lowest. The copy is thrown away.
    KEY VALUE pairs override the config, as in a run.
    """
    from uniformer_video.signals import Interrupted, delay_interrupts

    with delay_interrupts():
        from uniformer_video.torch_internals import check_torch

        check_torch()
        from uniformer_video.config.settings import config_name, load_config
        from uniformer_video.runs.find_rate import find_rate

    cfg = load_config(args.cfg, args.overrides)
    try:
        found = find_rate(cfg, config_name(cfg), args.steps, args.lowest, args.highest)
    except Interrupted:  # which a training tells itself, and a trial does not
        raise KeyboardInterrupt from None
    if rank() == 0:
        print(f"SOLVER.BASE_LR {found:.2g}")
    return 0


def crossval_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cfg", metavar="FILE", required=True, help=CONFIG_HELP)
    add_overrides(parser)


def crossval_command(args: Namespace) -> int:
    """Train and test each fold of DATA.FOLDS, and join the tests into one report.

    Fold k is a run in OUTPUT_DIR/foldk, which tests the videos of that fold on weights that have not seen
    them; every video is tested once. The same command goes on where it stopped. OUTPUT_DIR then holds
    results.json and report.html over all videos, with the spread over the folds. Videos of one group
    (DATA.GROUP_PATTERN, or the column group of a list) are in one fold.
    """
    from uniformer_video.signals import Interrupted, delay_interrupts

    with delay_interrupts():
        from uniformer_video.torch_internals import check_torch

        check_torch()
        from uniformer_video.config.settings import config_name, load_config
        from uniformer_video.runs.crossval import crossval

    cfg = load_config(args.cfg, args.overrides)
    again = shlex.join([*run_again("crossval"), "--cfg", args.cfg, *args.overrides])
    try:
        crossval(cfg, config_name(cfg), again)
    except Interrupted:
        return EXIT_INTERRUPTED
    return 0


def report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", nargs="+", metavar="FOLDER", help="holds results.json")
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print a table in Markdown, a row for each folder, and write no page",
    )
    parser.add_argument(
        "--explain",
        type=int,
        metavar="N",
        help="show on the page what spoke for the N surest mistakes, by the tested weights and videos",
    )


def report_command(args: Namespace) -> None:
    """Write the report page again from the results in a folder, or print them as rows of a table."""
    from uniformer_video.evaluation.markdown import as_markdown
    from uniformer_video.runs.multi_view_test import report
    from uniformer_video.tasks.registry import load_tested

    if args.markdown and args.explain is not None:
        raise ConfigError(
            "--markdown writes no page, and --explain is for pages; leave one of them out"
        )
    if args.markdown:
        tested = [load_tested(folder) for folder in args.folder]
        print(
            as_markdown([results for results, _ in tested], [task.headline for _, task in tested])
        )
        return
    for folder in args.folder:
        print(report(folder) if args.explain is None else _explained_report(folder, args.explain))


def _explained_report(folder: str, count: int) -> Path:
    """The page of a folder with the heat of its mistakes; what has none is said."""
    from uniformer_video.explain.mistakes import heat_of_mistakes
    from uniformer_video.pages.report import write_report
    from uniformer_video.tasks.registry import load_tested

    results, task = load_tested(folder)
    heat = heat_of_mistakes(Path(folder), results, task, count)
    if not heat["total"]:
        log.warning("Nothing to explain: the test in %s has no wrong answers.", folder)
    for video in heat["missing"]:
        log.warning("No heat of %s: %s", video["name"], video["reason"])
    if heat["missing"]:
        found, asked = len(heat["shown"]), len(heat["shown"]) + len(heat["missing"])
        log.warning("Of %d mistakes %d are shown.", asked, found)
    return write_report(folder, results, task, heat)
