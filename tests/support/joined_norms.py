"""Synchronised BatchNorm as one of several processes, each with a part of the batch of `CASES`.

Called as `joined_norms.py OUT DEVICE`, with the variables of torchrun. Each process writes to OUT.RANK.
"""

import os
import sys

import torch
from torch import distributed as dist
from torch import nn

from uniformer_video.models.layers import TokenBatchNorm
from uniformer_video.models.sync_batch_norm import synchronise
from uniformer_video.training.batch_statistics import BatchStatistics
from uniformer_video.training.precise_statistics import recompute_statistics

CHANNELS = 5
# name -> (the layer, the shape behind the batch's axis)
CASES = {
    "1d": (lambda: nn.BatchNorm1d(CHANNELS), (CHANNELS,)),
    "2d": (lambda: nn.BatchNorm2d(CHANNELS, eps=1e-3), (CHANNELS, 3, 4)),
    "3d": (lambda: nn.BatchNorm3d(CHANNELS, momentum=0.3), (CHANNELS, 2, 3, 4)),
    "tokens": (lambda: TokenBatchNorm(CHANNELS), (2, 3, 4, CHANNELS)),
    "by count": (lambda: nn.BatchNorm2d(CHANNELS, momentum=None), (CHANNELS, 3, 2)),
    "affine-less": (lambda: nn.BatchNorm2d(CHANNELS, affine=False), (CHANNELS, 3, 2)),
    "without statistics": (
        lambda: nn.BatchNorm2d(CHANNELS, track_running_stats=False),
        (CHANNELS, 3, 2),
    ),
}
STEPS = 2


def make_norm(name, device="cpu"):
    """The case's layer inside a model, in float64, with weights of its own."""
    torch.manual_seed(1)
    model = nn.Sequential(CASES[name][0]()).double().train()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.to(device)  # a GPU would draw other numbers


def batches(name, size):
    """[step][rank] -> the part of a process; process r has r + 1 samples, and one has 1 value a channel."""
    generator = torch.Generator().manual_seed(2)
    shape = CASES[name][1]
    return [
        [
            3 + 2 * torch.randn(rank + 1, *shape, generator=generator, dtype=torch.float64)
            for rank in range(size)
        ]
        for _ in range(STEPS)
    ]


def pass_through(model, clips):
    """What a forward and a backward pass give of `clips`."""
    clips = clips.clone().requires_grad_()
    output = model(clips)
    weights = torch.arange(output[0].numel()).view(output[0].shape)
    (output.sin() * weights.to(output)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    return {"output": output.detach(), "input": clips.grad, "gradients": gradients}


def state_of(model):
    return {key: value.cpu().clone() for key, value in model.state_dict().items()}


def folded(model, part):
    """The state after the notes of all processes are folded by the run's own statistics."""
    statistics = BatchStatistics(model)
    with statistics.attach():
        with statistics.record_pass():
            model(part)
            row = statistics.row(torch.float64, part.device)
        rows = [torch.empty_like(row) for _ in range(dist.get_world_size())]
        dist.all_gather(rows, row)
        statistics.fold(torch.stack(rows), torch.tensor(True, device=part.device))
    return state_of(model)


def measured(model, parts):
    def reduce(sums):
        dist.all_reduce(sums)
        return sums

    count = recompute_statistics(model, parts, reduce=reduce)
    return count, state_of(model)


def main(out, device):
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    found = {}
    for name in CASES:
        model = make_norm(name, device)
        keys = list(model.state_dict())
        assert (
            synchronise(model, torch.device(device)) == (1, []) and list(model.state_dict()) == keys
        )
        parts = [step[rank].to(device) for step in batches(name, size)]
        found[name] = {"passes": [pass_through(model, part) for part in parts]}
        found[name]["state"] = state_of(model)
        found[name]["evaluated"] = model.eval()(parts[0]).detach().cpu()
        if model[0].track_running_stats:
            model = make_norm(name, device)
            synchronise(model, torch.device(device))
            found[name]["folded"] = folded(model, parts[0])
            found[name]["measured"] = measured(model, parts)
    torch.save(found, f"{out}.{os.environ['RANK']}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
