"""A video with the label of each moment in its pictures, and its own sound."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uniformer_video.data.decoding.sequential import open_stream
from uniformer_video.errors import DataError
from uniformer_video.evaluation.segments import Segment
from uniformer_video.inference.rendered_video import SUFFIX, RenderedVideo
from uniformer_video.inference.timeline import Timeline
from uniformer_video.words import plural


def check_target(target: Path | str, video: str) -> Path:
    """The path to write to; `DataError` for one that cannot be, before hours of work."""
    target = Path(target)
    if target.suffix.lower() != SUFFIX:
        raise DataError(f"--render {target} must end in {SUFFIX}")
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "lies in a folder that is not there"
        raise DataError(f"--render {target} {what}; name a file to write")
    if target.exists() and os.path.exists(video) and os.path.samefile(target, video):
        raise DataError(f"--render {target} is the video itself; name another file")
    return target


def render_timeline(
    timeline: Timeline, segments: Sequence[Segment], target: Path | str, backend: str = "auto"
) -> list[str]:
    """Write the part of the video that the timeline is of to an mp4 file; notes on what is otherwise.

    Each frame is shown when it was, turned as it was, with the classes of its segments at the bottom. Sound
    is copied, or, where MP4 does not hold its kind, encoded as AAC. The file is whole or not there. Raises
    `DecodeError`, `DataError`, and `OSError` of a disk that is full.
    """
    return _write(timeline, segments, check_target(target, timeline.video), backend)


def _write(
    timeline: Timeline, segments: Sequence[Segment], target: Path, backend: str
) -> list[str]:
    stream = open_stream(timeline.video, backend)
    start, end, notes = timeline.windows.start, timeline.windows.end, []
    begins = getattr(stream, "first_time", 0.0) + start
    times = stream.times
    if times is None:  # those by which the timeline was made, which is then of evenly shown frames
        own = timeline.frame_times
        step = (own[-1] - own[0]) / (len(own) - 1) if len(own) > 1 else 0.04
        times = np.arange(stream.num_frames) * step
    wanted = (times >= start - 5e-4) & (times < end - 5e-4)
    rate = len(timeline.frame_times) / max(end - start, 1e-3)
    try:
        if stream.times is not None and int(wanted.sum()) != len(timeline.frame_times):
            raise DataError(
                f"{timeline.video} is another video than the timeline was made of: "
                f"{plural(int(wanted.sum()), 'frame')} in its part, and not "
                f"{len(timeline.frame_times)}; make the timeline again"
            )
        with RenderedVideo(target, timeline.video, begins, end - start, rate) as out:
            written = 0
            for number, image in stream.pictures(wanted):
                captions = tuple(
                    timeline.class_names[s.label]
                    for s in segments
                    if s.start <= times[number] < s.end
                )
                shown = with_caption(image, captions) if captions else image
                out.write(shown, max(float(times[number]) - start, 0.0))
                written += 1
        if not written:
            raise DataError(f"{timeline.video}: no frame of it can be decoded, to be rendered")
        if lacking := int(wanted.sum()) - written:
            notes.append(
                f"The rendered video lacks {plural(lacking, 'frame')} that could not be decoded."
            )
    finally:
        stream.close()
    return notes


def with_caption(image: np.ndarray, captions: tuple[str, ...]) -> np.ndarray:
    """uint8 `[H, W, 3]` with a dark band at the bottom and the words in it, light."""
    band, place = _band(image.shape[1], image.shape[0], captions)
    out = image.copy()
    region = out[place : place + band.shape[0]].astype(np.uint16)
    opacity = band[..., 3:].astype(np.uint16)
    out[place : place + band.shape[0]] = (
        (band[..., :3] * opacity + region * (255 - opacity)) // 255
    ).astype(np.uint8)
    return out


@lru_cache(maxsize=8)
def _band(width: int, height: int, captions: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """uint8 `[h, width, 4]`, and the row at which it begins."""
    size = max(10, round(min(height, width) / 14))
    font = _font(size)
    line, pad = round(size * 1.3), max(2, size // 3)
    lines = captions[: max(1, (height - 2 * pad) // line)]
    rows = min(height, len(lines) * line + 2 * pad)
    picture = Image.new("RGBA", (width, rows), (0, 0, 0, 150))
    draw = ImageDraw.Draw(picture)
    for place, text in enumerate(lines):
        draw.text((pad, pad + place * line), text, font=font, fill=(255, 255, 255, 255))
    return np.asarray(picture), height - rows


def _font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib and has most scripts; else what Pillow has."""
    with suppress(ImportError, OSError, ValueError):
        from matplotlib.font_manager import findfont

        return ImageFont.truetype(findfont("DejaVu Sans"), size)
    return ImageFont.load_default(size)
