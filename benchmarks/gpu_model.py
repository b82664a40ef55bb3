"""Parity, speed, memory and the cost of depthwise convolution of UniFormer-S on a CUDA device.

    python benchmarks/gpu_model.py [--device cuda] [--out runs/gpu_model] [--minutes 8] [--cudnn-search]
                                   [--quick]

All sides of a comparison alternate in one run, so that they meet the same state of the machine.
Writes `results.json` and `results.md` after every section; an interrupt keeps what was measured.
`--quick` runs a tiny model through every step, on any device: a check of the script, no measurement.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field

import torch
from gpu_measure import (
    LATE,
    MODES,
    PRECISIONS,
    Case,
    Side,
    Work,
    attempt,
    compare,
    depthwise_share,
    matmul_row,
    parity_rows,
)
from gpu_report import Report
from naive_uniformer import NaiveUniFormer

from uniformer_video.zoo.create import build_network


@dataclass(frozen=True)
class Scope:
    """Scope of a run; the first entry of each list is the most important one, and is done first."""

    parity_models: tuple = ("uniformer_s", "uniformer_xxs")
    parity_modes: tuple = MODES
    network: dict = field(default_factory=dict)  # changes to UniFormer-S
    classes: int = 400
    size: int = 224
    frames: tuple = (16, 32)
    kernels: tuple = ((5, 5, 5), (3, 5, 5))
    forward_batches: tuple = (8, 32, 1)
    train_batches: tuple = (16, 4, 32)
    profile_batches: tuple = (8, 32)
    profile_repeats: int = 3
    matmul_side: int = 8192
    max_rounds: int = 20
    round_seconds: float = 4.0
    backend: str = "inductor"


TINY = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "head_dim": 8}
QUICK = Scope(
    parity_models=("uniformer_xxs",),
    parity_modes=MODES[:2],  # half precision is slow on most CPUs
    network=TINY,
    classes=10,
    size=64,
    frames=(2,),
    kernels=((5, 5, 5),),
    forward_batches=(2,),
    train_batches=(2,),
    profile_batches=(2,),
    profile_repeats=1,
    matmul_side=256,
    max_rounds=3,
    backend="eager",
)

EAGER = [
    *(Side(layout, precision) for precision in PRECISIONS for layout in ("plain", "ours")),
    Side("ours", "bfloat16", channels_last_input=True),
]
COMPILED = [
    Side(layout, "bfloat16", compiled=compiled)
    for layout in ("ours", "plain")
    for compiled in (False, True)
]
PROFILED = [Side(layout, way) for way in ("bfloat16", "float32") for layout in ("ours", "plain")]


def groups(scope):
    """(case, sides) of every comparison, the most important first."""

    def pair(kernel, frames, index):
        for work, batches in (("forward", scope.forward_batches), ("train", scope.train_batches)):
            if index < len(batches):
                yield Case(kernel, frames, scope.size, batches[index], work)

    kernel, *other_kernels = scope.kernels
    for frames in scope.frames:
        yield from ((case, EAGER) for case in pair(kernel, frames, 0))
        yield from (
            (case, COMPILED) for case in pair(kernel, frames, 0) if frames == scope.frames[0]
        )
    for index in range(1, max(len(scope.forward_batches), len(scope.train_batches))):
        for frames in scope.frames:
            yield from ((case, EAGER) for case in pair(kernel, frames, index))
    for other in other_kernels:
        for frames in scope.frames:
            yield from ((case, EAGER) for case in pair(other, frames, 0))
    for frames in scope.frames[1:]:
        yield from ((case, COMPILED[:2]) for case in pair(kernel, frames, 0))


def build_networks(scope, kernel):
    """`{layout: module}` with the same weights, on the CPU."""
    ours = build_network("uniformer_s", scope.classes, local_kernel=kernel, **scope.network)
    shape = [ours.arguments[key] for key in ("embed_dims", "depths", "head_dim")]
    plain = NaiveUniFormer(scope.classes, *shape, kernel)
    plain.load_state_dict(ours.state_dict())
    return {"ours": ours, "plain": plain}


def measure(scope, device, report):
    """All sections in turn."""
    for name in scope.parity_models:
        report.add("parity", parity_rows(name, device, scope.parity_modes))
    rates = [matmul_row(name, scope.matmul_side, device, scope.max_rounds) for name in PRECISIONS]
    report.add("matmul", rates)
    networks = {kernel: build_networks(scope, kernel) for kernel in scope.kernels}
    for kernel in scope.kernels:
        for frames in scope.frames:
            arguments = kernel, frames, networks[kernel], device, report.out_of_time
            report.add("depthwise", depthwise_rows(scope, *arguments))
    rates = {row["precision"]: row.get("tflops") for row in rates}
    flops = {}
    for case, sides in groups(scope):
        clip = case.kernel, case.frames
        if clip not in flops:
            flops[clip] = clip_flops(networks[case.kernel]["ours"], case, device)
        row = {**asdict(case), "layout": "all"}
        limits = scope.backend, scope.max_rounds, scope.round_seconds, report.out_of_time
        rows = attempt(row, compare, case, sides, networks[case.kernel], device, *limits) or [row]
        for row in rows:
            add_rate(row, flops[clip], rates)
        report.add("times", rows)


def depthwise_rows(scope, kernel, frames, networks, device, out_of_time):
    """Profiles of both layouts at each batch, of longer clips only at the first."""
    dims = networks["ours"].arguments["embed_dims"]
    batches = scope.profile_batches if frames == scope.frames[0] else scope.profile_batches[:1]
    rows = []
    for batch in batches:
        clip = torch.randn(batch, 3, frames, scope.size, scope.size, device=device)
        for side in PROFILED:
            row = {"kernel": kernel, "frames": frames, "batch": batch, **asdict(side)}
            if out_of_time():
                row["note"] = LATE
            elif found := attempt(row, profiled, side, networks, clip, dims, scope.profile_repeats):
                row |= found
            rows.append(row)
    return rows


def profiled(side, networks, clip, dims, repeats):
    """`depthwise_share` of one side, whose memory is free again afterwards."""
    return depthwise_share(Work(side, networks[side.layout], clip, True), dims, repeats)


def clip_flops(network, case, device):
    """Operations of one clip's forward pass, two a multiply-add; None where they cannot be counted."""
    row, shape = {}, (1, 3, case.frames, case.size, case.size)

    def count():
        from uniformer_video.models.flops import count_flops  # without fvcore, all else still runs

        return 2 * count_flops(network.to(device), shape)

    counted = attempt(row, count)
    network.cpu()
    if counted is None:
        print(f"the operations of a clip are unknown: {row['note']}", flush=True)
    return counted


