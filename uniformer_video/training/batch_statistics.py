"""BatchNorm's running statistics as a property of the run, not of the process.

In torch a forward pass in training mode changes the running mean and variance of each BatchNorm layer on the
spot: of whatever this process saw, recomputed passes twice, passes that are thrown away too. Here a pass only
writes down what it saw. After the step the notes of all its slots, on whichever process, are folded into the
running statistics in the order of the slots, or dropped with the step.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

from uniformer_video.models.sync_batch_norm import speaks_for_its_group

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


class BatchStatistics:
    """Notes of the BatchNorm layers of `model`, its own and anybody else's: all are torch's `_BatchNorm`.

    A slot's notes are one row, `[values]`: for each layer the number of its calls, and what these calls
    add to its mean and its variance. That row has the same length whatever the layers did.
    """

    def __init__(self, model: nn.Module):
        self.layers: list[_BatchNorm] = [
            layer
            for layer in model.modules()
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None
        ]
        self._lengths = [1 + 2 * len(_running(layer)[0]) for layer in self.layers]
        # layer -> [calls, mean, variance] of the pass that is written down
        self._notes: dict[_BatchNorm, list[Any]] | None = None
        self._kept: dict[_BatchNorm, float | None] = {}  # layer -> its momentum, while it runs
        self._known_layout: _Layout | None = None
        self._handles: list[RemovableHandle] = []
        self._by_scratch, self._scratch = False, _Scratch(self.layers)

    @contextmanager
    def attach(self) -> Iterator["BatchStatistics"]:
        """Around the training: no forward pass in training mode changes a running statistic by itself."""
        self.note_by_scratch(self._by_scratch)
        try:
            yield self
        finally:
            self._remove_hooks()
            self._scratch.remove()

    def note_by_scratch(self, on: bool) -> None:
        """Inside `attach`: have no hook on any layer, for what a compiler is to see through.

        From the beginning of a pass to the step's end, layers then write into scratch buffers, of which the
        row is made. That rounds otherwise than the hooks do.
        """
        self._by_scratch = on
        self._remove_hooks()
        self._scratch.remove()
        for layer in self.layers if not on else ():
            self._handles.append(layer.register_forward_pre_hook(self._before))
            # also after an error: a recomputed pass ends by one as soon as it has what it needs
            self._handles.append(layer.register_forward_hook(self._after, always_call=True))

    def _remove_hooks(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    @contextmanager
    def record_pass(self) -> Iterator[None]:
        """Around the forward pass of a slot. Passes outside, such as recomputed ones, leave no note."""
        self._notes = {}
        if self._by_scratch:
            self._scratch.put()
        try:
            yield
        finally:
            self._notes = None

    def row(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """The notes so far of the slot, `[values]`; inside `record_pass`."""
        assert self._notes is not None
        if self._by_scratch:
            return self._scratch.row(dtype, device)
        parts: list[Tensor] = []
        for layer, length in zip(self.layers, self._lengths, strict=True):
            if layer in self._notes:
                calls, mean, variance = self._notes[layer]
                parts += [torch.full((1,), calls, dtype=dtype, device=device), mean, variance]
            else:
                parts.append(torch.zeros(length, dtype=dtype, device=device))
        return (
            torch.cat([part.to(dtype) for part in parts])
            if parts
            else torch.empty(0, dtype=dtype, device=device)
        )

    @torch.no_grad()
    def fold(self, rows: Tensor, taken: Tensor) -> None:
        """Fold the rows of a step, `[slots, values]` in the order of slots, into the layers.

        taken: bool `[]` on the device; where it is False everything stays as it is.
        """
        if not self.layers:
            return
        self._scratch.remove()
        layout = self._layout(rows)
        before = torch.cat([part for layer in self.layers for part in _values(layer, rows.dtype)])
        folded, calls = before, torch.zeros_like(before)
        counted = layout.batch_counts(self.layers, rows)
        for row in rows:
            calls_now = row[layout.calls_at]
            by_average = layout.keep**calls_now * folded + row
            total = counted + calls + calls_now
            by_count = ((counted + calls) * folded + row) / total.clamp(min=1)
            changed = torch.where(layout.cumulative, by_count, by_average)
            folded = torch.where(calls_now > 0, changed, folded)
            calls = calls + calls_now
        folded = torch.where(taken, folded, before)
        calls = torch.where(taken, calls, 0)
        for layer, part, number in zip(
            self.layers, folded.split(self._lengths), calls.split(self._lengths), strict=True
        ):
            mean, variance = part[1:].chunk(2)
            for running, new in zip(_running(layer), (mean, variance), strict=True):
                running.copy_(new)
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked += number[0].to(layer.num_batches_tracked.dtype)

    def _before(self, layer: _BatchNorm, _inputs: Any) -> None:
        """Have the layer write into scratch buffers, fresh for each call: 0 * old would keep a NaN for ever.

        With momentum 1 they hold the batch's mean and its unbiased variance afterwards. They only hide the
        registered buffers, so that whoever saves the model meanwhile, from another thread, saves those.
        """
        if not layer.training:
            return
        self._kept[layer] = layer.momentum
        layer.momentum = 1.0
        for name in _BUFFERS:
            buffer = getattr(layer, name)
            vars(layer)[name] = None if buffer is None else torch.zeros_like(buffer)

    def _after(self, layer: _BatchNorm, _inputs: Any, _output: Any) -> None:
        if layer not in self._kept:
            return
        seen = _running(layer)
        layer.momentum = self._kept.pop(layer)
        for name in _BUFFERS:
            del vars(layer)[name]
        if self._notes is None or not speaks_for_its_group(layer):
            return
        calls, *sums = self._notes.get(layer, (0, 0.0, 0.0))
        if layer.momentum is None:
            sums = [before + now for before, now in zip(sums, seen, strict=True)]
        else:
            share = layer.momentum
            sums = [(1 - share) * b + share * now for b, now in zip(sums, seen, strict=True)]
        self._notes[layer] = [calls + 1, *sums]

    def _layout(self, rows: Tensor) -> "_Layout":
        """The `_Layout` of a row on the device, made anew when somebody changes a layer's momentum."""
        momenta = tuple(layer.momentum for layer in self.layers)
        if self._known_layout is None or self._known_layout.momenta != momenta:
            self._known_layout = _Layout(momenta, self._lengths, rows)
        return self._known_layout


