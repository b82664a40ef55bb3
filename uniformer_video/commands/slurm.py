"""Submit a run to a cluster."""

import argparse
import re
from argparse import ArgumentParser, Namespace

from uniformer_video.commands.options import CONFIG_HELP, add_overrides
from uniformer_video.commands.status import EXIT_INTERRUPTED
from uniformer_video.errors import ConfigError


def submit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--cfg", metavar="FILE", required=True, help=CONFIG_HELP)
    parser.add_argument("--nodes", type=_count, metavar="N", help="machines (default: NUM_SHARDS)")
    parser.add_argument(
        "--gpus", type=_number, metavar="N", help="on each machine; 0 = CPUs (default: NUM_GPUS)"
    )
    parser.add_argument(
        "--processes", type=_count, metavar="N", help="on each machine (default: one a GPU)"
    )
    parser.add_argument(
        "--cpus", type=_count, default=8, metavar="N", help="cores of each process (default: 8)"
    )
    parser.add_argument(
        "--time",
        type=_minutes,
        required=True,
        metavar="LIMIT",
        help="after which the job saves, requeues itself and goes on: minutes, H:MM:SS or D-HH:MM:SS",
    )
    parser.add_argument("--partition", default="", metavar="NAME")
    parser.add_argument("--name", default="", help="of the job (default: the config's)")
    parser.add_argument(
        "--signal-seconds",
        type=_count,
        default=300,
        metavar="S",
        help="how long before the limit the run is asked to save (default: 300)",
    )
    parser.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION=VALUE",
        help="a further option of sbatch, such as account=me or mem=128G; may be repeated",
    )
    add_overrides(parser)


def submit_command(args: Namespace) -> None:
    """Submit a run to Slurm: it resumes by itself until it is finished.

    One process is started on each GPU. Before the time limit, and when the job is preempted, the run is
    saved and the job requeued. KEY VALUE pairs override the config, as those of `run`.
    """
    from uniformer_video.config.settings import config_name, load_config
    from uniformer_video.runs.folder import run_folder
    from uniformer_video.runs.slurm import SlurmJob, submit

    cfg = load_config(args.cfg, args.overrides)
    name = config_name(cfg)
    nodes = args.nodes or cfg.NUM_SHARDS
    gpus = cfg.NUM_GPUS if args.gpus is None else args.gpus
    processes = args.processes or gpus or 1
    slots = cfg.NUM_GPUS * cfg.NUM_SHARDS * cfg.SOLVER.ACCUMULATION_STEPS
    if slots % (nodes * processes):
        raise ConfigError(
            f"{nodes * processes} processes (--nodes {nodes}, {processes} on each) cannot share the {slots} "
            "equal parts of a step (NUM_GPUS x NUM_SHARDS x SOLVER.ACCUMULATION_STEPS); ask for one that "
            "divides that, or set NUM_GPUS and NUM_SHARDS"
        )
    if args.signal_seconds >= args.time * 60:
        raise ConfigError(
            f"--signal-seconds {args.signal_seconds} asks the run to save before it begins: the job may take "
            f"{args.time * 60} seconds (--time); give a longer time, or fewer seconds"
        )
    job = SlurmJob(
        name=args.name or name,
        nodes=nodes,
        processes=processes,
        gpus=gpus,
        cpus=args.cpus,
        minutes=args.time,
        signal_seconds=args.signal_seconds,
        partition=args.partition,
        sbatch=dict(_option(word) for word in args.sbatch),
    )
    folder = run_folder(cfg, name) / "slurm"
    number, log = submit(["--cfg", args.cfg, *args.overrides], job, folder, EXIT_INTERRUPTED)
    print(f"Submitted job {number}; its log: {log}")


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _count(text: str) -> int:
    if _number(text) == 0:
        raise argparse.ArgumentTypeError("at least 1 is needed")
    return int(text)


def _minutes(text: str) -> int:
    """Slurm's ways to write a time, in minutes, rounded up."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+)(?::(\d+))?", text) if ":" in text else None
    if text.isdecimal() and int(text):
        return int(text)
    if not found or text.count(":") != 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of 90 (minutes), 1:30:00 and 2-00:00:00"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = ((days * 24 + hours) * 60 + minutes) + (seconds > 0)
    if not total:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all")
    return total


def _option(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not re.fullmatch(r"-{0,2}[a-z][a-z-]*", name):
        raise ConfigError(f"--sbatch {word} must be OPTION=VALUE, such as --sbatch account=me")
    return name.lstrip("-"), value
