"""A training that is tried out on a copy that is thrown away: to time it, or to look for a learning rate.

All is built as for the real one, by `fit` itself, in a folder of its own inside the run's, which goes again.
"""

import gc
import shutil
from collections.abc import Callable

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config.settings import with_settings
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.locks import folder_lock, remove_abandoned
from uniformer_video.logs import errors_alone
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.fit import fit
from uniformer_video.runs.folder import LOCK_FILE, RunFolder
from uniformer_video.training.trainer import Trainer

_PLACE = ".rehearsal"


def rehearse(
    cfg: CfgNode,
    data: Data,
    folder: RunFolder,
    ranks: Ranks,
    use: Callable[[Trainer], None],
) -> None:
    """Build the training of `cfg` from its beginning on, have all processes `use` it, and forget it.

    Only errors are told: whatever else is to be said, the real training says. No trace is written, and a
    trial may have other steps than the run that TRAIN.PROFILE is for. Raises what `fit` raises.
    """
    place = RunFolder(folder / _PLACE)

    def make_room() -> None:
        folder.make()
        place.make()
        with folder_lock(place / LOCK_FILE):  # nobody else tries out something here
            pass
        shutil.rmtree(place.path)  # what a killed process has left

    ranks.on_main(make_room)
    try:
        with errors_alone():
            fit(
                with_settings(cfg, {"TRAIN.PROFILE": []}),
                data,
                place,
                ranks,
                show_bars=False,
                rehearse=use,
            )
    finally:
        if ranks.is_main:
            shutil.rmtree(place.path, ignore_errors=True)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def remove_leavings(folder: RunFolder) -> None:
    """Remove what a killed process has tried out in `folder`; what another one is trying out now stays."""
    remove_abandoned(RunFolder(folder / _PLACE) / LOCK_FILE)
