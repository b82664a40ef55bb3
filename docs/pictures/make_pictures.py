"""Make the README's pictures anew: `make pictures`, after `make demo`.

`demo.webp` shows a video of each class of the demo, playing side by side; `report.png` the top of the demo's
report page, in a Chromium that is installed. UNIFORMER_CHROMIUM names it where it is not found by itself.
`dense.webp` shows pictures of the segmentation demo above their masks.
"""

import argparse
import csv
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import uniformer_video as uv
from uniformer_video.prepare.dense_demo import render_pair
from uniformer_video.prepare.dense_scenes import PALETTE

FOLDER = Path(__file__).parent
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
PAGE_SIZE = {"width": 1280, "height": 860}
COLUMNS, SIDE, GAP, CAPTION = 4, 112, 12, 22
NUM_FRAMES, SECONDS = 24, 2.0
PAPER, INK = (245, 246, 248), (24, 32, 44)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=Path, default=Path("datasets/demo"))
    parser.add_argument("--run", type=Path, default=Path("runs/uniformer_demo"))
    args = parser.parse_args()
    film = FOLDER / "demo.webp"
    frames = [Image.fromarray(frame) for frame in film_of_classes(args.videos)]
    duration = round(1000 * SECONDS / NUM_FRAMES)
    frames[0].save(film, save_all=True, append_images=frames[1:], duration=duration, loop=0)
    page = FOLDER / "report.png"
    photograph(args.run / "report.html", page)
    masked = FOLDER / "dense.webp"
    Image.fromarray(pictures_and_masks()).save(masked, quality=85)
    for path in (film, page, masked):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def film_of_classes(folder: Path) -> np.ndarray:
    """The first test video of each class beside the others, with their names: uint8 `[T, H, W, 3]`."""
    names = (folder / "classes.txt").read_text().splitlines()
    with (folder / "test.csv").open(newline="") as file:
        first = {int(label): path for path, label in reversed(list(csv.reader(file)))}
    rows = -(-len(names) // COLUMNS)
    height, width = rows * (SIDE + CAPTION + GAP) + GAP, COLUMNS * (SIDE + GAP) + GAP
    film = np.stack([_sheet(names, height, width)] * NUM_FRAMES)
    for label in range(len(names)):
        top, left = _corner(label)
        film[:, top : top + SIDE, left : left + SIDE] = _frames(folder / first[label])
    return film


def pictures_and_masks(count: int = 6) -> np.ndarray:
    """The first test pictures of the segmentation demo above their masks: uint8 `[256, 128 * count, 3]`."""
    pairs = [render_pair(seed=0, split=2, index=index) for index in range(count)]
    colors = np.array(PALETTE, np.uint8)
    return np.hstack([np.vstack([picture, colors[mask]]) for picture, mask in pairs])


def photograph(page: Path, out: Path) -> None:
    """The top of a page, as a PNG of 256 colours."""
    from playwright.sync_api import sync_playwright

    browser = os.environ.get("UNIFORMER_CHROMIUM") or next(
        filter(None, map(shutil.which, BROWSERS)), None
    )
    if not browser:
        raise SystemExit(
            f"no Chromium found: none of {', '.join(BROWSERS)}; set UNIFORMER_CHROMIUM to one"
        )
    with sync_playwright() as play:
        window = play.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        sheet = window.new_page(viewport=PAGE_SIZE, color_scheme="light")
        sheet.goto(page.resolve().as_uri())
        sheet.screenshot(path=out)
        window.close()
    Image.open(out).quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


def _corner(label: int) -> tuple[int, int]:
    row, column = divmod(label, COLUMNS)
    return GAP + row * (SIDE + CAPTION + GAP), GAP + column * (SIDE + GAP)


def _sheet(names: list[str], height: int, width: int) -> np.ndarray:
    """The captions on empty paper."""
    sheet = Image.new("RGB", (width, height), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for label, name in enumerate(names):
        top, left = _corner(label)
        draw.text((left + SIDE / 2, top + SIDE + 4), name, fill=INK, font=font, anchor="ma")
    return np.asarray(sheet)


def _frames(path: Path) -> np.ndarray:
    """`NUM_FRAMES` frames spread over a video, enlarged: uint8 `[T, SIDE, SIDE, 3]`."""
    with uv.open_video(path) as video:
        frames = video.frames(np.linspace(0, len(video) - 1, NUM_FRAMES).round().astype(int))
    return np.stack(
        [
            np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
            for frame in frames
        ]
    )


if __name__ == "__main__":
    main()
