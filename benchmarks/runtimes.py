"""One model by torch, as trained, folded and compiled, and by ONNX Runtime and OpenVINO: one table.

    python benchmarks/runtimes.py [--models uniformer_s x3d_m] [--runtimes eager onnxruntime]
        [--precisions fp32 int8] [--batch 1] [--rounds 7] [--threads 2] [--minutes 30] [--quick]

On a processor, without a network: the weights are untrained, the clips random. All ways of a model take turns
in one process. Writes `runtimes.json`, `.csv` and `.md` into `--out` (benchmarks/results) after every model.
What a machine or a library does not have is a row that says why.
"""

import argparse
import copy
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median

from uniformer_video.cores import let_threads_rest, usable_cores

let_threads_rest()  # threads of one runtime that spin would take the cores from the next

import numpy as np  # noqa: E402
import torch  # noqa: E402
from gpu_measure import LATE, TINY, attempt  # noqa: E402
from gpu_report import OF_RUNTIMES, Report  # noqa: E402
from runtime_sides import CPU, PRECISIONS, RUNTIMES, Subject, open_side  # noqa: E402

from uniformer_video.bench.figures import processor_name  # noqa: E402
from uniformer_video.errors import UserError, choice_error  # noqa: E402
from uniformer_video.models.flops import count_flops  # noqa: E402
from uniformer_video.versions import versions  # noqa: E402
from uniformer_video.words import system_reason  # noqa: E402
from uniformer_video.zoo.create import build_network  # noqa: E402
from uniformer_video.zoo.registry import find_model  # noqa: E402

MODELS = ("uniformer_s", "uniformer_b", "uniformer_xxs", "x3d_m")
BASE = ("eager", "fp32")  # what the others are held against
FEWEST_ROUNDS = 3
LIBRARIES = ("onnx", "onnxscript", "onnxruntime", "openvino")


@dataclass(frozen=True)
class Scope:
    """What is measured.

    frames, size: of clips, in place of the model's own. backend: what compiles. network: what
    UniFormers are built with.
    """

    models: tuple[str, ...] = MODELS
    runtimes: tuple[str, ...] = RUNTIMES
    precisions: tuple[str, ...] = PRECISIONS
    batch: int = 1
    rounds: int = 7
    threads: int = 1
    frames: int | None = None
    size: int | None = None
    matmul_side: int = 2048
    backend: str = "inductor"
    network: dict = field(default_factory=dict)


QUICK = {"frames": 2, "size": 64, "matmul_side": 256, "backend": "eager", "network": TINY}


@dataclass
class Timer:
    """Calls of one way, in turn with the others': seconds of the wall, and of the processor."""

    call: object
    wall: list = field(default_factory=list)
    cpu: list = field(default_factory=list)

    def __call__(self):
        began, used = time.perf_counter(), time.process_time()
        self.call()
        self.wall.append(time.perf_counter() - began)
        self.cpu.append(time.process_time() - used)


def products(side):
    """{precision: a square product of random matrices}, for those that torch has on a processor."""
    left, right = torch.randn(2, side, side)
    found = {"fp32": lambda: left @ right}
    half = left.bfloat16(), right.bfloat16()
    found["bf16"] = lambda: half[0] @ half[1]
    if hasattr(torch, "_int_mm"):  # torch has no public one
        whole = torch.randint(-127, 128, (2, side, side), dtype=torch.int8)
        found["int8"] = lambda: torch._int_mm(whole[0], whole[1])
    return found


def prepare(subject, runtime, precision, row):
    """The way as a function without arguments, with its answer; None, and a note, where there is none."""

    def ready():
        run = open_side(subject, runtime, precision)
        return (lambda: run(subject.clips)), run(subject.clips)

    began = time.perf_counter()
    try:
        found = attempt(row, ready, passed_on=UserError)
    except UserError as error:
        row["note"] = str(error)
        return None
    row["ready_s"] = time.perf_counter() - began
    return found


