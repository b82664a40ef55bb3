"""A multi-view test from files, with workers: the published way beside ours, in one run, by the same weights.

    python benchmarks/four_clip_test.py [--videos FOLDER_OR_FILES] [--count 6] [--rounds 5] [--json FILE]

Published: `uniformer_video/bench/published_test.py` makes the views, `naive_uniformer.py` computes in fp32.
Ours: the loop of our tests, the model as tests run it, in fp32 and in bf16 (`TEST.PRECISION bf16`). Sides
take turns; times are the wall's, from the start of the workers to the last logit, medians over the rounds.
Without `--videos` H.264 videos of 10 s and 340x256 pixels with B-frames are generated.
"""

import argparse
import copy
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from command_line import run_script
from gpu_measure import arithmetic, choose_device
from naive_uniformer import NaiveUniFormer
from torch import nn

from uniformer_video.bench.clock import PartClock
from uniformer_video.bench.figures import Figure, Measured, comparison
from uniformer_video.bench.generated import generate_videos
from uniformer_video.bench.progress import Progress, of_rounds
from uniformer_video.bench.published_test import PublishedViews, published_scores
from uniformer_video.commands.bench_run import begin, measured
from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import EvalDataset
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.evaluation.scoring import score_videos
from uniformer_video.inference.records import records_at
from uniformer_video.models.inference_mode import lay_out, prepare_for_inference
from uniformer_video.training.precision import autocast_for
from uniformer_video.words import name_some, one_line, plural
from uniformer_video.zoo.create import build_network

PUBLISHED = "published fp32"
Side = Callable[[Sequence[VideoRecord], Callable[[str], None]], np.ndarray]


def published(model: nn.Module) -> NaiveUniFormer:
    """The plain layout with the weights of our UniFormer."""
    own: Any = model
    sizes = own.arguments
    plain = NaiveUniFormer(
        own.num_classes,
        sizes["embed_dims"],
        sizes["depths"],
        sizes["head_dim"],
        sizes["local_kernel"],
        int(sizes.get("mlp_ratio", 4)),
    )
    plain.load_state_dict(model.state_dict())
    return plain


def protocol(args: argparse.Namespace) -> tuple[ClipSampling, EvalViews, int]:
    """What is seen of a video: the frames of a clip, what becomes of them, how many clips."""
    return ClipSampling(args.frames, args.stride), EvalViews(args.size, args.size), args.clips


def readable(
    records: Sequence[VideoRecord], args: argparse.Namespace
) -> tuple[list[VideoRecord], list[str]]:
    """(the videos that both ways read, why each of the others cannot be)."""
    good, reasons = [], []
    for record in records:
        try:
            if reason := EvalDataset([record], *protocol(args))[0].reason:
                raise DecodeError(reason)
            PublishedViews([record], *protocol(args))[0]
            good.append(record)
        except DecodeError as error:
            reasons.append(one_line(error))
    if not good:
        raise DataError(f"none of the videos can be read; the first: {reasons[0]}")
    return good, reasons


def sides(model: nn.Module, args: argparse.Namespace) -> dict[str, Side]:
    """The ways to test, by name: (videos, mark) -> logits, float32 `[video, view, class]`."""
    shown = protocol(args)
    workers = resolve_workers(args.workers)
    device = args.device
    plain = published(model).to(device)

    def as_published(records: Sequence[VideoRecord], mark: Callable[[str], None]) -> np.ndarray:
        return published_scores(plain, PublishedViews(records, *shown), args.batch, workers, mark)

    def ours(precision: str) -> Side:
        ready: Any = prepare_for_inference(copy.deepcopy(model)).to(device)
        lay_out(ready, device, precision)

        def score(records: Sequence[VideoRecord], mark: Callable[[str], None]) -> np.ndarray:
            found = score_videos(
                ready,
                EvalDataset(records, *shown),
                ready.num_classes,
                Ranks(0, 1, device),
                args.batch,
                workers,
                autocast_for(precision, device),
                mark=mark,
            )
            if found.failures:
                raise DataError(name_some([*found.failures.values()]))
            return found.scores

        return score

    return {PUBLISHED: as_published, **{f"ours {name}": ours(name) for name in args.precisions}}


