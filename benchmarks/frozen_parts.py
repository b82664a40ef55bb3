"""What a training step costs where parts of the model are frozen: time, peak memory, state of the optimiser.

    python benchmarks/frozen_parts.py [--model uniformer_s] [--clip 16,112,112] [--batch 2] [--steps 4]

Each case is a process of its own, since the peak of a process never falls. All take the same steps on one
clips: forward, backward, AdamW. Times are those of the processor, so that other work on the machine counts
little. The memory of a step is the largest of the process less that before the first.
"""

import argparse
import resource
import subprocess
import sys
import time
from statistics import median

import torch
from command_line import count, run_script, three_sizes

from uniformer_video.config.settings import load_config
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.runs import build_training
from uniformer_video.zoo.create import build_network
from uniformer_video.zoo.registry import find_model

CASES = {
    "nothing frozen": [],
    "stem, stage 1": ["MODEL.FREEZE", "[stem,stage1]"],
    "stem, stages 1 and 2": ["MODEL.FREEZE", "[stem,stage1,stage2]"],
    "stem, stages 1 to 3": ["MODEL.FREEZE", "[stem,stage1,stage2,stage3]"],
    "all but the head": ["MODEL.FREEZE", "[all-but-head]"],
    "DETACH_FINAL_FC": ["MODEL.DETACH_FINAL_FC", "True"],
    "stages 2 and 3 alone": ["MODEL.FREEZE", "[stage2,stage3]"],
    "FROZEN_BN": ["MODEL.FROZEN_BN", "True"],
}


def compare() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="uniformer_s")
    parser.add_argument(
        "--clip", type=three_sizes, default="16,112,112", help="frames, height, width"
    )
    parser.add_argument("--batch", type=count, default=2)
    parser.add_argument("--steps", type=count, default=4)
    parser.add_argument("--case", choices=CASES, help="measure this one here, in one line")
    args = parser.parse_args()
    if args.steps < 2:
        parser.error(f"--steps is {args.steps}; it is 2 or more, of which the first does not count")
    if args.case:
        print(measure(args))
        return 0
    print(
        "| frozen | step, CPU s | of it backward, CPU s | memory of a step, GB | state of AdamW, MB |"
    )
    print("|---|---|---|---|---|", flush=True)
    for case in CASES:
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--case", case],
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
        print(done.stdout, end="", flush=True)
        if done.returncode:  # it has said why
            return done.returncode
    return 0


def main() -> int:
    return run_script(compare)


def measure(args: argparse.Namespace) -> str:
    """A line of the table."""
    torch.manual_seed(0)
    cfg = load_config(overrides=["MODEL.MODEL_NAME", args.model, *CASES[args.case]])
    frames, height, width = args.clip
    family = find_model(args.model).family
    model = build_network(args.model, 400, **family.options_for_clip(frames, height))
    state = build_training.build_train_state(cfg, model, "fp32", Ranks(0, 1, torch.device("cpu")))
    clips = torch.randn(args.batch, 3, frames, height, width)
    labels = torch.zeros(args.batch, dtype=torch.int64)
    state.network.train()
    before = peak()
    steps, backwards = [], []
    for _ in range(args.steps):
        start = time.process_time()
        outputs = state.network(clips)
        loss = torch.stack([torch.nn.functional.cross_entropy(x, labels) for x in outputs]).mean()
        forward = time.process_time()
        loss.backward()
        backwards.append(time.process_time() - forward)
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        steps.append(time.process_time() - start)
    held = sum(
        tensor.numel() * tensor.element_size()
        for values in state.optimizer.state.values()
        for tensor in values.values()
    )
    return (
        f"| {args.case} | {median(steps[1:]):.2f} | {median(backwards[1:]):.2f} | {peak() - before:.2f} | "
        f"{held / 1e6:.1f} |"
    )


def peak() -> float:
    """The largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(main())
