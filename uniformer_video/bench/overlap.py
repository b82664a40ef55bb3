"""Looking for the same footage among many videos: hashing them, and comparing made-up fingerprints."""

import tempfile
import time
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np

from uniformer_video.bench.generated import generate_videos
from uniformer_video.bench.progress import Progress
from uniformer_video.cores import usable_cores
from uniformer_video.prepare.fingerprints import (
    BITS,
    FRAMES,
    fingerprint,
    open_cache,
    read_cache,
)
from uniformer_video.prepare.matching import close_pairs
from uniformer_video.randomness import generator
from uniformer_video.words import plural

_COPIES = 10  # every so manieth video is a copy of another one


def comparing(videos: int, threads: int = 0) -> list[str]:
    """Lines on the time for so many videos, and on how many of the pairs among them were found."""
    at = Progress()
    at(f"making up {plural(videos, 'video')}")
    fingerprints, same = made_up(videos)
    at("writing and reading the cache")
    keys = [f"video {number}" for number in range(videos)]
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "fingerprints.tsv"
        with open_cache(cache) as add:
            for key, numbers in zip(keys, fingerprints, strict=True):
                add(key, numbers)
        begin = time.perf_counter()
        known = read_cache(cache, keys)
        stacked = np.stack([known[key] for key in keys])
        read = time.perf_counter() - begin
    at("comparing")
    begin = time.perf_counter()
    pairs, _ = close_pairs(stacked, threads)
    compared = time.perf_counter() - begin
    found = set(map(tuple, pairs.tolist()))
    return [
        f"{plural(videos, 'video')}, {videos * (videos - 1) / 2e6:.1f} million pairs, "
        f"{plural(threads or usable_cores(), 'thread')}",
        f"read from the cache in {read:.1f} s, compared in {compared:.1f} s",
        f"{len(found & same)} of {len(same)} pairs of the same footage found, {len(found - same)} others",
    ]


def hashing(rounds: int = 3) -> list[str]:
    """A line on how many videos one core hashes in a second: the median of some rounds."""
    with tempfile.TemporaryDirectory() as folder:
        Progress()("hashing generated videos")
        records = generate_videos(folder)
        times = []
        for _ in range(rounds):
            begin = time.process_time()  # whatever else the machine does
            for record in records:
                fingerprint(record)
            times.append(time.process_time() - begin)
    rate = len(records) / median(times)
    return [f"hashing: {rate:.1f} videos in a second of one core (H.264, 340x256, 10 s, B-frames)"]


def made_up(videos: int) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """(int8 `[videos, 32, 64]`, the pairs that show the same): smooth pictures that change slowly.

    Neighbouring cells are alike, as in real pictures, so that the buckets are as uneven as with those.
    """
    rng = generator("overlap benchmark", videos)
    numbers = np.empty((videos, FRAMES, BITS), np.int8)
    sources = np.arange(0, videos, _COPIES)  # of which there are copies
    same = {int(source): [int(source)] for source in sources}
    along = np.linspace(0, 1, FRAMES)[:, None, None]
    for video in range(videos):
        if video % _COPIES == _COPIES - 1:
            source = int(rng.choice(sources[: video // _COPIES + 1]))
            changed = numbers[source] + rng.normal(0, 1.5, (FRAMES, BITS))
            same[source].append(video)
        else:
            begin, end = (_smooth(rng) for _ in range(2))
            cells = begin + 0.5 * along * (end - begin)
            changed = (cells[..., :-1] - cells[..., 1:]).reshape(FRAMES, BITS)
        numbers[video] = np.rint(changed).clip(-127, 127)
    return numbers, {pair for group in same.values() for pair in combinations(group, 2)}


def _smooth(rng: np.random.Generator) -> np.ndarray:
    """Grey levels of 8x9 cells between 5x5 random ones."""
    knots = rng.uniform(0, 200, (5, 5))
    rows, columns = np.linspace(0, 4, 8), np.linspace(0, 4, 9)
    places = np.arange(5)
    down = np.stack([np.interp(rows, places, column) for column in knots.T], axis=1)
    return np.stack([np.interp(columns, places, row) for row in down])
