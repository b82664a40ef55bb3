"""What folding, memory format and cast weights bring to a forward pass: all sides in turn, medians.

    python benchmarks/inference_mode.py [--models uniformer_s x3d_m] [--batch 1] [--rounds 7]
    python benchmarks/inference_mode.py --device cuda --batch 8 --precision bf16

Sides: `as trained`; `folded`, by `for_inference`; `folded, last` and `as trained, last`, with the weights
of convolutions in the channels-last memory format; under autocast `folded, cast`, with the weights of
convolutions and linear layers cast once. Times are seconds of the wall; the ratios are to `as trained`.
"""

import argparse
import copy
import gc
import statistics
import sys
import time
from collections.abc import Callable

import torch
from command_line import count, run_script
from torch import nn

from uniformer_video.models.contract import RecognitionModel
from uniformer_video.models.layers import DepthwiseConv, PointwiseConv
from uniformer_video.training.precision import autocast_for
from uniformer_video.zoo.create import build_network
from uniformer_video.zoo.registry import find_model

MODELS = (
    "uniformer_s",
    "uniformer_xxs",
    "x3d_m",
    "slow_r50",
    "slowfast_r50",
    "r2plus1d_r50",
    "mvit_base_16x4",
    "semantic_fpn_h14_s",
)
CAST = (nn.Linear, nn.Conv2d, nn.Conv3d, PointwiseConv, DepthwiseConv)


def channels_last(model: nn.Module) -> nn.Module:
    """The weights of convolutions in the channels-last memory format."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv3d):
            layer.to(memory_format=torch.channels_last_3d)
        elif isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    return model


def cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The weights of layers that autocast computes in `dtype`, cast for good."""
    for layer in model.modules():
        if isinstance(layer, CAST):
            layer.to(dtype)
    return model


def sides(
    model: RecognitionModel, precision: str
) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The ways to run a model, by name."""
    folded = copy.deepcopy(model).for_inference()
    found: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "as trained": model,
        "folded": folded,
        "as trained, last": channels_last(copy.deepcopy(model)),
        "folded, last": channels_last(copy.deepcopy(folded)),
    }
    if precision != "fp32":
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        found["folded, cast"] = cast(copy.deepcopy(folded), dtype)
    return found


def shape_of(name: str, batch: int) -> tuple[int, ...]:
    """Of the usual clips of a model."""
    known = find_model(name)
    side = known.crop_size
    frames = () if known.takes_images else (known.num_frames,)
    return (batch, 3, *frames, side, side)


def seconds(run: Callable[[], object], cuda: bool) -> float:
    """What one call takes: of the processor, on a GPU of the wall."""
    if not cuda:
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


@torch.inference_mode()
def measure(name: str, args: argparse.Namespace) -> list[str]:
    """The lines of one model: milliseconds, the speed, and the largest difference in the outputs."""
    torch.manual_seed(0)
    model = build_network(name, find_model(name).num_classes).eval().to(args.device)
    views = torch.randn(shape_of(name, args.batch), device=args.device)
    autocast = autocast_for(args.precision, torch.device(args.device))
    runs = sides(model, args.precision)
    cuda, times = args.device == "cuda", {side: [] for side in runs}

    def forward(side: str) -> torch.Tensor:
        with autocast():
            return runs[side](views).float()

    outputs = {side: forward(side) for side in runs}
    for _ in range(args.rounds):
        for side in runs:
            times[side].append(seconds(lambda side=side: forward(side), cuda))
    first = next(iter(outputs.values()))
    base = statistics.median(times["as trained"])
    lines = []
    for side, found in times.items():
        median = statistics.median(found)
        spread = (max(found) - min(found)) / median
        away = float((outputs[side] - first).abs().max() / first.abs().max())
        lines.append(
            f"| {name} | {side} | {median * 1e3:.1f} | {base / median:.2f} | {spread:.0%} | {away:.0e} |"
        )
    return lines


def compare() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch", type=count, default=1)
    parser.add_argument("--rounds", type=count, default=7)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| model | side | ms | speed | spread | difference |\n|---|---|---|---|---|---|", flush=True
    )
    for name in args.models:
        print("\n".join(measure(name, args)), flush=True)
        gc.collect()


if __name__ == "__main__":
    sys.exit(run_script(compare))
