"""A look at many videos, or a sample of them: lengths, frame rates, sizes, broken ones."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.prepare.jobs import Outcome, run_jobs

# (path, frames that the list declares or 0, start, end), as in `VideoRecord`
Task = tuple[str, int, float, float | None]
_SECONDS_A_VIDEO = 60  # after which it counts as broken here
# Rates that differ by less are those of one kind of camera: 29.97 and 30.
_SAME_RATE = 0.02


@dataclass(frozen=True)
class Look:
    """What one video, or its segment, shows of itself.

    frames: how many. seconds, fps: None where the file knows no times, as pictures. height, width: in pixels,
    as shown, rotation applied.
    """

    frames: int
    seconds: float | None
    fps: float | None
    height: int
    width: int


@dataclass(frozen=True)
class Spread:
    """Of one number over the videos: 5 % are below `low`, half below `middle`, 5 % above `high`."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """Of these; None of none."""
        if not values:
            return None
        return cls(*(float(value) for value in np.percentile(values, [5, 50, 95])))


@dataclass(frozen=True)
class VideoFacts:
    """What a look at videos found.

    videos: all that were listed; looked_at: how many of them were opened, evenly over the list. broken:
    (name, reason) of those of them that cannot be read. frames, seconds, fps, short_side (pixels): spreads;
    None where nothing tells. rates, sizes: how many videos there are of each, "30" and "320x240", the most
    frequent first. portrait: how many are higher than wide. without_times: how many know no times, as
    pictures.
    """

    videos: int
    looked_at: int
    broken: tuple[tuple[str, str], ...] = ()
    frames: Spread | None = None
    seconds: Spread | None = None
    fps: Spread | None = None
    short_side: Spread | None = None
    rates: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    portrait: int = 0
    without_times: int = 0

    @property
    def have_mixed_rates(self) -> bool:
        """Whether the frames of different videos are different times apart."""
        return self.fps is not None and self.fps.high > 1.2 * self.fps.low


def look_at_videos(
    records: Sequence[VideoRecord],
    most: int,
    workers: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> VideoFacts:
    """The `VideoFacts` of records, of which at most so many are opened, evenly over the list.

    workers: processes, 0 = one a core. `progress(finished, total, failed)` is called with counts.
    """
    chosen = [records[place] for place in evenly(len(records), most)]
    names: dict[Task, str] = {}
    for record in chosen:
        names[record.path, record.num_frames, record.start, record.end] = record.name
    looks: list[Look] = []
    broken: list[tuple[str, str]] = []

    def collect(outcome: Outcome[Task, Look]) -> None:
        if outcome.result:
            looks.append(outcome.result)
        else:
            reason = outcome.reason.removeprefix(f"{outcome.task[0]} ")
            broken.append((names[outcome.task], reason))
        if progress:
            progress(len(looks) + len(broken), len(names), len(broken))

    run_jobs(look_at, names, collect, workers, _SECONDS_A_VIDEO)
    return _sum_up(len(records), len(chosen), looks, sorted(broken))


def look_at(task: Task) -> Look:
    """Open one video as training does. Raises `DecodeError` or `DataError` for a broken one."""
    path, listed, start, end = task
    with open_video(path, num_frames=listed) as reader:
        height, width = reader.size
        frames, fps, times = reader.num_frames, reader.fps, reader.times
        if start or end is not None:
            frames = len(ClipSampling(1).timeline(frames, fps, start, end, times))
    if not fps or not math.isfinite(fps):
        return Look(frames, None, None, height, width)
    if times is None or start or end is not None:
        return Look(frames, frames / fps, fps, height, width)
    return Look(frames, float(times[-1]) + 1 / fps, fps, height, width)


def evenly(count: int, most: int) -> list[int]:
    """At most so many places of a list of `count`, evenly over it, the first and the last included."""
    if count <= most:
        return list(range(count))
    return sorted(set(np.linspace(0, count - 1, most).round().astype(int).tolist()))


def _sum_up(
    videos: int, looked_at: int, looks: Sequence[Look], broken: Sequence[tuple[str, str]]
) -> VideoFacts:
    known_rates = [look.fps for look in looks if look.fps]
    sizes = Counter(f"{look.width}x{look.height}" for look in looks)
    return VideoFacts(
        videos=videos,
        looked_at=looked_at,
        broken=tuple(broken),
        frames=Spread.of([look.frames for look in looks]),
        seconds=Spread.of([look.seconds for look in looks if look.seconds is not None]),
        fps=Spread.of(known_rates),
        short_side=Spread.of([min(look.height, look.width) for look in looks]),
        rates=dict(Counter(_rate_in_words(rate) for rate in known_rates).most_common()),
        sizes=dict(sizes.most_common()),
        portrait=sum(look.height > look.width for look in looks),
        without_times=sum(look.fps is None for look in looks),
    )


def _rate_in_words(rate: float) -> str:
    """ "30" for 29.97 and 30.01 too, "12.5"."""
    whole = round(rate)
    return str(whole) if whole and abs(rate / whole - 1) < _SAME_RATE else f"{rate:.1f}"


def common_folder(paths: Iterable[str]) -> str:
    """The folder that all these files lie in or below; "" where there is none but the root."""
    try:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    except ValueError:
        return ""
    return "" if folder == Path(folder).anchor else folder
