"""All that a training consists of between two steps: what is saved, and what a resumed run starts from."""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.models.contract import RecognitionModel

_MOST = 10**12  # steps, or epochs, of any training
RAW = "raw"  # the weights that are trained, beside those that parts make of them


@dataclass
class Progress:
    """Where a run stands."""

    epoch: int = 0
    step: int = 0  # steps done in this epoch
    best_score: float = -1.0  # the task's, in 0..1
    best_at: int = (
        0  # epochs, or iterations where the run counts these; 0: no validation has chosen any
    )
    best_weights: str = RAW  # which of the `TrainState.tested_models` that was
    # of each of these: [its best score, as `best_at` when that was]
    best_of: dict[str, list[Any]] = field(default_factory=dict)
    seconds: float = 0.0
    bad_videos: dict[str, str] = field(default_factory=dict)  # path -> reason
    stale_validations: int = 0  # those in a row that brought no better score
    # what is due after the last step, such as a validation, is not done yet; so it is at the end of an epoch
    # that counts as unfinished
    open_end: bool = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Progress":
        """From what a checkpoint records. Raises `TypeError` or `ValueError` for anything else."""
        values = dict(values)
        if "best_top1" in values:  # its name when top-1 was the only score
            values["best_score"] = values.pop("best_top1")
        if "best_epoch" in values:  # its name when no run counted iterations
            values["best_at"] = values.pop("best_epoch")
        found = cls(**values)
        if not isinstance(found.best_weights, str) or not isinstance(found.best_of, dict):
            raise ValueError("best weights")
        if found.best_at and not found.best_of:  # as written when there was one set of weights
            found.best_of = {found.best_weights: [found.best_score, found.best_at]}
        counts = (
            found.epoch,
            found.step,
            found.best_at,
            found.stale_validations,
            *(e for _, e in found.best_of.values()),
        )
        if type(found.open_end) is not bool:
            raise ValueError("end")
        if not all(type(count) is int and 0 <= count <= _MOST for count in counts):
            raise ValueError("epochs and steps")
        numbers = (found.best_score, found.seconds, *(s for s, _ in found.best_of.values()))
        if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
            raise ValueError("score and seconds")
        if not (found.best_score <= 1 and isinstance(found.bad_videos, dict) and values):
            raise ValueError("score and videos")
        return found

    def is_out_of_patience(self, patience: int) -> bool:
        """Whether so many validations in a row brought no better score; 0 = never."""
        return 0 < patience <= self.stale_validations

    def finished_steps(self, steps_per_epoch: int) -> int:
        """Steps from the beginning of the training, those that were left out included."""
        return self.epoch * steps_per_epoch + self.step

    def note_scores(self, scores: Mapping[str, float], count: int) -> set[str]:
        """Take in the scores of a validation, by set of weights; those that have improved.

        count: of finished epochs, or of iterations where the run counts these.
        Equal counts as better: later weights have seen more. Between sets the last one wins a tie: an average
        comes behind the weights that it is made of, and depends less on the last few steps.
        """
        improved = set()
        for name, score in scores.items():
            if score >= self.best_of.get(name, (-1.0, 0))[0]:
                self.best_of[name] = [score, count]
                improved.add(name)
            if score >= self.best_score:
                self.best_score, self.best_at, self.best_weights = score, count, name
        return improved

    def forget_best(self) -> None:
        """No weights are the best any more; those of the next validation will be."""
        self.best_score, self.best_at, self.best_weights, self.best_of = -1.0, 0, RAW, {}
        self.stale_validations = 0


class TrainingOutputs(nn.Module):
    """A model whose forward pass is its `training_outputs`, so that a parallel wrapper sees it all.

    resting: modules of the model that stay in evaluation mode while it trains.
    """

    def __init__(self, model: RecognitionModel, resting: Sequence[nn.Module] = ()):
        super().__init__()
        self.model, self.resting = model, tuple(resting)

    def train(self, mode: bool = True) -> "TrainingOutputs":
        """Put the model into training mode, but for what rests."""
        super().train(mode)
        for module in self.resting:
            module.eval()
        return self

    def forward(self, clips: Tensor, *asked: Tensor) -> tuple[Tensor, ...]:
        """`[B, 3, T, H, W]` -> a tuple of logits `[B, K]`, the model's own first.

        asked: what an `Objective` has the model take beside.
        """
        return self.model.training_outputs(clips, *asked)


class StatePart:
    """Something more that a training keeps from step to step, such as an average of its weights.

    What a `TrainState` is given under a name in `parts` is saved and resumed with it, and hears of its steps.
    A part derives from this class, or has all that stands here.

    tested_model: a module like the model that is trained, for a part that provides weights to validate beside
    those, and to keep where they are the best; else None.
    """

    tested_model: RecognitionModel | None = None

    def state_dict(self) -> dict:
        """What resuming needs, in plain types and tensors. Called on all processes at once, and on one alone
        where another is lost.
        """
        raise NotImplementedError

    def load_state_dict(self, saved: dict) -> None:
        """Take over what `state_dict` gave.

        Raises `KeyError`, `TypeError`, `ValueError` or `RuntimeError` for anything else.
        """
        raise NotImplementedError

    def restart(self, state: "TrainState") -> None:
        """Begin anew: `state.model` has weights of a checkpoint that knows nothing of this part."""

    def after_step(self, state: "TrainState", taken: Tensor) -> None:
        """After each step, once weights and BatchNorm's running statistics are those of the next one.

        taken: bool `[]` on the device, which nobody waits for. Where it is False, all must stay as it is:
        `tensor.copy_(torch.where(taken, new, tensor))`.
        """


