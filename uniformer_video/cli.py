"""The console command. The scripts in `tools/` are its sub-commands under names of their own."""

import argparse
import errno
import inspect
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from uniformer_video import __version__, program
from uniformer_video.commands import (
    advise,
    audit,
    bench,
    calibrate,
    compare,
    configs,
    data,
    doctor,
    explain,
    export,
    features,
    models,
    predict,
    prepare,
    rescore,
    runs,
    slurm,
    timeline,
    watch,
    weights,
)
from uniformer_video.commands.interrupted import what_is_kept
from uniformer_video.commands.options import Command
from uniformer_video.commands.status import EXIT_INTERRUPTED, EXIT_USER_ERROR
from uniformer_video.cores import let_threads_rest
from uniformer_video.distributed import environment
from uniformer_video.errors import ConfigError, UserError, choice_error, is_want_of_gpu_memory
from uniformer_video.signals import raise_interrupts
from uniformer_video.words import one_line

log = logging.getLogger("uniformer_video")

_NUMBER = re.compile(r"-[\d.].*")


def main(arguments: Sequence[str] | None = None, command: str | None = None) -> int:
    """Run one sub-command and return the exit status.

    `command` fixes the sub-command, for the scripts in `tools/`. Errors that a user can act on are
    printed without a traceback and give status 2; set UNIFORMER_TRACEBACK=1 to see where they rose.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parsed = None
    let_threads_rest()
    try:
        _start_logging()
        parsed = _parse(arguments, command)
        with raise_interrupts():
            _import_plugins(parsed)
            return parsed.handler(parsed) or 0
    except KeyboardInterrupt:
        kept = what_is_kept(parsed.command, parsed) if parsed else "nothing was begun"
        log.error("Interrupted; %s.", kept)
        return EXIT_INTERRUPTED
    except (UserError, OSError) as error:
        if os.environ.get("UNIFORMER_TRACEBACK"):
            raise
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        log.error("error: %s", _describe(error))
        return EXIT_USER_ERROR
    except RuntimeError as error:
        if os.environ.get("UNIFORMER_TRACEBACK") or not is_want_of_gpu_memory(error):
            raise
        told = ". ".join(one_line(error).split(". ")[:3]).removesuffix(".")
        log.error(
            "error: %s. Take smaller batches (TRAIN.BATCH_SIZE, TEST.BATCH_SIZE, --batch-size, --batch) or "
            "shorter clips.",
            told,
        )
        return EXIT_USER_ERROR


class _Parser(argparse.ArgumentParser):
    """Answers a word that is none of the choices, such as a mistyped command, with the nearest one.

    So it does with a mistyped option, also where another one is missing for it. What it parses has
    `known_options`, those of the command, or of the command within it.
    """

    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        self._given = args or ()
        parsed, rest = super().parse_known_args(args, namespace)
        if not hasattr(parsed, "known_options"):  # a command within has set it
            parsed.known_options = list(self._option_string_actions)
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        known = list(self._option_string_actions)
        if message.startswith("the following arguments are required"):
            # argparse says so before it looks at words that are no options
            wrong = [word for word in self._given if word.startswith("--")]
            message += _meant(wrong, known)
        super().error(message)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse's own hook. Without it the message would only lack the suggestion.
        if action.choices is not None and value not in action.choices:
            meant = _OTHER_WORDS.get(value) if action.metavar == "COMMAND" else None
            hint = f"; did you mean {meant!r}?" if meant else ""
            error = choice_error("it", value, action.choices)
            raise argparse.ArgumentError(action, f"{error}{hint}")


def _parse(arguments: Sequence[str], command: str | None) -> argparse.Namespace:
    if command:
        parser = _Parser(
            prog=Path(sys.argv[0]).name,
            description=inspect.getdoc(_COMMANDS[command][1]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add(parser, command)
        return _parse_arguments(parser, arguments)
    parser = _Parser(prog=program.NAME, description="UniFormer for video action recognition.")
    parser.add_argument("--version", action="version", version=f"{program.NAME} {__version__}")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, (_, handler) in _COMMANDS.items():
        summary = (handler.__doc__ or "").partition("\n")[0]
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=inspect.getdoc(handler),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add(subparser, name)
    return _parse_arguments(parser, arguments)


def _parse_arguments(
    parser: argparse.ArgumentParser, arguments: Sequence[str]
) -> argparse.Namespace:
    """The arguments; `KEY VALUE` pairs stand before and behind options, of which argparse takes the first."""
    parsed, rest = parser.parse_known_args(arguments)
    options = vars(parsed).pop("known_options")
    unknown = [word for word in rest if word.startswith("-") and not _NUMBER.fullmatch(word)]
    if rest and (unknown or not hasattr(parsed, "overrides")):
        wrong = unknown or rest
        parser.error(f"unrecognized arguments: {' '.join(wrong)}{_meant(wrong, options)}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    # a variable of a shell that is not set; a Path would say "."
    if getattr(parsed, "out", None) == "":
        raise ConfigError("--out is empty; give the name of what is to be written")
    return parsed


def _meant(words: Sequence[str], options: Sequence[str]) -> str:
    """ "; did you mean --option?", of the words that are near to one, and neither it nor its beginning."""
    names = [word.partition("=")[0] for word in words]  # --option=value
    wrong = [name for name in names if not any(option.startswith(name) for option in options)]
    near = [get_close_matches(name, options, n=1) for name in wrong]
    meant = dict.fromkeys(option for found in near for option in found)
    return f"; did you mean {' '.join(meant)}?" if meant else ""


def _import_plugins(parsed: argparse.Namespace) -> None:
    """Import what `--plugins` names and what is installed, for the command to know, whatever it reads."""
    from uniformer_video import plugins

    named = [plugins.resolve_plugin(plugin) for plugin in parsed.plugins]
    plugins.import_plugins(named)
    plugins.import_installed()
    if named and hasattr(parsed, "overrides"):  # a run records them
        parsed.overrides = [*parsed.overrides, "PLUGINS", f"[{', '.join(map(json.dumps, named))}]"]


def _add(parser: argparse.ArgumentParser, command: str) -> None:
    add_arguments, handler = _COMMANDS[command]
    add_arguments(parser)
    parser.add_argument(
        "--plugins",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module, or .py file, that registers models, formats, tasks or settings of your own; again "
        "for more",
    )
    parser.set_defaults(handler=handler, command=command)


_COMMANDS: dict[str, Command] = {
    "run": (runs.run_arguments, runs.run_command),
    "submit-slurm": (slurm.submit_arguments, slurm.submit_command),
    "crossval": (runs.crossval_arguments, runs.crossval_command),
    "advise": (advise.advise_arguments, advise.advise_command),
    "config": (configs.config_arguments, configs.config_command),
    "configs": (configs.configs_arguments, configs.configs_command),
    "guide": (configs.guide_arguments, configs.guide_command),
    "predict": (predict.predict_arguments, predict.predict_command),
    "timeline": (timeline.timeline_arguments, timeline.timeline_command),
    "explain": (explain.explain_arguments, explain.explain_command),
    "features": (features.features_arguments, features.features_command),
    "neighbours": (features.neighbours_arguments, features.neighbours_command),
    "watch": (watch.watch_arguments, watch.watch_command),
    "inflate": (weights.inflate_arguments, weights.inflate_command),
    "convert": (weights.convert_arguments, weights.convert_command),
    "average": (weights.average_arguments, weights.average_command),
    "export": (export.export_arguments, export.export_command),
    "models": (models.models_arguments, models.models_command),
    "flops": (models.flops_arguments, models.flops_command),
    "find-lr": (runs.find_lr_arguments, runs.find_lr_command),
    "calibrate": (calibrate.calibrate_arguments, calibrate.calibrate_command),
    "report": (runs.report_arguments, runs.report_command),
    "export-predictions": (rescore.export_arguments, rescore.export_command),
    "rescore": (rescore.rescore_arguments, rescore.rescore_command),
    "compare": (compare.compare_arguments, compare.compare_command),
    "audit": (audit.audit_arguments, audit.audit_command),
    "make-demo-data": (data.demo_arguments, data.demo_command),
    "prepare": (prepare.prepare_arguments, prepare.prepare_command),
    "remap-labels": (data.remap_arguments, data.remap_command),
    "bench": (bench.bench_arguments, bench.bench_command),
    "doctor": (doctor.doctor_arguments, doctor.doctor_command),
}


# What other programs call a command.
_OTHER_WORDS = {
    "train": "run",
    "test": "run",
    "eval": "run",
    "evaluate": "run",
    "fit": "run",
    "cv": "crossval",
    "cross-validate": "crossval",
    "infer": "predict",
    "classify": "predict",
    "demo": "make-demo-data",
    "datasets": "guide",
    "check": "doctor",
    "recommend": "advise",
}


def _start_logging() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr, force=True)
    # ours alone; libraries speak up only to warn
    environment.speak(aloud=environment.rank() == 0)


def _describe(error: Exception) -> str:
    if not isinstance(error, OSError):
        return str(error)
    place = f": {error.filename}" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{place}; free some space and run the same command again"
    if error.errno == errno.EFBIG:
        return (
            f"the file gets too large{place}; raise the limit on the size of files (`ulimit -f unlimited`), "
            "or, where there is none, use a file system that takes larger ones"
        )
    if error.errno == errno.EMFILE:
        return f"too many files are open{place}; raise the limit (`ulimit -n`)"
    return f"{error.strerror or error}{place}"


if __name__ == "__main__":
    sys.exit(main())
