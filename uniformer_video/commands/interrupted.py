"""What a command says of its work when it is interrupted: what is kept, and how to have the rest."""

from argparse import Namespace
from collections.abc import Callable, Mapping

_GOES_ON = "what was finished is kept, and the same command goes on from there"
_BEGINS_ANEW = "nothing was written, and the same command begins anew"
# of several files, each of which is whole or not there
_FILES_ANEW = "files that were written already stay, and the same command makes all of them anew"
_NOTHING_MEASURED = "nothing is kept of what was measured"


def _of_predict(args: Namespace) -> str:
    if args.out:
        return _GOES_ON
    if args.overlay:
        return (
            "masks and overlays that were written already stay, and the same command makes all of them anew; "
            "with --out FILE too it would go on"
        )
    return f"{_BEGINS_ANEW}; with --out FILE it would go on"


def _of_timeline(args: Namespace) -> str:
    return _FILES_ANEW if args.out else _BEGINS_ANEW


def _of_report(args: Namespace) -> str:
    return _BEGINS_ANEW if args.markdown else _FILES_ANEW


def _of_calibrate(args: Namespace) -> str:
    if args.on == "val":
        return (
            "no checkpoint was written, and the same command begins anew, by the scores of the validation "
            "videos where those of all were there"
        )
    return _BEGINS_ANEW


def _of_prepare(args: Namespace) -> str:
    if args.step == "lists":
        return _FILES_ANEW
    if args.step == "check":
        if args.overlap:
            return "fingerprints that were made are kept, and the same command goes on from there"
        return "the table holds what was found bad so far; the same command checks all files anew"
    return _GOES_ON


def _of_bench(args: Namespace) -> str:
    return _GOES_ON if args.what == "inflation" else getattr(args, "kept", _NOTHING_MEASURED)


# Every command, so that a new one says what is true of it.
_KEPT: Mapping[str, str | Callable[[Namespace], str]] = {
    "run": _GOES_ON,
    "submit-slurm": "whether the job was submitted, `squeue --me` tells",
    "crossval": _GOES_ON,
    "advise": _BEGINS_ANEW,
    "config": _BEGINS_ANEW,
    "configs": _BEGINS_ANEW,
    "guide": _BEGINS_ANEW,
    "predict": _of_predict,
    "timeline": _of_timeline,
    "explain": _FILES_ANEW,
    "features": _GOES_ON,
    "neighbours": _BEGINS_ANEW,
    "watch": "labels that were printed are all there is",
    "inflate": _BEGINS_ANEW,
    "convert": _BEGINS_ANEW,
    "average": _BEGINS_ANEW,
    "export": _BEGINS_ANEW,
    "models": _BEGINS_ANEW,
    "flops": _BEGINS_ANEW,
    "find-lr": _BEGINS_ANEW,
    "calibrate": _of_calibrate,
    "report": _of_report,
    "export-predictions": _BEGINS_ANEW,
    "rescore": _FILES_ANEW,
    "compare": _FILES_ANEW,
    "audit": "features and fingerprints that were made are kept, and the same command goes on from there",
    "make-demo-data": _GOES_ON,
    "prepare": _of_prepare,
    "remap-labels": _BEGINS_ANEW,
    "bench": _of_bench,
    "doctor": _BEGINS_ANEW,
}


def what_is_kept(command: str, args: Namespace) -> str:
    """What is kept of an interrupted command, by its name and its arguments, as the end of a sentence."""
    kept = _KEPT[command]
    return kept if isinstance(kept, str) else kept(args)
