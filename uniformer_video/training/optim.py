"""The published optimiser: AdamW's parameter groups and the learning-rate schedule."""

import math
from dataclasses import dataclass

import torch

from uniformer_video.models.layers import DepthwiseConv, TokenBatchNorm


@dataclass(frozen=True)
class CosineSchedule:
    """Linear warm-up, then half a cosine, as a function of the epoch (a real number).

    Source: Loshchilov & Hutter, "SGDR", equation 5 without restarts; the warm-up ends where the
    cosine begins.
    """

    base_lr: float
    end_lr: float
    warmup_start_lr: float
    warmup_epochs: float
    max_epoch: float

    def __call__(self, epoch):
        """The learning rate at `epoch`, from 0 to `max_epoch`."""
        if epoch < self.warmup_epochs:
            share = epoch / self.warmup_epochs
            return self.warmup_start_lr + share * (self.base_lr - self.warmup_start_lr)
        share = (epoch - self.warmup_epochs) / (self.max_epoch - self.warmup_epochs)
        return self.end_lr + (self.base_lr - self.end_lr) / 2 * (1 + math.cos(math.pi * share))


def parameter_groups(model, weight_decay, decay_pos_embed=True):
    """Two groups: with `weight_decay`, and without (1-D parameters and batch norms).

    The published runs decay the kernels of the position encoding too; `decay_pos_embed` False
    exempts them.
    """
    exempt = set()
    for name, module in model.named_modules():
        is_pos_embed = isinstance(module, DepthwiseConv) and name.endswith("pos_embed")
        if isinstance(module, TokenBatchNorm) or (is_pos_embed and not decay_pos_embed):
            exempt |= {id(parameter) for parameter in module.parameters()}
    decayed, plain = [], []
    for parameter in model.parameters():
        spared = parameter.dim() == 1 or id(parameter) in exempt
        (plain if spared else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def adamw(model, weight_decay, decay_pos_embed=True):
    """AdamW with the published betas and epsilon; the schedule sets its learning rate."""
    groups = parameter_groups(model, weight_decay, decay_pos_embed)
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8)
