"""The segmentation demo: generated pictures with masks, in the layout of the format `masks`."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniformer_video.cores import usable_cores
from uniformer_video.errors import DataError
from uniformer_video.files import write_text
from uniformer_video.prepare.demo import claim_folder
from uniformer_video.prepare.dense_scenes import CLASS_NAMES, PALETTE, render
from uniformer_video.randomness import generator

VERSION = 1  # raise it when the same seed gives other files
_SPLITS = ("train", "val", "test")
# Of the pictures' JPEG; halved colours would blur textures, which differ in colour alone.
_JPEG = {"quality": 92, "subsampling": 0}


@dataclass(frozen=True)
class DenseDemo:
    """What is to be made: numbers of pictures by split, and the seed. Raises `DataError` for wrong ones."""

    train: int = 3600
    val: int = 100
    test: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (*((split, 1) for split in _SPLITS), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(
                    f"--{name} is {getattr(self, name)}; with --dense it takes {least} or more"
                )

    @property
    def total(self) -> int:
        """The number of pictures."""
        return self.train + self.val + self.test


def generate_dense_demo(
    root: Path | str,
    demo: DenseDemo,
    processes: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Write `images` and `masks` in `train`, `val` and `test` under `root`, and `classes.txt` with colours.

    The same numbers and seed give the same files, in any number of processes. Finished files of an
    interrupted call are kept; a folder made with other numbers is refused. `progress(done, total)` is called
    as pictures are finished. Returns the number of pictures made.
    """
    root = Path(root)
    settings = {"dense": True, "version": VERSION, **asdict(demo)}
    claim_folder(root, settings, (*_SPLITS, "classes.txt"))
    colors = (
        f"{name},{','.join(map(str, color))}\n"
        for name, color in zip(CLASS_NAMES, PALETTE, strict=True)
    )
    write_text(root / "classes.txt", "".join(colors))
    for split in _SPLITS:
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
    jobs = [
        (root / split, demo.seed, place, index)
        for place, split in enumerate(_SPLITS)
        for index in range(getattr(demo, split))
    ]
    missing = [job for job in jobs if not all(path.is_file() for path in _paths(job[0], job[3]))]
    with ProcessPoolExecutor(processes or usable_cores()) as pool:
        for made, _ in enumerate(pool.map(_write_one, missing, chunksize=16), start=1):
            if progress:
                progress(len(jobs) - len(missing) + made, len(jobs))
    return len(missing)


def render_pair(seed: int, split: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture of that number in a split, 0 for training, before its compression, and its mask.

    `uint8 [128, 128, 3]` and `uint8 [128, 128]`.
    """
    return render(generator("dense demo", seed, split, index))


def _write_one(job: tuple[Path, int, int, int]) -> None:
    folder, seed, split, index = job
    picture, mask = render_pair(seed, split, index)
    indexed = Image.fromarray(mask, "P")
    indexed.putpalette([value for color in PALETTE for value in color])
    picture_path, mask_path = _paths(folder, index)
    _save(indexed, mask_path)
    _save(Image.fromarray(picture), picture_path, **_JPEG)


def _save(image: Image.Image, path: Path, **options: Any) -> None:
    # hidden: what is left of an interrupted call is no picture
    unfinished = path.with_name(f".{path.name}")
    image.save(unfinished, **options)
    os.replace(unfinished, path)


def _paths(folder: Path, index: int) -> tuple[Path, Path]:
    """A picture and its mask in the folder of a split."""
    return folder / "images" / f"{index:05d}.jpg", folder / "masks" / f"{index:05d}.png"
