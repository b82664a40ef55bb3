"""What a test takes: where its time went, measured while it ran, and what that makes for fewer views."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from uniformer_video.data.loading.dataset import VideoRead

# What must be alike for the times of two tests to be averaged.
_CONDITIONS = ("device", "threads", "processes", "workers", "batch_size")


class Passes(NamedTuple):
    """The forward passes of one process: how long they took in all, and how many views they saw."""

    seconds: float
    views: int


@dataclass
class MeasuredTimes:
    """reads: of the decoded videos. passes: of each process."""

    reads: list[VideoRead] = field(default_factory=list)
    passes: list[Passes] = field(default_factory=list)


class PassTimer:
    """Times forward passes on a device without waiting for it: on a GPU by events of its stream.

    The first pass, which loads and chooses kernels, counts only where it is the only one.
    """

    def __init__(self, device: torch.device):
        self._on_gpu = device.type == "cuda"
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds: list[float] = []
        self._views: list[int] = []

    @contextmanager
    def timing(self, views: int) -> Iterator[None]:
        """Around a pass of this many views, their transfer to the device included."""
        if self._on_gpu:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            yield
            end.record()
            self._events.append((begin, end))
        else:
            started = time.perf_counter()
            yield
            self._seconds.append(time.perf_counter() - started)
        self._views.append(views)

    def read(self) -> Passes:
        """All passes so far; waits for them on a GPU."""
        for begin, end in self._events:
            end.synchronize()
            self._seconds.append(begin.elapsed_time(end) / 1e3)
        self._events = []
        first = 1 if len(self._seconds) > 1 else 0
        return Passes(sum(self._seconds[first:]), sum(self._views[first:]))


def measured_cost(
    times: MeasuredTimes, device: str, threads: int, processes: int, workers: int, batch_size: int
) -> dict[str, Any] | None:
    """The record's "cost"; None where nothing was measured.

    Args:
        device: the name of what the model ran on; threads: of its computations, on a processor.
        processes: that shared the videos, with so many `workers` that decode each.
        batch_size: views of a forward pass.
    """
    views = sum(passes.views for passes in times.passes)
    if not times.reads or not views:
        return None
    videos = len(times.reads)
    return {
        "device": device,
        "threads": threads,
        "processes": processes,
        "workers": workers,
        "batch_size": batch_size,
        "videos": videos,
        "decode_seconds": sum(read.decode_seconds for read in times.reads) / videos,
        "crop_seconds": sum(read.crop_seconds for read in times.reads) / videos,
        "views": views,
        "model_seconds": sum(passes.seconds for passes in times.passes) / views,
    }


def joined_cost(costs: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """The cost of several tests as that of one; None where they did not run under the same conditions."""
    known = [cost for cost in costs if cost]
    if not known or len(known) < len(costs):
        return None
    if len({tuple(cost[key] for key in _CONDITIONS) for cost in known}) > 1:
        return None
    joined = dict(known[0])
    for count, keys in (
        ("videos", ("decode_seconds", "crop_seconds")),
        ("views", ("model_seconds",)),
    ):
        joined[count] = sum(cost[count] for cost in known)
        for key in keys:
            joined[key] = sum(cost[key] * cost[count] for cost in known) / joined[count]
    return joined


def seconds_of_views(cost: Mapping[str, Any], views: int, all_views: int) -> float:
    """Seconds of work for one video by some of its views, one step after the other.

    Decoding is taken to last as long as for all views, which it does at most.
    """
    cropping = cost["crop_seconds"] * views / all_views
    return cost["decode_seconds"] + cropping + cost["model_seconds"] * views
