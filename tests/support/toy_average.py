"""A training that keeps an average of its weights: a part of its state that the package knows nothing of.

Called as `toy_average.py --cfg FILE KEY VALUE ...` it is `tools/run_net.py` with such an average.
"""

import copy
import sys

import torch

from uniformer_video import cli
from uniformer_video.runs import build_training
from uniformer_video.training.state import StatePart

KEEP = 0.75  # of the average, in a step


class ToyAverage(StatePart):
    """Moving average of weights and buffers, and how many steps it has seen, `[]` on the device."""

    def __init__(self, model):
        self.tested_model = copy.deepcopy(model)
        self.steps = torch.zeros((), dtype=torch.int64, device=next(model.parameters()).device)

    def state_dict(self):
        return {"steps": self.steps.cpu(), "weights": self.tested_model.state_dict()}

    def load_state_dict(self, saved):
        self.tested_model.load_state_dict(saved["weights"])
        self.steps.fill_(int(saved["steps"]))

    def restart(self, state):
        self.load_state_dict({"steps": 0, "weights": state.model.state_dict()})

    @torch.no_grad()
    def after_step(self, state, taken):
        averages = self.tested_model.state_dict()
        for key, value in state.model.state_dict().items():
            average = averages[key]
            new = average + (1 - KEEP) * (value - average) if value.is_floating_point() else value
            average.copy_(torch.where(taken, new, average))
        self.steps += taken


def keep_average(patch, make=ToyAverage):
    """Have every training keep a `ToyAverage`; `patch` is pytest's monkeypatch."""
    original = build_training.build_train_state

    def build_train_state(*args):
        state = original(*args)
        state.parts["average"] = make(state.model)
        return state

    patch.setattr(build_training, "build_train_state", build_train_state)


class _Patch:
    setattr = staticmethod(setattr)


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_average(_Patch)
    sys.exit(cli.main(command="run"))
