"""Models beside each other on a CUDA device: batches, frames, CUDA graphs, and the longest clip that fits.

    python benchmarks/gpu_sweep.py [--device cuda] [--out runs/gpu_sweep] [--minutes 8] [--quick]

Everything in bfloat16 autocast. Writes `results.json` and `results.md` after every row; `--quick` runs a tiny
model through every step, on any device: a check of the script, no measurement.
"""

import argparse
import copy
import statistics
import sys
from dataclasses import asdict, dataclass, field
from functools import partial

import torch
from gpu_measure import (
    LATE,
    TINY,
    DeviceLost,
    Side,
    Work,
    add_rate,
    arithmetic,
    attempt,
    autocast,
    choose_device,
    clip_flops,
    matmul_row,
    seconds,
)
from gpu_report import OF_THE_SWEEP, Report
from naive_uniformer import NaiveUniFormer

from uniformer_video.inference.cuda_graph import record
from uniformer_video.signals import Interrupted
from uniformer_video.zoo.create import build_network

PRECISION = "bfloat16"


@dataclass(frozen=True)
class Input:
    """A model with its clips. name "plain" is `naive_uniformer.py` in the shape of UniFormer-S."""

    name: str
    frames: int
    size: int


@dataclass(frozen=True)
class Scope:
    """What is measured; the most important first."""

    inputs: tuple = (
        Input("uniformer_s", 16, 224),
        Input("plain", 16, 224),
        Input("uniformer_b", 16, 224),
        Input("uniformer_s", 32, 224),
        Input("uniformer_b", 32, 224),
        Input("uniformer_xxs", 16, 160),
        Input("x3d_m", 16, 224),
        Input("slowfast_r50", 32, 224),
        Input("plain", 32, 224),
    )
    forward_batches: tuple = (1, 8, 64)
    train_batches: tuple = (8, 64)
    longest_from: int = 64
    longest_to: int = 2**20
    size: int = 224  # of the longest clips
    longest_models: tuple = ("uniformer_s", "uniformer_b")
    classes: int = 400
    matmul_side: int = 8192
    rounds: int = 10
    network: dict = field(default_factory=dict)  # changes to UniFormers


QUICK = Scope(
    inputs=(Input("uniformer_s", 2, 64), Input("plain", 2, 64)),
    forward_batches=(2,),
    train_batches=(2,),
    longest_from=2,
    longest_to=4,
    size=64,
    longest_models=("uniformer_s",),
    classes=10,
    matmul_side=256,
    rounds=3,
    network=TINY,
)


@dataclass(frozen=True)
class Flops:
    """What `clip_flops` asks of a case."""

    frames: int
    size: int


def build(scope, name):
    """A model by name, on the CPU."""
    if name != "plain":
        changes = scope.network if name.startswith("uniformer") else {}
        return build_network(name, scope.classes, **changes)
    ours = build_network("uniformer_s", scope.classes, **scope.network)
    shape = [ours.arguments[key] for key in ("embed_dims", "depths", "head_dim")]
    return NaiveUniFormer(scope.classes, *shape, ours.arguments["local_kernel"])


def forward_pass(model, clip):
    """A forward pass without gradients."""
    with torch.no_grad(), autocast(PRECISION, clip.device):
        return model(clip)