class TrainState:
    """Model, optimiser, loss scale, progress, the steps that were left out in a row, and further parts.

    model: on its device; its tensors are saved by their keys. network: what a step calls, clips to training
    outputs: the model in `TrainingOutputs` and whatever shares the work among processes. optimizer: made
    after that, since some of these replace the parameters. scaler: a `torch.amp.GradScaler`. parts:
    {name: `StatePart`}; a `tested_model` goes by that name in logs and files, which must not be "raw".
    nonfinite_in_a_row: int64 `[]` on the device, where it is counted.
    """

    def __init__(
        self,
        *,
        model: RecognitionModel,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        parts: Mapping[str, StatePart] | None = None,
    ):
        self.model, self.network = model, network
        self.optimizer, self.scaler = optimizer, scaler
        self.parts = dict(parts or {})
        self.progress = Progress()
        device = next(model.parameters()).device
        self.nonfinite_in_a_row = torch.zeros((), dtype=torch.int64, device=device)

    def state_dict(self) -> dict:
        """What resuming needs, in plain types and tensors. All processes call it, though one writes it:
        of a sharded model each holds a part.
        """
        return {
            "model": self.model.state_dict(),
            "progress": copy.deepcopy(vars(self.progress)),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "nonfinite_in_a_row": self.nonfinite_in_a_row.cpu(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }

    def load_state_dict(self, saved: dict) -> list[str]:
        """Take over what `state_dict` gave; what was saved of other parts than there are, a sentence each.

        A part that was not saved starts from the weights. Raises `KeyError`, `TypeError`, `ValueError` or
        `RuntimeError` for anything else.
        """
        progress, parts = Progress.from_dict(saved["progress"]), dict(saved.get("parts", {}))
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(_with_current_choices(saved["optimizer"], self.optimizer))
        self.scaler.load_state_dict(saved["scaler"])
        self.nonfinite_in_a_row.fill_(int(saved.get("nonfinite_in_a_row", 0)))
        self.progress = progress
        notes = []
        for name, part in self.parts.items():
            if name in parts:
                part.load_state_dict(parts.pop(name))
            else:
                part.restart(self)
                notes.append(f"holds no {name!r}, which starts from its weights")
        return notes + [f"holds {name!r}, which this run does not keep: left out" for name in parts]

    def start_from(self, weights: dict, progress: Progress) -> None:
        """Take over the tensors `weights` by key, where `progress` stands; all else stays fresh.

        Raises `RuntimeError` for tensors of another model.
        """
        self.model.load_state_dict(weights)
        self.progress = progress
        for part in self.parts.values():
            part.restart(self)

    def after_step(self, taken: Tensor) -> None:
        """Let the parts take part in a step. taken: see `StatePart.after_step`."""
        for part in self.parts.values():
            part.after_step(self, taken)

    @property
    def tested_models(self) -> dict[str, RecognitionModel]:
        """The models to validate, whose weights may be the best: the one that is trained, and the parts'."""
        averages = {name: part.tested_model for name, part in self.parts.items()}
        return {RAW: self.model, **{name: m for name, m in averages.items() if m is not None}}

    def tested_weights(self) -> dict[str, dict]:
        """{name: tensors by the model's keys} of `tested_models`. All processes call it, as `state_dict`."""
        return {name: model.state_dict() for name, model in self.tested_models.items()}

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds a part only, so that `state_dict` waits for the others."""
        # Told by an attribute of torch's DTensor, whose import alone takes most of a second.
        return any(hasattr(parameter, "device_mesh") for parameter in self.model.parameters())

    @torch.no_grad()
    def is_finite(self) -> bool:
        """False where a number of model, optimiser or parts is infinite or NaN; waits for the device."""
        parts = [part.state_dict() for part in self.parts.values()]
        sums: dict[torch.device, list[Tensor]] = {}  # of one device
        for tensor in _tensors([self.model.state_dict(), self.optimizer.state, parts]):
            if tensor.is_floating_point() and tensor.numel():
                # counted, since a share of a tensor can be added to the others, and not be multiplied
                finite = whole(torch.isfinite(tensor).sum()) == tensor.numel()
                sums.setdefault(tensor.device, []).append(finite)
        return all(bool(torch.stack(flags).all()) for flags in sums.values())


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process may hold a share, as a plain one; then all processes call it."""
    gather: Callable[[], Tensor] | None = getattr(tensor, "full_tensor", None)
    return gather() if gather else tensor


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested dicts, lists and tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def _with_current_choices(
    saved: dict[str, Any], optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """A saved optimiser state with this one's way of computing and share of the learning rate.

    `fused` and its like are recorded, so an older checkpoint would switch the fused step off, which alone
    can be skipped on the device; and with it on, the counts of steps belong on the device.
    """
    keys = ("fused", "foreach", "capturable", "lr_scale")
    groups = [
        {**group, **{key: now[key] for key in keys if key in now}}
        for group, now in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**saved, "param_groups": groups}
