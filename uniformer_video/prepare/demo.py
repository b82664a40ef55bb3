"""The demo dataset: generated H.264 videos of eight motions, a small stand-in for Something-Something.

A two-coloured rectangle moves over a drifting, noisy background. Colours, size, aspect, place, angle,
speed, length and frame rate are random, and each motion is symmetric about the middle of its video,
so that a single frame says nothing of the class: only the motion does.
"""

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from uniformer_video.cores import usable_cores
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.errors import DataError
from uniformer_video.files import write_text
from uniformer_video.randomness import generator

CLASS_NAMES = tuple(class_names("demo"))
SIDE = 72  # pixels, both ways
VERSION = 2  # raise it when the same seed gives other videos
_SPLITS = ("train", "val", "test")
_OWN_NAMES = (*_SPLITS, *(f"{split}.csv" for split in _SPLITS), "classes.txt")


@dataclass(frozen=True)
class Motion:
    """Change of the shape from one frame to the next, for a class."""

    dx: float = 0.0  # pixels
    dy: float = 0.0  # pixels, downwards
    growth: float = 0.0  # log of the size's factor
    turn: float = 0.0  # radians, clockwise on the screen


def generate_demo(
    root: Path | str,
    train: int = 1600,
    val: int = 160,
    test: int = 480,
    seed: int = 0,
    processes: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Write the videos, `train.csv`, `val.csv`, `test.csv` and `classes.txt` under `root`.

    The same seed gives the same files. Finished videos of an interrupted call are kept; a folder made
    with other settings is refused. `progress(done, total)` is called as videos are finished. Returns
    the number of videos made.
    """
    root = Path(root)
    counts = dict(zip(_SPLITS, (train, val, test), strict=True))
    settings = {"version": VERSION, "seed": seed, **counts}
    claim_folder(root, settings, _OWN_NAMES)
    jobs = [(root, split, i, seed) for split in _SPLITS for i in range(counts[split])]
    missing = [job for job in jobs if not _video_path(*job[:3]).is_file()]
    for split in _SPLITS:
        (root / split).mkdir(exist_ok=True)
    kept = len(jobs) - len(missing)
    with ProcessPoolExecutor(processes or usable_cores()) as pool:
        for made, _ in enumerate(pool.map(_write_one, missing, chunksize=8), start=1):
            if progress:
                progress(kept + made, len(jobs))
    for split in _SPLITS:
        lines = [
            f"{_video_path(root, split, i).relative_to(root).as_posix()},{i % len(CLASS_NAMES)}\n"
            for i in range(counts[split])
        ]
        write_text(root / f"{split}.csv", "".join(lines))
    write_text(root / "classes.txt", "".join(f"{name}\n" for name in CLASS_NAMES))
    return len(missing)


def render(label: int, rng: np.random.Generator) -> np.ndarray:
    """One video of the class `label`: `uint8 [T, SIDE, SIDE, 3]` RGB."""
    return _render(label, rng)[0]


@dataclass(frozen=True)
class DemoVideo:
    """A video before it is encoded: frames `uint8 [T, SIDE, SIDE, 3]` RGB, `fps` of them a second, and how
    much of each pixel the moving shape covers, `inside` `float [T, SIDE, SIDE]` in 0..1.
    """

    frames: np.ndarray
    inside: np.ndarray
    fps: int


def demo_video(split: str, index: int, seed: int = 0) -> DemoVideo:
    """What the file number `index` of a split, "train", "val" or "test", is made of, mask included."""
    rng = generator("demo", seed, _SPLITS.index(split), index)
    frames, inside = _render(index % len(CLASS_NAMES), rng)
    return DemoVideo(frames, inside, fps=int(rng.choice([12, 15, 24, 25, 30])))


def _render(label: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Frames, and what of them the shape covers, as of `DemoVideo`."""
    length = int(rng.integers(20, 29))
    times = np.arange(length) - (length - 1) / 2
    frames, inside = _without_noise(label, times, rng)
    frames += 0.03 * rng.standard_normal(frames.shape)
    return (frames.clip(0, 1) * 255).round().astype(np.uint8), inside


def _without_noise(
    label: int, times: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """What is seen at `times`, in frames from the middle of a video: `float [T, SIDE, SIDE, 3]` in 0..1; and
    how much of each pixel the shape covers, `float [T, SIDE, SIDE]`.
    """
    motion = _motion(label, rng)
    background = drifting_background(times, rng)
    inside, half = _shape(times, motion, rng)
    colors = _two_colors(rng)
    shape = np.where(half[..., None], colors[0], colors[1])
    return background + inside[..., None] * (shape - background), inside


def write_video(
    path: Path | str,
    frames: np.ndarray,
    fps: float | Fraction,
    crf: int = 23,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> None:
    """Encode `uint8 [T, H, W, 3]` RGB frames to the file `path` at `fps` frames a second.

    Without `options` the same frames give the same file on every processor: one thread, and none of
    x264's assembly, which on some gives another file each time.
    """
    if options is None:
        options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": "asm=0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps), options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _write_one(job: tuple[Path, str, int, int]) -> None:
    root, split, index, seed = job
    video = demo_video(split, index, seed)
    path = _video_path(root, split, index)
    unfinished = path.with_suffix(".part.mp4")
    write_video(unfinished, video.frames, video.fps)
    os.replace(unfinished, path)


def _motion(label: int, rng: np.random.Generator) -> Motion:
    speed = rng.uniform(0.95, 1.9)
    growth = np.log(rng.uniform(1.033, 1.065))
    turn = rng.uniform(0.085, 0.165)
    return (
        Motion(dx=-speed),
        Motion(dx=speed),
        Motion(dy=-speed),
        Motion(dy=speed),
        Motion(growth=growth),
        Motion(growth=-growth),
        Motion(turn=turn),
        Motion(turn=-turn),
    )[label]


def _shape(
    times: np.ndarray, motion: Motion, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Coverage `[T, H, W]` in 0..1 of the moving rectangle, and which pixels lie in its first half."""
    center = (SIDE - 1) / 2 + rng.uniform(-8, 8, size=2)
    x = center[0] + motion.dx * times
    y = center[1] + motion.dy * times
    angle = rng.uniform(-np.pi / 4, np.pi / 4) + motion.turn * times
    size = rng.uniform(11, 16) * np.exp(motion.growth * times)
    aspect = rng.uniform(0.45, 0.6)
    grid_y, grid_x = np.mgrid[:SIDE, :SIDE]
    right = grid_x - x[:, None, None]
    down = grid_y - y[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along, across = cos * right + sin * down, cos * down - sin * right
    long, short = size[:, None, None], aspect * size[:, None, None]
    inside = np.clip(long - abs(along) + 0.5, 0, 1) * np.clip(short - abs(across) + 0.5, 0, 1)
    return inside, along > 0


def _two_colors(rng: np.random.Generator) -> np.ndarray:
    """Two colours that differ clearly from each other."""
    while True:
        colors = rng.random((2, 3))
        if np.linalg.norm(colors[0] - colors[1]) > 0.6:
            return colors


def drifting_background(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random picture that drifts slowly: `float [T, H, W, 3]` in 0..1."""
    knots = rng.uniform(0.3, 0.7, size=(6, 6, 3))
    drift = rng.uniform(-0.15, 0.15, size=2)  # pixels a frame
    scale = 4 / SIDE
    rows = 0.5 + scale * (np.arange(SIDE) + drift[0] * times[:, None] + 4)
    columns = 0.5 + scale * (np.arange(SIDE) + drift[1] * times[:, None] + 4)
    return np.stack(
        [_bilinear(knots, r, c) for r, c in zip(rows, columns, strict=True)],
    )


def _bilinear(knots: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    rows, columns = np.clip(rows, 0, 4.999), np.clip(columns, 0, 4.999)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = knots[top][:, left] * (1 - right) + knots[top][:, left + 1] * right
    lower = knots[top + 1][:, left] * (1 - right) + knots[top + 1][:, left + 1] * right
    return upper * (1 - down) + lower * down


def _video_path(root: Path, split: str, index: int) -> Path:
    return Path(root) / split / f"{index:05d}.mp4"


def claim_folder(root: Path, settings: dict[str, Any], own_names: Sequence[str]) -> None:
    """Mark `root` as made with `settings`; refuse one made with others, or with `own_names` of nobody."""
    marker = root / "demo.json"
    try:
        root.mkdir(parents=True, exist_ok=True)
        found = json.loads(marker.read_text()) if marker.is_file() else None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot use {root} for the demo videos: {error}") from None
    taken = [name for name in own_names if (root / name).exists()]
    if found is None and taken:
        raise DataError(
            f"{root} holds other data already ({', '.join(taken[:3])}), which would be overwritten; "
            "choose another folder with --out"
        )
    if found not in (None, settings):
        raise DataError(
            f"{root} holds demo videos made with {found}, not {settings}; "
            "delete that folder or choose another with --out"
        )
    write_text(marker, json.dumps(settings) + "\n")
