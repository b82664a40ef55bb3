"""What a training step minimises: the task's loss, or that and the distance from a teacher's answers."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, cast

import torch
from torch import Tensor

from uniformer_video.data.loading.dataset import ClipOrigin
from uniformer_video.data.loading.loader import TrainBatch


class TrainedTask(Protocol):
    """What a step asks of a task; `tasks.task.Task` has it."""

    hits_key: ClassVar[str]

    def targets(self, labels: Tensor) -> Tensor: ...

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor: ...

    def hits(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]: ...

    def soften(self, logits: Tensor, temperature: float) -> Tensor: ...

    def divergence(self, logits: Tensor, softened: Tensor, temperature: float) -> Tensor: ...


class Objective:
    """The loss of the task alone.

    A step asks for `targets`, which mixup mixes with the clips, completes them with `taught` once the clips
    are mixed, calls the network with the clips and what is `asked_of_network`, and hands its outputs to
    `measure`.
    """

    # The names of what `losses` gives beside the loss, for metrics.jsonl.
    also_measured: ClassVar[tuple[str, ...]] = ()

    # Weights of the losses of the network's outputs; () = their mean counts.
    output_weights: Sequence[float] = ()

    def __init__(self, task: TrainedTask):
        self.task = task

    def targets(self, batch: TrainBatch, device: torch.device) -> list[Tensor]:
        """Float targets `[B, ...]` of a whole batch, those of the task first, on the device."""
        assert batch.labels is not None  # a batch without them ends the training before
        return [self.task.targets(batch.labels.to(device, non_blocking=True))]

    def taught(self, clips: Tensor, targets: list[Tensor]) -> list[Tensor]:
        """Clips as the network will see them, `[B, 3, T, H, W]`, and mixed targets -> what `losses` takes."""
        return targets

    def asked_of_network(self, clips: Tensor, keys: Sequence[int]) -> tuple[Tensor, ...]:
        """What its `training_outputs` take behind the clips, on their device.

        keys: of the step's draws, for `randomness.generator`.
        """
        return ()

    def measure(
        self, outputs: Sequence[Tensor], targets: Sequence[Tensor], asked: Sequence[Tensor]
    ) -> Tensor:
        """The loss, which has a gradient, and what is `also_measured`: `[1 + len(also_measured)]`.

        outputs: of the network, float32 at least; here each has a loss, and their mean counts, or their sum
        by `output_weights`. asked: what `asked_of_network` gave.
        """
        losses = [self.losses(logits, targets) for logits in outputs]
        if self.output_weights:
            weighted = zip(self.output_weights, losses, strict=True)
            return cast(Tensor, sum(weight * loss for weight, loss in weighted))
        return cast(Tensor, sum(losses)) / len(outputs)

    def losses(self, logits: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """The same of one output."""
        return self.task.loss(logits, targets[0])[None]


class Distillation(Objective):
    """The share 1 - weight of the task's loss, and the share weight of temperature^2 times the divergence of
    the softened answers of the network from those of a teacher, the mean over the clips.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", section 2: the square keeps the
    size of the gradients where the temperature changes. Teachers' logits are in the order of the classes.
    """

    also_measured = ("distillation_loss",)

    def __init__(self, task: TrainedTask, weight: float, temperature: float):
        super().__init__(task)
        self.weight, self.temperature = weight, temperature

    def losses(self, logits: Tensor, targets: Sequence[Tensor]) -> Tensor:
        """The loss, and the teacher's part of it before the weight, `[2]`."""
        own, softened, *known = targets
        divergence = self.task.divergence(logits, softened.to(logits.dtype), self.temperature)
        if known:
            divergence = torch.where(known[0], divergence, 0.0)
        from_teacher = self.temperature**2 * divergence.mean()
        loss = (1 - self.weight) * self.task.loss(logits, own) + self.weight * from_teacher
        return torch.stack([loss, from_teacher.detach()])


class LiveDistillation(Distillation):
    """From a teacher that sees the clips that the network sees, mixed ones too.

    teacher: clips `[B, 3, T, H, W]` -> logits `[B, K]`, without a gradient.
    """

    def __init__(
        self,
        task: TrainedTask,
        weight: float,
        temperature: float,
        teacher: Callable[[Tensor], Tensor],
    ):
        super().__init__(task, weight, temperature)
        self.teacher = teacher

    def taught(self, clips: Tensor, targets: list[Tensor]) -> list[Tensor]:
        """The targets, and what the teacher says of the clips."""
        return [*targets, self.task.soften(self.teacher(clips), self.temperature)]


class StoredDistillation(Distillation):
    """From what a teacher has said of the videos before; softened answers are mixed as the targets are.

    stored: which videos, mirrored or not -> logits `[B, K]` on the host; a row of NaN where nothing is
    stored. A clip any part of which is of such a video learns from its labels alone.
    """

    def __init__(
        self,
        task: TrainedTask,
        weight: float,
        temperature: float,
        stored: Callable[[Sequence[ClipOrigin]], Tensor],
    ):
        super().__init__(task, weight, temperature)
        self.stored = stored

    def targets(self, batch: TrainBatch, device: torch.device) -> list[Tensor]:
        """The task's targets, and the softened answers."""
        logits = self.stored(batch.origins)
        if device.type == "cuda":
            logits = logits.pin_memory()  # only such memory is copied without a wait
        logits = logits.to(device, non_blocking=True)
        return [*super().targets(batch, device), self.task.soften(logits, self.temperature)]

    def taught(self, clips: Tensor, targets: list[Tensor]) -> list[Tensor]:
        """The targets, the answers, and of which clips there are any, bool `[B]`."""
        own, softened = targets
        known = torch.isfinite(softened).flatten(1).all(1)
        # no NaN may stay, as its gradient would not be 0 though nothing is learnt from it
        return [own, torch.nan_to_num(softened), known]
