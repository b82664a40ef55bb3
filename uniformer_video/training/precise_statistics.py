"""BatchNorm's running statistics measured over a set of clips ("precise BN"), not averaged over steps."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uniformer_video.models.sync_batch_norm import joined_count, speaks_for_its_group

_HIDDEN = ("running_mean", "running_var")


def recompute_statistics(
    model: nn.Module,
    batches: Iterable[Tensor],
    forward: Callable[[Tensor], object] | None = None,
    reduce: Callable[[Tensor], Tensor] | None = None,
) -> int:
    """Give the BatchNorm layers of `model` the mean and variance of their inputs over all `batches`.

    Each layer normalises a batch by that batch, as in training; what it keeps is the mean and the unbiased
    variance over all of them together, each position of each clip counted once. Layers in evaluation mode
    are frozen and stay as they are, and so do layers that no batch reaches. Dropout and drop path are off.
    With synchronised layers each process gives equally many batches, which are joined as in training.
    Modes, gradients and the counts of batches are afterwards what they were; after an error, all statistics.

    Args:
        model: with the layers to measure in training mode, as after `model.train()`.
        batches: clips `[B, 3, T, H, W]`, on any device.
        forward: clips on the model's device -> anything; None = the model. Where the autocast belongs.
        reduce: the sum over all processes of a float64 vector; each calls it once, also without batches.

    Returns the number of clips, of all processes; 0, and no batch is read, if no layer is in training mode.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.running_mean is not None
    ]
    if not layers:
        return 0
    measured = _Sums(layers)
    with torch.no_grad(), _kept(model, layers), measured.attach():
        for batch in batches:
            clips = batch.to(measured.device, non_blocking=True)
            (forward or model)(clips)
            measured.clips += len(clips)
    sums = measured.vector()
    return measured.store(reduce(sums) if reduce else sums)


class _Sums:
    """For each layer the number, the sum and the sum of squares of its inputs, float64."""

    def __init__(self, layers: list[_BatchNorm]):
        self.layers, self.clips = layers, 0
        self.device = _buffers(layers[0])[0].device
        # [count, sums, sums of squares]
        self.sums = [
            torch.zeros(1 + 2 * layer.num_features, dtype=torch.float64, device=self.device)
            for layer in layers
        ]

    @contextmanager
    def attach(self) -> Iterator[None]:
        """While it lasts, each call of a layer adds to its sums."""
        handles = []
        for layer, sums in zip(self.layers, self.sums, strict=True):
            before, after = _hooks(layer, sums)
            handles += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def vector(self) -> Tensor:
        """All sums of this process, `[values]` float64: the number of clips, then layer by layer."""
        clips = torch.full((1,), self.clips, dtype=torch.float64, device=self.device)
        return torch.cat([clips, *self.sums])

    def store(self, vector: Tensor) -> int:
        """Write what `vector`, the sums of all processes, says into the layers; the number of clips."""
        lengths = [len(sums) for sums in self.sums]
        for layer, sums in zip(self.layers, vector[1:].split(lengths), strict=True):
            count, (total, squares) = sums[0], sums[1:].chunk(2)
            mean = total / count.clamp(min=1)
            variance = (squares - count * mean**2).clamp(min=0) / (count - 1).clamp(min=1)
            for running, new in zip(_buffers(layer), (mean, variance), strict=True):
                running.copy_(torch.where(count > 0, new, running.double()))
        return int(vector[0])


def _hooks(layer: _BatchNorm, sums: Tensor) -> tuple[Callable[..., None], Callable[..., None]]:
    """What to do before and after a call of `layer`, so that it is added to `sums`.

    The layer itself measures, with momentum 1 into scratch buffers that hide its own: it alone knows on which
    axis its channels are. Whoever else does the same meanwhile, as `BatchStatistics`, is not disturbed.
    """
    momentum = layer.momentum
    scratch: list[Tensor] = []

    def before(_layer: nn.Module, _inputs: object) -> None:
        layer.momentum = 1.0
        scratch[:] = [torch.zeros_like(buffer) for buffer in _buffers(layer)]
        vars(layer).update(zip(_HIDDEN, scratch, strict=True))

    def after(_layer: nn.Module, inputs: tuple[Tensor, ...], _output: object) -> None:
        layer.momentum = momentum
        for name in _HIDDEN:
            vars(layer).pop(name, None)
        count = joined_count(layer, inputs[0].numel() // layer.num_features)
        if not speaks_for_its_group(layer):
            return  # another process counts the joined batch
        mean, variance = (measured.double() for measured in scratch)
        squares = (count - 1) * variance + count * mean**2  # it measures the unbiased variance
        sums.add_(torch.cat([sums.new_full((1,), count), count * mean, squares]))

    return before, after


@contextmanager
def _kept(model: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """`layers` alone are in training mode; afterwards all modes and the layers' buffers are as before."""
    modes = {module: module.training for module in model.modules()}
    momenta = [layer.momentum for layer in layers]
    kept = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers(recurse=False)]
    try:
        for module in modes:
            module.training = module in layers
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        # also after a call that failed
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            for name in _HIDDEN:
                vars(layer).pop(name, None)
        for buffer, before in kept:
            buffer.copy_(before)


def _buffers(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The running mean and variance of a layer that keeps them."""
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None and variance is not None
    return mean, variance
