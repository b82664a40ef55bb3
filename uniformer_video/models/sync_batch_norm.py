"""BatchNorm that normalises by the batch of all processes of a run, not by the part that one process has.

`torch.nn.SyncBatchNorm` does so on a GPU and refuses a CPU; here a CPU does the same by `dist.all_reduce`.
"""

from collections.abc import Container
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from uniformer_video.models.layers import TokenBatchNorm, channels_first, channels_last


class JoinedBatchNorm(_BatchNorm):
    """Batch norm of `[B, C, ...]` over the batches of all processes, on a CPU.

    In evaluation mode, and in one process, it is plain batch norm. In training every process calls it
    equally often, in the same order; their batches may differ in size.
    """

    process_group: Any = None  # that of all, as in torch's

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """`[B, C, ...]` -> `[B, C, ...]`. Raises `ValueError` where all have one value a channel together."""
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return super().forward(input)
        self._check_input_dim(input)
        share = 0.0 if self.momentum is None else self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                share = 1.0 / float(self.num_batches_tracked)
        return _JoinedNorm.apply(
            input,
            self.weight,
            self.bias,
            self.running_mean,
            self.running_var,
            share,
            self.eps,
            _group_of(self),
        )


class JoinedTokenBatchNorm(JoinedBatchNorm):
    """The same over the last axis of `[B, *grid, C]`."""

    def forward(self, input: Tensor) -> Tensor:
        """`[B, *grid, C]` -> `[B, *grid, C]`."""
        return channels_last(super().forward(channels_first(input)))


class SyncTokenBatchNorm(nn.SyncBatchNorm):
    """torch's synchronised batch norm, of a GPU, over the last axis of `[B, *grid, C]`."""

    def forward(self, input: Tensor) -> Tensor:
        """`[B, *grid, C]` -> `[B, *grid, C]`."""
        return channels_last(super().forward(channels_first(input)))


SYNCHRONISED = (nn.SyncBatchNorm, JoinedBatchNorm)
_OF_FEATURES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronise(
    model: nn.Module, device: torch.device, spared: Container[nn.Module] = ()
) -> tuple[int, list[str]]:
    """Put synchronised layers in place of the BatchNorm layers of `model`, with their tensors and keys.

    device: where it is. spared: modules that stay as they are. Returns how many layers are synchronised
    now, and the names of those of a class that nothing is known of, which are not.
    """
    count, unknown = 0, []
    for name, layer in [*model.named_modules()]:
        if not isinstance(layer, _BatchNorm) or layer in spared:
            continue
        kind = _synchronised_kind(layer, device)
        if kind is None:
            unknown.append(name)
            continue
        count += 1
        if not isinstance(layer, SYNCHRONISED):  # else it is the model's own
            path, _, own_name = name.rpartition(".")
            setattr(model.get_submodule(path), own_name, _convert(layer, kind))
    return count, unknown


def _synchronised_kind(layer: _BatchNorm, device: torch.device) -> type[_BatchNorm] | None:
    on_cpu = device.type == "cpu"
    if isinstance(layer, SYNCHRONISED):
        return type(layer)
    if type(layer) is TokenBatchNorm:
        return JoinedTokenBatchNorm if on_cpu else SyncTokenBatchNorm
    if type(layer) in _OF_FEATURES:
        return JoinedBatchNorm if on_cpu else nn.SyncBatchNorm
    return None


def _convert(layer: _BatchNorm, kind: type[_BatchNorm]) -> _BatchNorm:
    new = kind(
        layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
    )
    # Hooks of modules are not taken along: conversion comes before whoever registers any.
    new._parameters, new._buffers = layer._parameters, layer._buffers
    return new.train(layer.training)


def speaks_for_its_group(layer: _BatchNorm) -> bool:
    """False where a synchronised layer saw the same as on another process, whose word counts for all."""
    if not _is_joined(layer):
        return True
    return dist.get_process_group_ranks(_group_of(layer))[0] == dist.get_rank()