def add_rate(row, flops, rates):
    """The operations a second of a timed row, and their share of the matrix products'."""
    if flops and "ms" in row:
        passes = 3 if row["work"] == "train" else 1
        row["tflops"] = passes * flops * row["batch"] / row["ms"] / 1e9
        if rates.get(row["precision"]):
            row["share_of_matmul"] = row["tflops"] / rates[row["precision"]]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu")
    parser.add_argument("--out", default="runs/gpu_model", help="folder of the results")
    parser.add_argument("--minutes", type=float, default=8, help="start no further case after this")
    parser.add_argument(
        "--cudnn-search", action="store_true", help="cuDNN tries its algorithms for every shape"
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model: tests the script")
    args = parser.parse_args()
    device = choose_device(parser, args.device)
    torch.backends.cudnn.benchmark = args.cudnn_search
    if args.quick:
        torch.set_num_threads(1)  # tiny operators mostly wait for other threads
    scope = QUICK if args.quick else Scope()
    report = Report(args.out, scope, device, args.minutes)
    status = 0
    with tempfile.TemporaryDirectory() as cache:  # what another run compiled must not be found
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        try:
            measure(scope, device, report)
        except KeyboardInterrupt:
            print("interrupted; what was measured is kept", flush=True)
            status = 130
    report.finish(interrupted=status != 0)
    print(f"{report.folder / 'results.json'}, results.md")
    return status


def choose_device(parser, name):
    """The device called `name`; one line and exit status 2 where there is none."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cuda", "cpu"):
        parser.exit(2, f"--device is cuda, cuda:N or cpu; got {name}\n")
    if device.type == "cpu":
        return device
    index = device.index or 0
    if index >= torch.cuda.device_count():
        parser.exit(2, f"--device {name}: torch sees no such GPU; try --device cpu --quick\n")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


if __name__ == "__main__":
    sys.exit(main())
