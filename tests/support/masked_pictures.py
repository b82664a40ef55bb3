"""Small pictures with exact masks, in the folders of the format `masks`."""

import numpy as np
from PIL import Image

NAMES = ("ground", "disc", "square", "stripe", "cross", "ring", "wedge", "frame")
COLOURS = [
    (60, 60, 60), (220, 40, 40), (40, 200, 60), (50, 80, 230),
    (230, 210, 40), (200, 60, 210), (40, 210, 210), (240, 140, 40),
]  # fmt: skip


def draw_masked_picture(rng, side=64, classes=3, height=None):
    """(uint8 `[H, W, 3]` RGB, uint8 `[H, W]`): a ground, class 0, and a rectangle of each other class."""
    height = height or side
    mask = np.zeros((height, side), np.uint8)
    for number in range(1, classes):
        high = int(rng.integers(max(height // 4, 1), max(height // 2, 2)))
        wide = int(rng.integers(max(side // 4, 1), max(side // 2, 2)))
        top, left = int(rng.integers(height - high)), int(rng.integers(side - wide))
        mask[top : top + high, left : left + wide] = number
    colours = np.array([COLOURS[number % len(COLOURS)] for number in range(classes)])
    picture = colours[mask] + rng.integers(-15, 16, (height, side, 3))
    return np.clip(picture, 0, 255).astype(np.uint8), mask


def write_masked_pictures(folder, train=8, val=4, side=64, classes=3, seed=0):
    """Write `folder/train` and `folder/val` with `images/N.png` and `masks/N.png`, and classes.txt.

    Masks are grey PNG of class numbers. Returns the folder.
    """
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for part in ("images", "masks"):
            (folder / split / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture, mask = draw_masked_picture(rng, side, classes)
            Image.fromarray(picture).save(folder / split / "images" / f"{split}{number:03d}.png")
            Image.fromarray(mask).save(folder / split / "masks" / f"{split}{number:03d}.png")
    names = [
        NAMES[number] if number < len(NAMES) else f"class {number}" for number in range(classes)
    ]
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return folder
