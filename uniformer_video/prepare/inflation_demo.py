"""The inflation demo: stills that differ in appearance, videos that differ in appearance and motion.

An image model learns the stills; inflated, it starts a video model, which should then learn the videos from
fewer steps than one that starts from nothing.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from uniformer_video.cores import usable_cores
from uniformer_video.errors import DataError
from uniformer_video.files import write_text
from uniformer_video.prepare.appearances import APPEARANCES, STILL, Motion, draw_frames
from uniformer_video.prepare.demo import claim_folder, write_video
from uniformer_video.randomness import generator

VERSION = 1  # raise it when the same seed gives other files
MOTIONS = ("moves left", "moves right", "grows")
VIDEO_CLASSES = tuple(f"{looks.name} {motion}" for looks in APPEARANCES for motion in MOTIONS)
_QUALITY = 92  # of the stills' JPEG
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class InflationDemo:
    """What is to be made: numbers of videos by split, of stills to train on and to validate on, and the seed.

    There are as many stills to test on as to validate on. Raises `DataError` for numbers that leave a class
    without a file.
    """

    train: int = 1080
    val: int = 288
    test: int = 432
    stills: int = 2400
    val_stills: int = 360
    seed: int = 0

    def __post_init__(self) -> None:
        for least, names in (
            (len(VIDEO_CLASSES), _SPLITS),
            (len(APPEARANCES), ("stills", "val_stills")),
        ):
            for name in names:
                if getattr(self, name) < least:
                    raise DataError(
                        f"--{name.replace('_', '-')} is {getattr(self, name)}; it takes {least} or more, one "
                        "a class"
                    )
        if self.seed < 0:
            raise DataError(f"--seed is {self.seed}; it takes 0 or more")

    @property
    def total(self) -> int:
        """The number of files."""
        return self.train + self.val + self.test + self.stills + 2 * self.val_stills


def generate_inflation_demo(
    root: Path | str,
    demo: InflationDemo,
    processes: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Write `images/train`, `val` and `test` (a folder a class) and `videos` with their lists under `root`.

    The same numbers and seed give the same files. Finished files of an interrupted call are kept; a folder
    made with other numbers is refused. `progress(done, total)` is called as files are finished. Returns the
    number of files made.
    """
    root = Path(root)
    claim_folder(
        root, {"inflation": True, "version": VERSION, **asdict(demo)}, ("images", "videos")
    )
    stills = dict(zip(_SPLITS, (demo.stills, demo.val_stills, demo.val_stills), strict=True))
    jobs = [
        (_write_still, _still_path(root, split, index), demo.seed, place, index)
        for place, (split, count) in enumerate(stills.items())
        for index in range(count)
    ]
    jobs += [
        (_write_video, _video_path(root, split, index), demo.seed, place, index)
        for place, split in enumerate(_SPLITS)
        for index in range(getattr(demo, split))
    ]
    for folder in {path.parent for _, path, *_ in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not job[1].is_file()]
    with ProcessPoolExecutor(processes or usable_cores()) as pool:
        for made, _ in enumerate(pool.map(_write_one, missing, chunksize=16), start=1):
            if progress:
                progress(len(jobs) - len(missing) + made, len(jobs))
    _write_lists(root / "videos", demo)
    return len(missing)


def render_still(seed: int, split: int, index: int) -> np.ndarray:
    """The picture of that number in a split, 0 for training, before its compression: `uint8 [H, W, 3]`."""
    looks = APPEARANCES[index % len(APPEARANCES)]
    rng = generator("inflation demo's stills", seed, split, index)
    return draw_frames(looks, STILL, np.zeros(1), rng)[0]


def render_video(seed: int, split: int, index: int) -> tuple[np.ndarray, int]:
    """The video of that number, before its compression: `uint8 [T, H, W, 3]`, and its frames a second."""
    rng = generator("inflation demo's videos", seed, split, index)
    appearance, motion = divmod(index % len(VIDEO_CLASSES), len(MOTIONS))
    length, rate = int(rng.integers(18, 25)), int(rng.choice([12, 15, 24, 25, 30]))
    times = np.arange(length) - (length - 1) / 2
    frames = draw_frames(APPEARANCES[appearance], _motion(motion, rng), times, rng)
    return frames, rate


def _motion(number: int, rng: np.random.Generator) -> Motion:
    speed, growth = rng.uniform(0.8, 1.5), np.log(rng.uniform(1.03, 1.055))
    return (Motion(dx=-speed), Motion(dx=speed), Motion(growth=growth))[number]


def _write_one(job: tuple[Callable[..., None], Path, int, int, int]) -> None:
    write, path, seed, split, index = job
    unfinished = path.with_name(f"{path.stem}.part{path.suffix}")
    write(unfinished, seed, split, index)
    os.replace(unfinished, path)


def _write_still(path: Path, seed: int, split: int, index: int) -> None:
    Image.fromarray(render_still(seed, split, index)).save(path, quality=_QUALITY)


def _write_video(path: Path, seed: int, split: int, index: int) -> None:
    write_video(path, *render_video(seed, split, index))


def _still_path(root: Path, split: str, index: int) -> Path:
    name = APPEARANCES[index % len(APPEARANCES)].name.replace(" ", "_")
    return root / "images" / split / name / f"{index:05d}.jpg"


def _video_path(root: Path, split: str, index: int) -> Path:
    return root / "videos" / split / f"{index:05d}.mp4"


def _write_lists(videos: Path, demo: InflationDemo) -> None:
    """`train.csv`, `val.csv` and `test.csv` of the videos, and `classes.txt`."""
    for split in _SPLITS:
        lines = [
            f"{split}/{index:05d}.mp4,{index % len(VIDEO_CLASSES)}\n"
            for index in range(getattr(demo, split))
        ]
        write_text(videos / f"{split}.csv", "".join(lines))
    write_text(videos / "classes.txt", "".join(f"{name}\n" for name in VIDEO_CLASSES))
