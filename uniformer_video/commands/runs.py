"""Commands around a run: train and test, settings, the report."""

import logging
import shlex
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from uniformer_video.commands.status import EXIT_INTERRUPTED
from uniformer_video.errors import ConfigError

log = logging.getLogger(__name__)


def run_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cfg", metavar="FILE", required=True, help="a YAML config, see configs/")
    parser.add_argument(
        "--from",
        choices=["best"],
        dest="start_from",
        help="go on from best.pt of the run, at the epoch after it, with fresh moments; SOLVER.* and "
        "TRAIN.PRECISION may then differ from before",
    )
    _add_overrides(parser)


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
        from uniformer_video.config.settings import load_config
        from uniformer_video.runs.run import run

    cfg = load_config(args.cfg, args.overrides)
    if args.start_from and not cfg.TRAIN.ENABLE:
        raise ConfigError("--from best trains on, and TRAIN.ENABLE is False; leave one of them out")
    # without --from: once begun, the run goes on from its last checkpoint
    again = shlex.join([*_this_program(), "--cfg", args.cfg, *args.overrides])
    try:
        run(cfg, Path(args.cfg).stem, again, from_best=args.start_from == "best")
    except Interrupted:
        return EXIT_INTERRUPTED
    return 0


def _this_program() -> list[str]:
    """What starts a run again, behind `python` or torchrun: a script of anybody's, or this package."""
    script = Path(sys.argv[0])
    if script.suffix == ".py" and script.name != "__main__.py":
        return [sys.argv[0]]
    return ["-m", "uniformer_video", "run"]


def config_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cfg", metavar="FILE", help="a YAML config; without it, the defaults")
    parser.add_argument(
        "--keys", action="store_true", help="list every key: default, meaning, what is allowed"
    )
    _add_overrides(parser)


def config_command(args: Namespace) -> None:
    """Print the resolved config, or with --keys what every key means."""
    from uniformer_video.config.setting import TEST, TRAINING
    from uniformer_video.config.settings import config_text, describe, load_config, unmet_settings

    if args.keys:
        print(describe())
        return
    from uniformer_video.runs.build import name_model
    from uniformer_video.runs.check import check_settings

    cfg = name_model(load_config(args.cfg, args.overrides))
    check_settings(cfg)
    for phase in (TRAINING, TEST):
        if unmet := unmet_settings(cfg, phase):
            log.warning("%s", unmet)
    print(config_text(cfg))


def report_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="holds results.json")


def report_command(args: Namespace) -> None:
    """Write the report page again from the results in a folder."""
    from uniformer_video.runs.multi_view_test import report

    print(report(args.folder))


def _add_overrides(parser: ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY VALUE",
        help="settings in place of the file's",
    )
