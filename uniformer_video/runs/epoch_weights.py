"""The weights that TRAIN.CHECKPOINT_KEEP asks for: of epochs, `epoch_0010.pt`, or of iterations."""

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from fvcore.common.config import CfgNode
from torch import Tensor

from uniformer_video.runs.folder import RunFolder
from uniformer_video.training.state import RAW, Progress
from uniformer_video.training.timetable import Timetable
from uniformer_video.weights.checkpoint import ITERATION, write_checkpoint

ALL = "all"
_NUMBER = re.compile(r"[a-z]+_(\d{4,})\.pt")


class EpochWeights:
    """The files in `folder`: weights alone, of where a checkpoint is due (TRAIN.CHECKPOINT_PERIOD or _ITERS)
    and of the end, also where TRAIN.PATIENCE ends the training before its last step.

    They have the number of the iteration where the run or its checkpoints are counted in these, else that of
    the epoch. The model in them is the one that is trained; averages stand beside it.
    """

    def __init__(self, folder: RunFolder, cfg: CfgNode, timetable: Timetable):
        self.folder, self.timetable, self.patience = folder, timetable, cfg.TRAIN.PATIENCE
        self.by_iterations = timetable.by_iterations or bool(cfg.TRAIN.CHECKPOINT_ITERS)
        keep = cfg.TRAIN.CHECKPOINT_KEEP
        self.keep = None if keep == ALL else int(keep)  # how many; None: all

    def write(
        self,
        progress: Progress,
        weights: Mapping[str, Mapping[str, Tensor]],
        metadata: Mapping[str, Any],
    ) -> None:
        """Write those of now, if they are to be kept, and what is due besides is done."""
        steps = self.timetable.finished_steps(progress)
        finished = self.timetable.is_finished(progress, self.patience)
        due = finished or self.timetable.is_saved(steps)
        if self.keep == 0 or not steps or self.timetable.has_open_end(progress) or not due:
            return
        averages = {name: tensors for name, tensors in weights.items() if name != RAW}
        number = self._number(progress)
        if self.by_iterations:  # a run that counts epochs has no whole number of them here
            metadata = {key: told for key, told in metadata.items() if key != "epoch"}
            metadata[ITERATION] = number
        name = f"iter_{number:06d}.pt" if self.by_iterations else f"epoch_{number:04d}.pt"
        path = self.folder / name
        write_checkpoint(path, weights[RAW], metadata, sets=averages)

    def remove_surplus(self, progress: Progress) -> None:
        """Remove the oldest ones above the number to keep. Those of later ones than now are left: they are
        of a course that the training has left, and will be written anew.
        """
        if not self.keep:
            return
        found = {
            int(match[1]): path
            for path in self.folder.path.glob("iter_*.pt" if self.by_iterations else "epoch_*.pt")
            if (match := _NUMBER.fullmatch(path.name)) and int(match[1]) <= self._number(progress)
        }
        for number in sorted(found)[: -self.keep]:
            with contextlib.suppress(FileNotFoundError):
                found[number].unlink()

    def _number(self, progress: Progress) -> int:
        steps = self.timetable.finished_steps(progress)
        return steps if self.by_iterations else progress.epoch
