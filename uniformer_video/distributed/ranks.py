"""All processes of a run, as one of them sees it. One process without torchrun, many under it."""

import contextlib
import inspect
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from uniformer_video.distributed import environment
from uniformer_video.distributed.heartbeat import Heartbeat, Store
from uniformer_video.distributed.threads import in_thread
from uniformer_video.errors import ConfigError, RankError, UserError
from uniformer_video.signals import Interrupted

Value = TypeVar("Value")
log = logging.getLogger(__name__)

LEAST_WAIT = 1800.0  # seconds; whoever is slow is not dead, that is for the heartbeat to say
_HOST_WAIT = timedelta(days=1)  # the main process may download weights or write for hours
_JOIN_WAIT = timedelta(minutes=30)
# Texts of errors of communication, which have no class of their own.
_CONNECTION = re.compile(r"gloo|nccl|connection|socket|processgroup|timed? ?out", re.IGNORECASE)
# The argument that keeps DDP from handing out the main process' buffers has a new name from torch 2.13 on.
_OWN_BUFFERS: dict[str, Any] = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}
)

_groups_made = 0


@dataclass(frozen=True)
class Ranks:
    """This process among all: `rank` of `size`, on `device`.

    What the host knows (requests, broken videos, errors) travels over `host`, a gloo group on the CPU;
    what the device has computed over the device's own group. Both raise the same error on every process
    when one of them is lost. With one process nothing travels.
    """

    rank: int
    size: int
    device: torch.device
    host: dist.ProcessGroup | None = None
    heartbeat: Heartbeat | None = None

    @property
    def is_main(self) -> bool:
        """True for the one process that writes files and talks."""
        return self.rank == 0

    def say(self, *lines: str) -> None:
        """Log lines, once and not from every process."""
        if self.is_main:
            for line in lines:
                log.info(line)

    def own_slots(self, slots: int) -> range:
        """This process' share of a step's slots, in order."""
        if slots % self.size:
            raise ConfigError(
                f"{self.size} processes cannot share {slots} equal parts of a step (NUM_GPUS x "
                f"NUM_SHARDS x SOLVER.ACCUMULATION_STEPS); start a number of processes that divides {slots}, "
                f"or set NUM_GPUS to the processes of each machine: {self.size} on one"
            )
        each = slots // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def wrap(self, model: nn.Module) -> nn.Module:
        """`model` with gradients averaged over the processes. Its buffers are its own affair."""
        if self.size == 1:
            return model
        for parameter in model.parameters():
            if 1 in parameter.shape and parameter.requires_grad:
                parameter.register_hook(_with_plain_strides)
        on_gpu = self.device.type == "cuda"
        with self.communicating():
            return DistributedDataParallel(
                model, device_ids=[self.device.index] if on_gpu else None, **_OWN_BUFFERS
            )

    def exchange(self, value: Value | None = None, error: Exception | None = None) -> list[Value]:
        """The `value` of every process, in the order of ranks, on every process.

        Where some have an `error` in place of a value, the first of these is raised by all.
        """
        values: list[Any]
        if self.size == 1:
            values = [(value, error)]
        else:
            values = [None] * self.size
            with self.communicating():
                dist.all_gather_object(values, (value, error), group=self.host)
        for _, failure in values:
            if failure is not None:
                raise failure
        return [value for value, _ in values]

    def gather(self, items: Iterable[Value], error: Exception | None = None) -> list[Value]:
        """The concatenation of every process' list, in rank order; errors as in `exchange`."""
        return [item for part in self.exchange(list(items), error) for item in part]

    def on_main(self, action: Callable[[], Value]) -> Value:
        """Have the main process do `action()`; what it returns, or its error, on every process."""
        value: Value | None = None
        error: Exception | None = None
        if self.is_main:
            try:
                value = action()
            except (UserError, OSError) as failure:
                error = failure
        return self.exchange(value, error)[0]

    def wait(self) -> None:
        """Until every process is here."""
        self.exchange()

    def gather_rows(self, rows: Tensor) -> Tensor:
        """`[n, values]` on the device -> those of all processes, `[size * n, values]`, in rank order."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        with self.communicating():
            dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @contextlib.contextmanager
    def communicating(self) -> Iterator[None]:
        """Around what waits for other processes: a broken connection becomes the error of all."""
        try:
            yield
        except RuntimeError as error:
            if self.heartbeat is None or not _CONNECTION.search(str(error)):
                raise
            raise self.heartbeat.loss() from error

    def guard_training(
        self, position: Callable[[], int | None], rescue: Callable[[bool], str]
    ) -> AbstractContextManager[None]:
        """`Heartbeat.guard_training`, where there are other processes."""
        if self.heartbeat is None:
            return contextlib.nullcontext()
        return self.heartbeat.guard_training(position, rescue)

    def reason_of(self, error: BaseException) -> BaseException:
        """`error`, or the one of another process that made torchrun interrupt this one by SIGTERM."""
        interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted and self.heartbeat is not None and self.heartbeat.in_trouble:
            return self.heartbeat.loss()
        return error

    def note_step(self, step: int) -> None:
        """Have the heartbeat tell how many steps this process has finished."""
        if self.heartbeat is not None:
            self.heartbeat.step = step

    def leave(self, error: BaseException | None = None) -> None:
        """Leave the others, who hear of the `error` that ends this process."""
        if self.heartbeat is None:
            return
        self.heartbeat.stop(error)
        # After an error NCCL would wait for operations that nobody answers any more.
        if dist.is_initialized() and (error is None or self.device.type == "cpu"):
            dist.destroy_process_group()
        if error is not None and not self.is_main:
            self.heartbeat.wait_for_main()


@contextlib.contextmanager
def join_ranks(dead_after: float, longest_wait: float) -> Iterator[Ranks]:
    """Join the processes that torchrun describes, or stand alone; yields the `Ranks`.

    dead_after: seconds without a heartbeat after which a process is given up. longest_wait: seconds that a
    process may have to wait for its data, infinite where there is no limit. An error that leaves the block
    is told to the other processes.
    """
    ranks = _join(dead_after, longest_wait)
    try:
        yield ranks
    except Interrupted:  # all leave together
        ranks.leave()
        raise
    except BaseException as error:
        reason = ranks.reason_of(error)
        ranks.leave(reason)
        if reason is error:
            raise
        raise reason from error
    ranks.leave()


def _join(dead_after: float, longest_wait: float) -> Ranks:
    size, rank = environment.world_size(), environment.rank()
    if torch.cuda.is_available():
        device = torch.device("cuda", environment.local_rank())
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if size == 1:
        return Ranks(0, 1, device)
    environment.speak(aloud=rank == 0)
    try:
        host, beats = in_thread(lambda: _connect(rank, size, device, longest_wait))
    except RuntimeError as error:
        text = str(error).partition("\n")[0]  # C++ frames follow
        raise RankError(
            f"the {size} processes could not connect ({text}); see whether one of them has ended, and run "
            "the same command again"
        ) from None
    heartbeat = Heartbeat(beats, rank, size, dead_after)
    heartbeat.start()
    return Ranks(rank, size, device, host, heartbeat)


def _connect(
    rank: int, size: int, device: torch.device, longest_wait: float
) -> tuple[dist.ProcessGroup, Store]:
    """Wait for all processes; (the host's group, the store of the heartbeats)."""
    store, beats = _stores(rank, size)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=device_timeout(longest_wait),
    )
    return dist.new_group(backend="gloo", timeout=_HOST_WAIT), beats


