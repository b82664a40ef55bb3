"""Attention on a CPU: torch's fused form, what the model calls, plain matrix products, and the limit.

    python benchmarks/attention_cpu.py [--precision bf16] [--threads 1] [--quick]

Sides alternate in one run; printed are medians of the processor's milliseconds. `limit` is what the matrix
products alone would take at the rate of one large product: two in the forward pass, and five in the backward
pass of the fused form and of ours, which keep no attention and compute it again.
"""

import argparse
import statistics
import sys
import time

import torch
from command_line import count, run_script
from torch.nn import functional as F

from uniformer_video.bench.limits import product_seconds
from uniformer_video.models.attention import attend

# (samples, heads, tokens), heads 64 wide: of UniFormer-S stage 3 at 32x224x224, stages 3 and 4 at 16x224x224,
# and those of images of 224x224.
LAYERS = [(1, 5, 3136), (2, 5, 1568), (2, 8, 392), (16, 5, 196), (32, 8, 49)]
WIDTH = 64


def fused(query, key, value):
    return F.scaled_dot_product_attention(query, key, value)


def plain(query, key, value):
    """softmax(q k^T / sqrt(d)) v, which keeps the attention for the backward pass."""
    return (query @ key.transpose(-2, -1) * WIDTH**-0.5).softmax(-1) @ value


SIDES = {"fused": fused, "ours": attend, "plain": plain}


def passes(function, qkv):
    """CPU seconds of the (forward, backward) pass; qkv: `[B, N, 3, heads, 64]`, as the model has it."""
    parts = [part.requires_grad_() for part in qkv.permute(2, 0, 3, 1, 4).detach().unbind(0)]
    started = time.process_time()
    out = function(*parts)
    middle = time.process_time()
    gradient = torch.ones_like(out)
    again = time.process_time()
    torch.autograd.grad(out, parts, gradient)
    return middle - started, time.process_time() - again


def errors(side, qkv):
    """Relative L2 errors of (output, gradients) against the formula in float64."""
    found = []
    for function, values in ((side, qkv), (plain, qkv.double())):
        values = values.clone().requires_grad_()
        out = function(*values.permute(2, 0, 3, 1, 4).unbind(0))
        gradient = torch.linspace(-1, 1, WIDTH).to(values.dtype).expand_as(out)
        found.append((out, torch.autograd.grad(out, values, gradient)[0]))
    return [((ours - true).norm() / true.norm()).item() for ours, true in zip(*found, strict=True)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument("--rounds", type=count, default=9)
    parser.add_argument("--quick", action="store_true", help="small: a check of the script")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    size = 64 if args.quick else 1568
    seconds = product_seconds(dtype, size, torch.device("cpu"), 6, time.process_time)
    rate = 2 * size**3 / max(statistics.median(seconds), 1e-9)
    print(f"ms of CPU, {args.precision}, {args.threads} threads, torch {torch.__version__}")
    print(f"matrix products: {rate / 1e9:.0f} billion operations a second of CPU\n")
    print(
        "| samples, heads, tokens | side | forward | limit | backward | limit | errors |\n|"
        + "---|" * 7
    )
    for samples, heads, tokens in [(2, 2, 32)] if args.quick else LAYERS:
        qkv = torch.randn(samples, tokens, 3, heads, WIDTH).to(dtype)
        product = 2 * tokens**2 * WIDTH * samples * heads / rate * 1000
        times = {side: [] for side in SIDES}
        for _ in range(args.rounds + 1):  # the first does not count
            for side, function in SIDES.items():
                times[side].append(passes(function, qkv))
        for side, function in SIDES.items():
            forward, backward = (
                1000 * statistics.median(column) for column in zip(*times[side][1:], strict=True)
            )
            error = " and ".join(f"{value:.0e}" for value in errors(function, qkv))
            again = 4 if side == "plain" else 5
            print(
                f"| {samples}, {heads}, {tokens} | {side} | {forward:.1f} | {2 * product:.1f} "
                f"| {backward:.1f} | {again * product:.1f} | {error} |",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(run_script(main))
