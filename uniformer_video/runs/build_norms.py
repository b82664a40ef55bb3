"""BatchNorm that is synchronised over the processes of a training, by a config."""

from collections.abc import Iterator, Sequence

from fvcore.common.config import CfgNode
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from uniformer_video.distributed.ranks import Ranks
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.sync_batch_norm import SYNCHRONISED, synchronise
from uniformer_video.words import plural

_SETTING = "BN.NORM_TYPE sync_batchnorm"


def synchronise_norms(
    cfg: CfgNode, model: RecognitionModel, resting: Sequence[nn.Module], ranks: Ranks
) -> bool:
    """Have the BatchNorm layers of `model` that train normalise by the batch of all processes, where asked.

    A process with several parts of a step works through them in turn, so that none knows the others: each
    has its own statistics then. resting: modules that are frozen. True where any layer is synchronised.
    """
    if cfg.BN.NORM_TYPE != "sync_batchnorm" or ranks.size == 1 or _parts(cfg) != ranks.size:
        return False
    spared = {*_modules_of(resting), *_modules_of(_spared(model))}
    count, _ = synchronise(model, ranks.device, spared)
    return count > 0


def norm_lines(cfg: CfgNode, model: RecognitionModel, ranks: Ranks) -> Iterator[str]:
    """What is said of `BN.NORM_TYPE` before a training, of a model that has its layers already."""
    parts, size = _parts(cfg), ranks.size
    if cfg.BN.NORM_TYPE != "sync_batchnorm":
        return
    if parts != size:
        yield (
            f"{_SETTING}: a process takes {parts // size} parts of each step in turn, and BatchNorm "
            f"normalises each part by itself; {parts} processes would join their statistics."
        )
        return
    if size == 1:
        yield f"{_SETTING} has no effect: one process has the whole batch."
        return
    joined = sum(isinstance(layer, SYNCHRONISED) for layer in model.modules())
    others = sum(isinstance(layer, _BatchNorm) for layer in model.modules()) - joined
    batch = cfg.TRAIN.BATCH_SIZE // cfg.NUM_GPUS * size
    line = f"{_SETTING}: {plural(joined, 'BatchNorm layer')} by the joined batch of {size} processes, {batch}"
    if others:
        names = ", ".join(model.unsynchronised) if _spared(model) else ""
        why = f"those of {names}" if names else "frozen, or of a class of its own"
        line += f"; {others} not ({why})"
    yield line + "."
    if joined and cfg.MODEL.COMPILE:
        yield (
            f"MODEL.COMPILE is left off: with {_SETTING} processes wait for each other inside the model, "
            "and one that could not compile it would keep the others waiting."
        )


def _parts(cfg: CfgNode) -> int:
    """How many parts a step has, each of which BatchNorm normalises."""
    return cfg.NUM_GPUS * cfg.NUM_SHARDS * cfg.SOLVER.ACCUMULATION_STEPS


def _spared(model: RecognitionModel) -> list[nn.Module]:
    names = getattr(model, "unsynchronised", ())  # models of another origin may lack it
    return [model.get_submodule(name) for name in names]


def _modules_of(parts: Sequence[nn.Module]) -> Iterator[nn.Module]:
    for part in parts:
        yield from part.modules()
