"""What `gpu_model.py` measures: the error, time and memory of one side of a comparison."""

import contextlib
import copy
import gc
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from uniformer_video.bench.limits import product_seconds
from uniformer_video.training.optim import adamw
from uniformer_video.words import one_line
from uniformer_video.zoo.create import build_network

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))
import parity

PRECISIONS = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# (precision, mode) of the parity rows: the model in that type, or in float32 under autocast.
MODES = (
    ("float32", "cast"),
    ("tf32", "cast"),
    ("bfloat16", "cast"),
    ("bfloat16", "autocast"),
    ("float16", "cast"),
    ("float16", "autocast"),
)
LATE = "not run: the time was up"
COMPILING = 120  # seconds that compiling a model takes at most: it is not begun later than that
TINY = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "head_dim": 8}


class DeviceLost(Exception):
    """The device answers nothing any more, as after an illegal access: all that follows would fail."""


@dataclass(frozen=True)
class Case:
    """What all sides of one comparison do: `work` is "forward" (no gradients) or "train"."""

    kernel: tuple
    frames: int
    size: int
    batch: int
    work: str


@dataclass(frozen=True)
class Side:
    """One way to do it.

    layout: "ours", or "plain" for `naive_uniformer.py`. channels_last_input: the clip in the
    channels_last_3d memory format. Whether cuDNN searches its algorithms is no part of it: torch
    keeps the algorithm of a shape for both, so that only separate runs can compare them.
    """

    layout: str
    precision: str
    compiled: bool = False
    channels_last_input: bool = False


class Work:
    """A forward pass, or a training step, of one side; call it without arguments.

    The learning rate is 0: a step costs the same, and every side keeps the same weights. float16
    trains with a gradient scaler, as it must.
    """

    def __init__(self, side, network, clip, train, backend=None):
        """`network` is copied to the device of `clip` `[B, 3, T, H, W]`; `backend` compiles it."""
        self.precision, self.clip, self.train = side.precision, clip, train
        self.device = clip.device
        model = copy.deepcopy(network).to(self.device).train(train)
        self.model = (
            torch.compile(model, backend=backend, dynamic=False) if side.compiled else model
        )
        self.labels = torch.arange(len(clip), device=self.device) % network.num_classes
        self.optimizer = adamw(model, 0.05)
        # A scale that overflowed would skip the optimiser, and so its time.
        self.scaler = torch.amp.GradScaler(
            self.device.type, init_scale=256.0, enabled=side.precision == "float16"
        )

    def __call__(self):
        with arithmetic(self.precision):
            if not self.train:
                with torch.no_grad(), autocast(self.precision, self.device):
                    self.model(self.clip)
                return
            self.backward(self.forward())
            self.update()

    def forward(self):
        """The loss, scaled."""
        with autocast(self.precision, self.device):
            logits = self.model(self.clip)
        return self.scaler.scale(F.cross_entropy(logits.float(), self.labels))

    def backward(self, loss):
        loss.backward()

    def update(self):
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


@contextlib.contextmanager
def arithmetic(precision):
    """TF32 on for the precision "tf32" alone; afterwards as it was."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    try:
        matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def autocast(precision, device):
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not torch.float32)


def seconds(run, device):
    """How long `run()` takes on `device`, its kernels included."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def add_rate(row, flops, rate):
    """The operations a second of a timed row, and their share of `rate`, TFLOP/s of matrix products.

    flops: of a forward pass of one clip. Of both None = unknown.
    """
    if flops and "ms" in row:
        passes = 3 if row["work"] == "train" else 1
        row["tflops"] = passes * flops * row["batch"] / row["ms"] / 1e9
        if rate:
            row["share_of_matmul"] = row["tflops"] / rate


def attempt(row, function, *arguments, passed_on=()):
    """What `function` returns; after a failure None, and `row["note"]` says what happened.

    passed_on: exceptions that are for the caller. Raises `DeviceLost` where the device is beyond use.
    """
    try:
        return function(*arguments)
    except DeviceLost:
        raise
    except passed_on:
        raise
    except torch.cuda.OutOfMemoryError:
        row["note"] = "out of memory"
    except Exception as error:  # a case that fails must not cost the others
        row["note"] = f"failed: {type(error).__name__}: {one_line(error)}"[:200]
    gc.collect()
    if torch.cuda.is_initialized():
        _free_memory(row["note"])
    return None


def _free_memory(note):
    """Give back what a case held that failed with this note."""
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError as error:
        raise DeviceLost(f"{note}; then {one_line(error)}"[:400]) from error