def rows_of(name, scope, folder, late):
    """The rows of one model. late: whether nothing more should be begun."""
    subject = subject_of(name, scope, folder)
    facts = {
        "model": name,
        "clip": "x".join(map(str, subject.clips.shape[2:])),
        "batch": scope.batch,
    }
    flops = (
        2 * scope.batch * count_flops(copy.deepcopy(subject.model), (1, *subject.clips.shape[1:]))
    )
    chosen = dict.fromkeys([BASE, *product(scope.runtimes, scope.precisions)])
    rows = {
        (runtime, how): {**facts, "runtime": runtime, "precision": how} for runtime, how in chosen
    }
    answers, timers = {}, {}
    for way, row in rows.items():
        if late():
            row["note"] = LATE
        elif found := prepare(subject, *way, row):
            timers[way], answers[way] = Timer(found[0]), found[1]
    rates = {
        how: Timer(call)
        for how, call in products(scope.matmul_side).items()
        if how in scope.precisions
    }
    for call in rates.values():
        call.call()  # the first prepares what the others find
    for number in range(scope.rounds):
        if number >= FEWEST_ROUNDS and late():
            break
        for timer in (*rates.values(), *timers.values()):
            timer()
    torch.compiler.reset()
    if BASE not in timers:  # then nothing can be said to be right
        return list(rows.values())
    base, truth = timers[BASE], answers[BASE]
    for way, timer in timers.items():
        row = rows[way]
        row |= figures(timer, base)
        if way[1] in rates:
            taken = median(rates[way[1]].wall)
            row["limit_ms"] = 1000 * flops * taken / (2 * scope.matmul_side**3)
            row["share_of_limit"] = row["limit_ms"] / row["ms"]
        row["difference"] = float(np.abs(answers[way] - truth).max() / np.abs(truth).max())
    return list(rows.values())


def figures(timer, base):
    """What is said of a way's times, beside those of `base` in the same rounds."""
    wall = [1000 * seconds for seconds in timer.wall]
    return {
        "ms": median(wall),
        "ms_min": min(wall),
        "ms_max": max(wall),
        "rounds": len(wall),
        "cpu_ms": 1000 * median(timer.cpu),
        "speed": median(one / own for one, own in zip(base.wall, timer.wall, strict=True)),
        "cpu_speed": median(one / own for one, own in zip(base.cpu, timer.cpu, strict=True)),
    }


def subject_of(name, scope, folder):
    """The model, untrained, with random clips of its own usual shape."""
    known = find_model(name)
    torch.manual_seed(0)
    changes = scope.network if name.startswith("uniformer") else {}
    model = build_network(name, known.num_classes, **changes).eval()
    size = scope.size or known.crop_size
    shape = (scope.batch, 3, scope.frames or known.num_frames, size, size)
    clips = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Subject(model, clips, Path(folder), scope.backend)


def processor():
    """What the processor is, and can: plain data."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])
    told = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "processor": processor_name(),
        "instructions": " ".join(flag for flag in told if flag in flags),
    }


def parse(words):
    """The options; one line and exit status 2 for a name that is not known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--runtimes", nargs="+", default=RUNTIMES)
    parser.add_argument("--precisions", nargs="+", default=PRECISIONS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way, 3 at least")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of every runtime")
    parser.add_argument("--minutes", type=float, default=30, help="begin no further way after this")
    parser.add_argument("--out", default="benchmarks/results", help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="tiny models: tests the script")
    args = parser.parse_args(words)
    try:
        for what, given, allowed in (
            ("--runtimes", args.runtimes, RUNTIMES),
            ("--precisions", args.precisions, PRECISIONS),
        ):
            for name in given:
                if name not in allowed:
                    raise choice_error(what, name, allowed)
        for name in args.models:
            if find_model(name).takes_images:
                raise UserError(f"--models: {name} takes images, and this is of video models")
        if min(args.batch, args.threads, args.rounds - FEWEST_ROUNDS + 1) < 1:
            raise UserError(
                f"--batch and --threads are 1 or more, --rounds {FEWEST_ROUNDS} or more"
            )
    except UserError as error:
        parser.exit(2, f"{error}\n")
    return args


def main(words=None):
    args = parse(words)
    torch.set_num_threads(args.threads)
    scope = Scope(
        models=tuple(args.models),
        runtimes=tuple(args.runtimes),
        precisions=tuple(args.precisions),
        batch=args.batch,
        rounds=args.rounds,
        threads=args.threads,
        **(QUICK if args.quick else {}),
    )
    facts = {**processor(), "threads": args.threads, **versions(LIBRARIES)}
    try:
        report = Report(args.out, scope, CPU, args.minutes, OF_RUNTIMES, "runtimes", facts)
    except OSError as error:
        print(f"--out {args.out} takes no files: {system_reason(error)}", file=sys.stderr)
        return 2
    status = 0
    try:
        for name in scope.models:
            with tempfile.TemporaryDirectory() as folder:
                report.add("runtimes", rows_of(name, scope, folder, report.out_of_time))
    except KeyboardInterrupt:
        print("interrupted; the models that were measured are kept", flush=True)
        status = 130
    report.finish(interrupted=status != 0)
    print(f"{report.folder / 'runtimes.json'}, .csv, .md")
    return status


if __name__ == "__main__":
    sys.exit(main())
