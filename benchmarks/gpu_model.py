"""A CUDA device: speed, memory, parity, and where the time goes, the most important numbers first.

    python benchmarks/gpu_model.py [--device cuda] [--out runs/gpu_model] [--minutes 9] [--sections NAME ...]
                                   [--cudnn-search] [--quick]

All sides of a comparison alternate in one run, so that they meet the same state of the machine.
Writes `results.json` and `results.md` after every section; an interrupt keeps what was measured.
`--quick` runs a tiny model through every step, on any device: a check of the script, no measurement.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field

import gpu_sweep
import torch
from gpu_measure import (
    LATE,
    MODES,
    PRECISIONS,
    TINY,
    Case,
    Side,
    Work,
    add_rate,
    attempt,
    choose_device,
    clip_flops,
    compare,
    copy_row,
    matmul_row,
    parity_rows,
)
from gpu_parts import all_layers, loader_row
from gpu_profile import by_kind, depthwise_share
from gpu_report import Report
from naive_uniformer import NaiveUniFormer

from uniformer_video.bench.depthwise import LAYERS
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
    copy_megabytes: int = 2048
    kinds_batches: tuple = (64, 8)
    layers: tuple = LAYERS
    layer_batch: int = 16
    layer_precisions: tuple = ("bfloat16", "float32")
    loader_batch: int = 32
    loader_steps: int = 8
    loader_settings: tuple = ()
    on_device: tuple = ("all", "off", "normalise")
    sweep: gpu_sweep.Scope = field(default_factory=gpu_sweep.Scope)
    max_rounds: int = 20
    round_seconds: float = 4.0
    backend: str = "inductor"


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
    copy_megabytes=1,
    kinds_batches=(2,),
    layers=((8, (2, 6, 6), (3, 3, 3)),),
    layer_batch=2,
    layer_precisions=("float32", "bfloat16"),
    loader_batch=2,
    loader_steps=1,
    loader_settings=(
        *("UNIFORMER.EMBED_DIM", "[8,16,24,32]", "UNIFORMER.DEPTH", "[1,1,1,1]"),
        *("UNIFORMER.HEAD_DIM", "8", "DATA.NUM_FRAMES", "2", "DATA.TRAIN_CROP_SIZE", "32"),
        *("DATA_LOADER.NUM_WORKERS", "0"),
    ),
    on_device=("all",),
    sweep=gpu_sweep.QUICK,
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
_LOADING = 45  # seconds that a training with the real loader takes, which is not begun later
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


class Sections:
    """The parts of a run; the attributes of `ORDER` are what a run does, in that order."""

    ORDER = (
        "headline",
        "kinds",
        "layers",
        "parity",
        "models",
        "loader",
        "longest",
        "depthwise",
        "times",
    )

    def __init__(self, scope, device, report):
        """Measures the device's own rates, which all others are held against."""
        self.scope, self.device, self.report = scope, device, report
        rows = [
            matmul_row(name, scope.matmul_side, device, scope.max_rounds)
            for name in sorted(PRECISIONS, key=lambda name: name != gpu_sweep.PRECISION)
        ]
        copied = copy_row(scope.copy_megabytes, device, scope.max_rounds)
        report.add("matmul", [*rows, copied])
        self.rates = {row["precision"]: row.get("tflops") for row in rows}
        self.copy_rate = 1e9 * copied["gb_per_s"] if "gb_per_s" in copied else None
        self.networks = {kernel: build_networks(scope, kernel) for kernel in scope.kernels}

    def run(self, names):
        """Those of these names, in their order."""
        for name in self.ORDER:
            if name in names:
                getattr(self, name)()

    def headline(self):
        """UniFormer-S and the published way at 16 frames."""
        self._models(self.scope.sweep.inputs[:2])

    def models(self):
        """The other models, and 32 frames."""
        self._models(self.scope.sweep.inputs[2:])

    def _models(self, inputs):
        rate = self.rates[gpu_sweep.PRECISION]
        gpu_sweep.model_rows(self.scope.sweep, inputs, self.device, self.report, rate)

    def kinds(self):
        """Where a training step's time goes, ours and the published way."""
        scope, kernel = self.scope, self.scope.kernels[0]
        for batch in scope.kinds_batches:
            for layout in ("ours", "plain"):
                side = Side(layout, gpu_sweep.PRECISION)
                row = {"frames": scope.frames[0], "batch": batch, **asdict(side)}
                rows = None
                if self.report.out_of_time():
                    row["note"] = LATE
                else:
                    shape = (batch, 3, scope.frames[0], scope.size, scope.size)
                    arguments = side, self.networks[kernel][layout], shape
                    rows = attempt(row, self._kinds, *arguments)
                self.report.add("kinds", [{**row, **each} for each in rows or [{}]])

    def _kinds(self, side, network, shape):
        clip = torch.randn(shape, device=self.device)
        return by_kind(Work(side, network, clip, True), self.scope.profile_repeats)

    def layers(self):
        """Depthwise convolutions by layer, way and precision."""
        all_layers(self.scope, self.device, self.report, self.copy_rate)

    def parity(self):
        """Errors against the published logits."""
        for name in self.scope.parity_models:
            rows = [{"model": name, "note": LATE}]
            if not self.report.out_of_time():
                rows = parity_rows(name, self.device, self.scope.parity_modes)
            self.report.add("parity", rows)

    def loader(self):
        """Training with the real loader."""
        for on_device in self.scope.on_device:
            row = {"on_device": on_device, "note": LATE}
            if not self.report.out_of_time(_LOADING):
                row = loader_row(on_device, self.scope, self.device)
            self.report.add("loader", [row])

    def longest(self):
        """The longest clips that fit."""
        gpu_sweep.longest(self.scope.sweep, self.device, self.report)

    def depthwise(self):
        """The share of depthwise convolutions, by stage."""
        for kernel in self.scope.kernels:
            for frames in self.scope.frames:
                arguments = kernel, frames, self.networks[kernel], self.device
                rows = depthwise_rows(self.scope, *arguments, self.report.out_of_time)
                self.report.add("depthwise", rows)

    def times(self):
        """Every precision, compiled and not."""
        scope, flops = self.scope, {}
        limits = scope.backend, scope.max_rounds, scope.round_seconds, self.report.out_of_time
        for case, sides in groups(scope):
            clip, networks = (case.kernel, case.frames), self.networks[case.kernel]
            if clip not in flops:
                flops[clip] = clip_flops(networks["ours"], case, self.device)
            row = {**asdict(case), "layout": "all"}
            rows = attempt(row, compare, case, sides, networks, self.device, *limits) or [row]
            for row in rows:
                add_rate(row, flops[clip], self.rates.get(row.get("precision")))
            self.report.add("times", rows)


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu")
    parser.add_argument("--out", default="runs/gpu_model", help="folder of the results")
    parser.add_argument("--minutes", type=float, default=9, help="start no further case after this")
    parser.add_argument(
        "--cudnn-search", action="store_true", help="cuDNN tries its algorithms for every shape"
    )
    parser.add_argument(
        "--sections",
        nargs="+",
        choices=Sections.ORDER,
        default=Sections.ORDER,
        metavar="NAME",
        help=f"what is measured, in this order: {', '.join(Sections.ORDER)} (all)",
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model: tests the script")
    args = parser.parse_args()
    device = choose_device(parser, args.device)
    torch.backends.cudnn.benchmark = args.cudnn_search
    if args.quick:
        torch.set_num_threads(1)  # tiny operators mostly wait for other threads
    scope = QUICK if args.quick else Scope()
    report = Report(args.out, scope, device, args.minutes)
    with tempfile.TemporaryDirectory() as cache:  # what another run compiled must not be found
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        return gpu_sweep.conclude(
            report, lambda: Sections(scope, device, report).run(args.sections)
        )


if __name__ == "__main__":
    sys.exit(main())
