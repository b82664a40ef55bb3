"""Optimisers, their parameter groups, and learning-rate schedules."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor, nn

from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.layer_groups import layer_groups
from uniformer_video.training import bare_optim
from uniformer_video.training.bare_optim import AdamW


class _Warmup:
    """A schedule as a function of the epoch (a real number) that begins with a linear warm-up.

    Where the run counts iterations, all that is called epochs here is iterations. The warm-up ends at the
    rate that the schedule without it has there. With a `warmup_ratio` above 0 it multiplies that rate of each
    moment, by a factor that rises from the ratio to 1; `warmup_start_lr` then has no say.
    """

    warmup_start_lr: float
    warmup_epochs: float
    warmup_ratio: float

    def __call__(self, epoch: float) -> float:
        """The learning rate at `epoch`, from 0 to the last."""
        if epoch < self.warmup_epochs:
            share = epoch / self.warmup_epochs
            if self.warmup_ratio:
                # of MMCV, whose published runs have it
                return self._after_warmup(epoch) * (1 - (1 - share) * (1 - self.warmup_ratio))
            return self.warmup_start_lr + share * (self._peak() - self.warmup_start_lr)
        return self._after_warmup(epoch)

    def _peak(self) -> float:
        return self._after_warmup(self.warmup_epochs)

    def _after_warmup(self, epoch: float) -> float:
        raise NotImplementedError


@dataclass(frozen=True)
class CosineSchedule(_Warmup):
    """Linear warm-up, then half a cosine down to `end_lr` at `max_epoch`, and that rate from then on.

    after_warmup: the cosine begins where the warm-up ends, as in the published runs of videos; else at epoch
    0, so that the warm-up runs into it. to_base_lr: the warm-up rises towards `base_lr` also where the cosine
    has fallen a little by its end, as in the published runs of images. Source: Loshchilov & Hutter, "SGDR",
    equation 5 without restarts.
    """

    base_lr: float
    end_lr: float
    warmup_start_lr: float
    warmup_epochs: float
    max_epoch: float
    after_warmup: bool = True
    to_base_lr: bool = False
    warmup_ratio: float = 0.0

    def _peak(self) -> float:
        return self.base_lr if self.after_warmup or self.to_base_lr else super()._peak()

    def _after_warmup(self, epoch: float) -> float:
        first = self.warmup_epochs if self.after_warmup else 0.0
        share = min(1.0, max(0.0, epoch - first) / (self.max_epoch - first))
        return self.end_lr + (self.base_lr - self.end_lr) / 2 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class StepSchedule(_Warmup):
    """Linear warm-up, then `base_lr` times the factor of the last of `steps` that is not after the epoch.

    steps: rising epochs, the first of them 0. factors: one for each. Source: PySlowFast's
    steps_with_relative_lrs.
    """

    base_lr: float
    steps: tuple[float, ...]
    factors: tuple[float, ...]
    warmup_start_lr: float
    warmup_epochs: float
    warmup_ratio: float = 0.0

    def _after_warmup(self, epoch: float) -> float:
        return self.factors[bisect_right(self.steps, epoch) - 1] * self.base_lr


@dataclass(frozen=True)
class PolySchedule(_Warmup):
    """Linear warm-up over the beginning of a fall from `base_lr` to 0: (1 - epoch / max_epoch) ^ power of it.

    power: 1 is a straight line. Source: Liu et al., "ParseNet", section 3; "poly" in MMSegmentation.
    """

    base_lr: float
    warmup_start_lr: float
    warmup_epochs: float
    max_epoch: float
    power: float = 1.0
    warmup_ratio: float = 0.0

    def _after_warmup(self, epoch: float) -> float:
        return self.base_lr * max(0.0, 1 - epoch / self.max_epoch) ** self.power


@dataclass(frozen=True)
class RatesByEpoch:
    """The rate of `schedule` at the beginning of an epoch, for all of its steps.

    delay: epochs by which it comes later, the first rate until then. With 1, the published runs of images,
    whose scheduler was handed the number of the epoch that had just ended. length: of an epoch in iterations,
    where these are what the schedule counts.
    """

    schedule: Callable[[float], float]
    delay: int = 0
    length: int = 1

    def __call__(self, epoch: float) -> float:
        """The learning rate at `epoch`, a real number."""
        return self.schedule(max(0, math.floor(epoch / self.length) - self.delay) * self.length)


def parameter_groups(
    model: RecognitionModel,
    weight_decay: float,
    spare_model_list: bool = False,
    spare_vectors: bool = True,
    batch_norm_decay: float | None = None,
    layer_decay: float = 1.0,
    spare_class_token: bool = False,
    spared_names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Groups of what is trained: with `weight_decay`, and without (1-D parameters, as of norms, and biases).

    The published runs of videos decay position kernels, class token and local layer scales, since their list
    of exemptions never matched; `spare_model_list` exempts what `model.no_weight_decay()` names. That of the
    published runs of images matched the class token alone, as `spare_class_token` does. Without
    `spare_vectors` 1-D parameters decay too. Those of BatchNorm do as these, unless `batch_norm_decay` tells
    their own decay, in a third group where it is not 0. What has one of `spared_names` in its name is exempt
    in any case. Below 1, `layer_decay` splits the groups by the model's layers, the rate of each being that
    of the next one times it: `lr_scale` is 1 for the classifier.
    """
    spared = model.no_weight_decay() if spare_model_list else set()
    if spare_class_token:
        spared = spared | {"cls_token"}
    of_batch_norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters(recurse=False)
    }
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    batch_norms: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue  # frozen: no optimiser keeps a state of it
        if any(part in name for part in spared_names):
            plain.append(parameter)
        elif id(parameter) in of_batch_norms and batch_norm_decay is not None:
            (batch_norms if batch_norm_decay else plain).append(parameter)
        elif name in spared or (spare_vectors and parameter.dim() == 1):
            plain.append(parameter)
        else:
            decayed.append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    third = {"params": batch_norms, "weight_decay": batch_norm_decay}
    groups = [*groups, third] if batch_norms else groups
    return _split_by_layer(groups, model, layer_decay) if layer_decay != 1 else groups


