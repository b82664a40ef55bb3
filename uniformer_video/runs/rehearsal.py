"""A training that is tried out on a copy that is thrown away: to time it, or to look for a learning rate.

All is built as for the real one, by `fit` itself, in a folder of its own inside the run's, which goes again.
"""

import gc
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config.settings import with_settings
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError
from uniformer_video.locks import remove_abandoned, temporary_folder
from uniformer_video.logs import errors_alone
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.fit import fit
from uniformer_video.runs.folder import LOCK_FILE, RunFolder
from uniformer_video.training.trainer import Trainer

_PLACE = ".rehearsal"
_TRIAL = "run"  # in there: `fit` locks its own folder, and the one around it is had before and after that


def rehearse(
    cfg: CfgNode,
    data: Data,
    folder: RunFolder,
    ranks: Ranks,
    use: Callable[[Trainer], None],
) -> None:
    """Build the training of `cfg` from its beginning on, have all processes `use` it, and forget it.

    Only errors are told: whatever else is to be said, the real training says. No trace is written, and a
    trial may have other steps than the run that TRAIN.PROFILE is for. Raises what `fit` raises, and
    `ConfigError` where another process tries out something there.
    """
    place = folder / _PLACE
    with ExitStack() as held:
        ranks.on_main(lambda: _take(place, folder, held))
        try:
            with errors_alone():
                fit(
                    with_settings(cfg, {"TRAIN.PROFILE": []}),
                    data,
                    RunFolder(place / _TRIAL),
                    ranks,
                    show_bars=False,
                    rehearse=use,
                )
        finally:
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


def _take(place: Path, folder: RunFolder, held: ExitStack) -> None:
    """Have the folder `place`, empty, until `held` is closed, when it goes, and so do those made for it.

    Whatever is to stay in `folder` makes it anew: of what was interrupted or refused no empty one is left.
    """
    missing = [each for each in (folder.path, *folder.path.parents) if not each.exists()]
    held.callback(_remove_empty, missing)
    folder.make()
    try:
        held.enter_context(temporary_folder(place / LOCK_FILE, choose="another OUTPUT_DIR"))
    except OSError as error:
        raise ConfigError(
            f"cannot make the folder {place}: {error.strerror}; choose another OUTPUT_DIR"
        ) from None


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove these folders, the innermost first, up to the first that holds something by now."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def remove_leavings(folder: RunFolder) -> None:
    """Remove what a killed process has tried out in `folder`; what another one is trying out now stays."""
    remove_abandoned(folder / _PLACE / LOCK_FILE)
