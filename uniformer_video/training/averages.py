"""A moving average of the weights (EMA), which is validated beside them and often better than they are."""

import copy

import torch
from torch import Tensor, nn

from uniformer_video.errors import ConfigError
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.training.state import StatePart, TrainState

EMA = "ema"  # its name among the parts, in logs and in files


class AveragedWeights(StatePart):
    """What `torch.optim.swa_utils.AveragedModel` computes with `get_ema_avg_fn` and `use_buffers`.

    Each step moves the average by `1 - decay` of the way to the weights; the first one copies them.
    BatchNorm's statistics are averaged likewise, integers copied. Unlike that class, whose count makes each
    step wait for the device, nothing here does: all steps are counted on the CPU, and on the device, whose
    flag leaves them out of the average, those that the training left out.

    Args:
        model: on its device, as it is when training starts.
        decay: from 0, below 1.
        warmup: after n updates the decay is at most `(1 + n) / (10 + n)`, so that first weights fade soon.
    """

    def __init__(self, model: RecognitionModel, decay: float, warmup: bool):
        if any(hasattr(parameter, "device_mesh") for parameter in model.parameters()):
            raise ConfigError(
                "EMA.ENABLE True needs the whole model on each process, and this one is sharded (FSDP); set "
                "EMA.ENABLE False, or train without sharding"
            )
        self.decay, self.warmup = decay, warmup
        self.average = copy.deepcopy(model).requires_grad_(False).eval()
        self.tested_model = self.average
        self.steps = 0
        device = next(model.parameters()).device
        self.left_out = torch.zeros((), dtype=torch.int64, device=device)

    def state_dict(self) -> dict:
        return {
            "steps": self.steps,
            "left_out": int(self.left_out),
            "weights": self.average.state_dict(),
        }

    def load_state_dict(self, saved: dict) -> None:
        steps, left_out = saved["steps"], saved["left_out"]
        if type(steps) is not int or type(left_out) is not int or not 0 <= left_out <= steps:
            raise ValueError("steps of an average")
        self.average.load_state_dict(saved["weights"])
        self.steps = steps
        self.left_out.fill_(left_out)

    def restart(self, state: TrainState) -> None:
        weights = state.model.state_dict()
        self.load_state_dict({"steps": 0, "left_out": 0, "weights": weights})

    @torch.no_grad()
    def after_step(self, state: TrainState, taken: Tensor) -> None:
        share = torch.where(taken, self._share(), 0.0)
        # by type, as no tensor is moved by a share of another one
        shares: dict[torch.dtype, Tensor] = {}
        for average, new in zip(_tensors(self.average), _tensors(state.model), strict=True):
            if average.is_floating_point():
                dtype = average.dtype
                average.lerp_(new, shares.setdefault(dtype, share.to(dtype)))
            else:
                average.copy_(torch.where(taken, new, average))
        self.steps += 1
        self.left_out += ~taken

    def _share(self) -> Tensor:
        """How far the next update moves the average, float64 `[]` on the device."""
        updates = (self.steps - self.left_out).double()
        decay = torch.full_like(updates, self.decay)
        if self.warmup:
            decay = torch.minimum(decay, (1 + updates) / (10 + updates))
        return torch.where(updates == 0, 1.0, 1 - decay)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