def timed(row, run, device, rounds, warm_ups=3):
    """Median seconds of `run()` into the row, with the most memory that it took."""
    for _ in range(warm_ups):
        seconds(run, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = [seconds(run, device) for _ in range(rounds)]
    if device.type == "cuda":
        row["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    row["ms"] = 1000 * statistics.median(times)
    row["clips_per_s"] = row["batch"] / statistics.median(times)


def forms(model, device):
    """[(name, model)] of the ways to compute a forward pass: as it is, and folded where it can be."""
    yield "eager", model
    if hasattr(model, "for_inference"):
        yield "folded", copy.deepcopy(model).for_inference()


def forward_rows(scope, given, model, batch, device):
    """Rows of one model and batch: eager, folded, and each as a graph where there are graphs."""
    clip = torch.randn(batch, 3, given.frames, given.size, given.size, device=device)
    for form, network in forms(model, device):
        for graph in (False, True) if device.type == "cuda" else (False,):
            row = {"model": given.name, "frames": given.frames, "size": given.size}
            row |= {"work": "forward", "batch": batch}
            row["form"] = f"{form}, graph" if graph else form

            def measure(row=row, network=network, graph=graph):
                forward = partial(forward_pass, network)
                if not graph:
                    return timed(row, partial(forward, clip), device, scope.rounds)
                recorded = record(forward, clip)  # holds what the graph reads and writes
                return timed(row, recorded.replay, device, scope.rounds)

            attempt(row, measure)
            yield row


def train_row(scope, given, model, batch, device):
    """The row of a training step."""
    row = {"model": given.name, "frames": given.frames, "size": given.size}
    row |= {"work": "train", "batch": batch, "form": "eager"}

    def measure():
        clip = torch.randn(batch, 3, given.frames, given.size, given.size, device=device)
        timed(row, Work(Side("", PRECISION), model, clip, True), device, max(3, scope.rounds // 2))

    attempt(row, measure)
    return row


def longest_rows(scope, name, device, report):
    """Rows of twice as many frames each time, of a training step and of a forward pass."""
    for work in ("train", "forward"):
        frames, next_takes = scope.longest_from, 0.0
        while True:
            row = {"model": name, "work": work, "frames": frames, "batch": 1}
            if report.out_of_time(next_takes):
                yield {**row, "note": LATE}
                break

            def measure(row=row, work=work, frames=frames):
                clip = torch.randn(1, 3, frames, scope.size, scope.size, device=device)
                model = build(scope, name).to(device)
                run = partial(forward_pass, model.eval(), clip)
                if work == "train":
                    run = Work(Side("", PRECISION), model, clip, True)
                timed(row, run, device, 1, warm_ups=1)
                row["seconds"] = row["ms"] / 1000

            attempt(row, measure)
            yield row
            if "note" in row or frames >= scope.longest_to:
                break
            frames, next_takes = 2 * frames, 2 * 4 * row["seconds"]  # attention grows by the square


def model_rows(scope, inputs, device, report, rate):
    """Add the rows of models and batches to `report`. rate: TFLOP/s of matrix products, or None."""
    for given in inputs:
        if report.out_of_time():
            report.add("models", [{**asdict(given), "model": given.name, "note": LATE}])
            continue
        model = build(scope, given.name)
        flops = clip_flops(model, Flops(given.frames, given.size), device)
        model = model.to(device)
        rows = []
        with arithmetic(PRECISION):
            for batch in scope.forward_batches:
                rows += forward_rows(scope, given, model.eval(), batch, device)
            for batch in scope.train_batches:
                rows.append(train_row(scope, given, model, batch, device))
        for row in rows:
            add_rate(row, flops, rate)
        report.add("models", rows)


def longest(scope, device, report):
    """Add the longest clips of each model to `report`."""
    for name in scope.longest_models:
        for row in longest_rows(scope, name, device, report):
            report.add("longest", [row])


def measure(scope, device, report):
    """All sections in turn."""
    rate = matmul_row(PRECISION, scope.matmul_side, device, scope.rounds)
    report.add("matmul", [rate])
    model_rows(scope, scope.inputs, device, report, rate.get("tflops"))
    longest(scope, device, report)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu")
    parser.add_argument("--out", default="runs/gpu_sweep", help="folder of the results")
    parser.add_argument(
        "--minutes", type=float, default=8, help="start no further model after this"
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model: tests the script")
    args = parser.parse_args()
    device = choose_device(parser, args.device)
    if args.quick:
        torch.set_num_threads(1)
    scope = QUICK if args.quick else Scope()
    report = Report(args.out, scope, device, args.minutes, OF_THE_SWEEP)
    return conclude(report, lambda: measure(scope, device, report))


def conclude(report, measure):
    """Measure, and write what there is at its end; the exit status, also of an end that came early."""
    status, reason = 0, ""
    try:
        measure()
    except (KeyboardInterrupt, Interrupted):
        status, reason = 130, "interrupted"
    except DeviceLost as error:
        status, reason = 1, f"the device is lost: {error}"
    if reason:
        print(f"{reason}; what was measured is kept", flush=True)
    report.finish(status != 0, reason)
    print(f"{report.folder / 'results.json'}, results.md")
    return status


if __name__ == "__main__":
    sys.exit(main())
