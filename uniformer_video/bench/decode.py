"""Decoding speed: this project's reader against decord, torchcodec and pytorchvideo.

One thread, opening included, all sides in turn, so that what else the machine does falls on each. Ours
stands there twice: listing the packets of a video, and finding in the frame index what that told. The
other libraries are called as their own documentation does, without the checks of our readers.
"""

import importlib
import logging
import math
import os
import statistics
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from uniformer_video.bench.figures import Figure
from uniformer_video.bench.progress import Progress
from uniformer_video.data.decoding import names_frames, open_video
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError, UserError
from uniformer_video.randomness import generator
from uniformer_video.words import name_some, one_line, plural

BASELINE = "decord"
OURS = "ours"
INDEXED = "ours, indexed"
_SAMPLING = ClipSampling(16, 4)
# (path, int64 [clips, T], frames a second or None) -> uint8 [clips * T, H, W, 3]
Decode = Callable[[str, np.ndarray, float | None], np.ndarray]
# Of each request and contender: seconds of each repeat, and whether its frames are ours.
Timed = tuple[list[float], bool]
Measured = dict[str, dict[str, Timed]]


def requests(num_frames: int, seed: int = 0) -> dict[str, np.ndarray]:
    """What is asked of a video: name -> int64 [clips, 16]."""
    over = np.linspace(0, num_frames - 1, 16).astype(np.int64)
    return {
        "random 16x4 clip": _SAMPLING.train_clip(num_frames, generator("bench", seed))[None],
        "4 clips": _SAMPLING.test_clips(num_frames, 4),
        "16 over the video": over[None],
    }


def contenders(kept: IndexStore | None = None) -> dict[str, Decode]:
    """Those that can be imported, by name. kept: the frame index, that ours is measured with, too."""
    found: dict[str, Decode] = {OURS: _ours}
    if kept:
        found[INDEXED] = partial(_ours, kept=kept)
    for name, make in (("decord", _decord), ("torchcodec", _torchcodec), ("pytorchvideo", _ptv)):
        try:
            found[name] = make()
        except Exception:  # not installed, or broken in one of the many ways an import can be
            continue
    return found


def measure(path: str, repeat: int, sides: Mapping[str, Decode]) -> Measured:
    """request -> contender -> (seconds of each repeat, whether its frames are ours).

    A contender that fails on the video has no seconds.
    """
    with open_video(path) as video:
        num_frames, fps = video.num_frames, video.fps
    seconds: dict[str, dict[str, list[float]]] = {
        name: {side: [] for side in sides} for name in requests(num_frames)
    }
    same = {name: dict.fromkeys(sides, True) for name in seconds}
    pictures = os.path.isdir(path) or (names_frames(path) and not os.path.isfile(path))
    failed = set(sides) - {OURS, INDEXED} if pictures else set()  # which the others do not read
    for seed in range(repeat):
        for name, clips in requests(num_frames, seed).items():
            pixels: dict[str, np.ndarray] = {}
            for side, decode in sides.items():
                if side in failed:
                    continue
                start = time.perf_counter()
                try:
                    pixels[side] = decode(path, clips, fps)
                except Exception:  # what a foreign library raises for a video it cannot read
                    failed.add(side)
                    continue
                seconds[name][side].append(time.perf_counter() - start)
                ours = pixels.get(OURS)  # None where our own reader has failed
                same[name][side] &= ours is not None and np.array_equal(pixels[side], ours)
                if side != OURS:
                    del pixels[side]
    return {
        name: {side: ([] if side in failed else times[side], same[name][side]) for side in sides}
        for name, times in seconds.items()
    }


def ratio(results: Mapping[str, Timed], side: str) -> float | None:
    """How many times faster than the baseline: the median over the repeats; None without both."""
    times, base = results[side][0], results.get(BASELINE, ([], True))[0]
    if not times or not base:
        return None
    return statistics.median(b / t for t, b in zip(times, base, strict=True))


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """{path: the name of its file, or the path itself where several files are called the same}."""
    names = {path: os.path.basename(path) for path in paths}
    often = Counter(names.values())
    return {path: name if often[name] == 1 else path for path, name in names.items()}


def table(measured: Mapping[str, Measured]) -> list[str]:
    """The lines to print for video -> request -> contender -> (seconds, same frames)."""
    sides = list(next(iter(next(iter(measured.values())).values())))
    shown = short_names(measured)
    width = max(24, *map(len, shown.values()))
    header = f"{'video':{width}}  {'request':18}" + "".join(f"  {side:>20}" for side in sides)
    lines = [f"ms a request, and speed over {BASELINE} (higher is faster)", "", header]
    speeds: dict[str, dict[str, list[float]]] = {}
    for path, by_request in measured.items():
        for name, results in by_request.items():
            cells = []
            for side in sides:
                speed = ratio(results, side)
                cells.append(_cell(results[side], speed))
                if speed:
                    speeds.setdefault(name, {}).setdefault(side, []).append(speed)
            row = "".join(f"  {cell:>20}" for cell in cells)
            lines.append(f"{shown[path]:{width}}  {name:18}{row}")
    for name, by_side in speeds.items():
        row = "".join(f"  {_mean(by_side.get(side)):>20}" for side in sides)
        lines.append(f"{'geometric mean':{width}}  {name:18}{row}")
    lines += ["", "* its frames differ from ours (a wrong frame, or other rounding)"]
    return lines