class _Scratch:
    """Buffers that hide the registered ones of layers while passes are made, and hold a pass' notes after it.

    They start at zero, so that a layer's own rule leaves there what its calls add to the running statistics.
    A layer in evaluation mode normalises by its registered buffers, which stay in sight, and has no notes.
    Whoever saves the model meanwhile, from another thread, saves the registered ones.
    """

    def __init__(self, layers: Sequence[_BatchNorm]):
        self._layers = layers
        self._buffers: list[dict[str, Tensor]] = []

    def put(self) -> None:
        """Hide the registered buffers, by zeros."""
        if not self._buffers:  # on the device where the layers are by now
            self._buffers = [
                {
                    name: torch.zeros_like(b)
                    for name in _BUFFERS
                    if (b := getattr(layer, name)) is not None
                }
                for layer in self._layers
            ]
        for layer, buffers in zip(self._layers, self._buffers, strict=True):
            for buffer in buffers.values():
                buffer.zero_()
            if layer.training:
                vars(layer).update(buffers)

    def remove(self) -> None:
        """Show the registered buffers again."""
        for layer in self._layers:
            for name in _BUFFERS:
                vars(layer).pop(name, None)

    def row(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """As `BatchStatistics.row`."""
        parts = [torch.empty(0, dtype=dtype, device=device)]
        for layer, buffers in zip(self._layers, self._buffers, strict=True):
            mean, variance = buffers["running_mean"], buffers["running_var"]
            calls = buffers.get("num_batches_tracked", torch.ones_like(mean[0]))
            counted = 1 if layer.training and speaks_for_its_group(layer) else 0
            parts += [counted * part.to(dtype) for part in (calls.view(1), mean, variance)]
        return torch.cat(parts)


class _Layout:
    """What belongs to each number of a row: how much of the old value is kept, where its calls stand."""

    def __init__(self, momenta: Sequence[float | None], lengths: Sequence[int], rows: Tensor):
        self.momenta = momenta
        starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
        self.lengths = torch.tensor(lengths, device=rows.device)
        keep = torch.tensor([0.0 if m is None else 1 - m for m in momenta], dtype=rows.dtype)
        cumulative = torch.tensor([m is None for m in momenta])
        self.keep, self.cumulative, self.calls_at = (
            values.to(rows.device).repeat_interleave(self.lengths)
            for values in (keep, cumulative, starts)
        )

    def batch_counts(self, layers: Sequence[_BatchNorm], rows: Tensor) -> Tensor:
        """How many batches each layer has counted, beside each of its numbers; 0 where nobody asks."""
        if not any(momentum is None for momentum in self.momenta):
            return torch.zeros((), dtype=rows.dtype, device=rows.device)
        counts = torch.stack([_tracked(layer).to(rows) for layer in layers])
        return counts.repeat_interleave(self.lengths, output_size=rows.shape[1])


def _running(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The running mean and variance of a layer that keeps them, as all of `BatchStatistics` do."""
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None and variance is not None
    return mean, variance


def _tracked(layer: _BatchNorm) -> Tensor:
    """How many batches a layer that keeps running statistics has counted, int64 `[]`."""
    assert layer.num_batches_tracked is not None
    return layer.num_batches_tracked


def _values(layer: _BatchNorm, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A layer's part of a row, with the running statistics in place of notes."""
    mean, variance = _running(layer)
    zero = torch.zeros(1, dtype=dtype, device=mean.device)
    return zero, mean.to(dtype), variance.to(dtype)
