"""The published optimiser: AdamW's parameter groups and the learning-rate schedule."""

import math
from dataclasses import dataclass

import torch


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


def parameter_groups(model, weight_decay, spare_model_list=False):
    """Two groups: with `weight_decay`, and without (1-D parameters, which norms and biases are).

    The published runs decay position kernels, class token and local layer scales, since their list of
    exemptions never matched; `spare_model_list` exempts what `model.no_weight_decay()` names.
    """
    spared = model.no_weight_decay() if spare_model_list else ()
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        (plain if parameter.dim() == 1 or name in spared else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def adamw(model, weight_decay, spare_model_list=False):
    """AdamW with the published betas and epsilon; the schedule sets its learning rate.

    The fused step can be skipped by a flag on the device, `optimizer.found_inf`, without waiting for it.
    """
    groups = parameter_groups(model, weight_decay, spare_model_list)
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each parameter group its learning rate: `lr` times its `lr_scale`, 1 where it has none."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1)