def _cell(result: Timed, speed: float | None) -> str:
    times, same = result
    if not times:
        return "cannot read"
    shown = f"{1e3 * statistics.median(times):.1f} ms" + (
        "" if speed is None else f" {speed:5.2f}x"
    )
    return shown + (" " if same else "*")


def _mean(speeds: Sequence[float] | None) -> str:
    return f"{math.prod(speeds) ** (1 / len(speeds)):.2f}x " if speeds else "-"


@dataclass
class Decoded:
    """What was measured of each video, as `table` takes it, and why others were left out."""

    measured: dict[str, Measured] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The table, and what was left out."""
        lines = table(self.measured)
        if self.broken:
            count = plural(len(self.broken), "video")
            lines.append(f"{count} left out as broken: {name_some(self.broken)}")
        return lines


def run(
    paths: Iterable[Path | str],
    repeat: int,
    figures: dict[str, Figure] | None = None,
    decoded: Decoded | None = None,
) -> list[str]:
    """Measure the videos and return the table's lines.

    A video that we cannot read is left out and named; an error where none is left. figures: gets the times
    with their spread, by video, request and library. Both get each video as it is done, for whoever is
    interrupted.
    """
    if repeat < 1:
        raise UserError(f"--repeat is {repeat}; it is at least 1")
    decoded = decoded or Decoded()
    with tempfile.TemporaryDirectory() as folder:
        _run(paths, repeat, IndexStore(Path(folder)), {} if figures is None else figures, decoded)
    return decoded.lines()


def _run(
    paths: Iterable[Path | str],
    repeat: int,
    kept: IndexStore,
    figures: dict[str, Figure],
    decoded: Decoded,
) -> None:
    at = Progress()
    at("reading the videos once")
    readable, decoded.broken = _readable(paths, kept)
    if not readable:
        raise UserError(next(iter(decoded.broken)))
    sides = contenders(kept)
    if BASELINE not in sides:
        logging.getLogger("uniformer_video").warning(
            "%s is not installed; times come without ratios.", BASELINE
        )
    shown = short_names(readable)
    for number, path in enumerate(readable, 1):
        at(f"video {number} of {len(readable)}: {shown[path]}")
        decoded.measured[path] = measure(path, repeat, sides)
        figures |= {
            f"{shown[path]}: {name}: {side}": Figure.of_seconds(times)
            for name, results in decoded.measured[path].items()
            for side, (times, _) in results.items()
            if times
        }


def _readable(paths: Iterable[Path | str], kept: IndexStore) -> tuple[list[str], list[str]]:
    """(the videos that can be read, which are in the index then; why each of the others cannot)."""
    good, broken = [], []
    for path in map(str, paths):
        try:
            with open_video(path, kept=kept) as video:
                video.frames([0])
            good.append(path)
        except (DecodeError, OSError) as error:
            broken.append(one_line(error))
    return good, broken


def _ours(
    path: str, clips: np.ndarray, _fps: float | None, kept: IndexStore | None = None
) -> np.ndarray:
    with open_video(path, kept=kept) as video:
        return video.frames(clips.ravel())


def _decord() -> Decode:
    import decord

    def decode(path: str, clips: np.ndarray, _fps: float | None) -> np.ndarray:
        return decord.VideoReader(path, num_threads=1).get_batch(clips.ravel()).asnumpy()

    return decode


def _torchcodec() -> Decode:
    from torchcodec.decoders import VideoDecoder

    def decode(path: str, clips: np.ndarray, _fps: float | None) -> np.ndarray:
        video = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
        return video.get_frames_at(clips.ravel().tolist()).data.numpy()

    return decode


def _ptv() -> Decode:
    """pytorchvideo's `EncodedVideo`, which takes seconds: a clip is cut out, then its frames taken."""
    encoded = _pytorchvideo_module("encoded_video_pyav").EncodedVideoPyAV

    def decode(path: str, clips: np.ndarray, fps: float | None) -> np.ndarray:
        if not fps:
            raise DecodeError(f"{path} has no frame rate, and this library takes seconds")
        frames = []
        with open(path, "rb") as file:
            video = encoded(file, decode_audio=False)
            for clip in clips:
                cut = video.get_clip(clip[0] / fps, (clip[-1] + 1) / fps)["video"]
                places = np.minimum(clip - clip[0], cut.shape[1] - 1)
                frames.append(cut[:, places].permute(1, 2, 3, 0).numpy())
            video.close()
        return np.concatenate(frames).astype(np.uint8)

    return decode


def _pytorchvideo_module(name: str) -> types.ModuleType:
    """A module of `pytorchvideo.data` without the package's own imports, which need torchvision."""
    import pytorchvideo

    package = "pytorchvideo.data"
    before = {key: sys.modules.pop(key) for key in list(sys.modules) if key.startswith(package)}
    bare = types.ModuleType(package)
    bare.__path__ = [os.path.join(folder, "data") for folder in pytorchvideo.__path__]
    sys.modules[package] = bare
    try:
        return importlib.import_module(f"{package}.{name}")
    finally:
        for key in [key for key in sys.modules if key.startswith(package)]:
            del sys.modules[key]
        sys.modules.update(before)
