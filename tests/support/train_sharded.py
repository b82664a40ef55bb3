"""`train_float64.py` with the model sharded over the processes, by torch's `fully_shard` (FSDP).

Called in the same way, without validations, which would go round the wrapper.
"""

import sys
from contextlib import nullcontext

import torch
import train_float64
from torch.distributed.fsdp import fully_shard

from uniformer_video.distributed.ranks import Ranks
from uniformer_video.training.trainer import Trainer


def shard(_ranks, network):
    """In place of `Ranks.wrap`: the blocks, then the rest."""
    blocks = [block for stage in range(1, 5) for block in getattr(network.model, f"blocks{stage}")]
    for module in [*blocks, network]:
        fully_shard(module)
    network.no_sync = nullcontext  # gradients are averaged slot by slot
    return network


def fit_and_gather(trainer, fit=Trainer.fit):
    """In place of `Trainer.fit`: the whole parameters take the places of the shards afterwards."""
    fit(trainer)
    held = [id(p) for group in trainer.state.optimizer.param_groups for p in group["params"]]
    trained = [id(p) for p in trainer.model.parameters() if p.requires_grad]
    assert sorted(held) == sorted(trained)
    for module in trainer.model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, torch.nn.Parameter(parameter.detach().full_tensor()))


if __name__ == "__main__":
    Ranks.wrap, Trainer.fit = shard, fit_and_gather
    train_float64.main(*sys.argv[1:])
