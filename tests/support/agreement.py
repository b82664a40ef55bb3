"""Trainings by one process and by many, in float64, and whether they agree."""

import numpy as np
import torch
from processes import ROOT, by_hand
from train_float64 import main as train_float64


def one_and_many(folder, size, words, script="train_float64.py"):
    """What a training by one process gives, and what one by `size` of them gives that run `script`."""
    launches = by_hand(
        size, [ROOT / "tests/support" / script, folder / "many.pt", *words], folder / "log"
    )
    train_float64(folder / "one.pt", *words)  # while they start
    for launch in launches:
        assert launch.wait() == 0, launch.text
    return tuple(torch.load(folder / f"{name}.pt") for name in ("one", "many"))


def assert_agree(one, many, atol=1e-9):
    """Losses agree to 1e-9, weights and buffers to `atol`."""
    np.testing.assert_allclose(many["losses"], one["losses"], rtol=0, atol=1e-9)
    for key, value in one["state"].items():
        torch.testing.assert_close(many["state"][key], value, rtol=0, atol=atol, msg=key)