def compare(case, sides, networks, device, backend, max_rounds, round_seconds, out_of_time):
    """One row a side, in milliseconds: medians of rounds in which every side runs once.

    networks: `{layout: module}`. At least 3 rounds, and as many more, up to `max_rounds`, as fit
    into `round_seconds`. out_of_time: whether less is left than so many seconds.
    """
    shape = (case.batch, 3, case.frames, case.size, case.size)
    clip = torch.randn(shape, device=device)
    clips = {False: clip, True: clip.contiguous(memory_format=torch.channels_last_3d)}
    rows = [{**asdict(case), **asdict(side)} for side in sides]
    ready = []
    for side, row in zip(sides, rows, strict=True):
        if out_of_time(COMPILING * side.compiled):
            row["note"] = LATE
            continue
        arguments = (networks[side.layout], clips[side.channels_last_input], case.work == "train")
        warm = attempt(row, _warm_up, row, side, *arguments, backend)
        if warm:
            ready.append((row, *warm))
    once = sum(elapsed for _, _, elapsed in ready)
    rounds = int(min(max_rounds, max(3, round_seconds / max(once, 1e-6))))
    retries = _allocator_retries(device)
    times = defaultdict(list)
    for _ in range(rounds):
        for index, (row, work, _) in enumerate(ready):
            elapsed = None if "note" in row else attempt(row, seconds, work, device)
            if elapsed is not None:
                times[index].append(elapsed * 1000)
    for index, (row, _, _) in enumerate(ready):
        if "note" not in row:
            row |= {
                "ms": statistics.median(times[index]),
                "ms_min": min(times[index]),
                "ms_max": max(times[index]),
                "rounds": rounds,
            }
            row["clips_per_s"] = 1000 * case.batch / row["ms"]
            if _allocator_retries(device) > retries:
                row["note"] = "memory ran short between sides; times may be too long"
    torch.compiler.reset()
    return rows


def _warm_up(row, side, network, clip, train, backend):
    """The work and how long it takes once; notes its memory, and what compiling it took."""
    cuda = clip.device.type == "cuda"
    before = torch.cuda.memory_allocated() if cuda else 0
    work = Work(side, network, clip, train, backend)
    first = seconds(work, work.device)
    seconds(work, work.device)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    elapsed = seconds(work, work.device)
    if cuda:
        row["peak_gb"] = (torch.cuda.max_memory_allocated() - before) / 1e9
    if side.compiled:
        row["compile_s"] = first - elapsed
    return work, elapsed


def _allocator_retries(device):
    return torch.cuda.memory_stats()["num_alloc_retries"] if device.type == "cuda" else 0


def parity_rows(name, device, modes):
    """Errors of a model against its published float64 logits, one row a (precision, mode)."""
    facts, published = parity.case(name)
    expected = torch.from_numpy(published)
    model = build_network(name, expected.shape[1], local_kernel=(5, 5, 5)).eval()
    model.load_state_dict(parity.state(facts["keys"]))
    clip = parity.clip(facts["input"])
    rows = []
    for precision, mode in modes:
        row = {"model": name, "precision": precision, "mode": mode}
        found = attempt(row, _logits, model, clip, precision, mode, device)
        if found is not None and found.isfinite().all():
            row["error"] = float((found - expected).norm() / expected.norm())
            row["top1_agrees"] = bool((found.argmax(1) == expected.argmax(1)).all())
        elif found is not None:
            row["note"] = "failed: the logits are not finite"
        rows.append(row)
    return rows


def _logits(model, clip, precision, mode, device):
    """float64 logits on the CPU, `[B, K]`."""
    dtype = PRECISIONS[precision] if mode == "cast" else torch.float32
    model = copy.deepcopy(model).to(device, dtype)
    autocasts = autocast(precision, device) if mode == "autocast" else contextlib.nullcontext()
    with torch.no_grad(), arithmetic(precision), autocasts:
        return model(clip.to(device, dtype)).double().cpu()


def matmul_row(precision, side, device, repeats):
    """The rate of a square product of random matrices with `side` rows."""
    row = {"precision": precision, "size": side}

    def measure():
        with arithmetic(precision):
            times = product_seconds(PRECISIONS[precision], side, device, repeats)
        row["ms"] = 1000 * statistics.median(times)
        row["tflops"] = 2 * side**3 / row["ms"] / 1e9

    attempt(row, measure)
    return row


def copy_row(megabytes, device, repeats):
    """The rate of a copy in the device's memory, bytes that are read and bytes that are written."""
    row = {"precision": "a copy"}

    def measure():
        source = torch.zeros(megabytes * 2**20, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        times = [seconds(lambda: target.copy_(source), device) for _ in range(3 + repeats)][3:]
        row["ms"] = 1000 * statistics.median(times)
        row["gb_per_s"] = 2 * len(source) / row["ms"] / 1e6

    attempt(row, measure)
    return row


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
        parser.exit(2, f"--device {name}: torch sees no such GPU; try --device cpu\n")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
