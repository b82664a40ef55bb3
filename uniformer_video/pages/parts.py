"""Pieces of the report page that several tasks show."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uniformer_video.errors import DecodeError
from uniformer_video.evaluation.parts import FramesOfVideo
from uniformer_video.pages.plots import frame_uris

MAX_TABLE_CLASSES = 30  # beyond it a table of classes is a picture
MAX_MISTAKES = 12


def worst_first(per_class: Sequence[dict[str, Any]], figure: str) -> list[dict[str, Any]]:
    """Rows by accuracy or another figure, then by more videos; classes without videos last."""

    def key(row: dict[str, Any]) -> tuple[bool, float, int, int]:
        absent = row[figure] is None
        return absent, 0 if absent else row[figure], -row["videos"], row["class"]

    return sorted(per_class, key=key)


def spread(per_class: Sequence[Mapping[str, Any]], figure: str) -> list[int] | None:
    """How many classes fall into each tenth of the figure, as 10 counts; None for few classes."""
    shares = [row[figure] for row in per_class if row[figure] is not None]
    if len(shares) <= MAX_TABLE_CLASSES:
        return None
    return np.histogram(shares, bins=10, range=(0, 1))[0].tolist()


def mistakes_with_frames(
    wrong: Sequence[Mapping[str, Any]], open_video: FramesOfVideo | None
) -> dict[str, Any]:
    """The first of the mistaken videos, each with its `frames`, and how many there are.

    open_video: as `write_report` takes it. `frames` are data URIs; empty if the video cannot be opened;
    None if nobody asked for frames.
    """
    shown = [with_frames(video, open_video) for video in wrong[:MAX_MISTAKES]]
    return {"shown": shown, "total": len(wrong)}


def with_frames(video: Mapping[str, Any], open_video: FramesOfVideo | None) -> dict[str, Any]:
    """A video of a record with its `frames`, as `mistakes_with_frames` has them."""
    return {**video, "frames": _frames(video, open_video)}


def _frames(video: Mapping[str, Any], open_video: FramesOfVideo | None) -> list[str] | None:
    if open_video is None:
        return None
    try:
        frames = open_video(video["path"], **_segment(video))
    except (DecodeError, OSError):
        return []
    return frame_uris(frames)


def _segment(video: Mapping[str, Any]) -> dict[str, float]:
    return {key: video[key] for key in ("start", "end") if key in video}
