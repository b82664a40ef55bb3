"""Time the model against the plain layout with the same weights, in one run.

    python benchmarks/model_layout.py [--kernel 5,5,5] [--frames 16] [--size 224] [--repeats 7] [--bf16]

Prints medians of alternating forward passes and the ratio; `--train` times forward and backward.
"""

import argparse
import statistics
import time

import torch
from naive_uniformer import NaiveUniFormer

from uniformer_video.zoo.create import build_network


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernel", default="5,5,5", help="local kernel, time first")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="time ours in bfloat16 too")
    parser.add_argument("--train", action="store_true", help="time forward and backward")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    kernel = tuple(int(side) for side in args.kernel.split(","))
    ours = build_network("uniformer_s", 400, local_kernel=kernel).train(args.train)
    sizes = ours.arguments
    naive = NaiveUniFormer(400, sizes["embed_dims"], sizes["depths"], sizes["head_dim"], kernel)
    naive.train(args.train).load_state_dict(ours.state_dict())
    clip = torch.randn(args.batch, 3, args.frames, args.size, args.size)

    runs = {
        "naive float32": lambda: step(naive, clip, args.train),
        "ours float32": lambda: step(ours, clip, args.train),
    }
    if args.bf16:
        runs["ours bfloat16"] = lambda: step(ours, clip, args.train, torch.bfloat16)
    times = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(args.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)

    baseline = statistics.median(times["naive float32"])
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name:15s} median {median:.3f} s, {baseline / median:.2f}x the naive layout's speed"
        )


def step(model, clip, train, autocast=None):
    """One forward pass, with the backward pass when `train`."""
    with torch.set_grad_enabled(train):
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            loss = model(clip).float().square().mean()
        if train:
            loss.backward()


if __name__ == "__main__":
    main()
