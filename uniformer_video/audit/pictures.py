"""Frames of the videos that a page shows."""

from collections.abc import Callable, Sequence

import numpy as np

from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import timeline_of
from uniformer_video.data.loading.film_strip import STRIP_FRAMES, film_strip
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.prepare.jobs import Outcome, run_jobs

_SHORT_SIDE = 128  # pixels, to decode at: twice the height of a strip
_SECONDS_A_VIDEO = 60  # after which it has no strip


def strip_of(record: VideoRecord) -> bytes:
    """A JPEG file of four frames of the record's segment, evenly spread, the first and the last among them.

    Raises `DecodeError` for one that cannot be read, or has no frame there.
    """
    with open_video(record.path, num_frames=record.num_frames) as video:
        frames = timeline_of(video, ClipSampling(1), record.path, record.start, record.end)
        spread = np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)
        pixels = video.frames(frames[spread], _SHORT_SIDE)
    return film_strip(np.asarray(pixels)[None])


def strips_of(
    records: Sequence[VideoRecord],
    workers: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> tuple[dict[VideoRecord, bytes], dict[VideoRecord, str]]:
    """({record: its strip}, {record: why it has none}), read by worker processes (0 = one a core).

    `progress(done, all, failed)` is called with numbers of videos.
    """
    strips: dict[VideoRecord, bytes] = {}
    failed: dict[VideoRecord, str] = {}

    def collect(outcome: Outcome[VideoRecord, bytes]) -> None:
        if outcome.result is None:
            failed[outcome.task] = outcome.reason.removeprefix(f"{outcome.task.path} ")
        else:
            strips[outcome.task] = outcome.result
        if progress:
            progress(len(strips) + len(failed), len(records), len(failed))

    run_jobs(strip_of, records, collect, workers, _SECONDS_A_VIDEO)
    return strips, failed
