"""Pieces of work that are timed side by side, in turn, so that what slows the machine slows them all."""

import time
from collections.abc import Callable, Mapping

import torch

Work = Callable[[], object]


def in_turn(
    works: Mapping[str, Work],
    device: torch.device,
    rounds: int,
    clock: Callable[[], float] | None = None,
    begins: Callable[[str, int], None] = lambda name, number: None,
    ends: Callable[[dict[str, list[float]]], None] = lambda so_far: None,
) -> dict[str, list[float]]:
    """{name: seconds of each round}, after one that does not count.

    clock: tells the seconds; None = those of a clock on the wall. `time.process_time` has the processor's.
    begins: called before each work of each round, 0 being the one that does not count. ends: called behind
    each round that counts, with the seconds so far.
    """
    clock = clock or time.perf_counter
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            begins(name, number)
            wait_for(device)
            started = clock()
            work()
            wait_for(device)
            if number:
                found[name].append(clock() - started)
        if number:
            ends(found)
    return found


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