def _split_by_layer(
    groups: Sequence[dict[str, Any]], model: RecognitionModel, layer_decay: float
) -> list[dict[str, Any]]:
    """`groups` in parts of one layer each, with the layer's `lr_scale`.

    Source: Bao et al., "BEiT", and Clark et al., "ELECTRA", whose rate of layer l of L is decay^(L - l).
    """
    by_name = dict(model.named_parameters())
    layers = layer_groups(model)
    layer_of = {id(by_name[name]): depth for depth, names in enumerate(layers) for name in names}
    split = []
    for group in groups:
        by_layer: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_layer.setdefault(layer_of[id(parameter)], []).append(parameter)
        for depth in sorted(by_layer):
            scale = layer_decay ** (len(layers) - 1 - depth)
            split.append({**group, "params": by_layer[depth], "lr_scale": scale})
    return split


def adamw(
    model: RecognitionModel,
    weight_decay: float,
    spare_model_list: bool = False,
    betas: Sequence[float] = (0.9, 0.999),
    **exemptions: Any,
) -> AdamW:
    """AdamW with the published epsilon; the schedule sets its learning rate.

    exemptions: and `layer_decay`, see `parameter_groups`. The fused step can be skipped by a flag on the
    device, `optimizer.found_inf`, without waiting for it.
    """
    groups = parameter_groups(model, weight_decay, spare_model_list, **exemptions)
    first, second = betas
    return AdamW(groups, lr=0.0, betas=(first, second), eps=1e-8, fused=True)


class SGD(bare_optim.SGD):
    """torch's SGD, whose steps can be skipped by a flag on the device, `found_inf`, as AdamW's can.

    Buffers of momentum start as zeros. torch makes them in the first step, and from memory as it comes where
    that step is skipped.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        momentum: float = 0.9,
        dampening: float = 0.0,
        nesterov: bool = True,
    ):
        super().__init__(
            groups,
            lr=0.0,
            momentum=momentum,
            dampening=dampening,
            nesterov=nesterov,
            fused=True,
        )
        for group in self.param_groups:
            for parameter in group["params"] if momentum else ():
                state = self.state[parameter]
                state["momentum_buffer"] = torch.zeros_like(parameter)
                if dampening:
                    state["step"] = torch.zeros((), device=parameter.device)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """torch's fused step; with dampening one of its own, since the first gradient is not dampened.

        Which step is the first is known to the device alone, where steps may be skipped.
        """
        if not self.defaults["dampening"] or not self.defaults["momentum"]:
            return super().step(closure)
        skipped = getattr(self, "found_inf", None)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._dampened_step(parameter, parameter.grad, group, skipped)
        return None

    def _dampened_step(
        self,
        parameter: Tensor,
        gradient: Tensor,
        group: dict[str, Any],
        skipped: Tensor | None,
    ) -> None:
        state, momentum = self.state[parameter], group["momentum"]
        gradient = gradient.add(parameter, alpha=group["weight_decay"])
        buffer, steps = state["momentum_buffer"], state["step"]
        later = (momentum * buffer).add(gradient, alpha=1 - group["dampening"])
        new = torch.where(steps == 0, gradient, later)
        moved = parameter.add(new, alpha=-group["lr"])
        taken = torch.ones_like(steps) if skipped is None else 1 - skipped.to(steps)
        for tensor, value in ((buffer, new), (parameter, moved), (steps, steps + 1)):
            tensor.copy_(torch.where(taken > 0, value, tensor))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each parameter group its learning rate: `lr` times its `lr_scale`, 1 where it has none."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1)