def measure(
    ways: dict[str, Side],
    records: Sequence[VideoRecord],
    rounds: int,
    device: torch.device | None = None,
    found: Measured | None = None,
) -> Measured:
    """Figures of each way in ms a video, of its parts, and how many times as fast as published it is.

    device: where the ways compute, so that each part is waited for there. found: gets the figures
    round by round, for whoever is interrupted; it is what is returned.
    """
    found = found or Measured("four_clip_test", {})
    found.what["videos"] = len(records)
    at = Progress()
    at(f"warming up, {plural(len(ways), 'side')}")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    parts: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    scores = {name: way(records[:1], lambda part: None) for name, way in ways.items()}  # warms up
    for number in range(1, rounds + 1):
        for name, way in ways.items():
            at(f"{name}, {of_rounds(number, rounds)}")
            clock = PartClock(device)
            started = time.perf_counter()
            scores[name] = way(records, clock.mark)
            seconds[name].append((time.perf_counter() - started) / len(records))
            parts[name].append({part: each / len(records) for part, each in clock.lap().items()})
        for name in ways:
            found.add_seconds({name: seconds[name]})
            for part in ("waiting for data", "forward"):
                found.add_seconds({f"{name}: {part}": [own[part] for own in parts[name]]})
        for name in list(ways)[1:]:
            ratios = [a / b for a, b in zip(seconds[PUBLISHED], seconds[name], strict=True)]
            found.figures[f"{name}: times as fast"] = Figure.of(ratios, "x")
    base = scores[PUBLISHED]
    for name in list(ways)[1:]:
        away = float(np.abs(scores[name] - base).max() / np.abs(base).max())
        found.notes.append(f"{name}: logits differ by {away:.1e} of the largest")
    return found


def table(found: Measured) -> str:
    """The figures in Markdown."""
    names = [name for name in found.figures if ":" not in name]
    lines = [
        "| | s a video | waiting for data | forward | times as fast as published |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        whole, waiting, forward = (
            found.figures[each].median / 1e3
            for each in (name, f"{name}: waiting for data", f"{name}: forward")
        )
        fast = found.figures.get(f"{name}: times as fast")
        told = f"{fast.median:.2f} ({fast.low:.2f} - {fast.high:.2f})" if fast else "1"
        lines.append(f"| {name} | {whole:.2f} | {waiting:.2f} | {forward:.2f} | {told} |")
    return "\n".join([*lines, "", *found.notes])


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--videos", nargs="+", metavar="PATH", help="as `predict` takes them")
    parser.add_argument("--count", type=int, default=6, help="of generated videos, or at most (6)")
    parser.add_argument("--model", default="uniformer_s", choices=["uniformer_s", "uniformer_b"])
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--stride", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4, help="views of a pass, on both sides (4)")
    parser.add_argument("--workers", type=int, default=-1, help="(one a core)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--precisions", nargs="+", default=["fp32", "bf16"], choices=["fp32", "bf16"]
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--compare", metavar="FILE", help="an earlier --json")
    args = parser.parse_args(arguments)
    counts = ("count", "clips", "frames", "stride", "size", "batch", "rounds")
    for name in counts:
        if getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; it is 1 or more")
    if args.workers < -1:
        parser.error(f"--workers is {args.workers}; it is 0 or more, or -1 for one a core")
    args.device = choose_device(parser, args.device)
    return args


def run(args: argparse.Namespace, model: nn.Module, found: Measured) -> None:
    """Measure on the videos that are given, or on generated ones, and add that to `found`."""
    with tempfile.TemporaryDirectory() as folder:
        if args.videos:
            records = list(records_at(args.videos)[0])[: args.count]
        else:
            records = generate_videos(folder, args.count)
        records, reasons = readable(records, args)
        with arithmetic("float32"):  # fp32 without TF32, which torch takes for convolutions
            measure(sides(model, args), records, args.rounds, args.device, found)
    found.notes.insert(
        0,
        f"{plural(len(records), 'video')}, {plural(args.clips, 'view')} of each, "
        f"{plural(resolve_workers(args.workers), 'worker')}, {plural(args.rounds, 'round')}; "
        + ", ".join(f"{key} {value}" for key, value in found.machine.items()),
    )
    if reasons:
        found.notes.append(
            f"{plural(len(reasons), 'video')} left out as broken: {name_some(reasons)}"
        )


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What decides what is measured."""
    told = (
        "model",
        "clips",
        "frames",
        "stride",
        "size",
        "batch",
        "workers",
        "precisions",
    )
    given = {name: getattr(args, name) for name in told}
    return {**given, "device": str(args.device), "generated": not args.videos}


def compare() -> None:
    args = options()
    earlier = begin(args, "four_clip_test")
    found = Measured("four_clip_test", settings(args))
    torch.manual_seed(0)
    model = build_network(args.model, 400).eval()

    def tell() -> None:
        print(table(found))
        if earlier:
            print("\n".join(comparison(found, earlier, args.compare)))
        if args.json:
            words = ["python", "benchmarks/four_clip_test.py", *sys.argv[1:]]
            print(found.write(args.json, shlex.join(words)))

    measured(args, lambda: run(args, model, found), tell, lambda: found.figures, found)


def main() -> int:
    return run_script(compare)


if __name__ == "__main__":
    sys.exit(main())
