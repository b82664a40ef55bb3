"""The report page of a large test: 20,000 videos of 600 classes, 70 % of them right.

Writes such a results folder with made-up scores and strips, and its page, and says how large the page is and
how long that took. With `--browser` (a Chromium, and the extra `browser`) it opens the page and says when its
script is ready, classes are found and sorted, and the videos of a cell are listed:

    python benchmarks/large_report.py runs/large_report --browser /usr/bin/chromium
"""

import argparse
import time
from pathlib import Path

import numpy as np

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.loading.film_strip import film_strip
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.evaluation.results import build_results, save_results
from uniformer_video.evaluation.strips import Strips
from uniformer_video.pages.report import write_report
from uniformer_video.tasks.registry import load_tested
from uniformer_video.tasks.single_label import SingleLabel

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
WORDS = (
    "playing",
    "throwing",
    "washing",
    "folding",
    "the",
    "a",
    "with",
    "without",
    "ball",
    "guitar",
    "water",
)


def class_names(count: int, rng: np.random.Generator) -> list[str]:
    """Names of a few words, as large sets have them."""
    return [f"{' '.join(rng.choice(WORDS, 3))} {number}" for number in range(count)]


def video_names(classes: list[str], labels: np.ndarray, rng: np.random.Generator) -> list[str]:
    """`class/11 letters_start_end.mp4`, as the videos of Kinetics are called."""
    letters = rng.choice(list(LETTERS), (len(labels), 11))
    starts = rng.integers(0, 600, len(labels))
    return [
        f"{classes[label].replace(' ', '_')}/{''.join(own)}_{start:06d}_{start + 10:06d}.mp4"
        for label, own, start in zip(labels, letters, starts, strict=True)
    ]


def logits(labels: np.ndarray, count: int, top1: float, rng: np.random.Generator) -> np.ndarray:
    """float32 `[N, 1, K]` of which the share `top1` is right; half of the wrong answers are of a class that
    is like the true one.
    """
    scores = rng.normal(0, 1, (len(labels), 1, count)).astype(np.float32)
    wrong = rng.random(len(labels)) >= top1
    other = (labels + rng.integers(1, count, len(labels))) % count
    alike = (labels + rng.integers(1, 4, len(labels))) % count
    chosen = np.where(rng.random(len(labels)) < 0.5, other, alike)
    sure = rng.uniform(6, 12, len(labels)).astype(np.float32)
    places = np.arange(len(labels))
    scores[places, 0, labels] = sure
    scores[places[wrong], 0, chosen[wrong]] = sure[wrong] + rng.uniform(0.1, 4, wrong.sum())
    return scores


def strips(count: int, rng: np.random.Generator) -> Strips:
    """Pictures of shapes and noise, about as large as those of real videos; 200 different ones."""
    pictures = []
    for _ in range(200):
        coarse = rng.integers(0, 255, (1, 4, 8, 14, 3), np.uint8)
        frames = coarse.repeat(32, axis=2).repeat(32, axis=3).astype(np.int16)
        frames += rng.integers(-60, 60, frames.shape, np.int16)
        pictures.append(film_strip(frames.clip(0, 255).astype(np.uint8)))
    return Strips.of({place: pictures[place % 200] for place in range(count)}, count)


def make_folder(folder: Path, videos: int, classes: int, top1: float) -> Path:
    """A folder of results; the same ones for the same arguments."""
    rng, task = np.random.default_rng(0), SingleLabel()
    names = class_names(classes, rng)
    labels = rng.integers(0, classes, videos)
    paths = video_names(names, labels, rng)
    scores = logits(labels, classes, top1, rng)
    results = build_results(
        task=task,
        title="a large test",
        names=paths,
        paths=[f"/data/videos/{path}" for path in paths],
        labels=labels,
        view_scores=scores,
        class_names=names,
        protocol=Protocol(ClipSampling(16, 4), EvalViews(224, 224), precision="fp32"),
        model={
            "name": "made up",
            "parameters": 0,
            "checkpoint": "",
            "checkpoint_sha256": None,
            "epoch": 0,
        },
    )
    save_results(folder, results, scores, task)
    strips(videos, rng).save(folder)
    return folder


def measure(page_file: Path, browser: str) -> list[str]:
    """What a Chromium takes for the page, in seconds from the start of loading it."""
    from playwright.sync_api import sync_playwright

    lines = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 900})
        started = time.perf_counter()

        def note(what: str) -> None:
            lines.append(f"{time.perf_counter() - started:6.2f} s  {what}")

        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("html[data-script=ready]", state="attached")
        note("the script is ready")
        page.fill("#classes input[type=search]", "guitar")
        note(f"classes: {page.inner_text('#classes .tools [role=status]')}")
        page.click("#confusion table button.link")
        note(f"videos of a cell: {page.inner_text('#videos [role=status]')}")
        page.fill("#videos [name=words]", "water")
        note(f"videos searched: {page.inner_text('#videos [role=status]')}")
        page.click("#classes th .sort")
        note("classes sorted")
        chromium.close()
    return lines


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="where the results and the page go")
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=600)
    parser.add_argument("--top1", type=float, default=0.7, help="share of right answers")
    parser.add_argument("--browser", default="", help="a Chromium that opens the page")
    args = parser.parse_args()
    folder = make_folder(args.folder, args.videos, args.classes, args.top1)
    results, task = load_tested(folder)
    started = time.perf_counter()
    path = write_report(folder, results, task)
    print(
        f"top-1 {results['summary']['top1']['value']:.1%} of {args.videos:,} videos, {args.classes} classes"
    )
    print(
        f"{path}: {path.stat().st_size / 1e6:.1f} MB, written in {time.perf_counter() - started:.1f} s"
    )
    if args.browser:
        print("\n".join(measure(path, args.browser)))


if __name__ == "__main__":
    main()
