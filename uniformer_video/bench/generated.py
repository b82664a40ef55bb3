"""Generated videos and pictures of usual sizes, for measuring without data."""

from pathlib import Path

import numpy as np
from PIL import Image

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.prepare.demo import write_video
from uniformer_video.randomness import generator

JPEG_QUALITY = 90


def generate_videos(
    folder: str | Path, count: int = 4, size: tuple[int, int] = (256, 340), frames: int = 300
) -> list[VideoRecord]:
    """H.264 videos of 10 seconds, with texture, noise and motion, as `VideoRecord`s."""
    records = []
    for index in range(count):
        path = Path(folder) / f"{index}.mp4"
        options = {"crf": "23", "preset": "medium", "threads": "1"}
        write_video(path, _moving_texture(index, size, frames), fps=30, options=options)
        records.append(VideoRecord(str(path), path.name, (index,)))
    return records


def generate_images(
    folder: str | Path, count: int = 16, size: tuple[int, int] = (375, 500)
) -> list[VideoRecord]:
    """JPEG files of `size` (height, width), with texture and noise, as `VideoRecord`s."""
    records = []
    for index in range(count):
        path = Path(folder) / f"{index}.jpg"
        Image.fromarray(_moving_texture(index, size, 1)[0]).save(path, quality=JPEG_QUALITY)
        records.append(VideoRecord(str(path), path.name, (index,)))
    return records


def _moving_texture(seed: int, size: tuple[int, int], count: int) -> np.ndarray:
    """`uint8 [count, H, W, 3]`: a picture of rough and fine grain that drifts, with fresh noise."""
    rng = generator("bench", seed)
    height, width = size
    tall, wide = height + count // 2, width + count
    picture = np.zeros((tall, wide, 3))
    for grain, strength in ((64, 80), (16, 40), (4, 20)):
        coarse = rng.uniform(-1, 1, (tall // grain + 1, wide // grain + 1, 3))
        picture += strength * np.kron(coarse, np.ones((grain, grain, 1)))[:tall, :wide]
    frames = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        seen = picture[index // 2 : index // 2 + height, index : index + width]
        noise = rng.normal(0, 2, (height, width, 1))
        frames[index] = np.clip(128 + seen + noise, 0, 255)
    return frames