def joined_count(layer: _BatchNorm, count: int) -> int:
    """How many values a channel a layer in training has normalised by, where this process gave `count`.

    Every process of a synchronised layer asks, each time.
    """
    if not _is_joined(layer):
        return count
    total = torch.tensor(count, device=_buffer_of(layer).device)
    dist.all_reduce(total, group=_group_of(layer))
    return int(total)


def _is_joined(layer: _BatchNorm) -> bool:
    return isinstance(layer, SYNCHRONISED) and dist.is_initialized()


def _group_of(layer: _BatchNorm) -> Any:
    return getattr(layer, "process_group", None) or dist.group.WORLD


def _buffer_of(layer: _BatchNorm) -> Tensor:
    assert layer.running_mean is not None
    return layer.running_mean


class _JoinedNorm(torch.autograd.Function):
    """Batch norm of `[B, C, ...]` whose sums, forward and backward, are those of all processes.

    Every process computes the same mean and variance to the last bit. Gradients of weight and bias are
    those of this process' part, as DistributedDataParallel wants them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        share: float,
        eps: float,
        group: Any,
    ) -> Tensor:
        dtype = torch.promote_types(input.dtype, torch.float32)
        own = input.numel() // input.shape[1]
        sums = torch.cat(
            [_per_channel(input.to(dtype)), torch.full((1,), own, dtype=torch.float64)]
        )
        dist.all_reduce(sums, group=group)
        total = float(sums[-1])
        if total <= 1:
            raise ValueError(
                "BatchNorm in training needs more than one value a channel, and all processes together "
                f"have {total:.0f}: input of shape {tuple(input.shape)}"
            )
        mean = sums[:-1] / total
        centred = input.to(dtype) - _broadcast(mean, input).to(dtype)
        squares = _per_channel(centred**2)
        dist.all_reduce(squares, group=group)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean), share)
            running_var.lerp_((squares / (total - 1)).to(running_var), share)
        scale = (squares / total + eps).rsqrt().to(dtype)
        ctx.save_for_backward(input, weight, mean.to(dtype), scale)
        ctx.total, ctx.group = total, group
        output = centred.mul_(_broadcast(scale, input))
        if weight is not None:
            output = output.mul_(_broadcast(weight.to(dtype), input))
        if bias is not None:
            output = output.add_(_broadcast(bias.to(dtype), input))
        return output.to(input.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, scale = ctx.saved_tensors
        given = gradient.to(mean.dtype)
        normed = (input.to(mean.dtype) - _broadcast(mean, input)).mul_(_broadcast(scale, input))
        own = torch.cat([_per_channel(given), _per_channel(given * normed)])
        of_bias, of_weight = own.to(mean.dtype).chunk(2)
        of_input = None
        if ctx.needs_input_grad[0]:
            sums = own.clone()
            dist.all_reduce(sums, group=ctx.group)
            along, across = (sums / ctx.total).to(mean.dtype).chunk(2)
            rest = given - _broadcast(along, input) - normed.mul_(_broadcast(across, input))
            factor = scale if weight is None else scale * weight.to(mean.dtype)
            of_input = rest.mul_(_broadcast(factor, input)).to(input.dtype)
        of_affine = (
            of_weight.to(weight.dtype) if weight is not None and ctx.needs_input_grad[1] else None,
            of_bias.to(weight.dtype) if weight is not None and ctx.needs_input_grad[2] else None,
        )
        return of_input, *of_affine, None, None, None, None, None


def _per_channel(values: Tensor) -> Tensor:
    """`[B, C, ...]` -> sums `[C]`, float64."""
    return values.sum(dim=[axis for axis in range(values.dim()) if axis != 1]).double()


def _broadcast(values: Tensor, like: Tensor) -> Tensor:
    """`[C]` -> `[1, C, 1, ...]`, to stand beside `like`."""
    return values.view(1, -1, *[1] * (like.dim() - 2))
