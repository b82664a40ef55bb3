"""The only file that knows about ranks. One process without torchrun, many under it."""

import logging
import os
from dataclasses import dataclass

import torch
from torch import distributed as dist

from uniformer_video.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranks:
    """This process among all: `rank` of `size`, on `device`."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self):
        """True for the one process that writes files and talks."""
        return self.rank == 0

    def say(self, *lines):
        """Log lines, once and not from every process."""
        if self.is_main:
            for line in lines:
                log.info(line)

    def own_slots(self, slots):
        """This process' share of a step's slots, in order."""
        if slots % self.size:
            raise ConfigError(
                f"{self.size} processes cannot share {slots} equal parts of a step (NUM_GPUS x "
                f"NUM_SHARDS); start a number of processes that divides {slots}"
            )
        each = slots // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def wrap(self, model):
        """`model` with gradients averaged over the processes."""
        if self.size == 1:
            return model
        on_gpu = self.device.type == "cuda"
        return torch.nn.parallel.DistributedDataParallel(
            model, device_ids=[self.device.index] if on_gpu else None
        )

    def gather(self, items):
        """The concatenation of every process' list, in rank order, on every process."""
        if self.size == 1:
            return list(items)
        parts = [None] * self.size
        dist.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]

    def wait(self):
        """Until every process is here."""
        if self.size > 1:
            dist.barrier()


def start():
    """Join the process group that torchrun describes, or stand alone."""
    size = int(os.environ.get("WORLD_SIZE", 1))
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(int(os.environ.get("RANK", 0)), size, device)


def stop():
    """Leave the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()
