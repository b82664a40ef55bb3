"""Training, testing and lists of models as calls: what the commands do, for scripts and notebooks."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.settings import config_name, with_settings
from uniformer_video.distributed import environment
from uniformer_video.errors import ConfigError, quote
from uniformer_video.evaluation.record import Results
from uniformer_video.plugins import import_installed
from uniformer_video.runs.crossval import crossval as crossval_settings
from uniformer_video.runs.folder import BEST_FILE, run_folder
from uniformer_video.runs.run import run as run_settings
from uniformer_video.torch_internals import check_torch

log = logging.getLogger("uniformer_video")


def run(cfg: CfgNode, progress: bool | None = None) -> Results | None:
    """Train, run the multi-view test and write the report, as `uniformer-video run` does.

    An unfinished run in `OUTPUT_DIR` goes on where it stopped; a finished one is only read again.

    Args:
        cfg: from `load_config`.
        progress: print what happens, with progress bars; None = in notebooks. Without it all is said
            through `logging`, by the logger "uniformer_video".

    Returns the results of the test; None where `TEST.ENABLE` is False. Raises `Interrupted` for Ctrl-C or
    SIGTERM in the main thread while it trains, once all is saved; then the same call goes on from there.
    While it tests they are a `KeyboardInterrupt`, as anywhere.
    """
    _check_config(cfg)
    check_torch()
    name = config_name(cfg)
    with _speaking(_is_notebook() if progress is None else progress) as bars:
        folder = run_settings(cfg, name, show_bars=bars)
    return Results.load(folder) if folder else None


def crossval(cfg: CfgNode, progress: bool | None = None) -> Results:
    """Run each fold of `DATA.FOLDS` and join their tests, as `uniformer-video crossval` does.

    Arguments and errors as those of `run`; the folds lie in `OUTPUT_DIR/fold0` and so on. Returns the joined
    results: every video once; `results.crossval` holds the figure of each fold, their mean and deviation.
    """
    _check_config(cfg)
    check_torch()
    with _speaking(_is_notebook() if progress is None else progress) as bars:
        return Results.load(crossval_settings(cfg, config_name(cfg), show_bars=bars))


def train(cfg: CfgNode, progress: bool | None = None) -> Path:
    """Train without the test; the path of the best weights, `best.pt`. Arguments as those of `run`."""
    _check_config(cfg)
    cfg = with_settings(cfg, {"TRAIN.ENABLE": True, "TEST.ENABLE": False})
    run(cfg, progress)
    return run_folder(cfg, config_name(cfg)) / BEST_FILE


def evaluate(
    cfg: CfgNode, checkpoint: str | Path | None = None, progress: bool | None = None
) -> Results:
    """Test only: weights from a path, an address or a published name; without one, those in `OUTPUT_DIR`.

    Arguments and errors as those of `run`.
    """
    _check_config(cfg)
    settings: dict[str, Any] = {"TRAIN.ENABLE": False, "TEST.ENABLE": True}
    if checkpoint is not None:
        settings["TEST.CHECKPOINT_FILE_PATH"] = str(checkpoint)
    results = run(with_settings(cfg, settings), progress)
    assert results is not None  # a test has some
    return results


def compare(runs: Sequence[str | Path], out: str | Path | None = None) -> dict[str, Any]:
    """Compare finished runs, tests or cross-validations on the same videos, given by their folders.

    Everything is held against the first. out: a folder for compare.html and compare.json; None writes
    nothing. Returns what compare.json holds. Raises `UserError` for runs that do not compare.
    """
    from uniformer_video.runs import compare as comparing

    import_installed()
    record = comparing.compare(runs)
    if out is not None:
        comparing.write(record, out)
    return record


def list_models(pattern: str = "*") -> list[str]:
    """The names of the known models that fit `pattern`: a shell pattern, or a part of the name."""
    from uniformer_video.zoo.registry import matching_models

    import_installed()
    return [model.name for model in matching_models(pattern)]


def _check_config(cfg: object) -> None:
    if not isinstance(cfg, CfgNode):
        raise ConfigError(
            f"settings come from load_config, and these are {quote(cfg)}; call train(load_config(...))"
        )


def _is_notebook() -> bool:
    """Whether this runs in Jupyter or the like, where IPython has a kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


@contextmanager
def _speaking(progress: bool) -> Iterator[bool]:
    """Print the log for as long as this lasts if asked for; of several processes the main one alone logs."""
    level, propagate, is_main = log.level, log.propagate, environment.rank() == 0
    handler = logging.StreamHandler(sys.stderr)
    try:
        if not is_main:
            environment.speak(aloud=False)
        elif progress:
            environment.speak()
            log.addHandler(handler)
            log.propagate = False  # a handler of the root would print it once more
        yield progress and is_main
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
