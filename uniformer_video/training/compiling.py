"""A model whose training passes are compiled by torch.compile, where that works; else nothing changes.

Only training is compiled. The model itself stays as it is, so that its weights keep their keys, and that
validations and tests give the same numbers with and without.
"""

import logging
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from uniformer_video.distributed.ranks import Ranks
from uniformer_video.training.batch_statistics import BatchStatistics
from uniformer_video.training.state import TrainingOutputs
from uniformer_video.training.turns import in_turn
from uniformer_video.words import duration, one_line

log = logging.getLogger(__name__)

_TIMED_PASSES = 3
_REASON_LENGTH = 200  # characters: compilers say more than anybody reads in a log


class CompiledOutputs(TrainingOutputs):
    """`TrainingOutputs` by `call`: the model's own function, until `try_compiled` has a compiled one.

    Passes without gradients, as those that measure BatchNorm's statistics, are the model's own in any case:
    for them all would be compiled once more.
    """

    call: Callable[..., tuple[Tensor, ...]] | None = None

    def forward(self, clips: Tensor, *asked: Tensor) -> tuple[Tensor, ...]:
        """`[B, 3, T, H, W]` -> a tuple of logits `[B, K]`, the model's own first."""
        if self.call and torch.is_grad_enabled():
            return self.call(clips, *asked)
        return super().forward(clips, *asked)


def compiled_part(network: nn.Module) -> CompiledOutputs | None:
    """What is to be compiled of the network of a training, inside a parallel wrapper or not."""
    return next((part for part in network.modules() if isinstance(part, CompiledOutputs)), None)


def try_compiled(
    outputs: CompiledOutputs,
    batch_statistics: BatchStatistics,
    rehearse: Callable[[bool], Tensor],
    ranks: Ranks,
) -> None:
    """Compile, and say what it gains; where that fails on any process, none has it, and one message says why.

    rehearse: (last) -> makes the passes, forward and backward, of a part of a step, of which nothing is kept;
    with `last` the gradients travel between the processes. The draws of training are the same either way.
    """
    began = _seconds_of(lambda: rehearse(True), ranks, _TIMED_PASSES)
    started, failure = time.monotonic(), ""
    batch_statistics.note_by_scratch(True)
    try:
        outputs.call = _compile(outputs)
        # alone: a process that fails must not keep the others waiting for its gradients
        rehearse(False)
    except Exception as error:  # of compilers and of what they find: any
        failure = one_line(f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - started
    failures = [reason for reason in ranks.exchange(failure) if reason]
    if failures:
        outputs.call = None
        batch_statistics.note_by_scratch(False)
        torch.compiler.reset()
        if ranks.is_main:
            short = failures[0][:_REASON_LENGTH] + "..." * (len(failures[0]) > _REASON_LENGTH)
            log.warning(
                "MODEL.COMPILE: the model cannot be compiled here, and trains without; nothing else is "
                "changed by that. The reason: %s",
                short,
            )
        return
    now = _seconds_of(lambda: rehearse(True), ranks, _TIMED_PASSES)
    ranks.say(
        f"MODEL.COMPILE: compiled in {duration(seconds)}. Forward and backward pass of a part of a step take "
        f"{now * 1000:.0f} ms in place of {began * 1000:.0f} ms, {began / now:.2f} times as fast"
        + (
            "."
            if now < began
            else "; compiling costs more than it gains here, so leave MODEL.COMPILE off."
        )
    )


def _compile(outputs: CompiledOutputs) -> Callable[..., tuple[Tensor, ...]]:
    """The model's training function, compiled for the one shape that training has.

    With the random numbers of eager mode. DDP's own cutting of the graph is off: it cannot take recomputed
    blocks, and gradients of these sizes need no head start.
    """
    torch._dynamo.config.optimize_ddp = False
    return torch.compile(
        outputs.model.training_outputs, dynamic=False, options={"fallback_random": True}
    )


def _seconds_of(run: Callable[[], object], ranks: Ranks, passes: int) -> float:
    """The median of so many, after one that does not count."""
    return statistics.median(in_turn({"": run}, ranks.device, passes)[""])
