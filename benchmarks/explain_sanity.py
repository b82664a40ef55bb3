"""Whether the heat of `explain` means something, on the demo's videos, whose moving shape is known.

Three questions, after Adebayo et al., "Sanity Checks for Saliency Maps" (2018): how much of the heat lies in
the shape, against its share of the area; how alike in rank (Spearman) it is to the map of the same model with
weights drawn anew; and whether hiding the half that is said to decide costs more than hiding the other.

    python benchmarks/explain_sanity.py --checkpoint runs/uniformer_demo/last.pt --data datasets/demo
"""

import argparse
import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from uniformer_video.explain.explainer import Explainer, Explanation
from uniformer_video.inference.predictor import Predictor
from uniformer_video.prepare.demo import SIDE, DemoVideo, demo_video, write_video

WAYS: dict[str, dict[str, Any]] = {
    **{f"gradcam, stage {stage}": {"stage": stage} for stage in (1, 2, 3, 4)},
    "occlusion": {"method": "occlusion"},
    "rollout": {"method": "rollout"},
}
# What is drawn anew, one behind the other, from the answer down.
CASCADE = (
    ("head", "norm"),
    ("blocks4", "patch_embed4"),
    ("blocks3", "patch_embed3"),
    ("blocks2", "patch_embed2"),
    ("blocks1", "patch_embed1"),
)


def randomised(predictor: Predictor, parts: int = len(CASCADE), seed: int = 0) -> Predictor:
    """The predictor with the first `parts` of `CASCADE` as a new model has them, statistics of norms too."""
    torch.manual_seed(seed)
    own: Any = predictor.model
    fresh = type(own)(own.num_classes, **own.arguments).state_dict()
    drawn = [name for part in CASCADE[:parts] for name in part]
    model: nn.Module = copy.deepcopy(own)
    model.load_state_dict(
        {key: fresh[key] for key in fresh if key.partition(".")[0] in drawn}, strict=False
    )
    other = copy.copy(predictor)
    other.model = model.eval()
    return other


def inside_of(found: Explanation, video: DemoVideo) -> np.ndarray:
    """What the shape covers of each pixel of the heat, `[C, T, H, W]`."""
    frames = np.round(found.times * video.fps).astype(int)
    crop = found.heat.shape[-1]
    low = (SIDE - crop) // 2
    return video.inside[frames][..., low : low + crop, low : low + crop]


def halves(predictor: Predictor, found: Explanation) -> tuple[float, float]:
    """The fall of the logit without the half of the picture that decides, and without the other half.

    Left and right, or above and below, whichever differ more in their heat; hidden in all frames.
    """
    pixels = torch.from_numpy(found.frames[0]).permute(3, 0, 1, 2).float()
    view = predictor.protocol.views.to_input(pixels)
    index = predictor.class_names.index(found.class_name)
    side = view.shape[-1]
    low, high = slice(0, side // 2), slice(side // 2, side)
    both: list[list[tuple[float, float]]] = []  # of each axis: (heat, fall) of its halves
    whole = float(predictor.view_logits(view[None])[0, index])
    for axis in (2, 3):
        own = []
        for half in (low, high):
            where = (slice(None),) * axis + (half,)
            changed = view.clone()
            changed[where] = view.mean((1, 2, 3))[:, None, None, None]
            fall = whole - float(predictor.view_logits(changed[None])[0, index])
            own.append((float(found.heat[0][where[1:]].sum()), fall))
        both.append(sorted(own, reverse=True))
    (_, decides), (_, other) = max(both, key=lambda own: own[0][0] - own[1][0])
    return decides, other


def measure(
    predictor: Predictor, data: Path, count: int, ways: Sequence[str]
) -> dict[str, dict[str, float]]:
    """{way: its figures}, means over the first `count` test videos of the demo's `data`."""
    explainer, other = Explainer(predictor), Explainer(randomised(predictor))
    rows: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
    for index in range(count):
        path, video = data / "test" / f"{index:05d}.mp4", demo_video("test", index)
        for way in ways:
            found = explainer(path, **WAYS[way])
            same = other(path, found.class_name, **WAYS[way])
            inside = inside_of(found, video)
            total = float(found.heat.sum())
            hot, cold = halves(predictor, found)
            rows[way].append(
                (
                    float((found.heat * inside).sum()) / total if total else 0.0,
                    float(inside.mean()),
                    rank_correlation(found.heat, same.heat),
                    hot,
                    cold,
                    float(hot > cold),
                    float(total == 0),
                )
            )
    names = ("heat", "area", "correlation", "hot", "cold", "hotter", "empty")
    return {
        way: dict(zip(names, np.array(own).mean(0).tolist(), strict=True))
        for way, own in rows.items()
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's; 0 with a map that is the same everywhere, which has no ranks."""
    if not np.ptp(first) or not np.ptp(second):
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel())[0])


