"""best.pt: the weights that were best on validation, and the best of each kind where there are several."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from uniformer_video.errors import CheckpointError
from uniformer_video.training.state import RAW, Progress
from uniformer_video.weights.checkpoint import Weights, read_weights, write_checkpoint

log = logging.getLogger(__name__)


def write_best(
    path: Path,
    weights: Mapping[str, Mapping[str, Tensor]],
    improved: Collection[str],
    progress: Progress,
    metadata: Mapping[str, Any],
    unit: str = "epoch",
) -> None:
    """Write the best weights to `path`: as the model the best of all, by their names the best of each kind.

    Those that have not improved are taken over from the file that is there. The metadata's `weights` tell
    which was chosen, and the score and the epoch, or the iteration, of each.

    Args:
        weights: {name: tensors} of now.
        improved: which of these are now the best of their kind; none where no validation has chosen any.
        progress: with the scores, those of now included.
        metadata: of a checkpoint that is written now; they tell the `unit`, "epoch" or "iteration".
    """
    if len(weights) == 1:
        write_checkpoint(path, weights[RAW], metadata)
        return
    if not improved:
        about = {"chosen": RAW, "sets": {name: {unit: metadata[unit]} for name in weights}}
        write_checkpoint(path, weights[RAW], {**metadata, "weights": about}, sets=weights)
        return
    sets = {name: weights[name] for name in weights if name in improved}
    earlier: dict[str, Weights] = {}
    for name in progress.best_of.keys() - sets.keys():
        try:
            earlier[name] = read_weights(path, name)
        except CheckpointError as error:
            log.warning("the best %s weights are lost: %s", name, error)
    sets |= {name: found.state for name, found in earlier.items()}
    chosen = progress.best_weights
    if chosen not in sets:
        chosen = max(sets, key=lambda name: progress.best_of[name])
    if chosen in earlier:
        metadata = earlier[chosen].metadata
    table = {
        name: {"score": progress.best_of[name][0], unit: progress.best_of[name][1]}
        for name in weights
        if name in sets
    }
    about = {"chosen": chosen, "sets": table}
    write_checkpoint(path, sets[chosen], {**metadata, "weights": about}, sets=sets)
