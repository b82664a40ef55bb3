"""Pieces of work that are timed side by side, in turn, so that what slows the machine slows them all."""

import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]


def in_turn(works: Mapping[str, Work], device: torch.device, rounds: int) -> dict[str, list[float]]:
    """{name: seconds of each round}, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            wait_for(device)
            started = time.perf_counter()
            work()
            wait_for(device)
            if number:
                found[name].append(time.perf_counter() - started)
    return found


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
