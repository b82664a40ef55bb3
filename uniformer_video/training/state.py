"""All that a training consists of between two steps: what is saved, and what a resumed run starts from."""

from dataclasses import dataclass, field

import torch


@dataclass
class Progress:
    """Where a run stands."""

    epoch: int = 0
    step: int = 0  # steps done in this epoch
    best_score: float = -1.0  # the task's, in 0..1
    best_epoch: int = 0  # 0: no validation has chosen any weights yet
    seconds: float = 0.0
    bad_videos: dict = field(default_factory=dict)  # path -> reason

    @classmethod
    def restored(cls, values):
        """From what a checkpoint records. Raises `TypeError` for other values."""
        values = dict(values)
        if "best_top1" in values:  # its name when top-1 was the only score
            values["best_score"] = values.pop("best_top1")
        if not isinstance(values.get("bad_videos", {}), dict):
            raise TypeError("bad_videos")
        return cls(**values)


class TrainState:
    """Model, optimiser, loss scale, progress, and the steps that were left out in a row.

    model: on its device. scaler: a `torch.amp.GradScaler`. nonfinite_in_a_row: int64 `[]` on the device,
    where it is counted.
    """

    def __init__(self, model, optimizer, scaler, device):
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.progress = Progress()
        self.nonfinite_in_a_row = torch.zeros((), dtype=torch.int64, device=device)

    def state_dict(self):
        """What resuming needs beside the model's own tensors, in plain types and tensors."""
        return {
            "progress": dict(vars(self.progress)),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "nonfinite_in_a_row": self.nonfinite_in_a_row.cpu(),
        }

    def load_state_dict(self, model, rest):
        """Take over the tensors `model` by key and what `state_dict` gave.

        Raises `KeyError`, `TypeError`, `ValueError` or `RuntimeError` for anything else.
        """
        progress = Progress.restored(rest["progress"])
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(_with_current_choices(rest["optimizer"], self.optimizer))
        self.scaler.load_state_dict(rest["scaler"])
        self.nonfinite_in_a_row.fill_(int(rest.get("nonfinite_in_a_row", 0)))
        self.progress = progress

    @torch.no_grad()
    def is_finite(self):
        """False where a number of the model or of the optimiser is infinite or NaN; waits for the device."""
        tensors = [*self.model.state_dict().values()]
        for values in self.optimizer.state.values():
            tensors += [value for value in values.values() if isinstance(value, torch.Tensor)]
        sums = {}  # of one device
        for tensor in tensors:
            if tensor.is_floating_point() and tensor.numel():
                sums.setdefault(tensor.device, []).append(torch.isfinite(tensor).all())
        return all(bool(torch.stack(flags).all()) for flags in sums.values())


def _with_current_choices(saved, optimizer):
    """A saved optimiser state with the way of computing of this one.

    `fused` and its like are recorded, so an older checkpoint would switch the fused step off, which alone
    can be skipped on the device; and with it on, the counts of steps belong on the device.
    """
    keys = ("fused", "foreach", "capturable")
    groups = [
        {**group, **{key: now[key] for key in keys if key in now}}
        for group, now in zip(saved["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**saved, "param_groups": groups}
