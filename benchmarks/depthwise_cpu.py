"""Depthwise convolution on a CPU: gradients of torch alone beside ours, by layer and in a training step.

    python benchmarks/depthwise_cpu.py [--precision bf16] [--threads 1] [--quick]

Sides alternate in one run; printed are medians of the processor's milliseconds, which a busy machine changes
less than those of a clock. `torch`: its convolution with its gradients; `mirrored`: ours without numba;
`numba`: ours.
"""

import argparse
import statistics
import time
from contextlib import contextmanager

import torch
from torch.nn import functional as F

from uniformer_video.models import depthwise, depthwise_cpu
from uniformer_video.zoo.create import build_network

# (channels, grid, kernel) of UniFormer-S at 16x224x224.
LAYERS = [
    (64, (8, 56, 56), (5, 5, 5)),
    (64, (8, 56, 56), (3, 5, 5)),
    (64, (8, 56, 56), (3, 3, 3)),
    (128, (8, 28, 28), (5, 5, 5)),
    (128, (8, 28, 28), (3, 3, 3)),
    (320, (8, 14, 14), (3, 3, 3)),
    (512, (8, 7, 7), (3, 3, 3)),
]
SIDES = ("torch", "mirrored", "numba")


class TorchAlone:
    """In place of `DepthwiseOnCpu`."""

    @staticmethod
    def apply(tokens, weight, bias, kernel, dtype):
        if (
            dtype == torch.bfloat16
        ):  # its gradients on channels-last memory are wrong, see `_by_torch`
            tokens = tokens.movedim(-1, 1).contiguous().movedim(1, -1)
        return depthwise_cpu.convolve(tokens, weight, bias, kernel)


@contextmanager
def computed_by(side):
    """Depthwise convolutions by one of `SIDES`."""
    ours, works = depthwise.DepthwiseOnCpu, depthwise_cpu.numba_works
    try:
        if side == "torch":
            depthwise.DepthwiseOnCpu = TorchAlone
        if side == "mirrored":
            depthwise_cpu.numba_works = lambda: False
        elif side == "numba" and not works():
            raise SystemExit("numba is missing: pip install -e '.[fast]'")
        yield
    finally:
        depthwise.DepthwiseOnCpu, depthwise_cpu.numba_works = ours, works


def compare(run, rounds):
    """{side: median CPU seconds} of `run()`, after one round that does not count."""
    times = {side: [] for side in SIDES}
    for _ in range(rounds + 1):
        for side, taken in times.items():
            with computed_by(side):
                started = time.process_time()
                run()
                taken.append(time.process_time() - started)
    return {side: statistics.median(taken[1:]) for side, taken in times.items()}


def layer(channels, grid, kernel, precision):
    """A function: forward and backward pass of one layer, two clips."""
    tokens = torch.randn(2, *grid, channels, requires_grad=True)
    weight = torch.randn(channels, 1, *kernel, requires_grad=True)
    bias = torch.randn(channels, requires_grad=True)
    gradient = torch.randn(2, *grid, channels)

    def run():
        with autocast(precision):
            out = depthwise.depthwise_conv(tokens, weight, bias, kernel)
        torch.autograd.grad(out, (tokens, weight, bias), gradient.to(out.dtype))

    return run


def training_step(precision, kernel, size, frames):
    """A function: forward and backward pass of UniFormer-S, two clips."""
    model = build_network("uniformer_s", 400, local_kernel=kernel).train()
    clips, labels = torch.randn(2, 3, frames, size, size), torch.tensor([1, 2])

    def run():
        with autocast(precision):
            loss = F.cross_entropy(model(clips).float(), labels)
        loss.backward()
        model.zero_grad()

    return run


def autocast(precision):
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def show(name, times):
    cells = [f"{1000 * times[side]:.0f}" for side in SIDES]
    ratio = times["torch"] / times["numba"]
    print(f"| {name} | {' | '.join(cells)} | {ratio:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small: a check of the script")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"ms of CPU, {args.precision}, {args.threads} threads, torch {torch.__version__}\n")
    print(f"| | {' | '.join(SIDES)} | torch / numba |\n|{'---|' * (len(SIDES) + 2)}")
    for channels, grid, kernel in [(8, (2, 4, 4), (3, 3, 3))] if args.quick else LAYERS:
        name = f"{'x'.join(map(str, grid))}x{channels}, {'x'.join(map(str, kernel))}"
        show(name, compare(layer(channels, grid, kernel, args.precision), args.rounds))
    kernel = (5, 5, 5)
    shape = (32, 2) if args.quick else (224, 16)
    step = training_step(args.precision, kernel, *shape)
    show("step, batch 2, 5x5x5", compare(step, 1 if args.quick else args.rounds))


if __name__ == "__main__":
    main()
