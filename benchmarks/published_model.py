"""UniFormer-S beside the published way to compute it, with the same weights, in one run on a processor.

    python benchmarks/published_model.py [--kernel 3,5,5] [--frames 16] [--size 224] [--batch 2] [--json FILE]

The published way is `naive_uniformer.py`: the plain layout, torch's own operations. A forward pass of one
clip and a training step (loss, gradients, AdamW) of a batch, in float32 and under bfloat16 autocast; all take
turns. Beside them stands what the operations would take at the machine's rate of matrix products.
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

import torch
from command_line import count, run_script, three_sizes
from naive_uniformer import NaiveUniFormer
from torch.nn import functional as F

from uniformer_video.bench import limits
from uniformer_video.bench.figures import Figure, Measured, short
from uniformer_video.bench.model import forward_pass
from uniformer_video.bench.progress import Progress, of_rounds
from uniformer_video.commands.bench_run import measured
from uniformer_video.errors import choice_error
from uniformer_video.files import check_new_file
from uniformer_video.training.precision import autocast_for
from uniformer_video.training.turns import in_turn
from uniformer_video.zoo.create import build_network

CPU = torch.device("cpu")
CLASSES = 400
PRECISIONS = ("fp32", "bf16")
WORKS = {
    "forward": 1,
    "training step": 1 + limits.BACKWARD,
}  # times the operations of a forward pass
SIDES = ("published", "ours")


def networks(kernel):
    """{side: a network}, with the same weights."""
    ours = build_network("uniformer_s", CLASSES, local_kernel=kernel)
    sizes = ours.arguments
    naive = NaiveUniFormer(CLASSES, sizes["embed_dims"], sizes["depths"], sizes["head_dim"], kernel)
    naive.load_state_dict(ours.state_dict())
    return {"published": naive, "ours": ours}


def forward(network, side, clips, precision):
    """A function: one forward pass, by ours as tests and predictions compute."""
    network = network.eval()
    if side == "ours":
        return forward_pass(network, clips, precision)
    autocast = autocast_for(precision, CPU)

    @torch.inference_mode()
    def run():
        with autocast():
            network(clips)

    return run


def training_step(network, side, clips, precision):
    """A function: loss, gradients and AdamW, with a learning rate of 0, which costs the same."""
    network = network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
    labels = torch.arange(len(clips)) % CLASSES
    autocast = autocast_for(precision, CPU)

    def run():
        with autocast():
            logits = network(clips)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


MAKE = {"forward": forward, "training step": training_step}


def measure(kernel, frames, size, batch, rounds, precisions, found):
    """Add figures "PRECISION, WORK: SIDE", and limits, to the `Measured`."""
    at = Progress()
    at("counting operations")
    shape = (3, frames, size, size)
    operations = limits.forward_operations(
        networks(kernel)["ours"], (1, *shape), found.notes.append
    )
    rates = {precision: [] for precision in precisions}
    # Forward passes first, as in a process that predicts: what a training has taken of memory stays with the
    # process, and makes large tensors cheaper.
    for work in WORKS:
        for precision in precisions:
            clips = torch.randn(1 if work == "forward" else batch, *shape)
            runs = {
                side: MAKE[work](network, side, clips, precision)
                for side, network in networks(kernel).items()
            }
            in_turn(
                {f"{precision}, {work}: {side}": run for side, run in runs.items()},
                CPU,
                rounds,
                begins=lambda name, number: at(f"{name}, {of_rounds(number, rounds)}"),
                ends=found.add_seconds,
            )
            rates[precision].append(limits.matrix_rate(precision, CPU, repeats=2).high)
    for precision, own in rates.items():
        for work, times in WORKS.items() if operations else ():
            limit = times * (1 if work == "forward" else batch) * operations / (1e9 * max(own))
            found.figures[f"{precision}, {work}: limit"] = Figure.of_seconds([limit])
        found.figures[f"matrix products, {precision}"] = Figure.of(own, "GFLOP/s")


def table(found):
    """A table in Markdown: a work a row."""
    yield "| ms | published | ours | ratio | limit | share of it |"
    yield "|---|---|---|---|---|---|"
    for name in dict.fromkeys(name.rpartition(": ")[0] for name in found.figures if ": " in name):
        theirs, ours = (found.figures[f"{name}: {side}"] for side in SIDES)
        cells = [*map(short, (theirs.median, ours.median)), f"{theirs.median / ours.median:.2f}"]
        limit = found.figures.get(f"{name}: limit")
        cells += [short(limit.median), f"{limit.median / ours.median:.0%}"] if limit else ["", ""]
        yield f"| {name} | {' | '.join(cells)} |"
    yield from found.notes


def compare():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kernel", type=three_sizes, default="5,5,5", help="local kernel, time first"
    )
    parser.add_argument("--frames", type=count, default=16)
    parser.add_argument("--size", type=count, default=224)
    parser.add_argument("--batch", type=count, default=2, help="clips of a training step")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--threads", type=count, default=2)
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--json", help="file for the figures, the machine and the command")
    args = parser.parse_args()
    precisions = args.precisions.split(",")
    for name in precisions:
        if name not in PRECISIONS:
            parser.error(str(choice_error("--precisions", name, PRECISIONS)))
    if args.json:
        check_new_file(Path(args.json), "--json")
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    given = {name: getattr(args, name) for name in ("kernel", "frames", "size", "batch", "rounds")}
    found = Measured("published_model", given)

    def tell():
        print("\n".join(table(found)))
        if args.json:
            print(found.write(args.json, shlex.join(["python", *sys.argv])))

    work = partial(measure, **given, precisions=precisions, found=found)
    measured(args, work, tell, lambda: found.figures, found)


def main():
    return run_script(compare)


if __name__ == "__main__":
    sys.exit(main())