def device_timeout(longest_wait: float) -> timedelta:
    """How long an operation between devices may take, where a process waits `longest_wait` s for its data.

    At least `LEAST_WAIT`, and above twice that wait; at most what the host's operations may take.
    """
    seconds = max(LEAST_WAIT, 2 * longest_wait + 60)
    return timedelta(seconds=min(seconds, _HOST_WAIT.total_seconds()))


def _stores(rank: int, size: int) -> tuple[dist.PrefixStore, Store]:
    """Two connections to the processes' store, under names that no other start has used.

    torchrun keeps one store for all its starts, and a process may run twice.
    """
    global _groups_made
    _groups_made += 1
    name = f"uniformer-video/{environment.attempt()}/{_groups_made}"
    try:
        first, _, _ = next(rendezvous("env://", rank, size, timeout=_JOIN_WAIT))
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        second = dist.TCPStore(address, port, is_master=False, wait_for_workers=False)
    except (ValueError, KeyError, RuntimeError) as error:
        raise ConfigError(
            f"WORLD_SIZE is {size}, and the processes do not find each other ({error}); start them with "
            "torchrun, or unset WORLD_SIZE"
        ) from None
    return dist.PrefixStore(name, first), dist.PrefixStore(f"{name}/beats", second)


def _with_plain_strides(gradient: Tensor) -> Tensor:
    """A dense gradient with the strides of a fresh tensor, the same memory where it can.

    Convolutions on channels-last tokens give depthwise kernels, `[C, 1, ...]`, gradients whose axis of
    length 1 has another stride: the same numbers in the same places, but DDP then copies with care.
    """
    return gradient.contiguous().view(-1).view(gradient.shape)
