"""The hard demo dataset: few generated videos, that are hard where small sets of real ones are.

Training, validation and test share no scene; backgrounds are textured and move, the camera shakes, other
objects move too, frame rates and lengths differ. `hard_motions` has the classes, `hard_scenes` the pictures.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from uniformer_video.cores import usable_cores
from uniformer_video.errors import DataError
from uniformer_video.files import write_text
from uniformer_video.prepare.demo import claim_folder, write_video
from uniformer_video.prepare.hard_motions import MOTIONS, act, distract
from uniformer_video.prepare.hard_scenes import Scene, draw_look, draw_scene, draw_usual_look, film
from uniformer_video.randomness import generator

VERSION = 4  # raise it when the same seed gives other videos
MOST_CLASSES, FEWEST_SCENES, MOST_SCENES = len(MOTIONS), 3, 8
SHORTEST, LONGEST = 3.0, 10.0  # seconds
_OWN_NAMES = ("videos", "train.csv", "val.csv", "test.csv", "classes.txt")


@dataclass(frozen=True)
class HardDemo:
    """What is to be made: numbers of classes, videos and scenes, and the seed.

    usual: the share of videos in which the object that moves looks the way it usually does in its class, as
    in real sets pictures tell something too; 0 = motion alone tells classes apart, 1 = looks would do.
    Raises `DataError` for numbers that cannot be had.
    """

    classes: int = 6
    videos: int = 100
    scenes: int = 8
    seed: int = 0
    usual: float = 0.6

    def __post_init__(self) -> None:
        if not 2 <= self.classes <= MOST_CLASSES:
            raise DataError(f"--classes is {self.classes}; it takes 2 to {MOST_CLASSES}")
        if not FEWEST_SCENES <= self.scenes <= MOST_SCENES:
            raise DataError(f"--scenes is {self.scenes}; it takes {FEWEST_SCENES} to {MOST_SCENES}")
        if self.videos < self.classes * self.scenes:
            raise DataError(
                f"--videos is {self.videos}; with {self.classes} classes in {self.scenes} scenes it takes "
                f"{self.classes * self.scenes} or more, so that each scene shows each class"
            )
        if self.seed < 0:
            raise DataError(f"--seed is {self.seed}; it takes 0 or more")
        if not 0 <= self.usual <= 1:
            raise DataError(f"--usual is {self.usual:g}; it takes a share from 0 to 1")

    def label(self, index: int) -> int:
        """The class of a video by its number."""
        return index % self.classes

    def scene(self, index: int) -> int:
        """The scene of a video by its number."""
        return index // self.classes % self.scenes

    def path(self, index: int) -> PurePosixPath:
        """Where a video lies in the dataset's folder; its name tells the scene."""
        name = f"scene{self.scene(index)}_{index:04d}.mp4"
        return PurePosixPath("videos", MOTIONS[self.label(index)], name)

    def split(self, scene: int) -> str:
        """The list of a scene: about a quarter of the scenes is for testing, an eighth for validation."""
        test, val = max(self.scenes // 4, 1), max(self.scenes // 8, 1)
        if scene < self.scenes - test - val:
            return "train"
        return "val" if scene < self.scenes - test else "test"


def generate_hard_demo(
    root: Path | str,
    demo: HardDemo,
    processes: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Write the videos in class folders, `train.csv`, `val.csv`, `test.csv` and `classes.txt` under `root`.

    The lists have a column `group`, the scene. The same numbers give the same files. Finished videos of
    an interrupted call are kept; a folder made with other numbers is refused. `progress(done, total)` is
    called as videos are finished. Returns the number of videos made.
    """
    root = Path(root)
    claim_folder(root, {"hard": True, "version": VERSION, **asdict(demo)}, _OWN_NAMES)
    for name in MOTIONS[: demo.classes]:
        (root / "videos" / name).mkdir(parents=True, exist_ok=True)
    # videos of a scene behind each other, so that a process draws few scenes
    order = sorted(range(demo.videos), key=demo.scene)
    jobs = [(root, demo, index) for index in order if not (root / demo.path(index)).is_file()]
    with ProcessPoolExecutor(processes or usable_cores()) as pool:
        for made, _ in enumerate(pool.map(_write_one, jobs), start=1):
            if progress:
                progress(demo.videos - len(jobs) + made, demo.videos)
    for split in ("train", "val", "test"):
        _write_list(root, split, demo, [i for i in order if demo.split(demo.scene(i)) == split])
    write_text(root / "classes.txt", "".join(f"{name}\n" for name in MOTIONS[: demo.classes]))
    return len(jobs)


def render(demo: HardDemo, index: int) -> tuple[np.ndarray, int]:
    """The video of that number, not yet compressed: `uint8 [T, 240, 320, 3]`, and its frames a second."""
    rng = generator("hard demo", demo.seed, index)
    scene = _scene(demo.seed, demo.scene(index))
    rate = int(rng.choice(scene.frame_rates))
    times = np.arange(round(rng.uniform(SHORTEST, LONGEST) * rate)) / rate
    duration = len(times) / rate
    others = range(int(rng.integers(1, scene.clutter + 1)))
    looks = [draw_look(rng, counts=False) for _ in others]
    is_usual = rng.random() < demo.usual
    looks.append(
        draw_usual_look(rng, demo.label(index)) if is_usual else draw_look(rng, counts=True)
    )
    tracks = [distract(times, duration, rng) for _ in others]
    tracks.append(act(demo.label(index), times, duration, rng))
    return np.stack(list(film(scene, times, list(zip(tracks, looks, strict=True)), rng))), rate


def _write_one(job: tuple[Path, HardDemo, int]) -> None:
    root, demo, index = job
    frames, rate = render(demo, index)
    quality = int(generator("hard demo's quality", demo.seed, index).integers(22, 33))
    path = root / demo.path(index)
    unfinished = path.with_suffix(".part.mp4")
    write_video(unfinished, frames, rate, crf=quality)
    os.replace(unfinished, path)


@lru_cache(maxsize=2)
def _scene(seed: int, scene: int) -> Scene:
    return draw_scene(generator("hard demo's scene", seed, scene))


def _write_list(root: Path, split: str, demo: HardDemo, videos: Sequence[int]) -> None:
    lines = [f"{demo.path(i)},{demo.label(i)},scene{demo.scene(i)}\n" for i in videos]
    write_text(root / f"{split}.csv", "path,label,group\n" + "".join(lines))
