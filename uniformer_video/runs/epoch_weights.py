"""The weights of single epochs, `epoch_0010.pt`, as TRAIN.CHECKPOINT_KEEP asks for them."""

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor

from uniformer_video.runs.folder import RunFolder
from uniformer_video.training.state import RAW, Progress
from uniformer_video.weights.checkpoint import write_checkpoint

ALL = "all"
_NAME = re.compile(r"epoch_(\d{4,})\.pt")


class EpochWeights:
    """The files of epochs in `folder`: weights alone, of each TRAIN.CHECKPOINT_PERIOD-th epoch and the last,
    also where TRAIN.PATIENCE ends the training before SOLVER.MAX_EPOCH.

    The model in them is the one that is trained; averages stand beside it.
    """

    def __init__(self, folder: RunFolder, cfg: CfgNode):
        self.folder, self.period = folder, cfg.TRAIN.CHECKPOINT_PERIOD
        self.last, self.patience = cfg.SOLVER.MAX_EPOCH, cfg.TRAIN.PATIENCE
        keep = cfg.TRAIN.CHECKPOINT_KEEP
        self.keep = None if keep == ALL else int(keep)  # how many; None: all

    def write(
        self,
        progress: Progress,
        weights: Mapping[str, Mapping[str, Tensor]],
        metadata: Mapping[str, Any],
    ) -> None:
        """Write those of an epoch that has just ended, if it is one to keep."""
        epoch = progress.epoch
        due = progress.is_finished(self.last, self.patience) or epoch % self.period == 0
        if self.keep == 0 or not epoch or progress.step or not due:
            return
        averages = {name: tensors for name, tensors in weights.items() if name != RAW}
        path = self.folder / f"epoch_{epoch:04d}.pt"
        write_checkpoint(path, weights[RAW], metadata, sets=averages)

    def remove_surplus(self, progress: Progress) -> None:
        """Remove the oldest ones above the number to keep. Those of later epochs than now are left: they are
        of a course that the training has left, and will be written anew.
        """
        if not self.keep:
            return
        found = {
            int(match[1]): path
            for path in self.folder.path.glob("epoch_*.pt")
            if (match := _NAME.fullmatch(path.name)) and int(match[1]) <= progress.epoch
        }
        for epoch in sorted(found)[: -self.keep]:
            with contextlib.suppress(FileNotFoundError):
                found[epoch].unlink()