def cascade(predictor: Predictor, data: Path, count: int, way: str) -> list[float]:
    """The mean rank correlation of the map, as more and more of `CASCADE` is drawn anew."""
    explainer = Explainer(predictor)
    others = [Explainer(randomised(predictor, parts)) for parts in range(1, len(CASCADE) + 1)]
    found: list[list[float]] = []
    for index in range(count):
        path = data / "test" / f"{index:05d}.mp4"
        own = explainer(path, **WAYS[way])
        maps = [other(path, own.class_name, **WAYS[way]).heat for other in others]
        found.append([rank_correlation(own.heat, heat) for heat in maps])
    return np.array(found).mean(0).tolist()


def moving_half(predictor: Predictor, count: int) -> float:
    """The share of videos whose shape moves in one half of the time alone, in which occlusion over the whole
    video loses more of the true class's logit by that half; the halves by turns.
    """
    explainer, right = Explainer(predictor), 0
    with tempfile.TemporaryDirectory() as folder:
        for index in range(count):
            video = demo_video("test", index)
            still = np.repeat(video.frames[[-1 if index % 2 == 0 else 0]], len(video.frames), 0)
            parts = (video.frames, still) if index % 2 == 0 else (still, video.frames)
            path = Path(folder) / f"{index}.mp4"
            write_video(path, np.concatenate(parts), video.fps)
            name = predictor.class_names[index % len(predictor.class_names)]
            found = explainer(path, name, "occlusion", clips=4)
            assert found.edges is not None and found.falls_seconds is not None
            middle = len(video.frames) / video.fps
            first = (found.edges[:-1] + found.edges[1:]) / 2 < middle
            sums = [np.nansum(found.falls_seconds[part]) for part in (first, ~first)]
            right += (sums[0] > sums[1]) == (index % 2 == 0)
    return right / count


def table(figures: dict[str, dict[str, float]]) -> str:
    """The figures as a table in Markdown."""
    head = (
        "| | heat in the shape / its area | rank correlation, weights drawn anew | fall of the logit without "
        "the half of the picture with more heat / the other | the former counts more | no heat |\n"
        "|---|---|---|---|---|---|"
    )
    line: Callable[[str, dict[str, float]], str] = lambda way, f: (  # noqa: E731
        f"| {way} | {f['heat']:.1%} / {f['area']:.1%} = {f['heat'] / f['area']:.2f} | "
        f"{f['correlation']:.2f} | {f['hot']:.1f} / {f['cold']:.1f} | {f['hotter']:.0%} | {f['empty']:.0%} |"
    )
    return "\n".join([head, *(line(way, own) for way, own in figures.items())])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True, help="trained on the demo, at best fully")
    parser.add_argument("--data", type=Path, required=True, help="the demo's videos, seed 0")
    parser.add_argument("--videos", type=int, default=100)
    args = parser.parse_args()
    predictor = Predictor.from_checkpoint(args.checkpoint)
    print(table(measure(predictor, args.data, args.videos, list(WAYS))), flush=True)
    for way in ("gradcam, stage 1", "gradcam, stage 2"):
        steps = cascade(predictor, args.data, args.videos, way)
        print(f"{way}, drawn anew from the head down:", ", ".join(f"{c:.2f}" for c in steps))
    share = moving_half(predictor, args.videos)
    print(f"occlusion over the whole video: the half that moves counts more in {share:.0%} of them")


if __name__ == "__main__":
    main()
