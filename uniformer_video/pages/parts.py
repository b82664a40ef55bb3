"""Pieces of the report page that several tasks show."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uniformer_video.evaluation.parts import Mistake
from uniformer_video.evaluation.strips import Strips

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


def mistakes_with_strips(
    videos: Sequence[Mapping[str, Any]], mistakes: Sequence[Mistake], strips: Strips
) -> dict[str, Any]:
    """The videos of the first mistakes, each with its `place` and its `strip`, and how many there are.

    `strip` is a data URI, "" for a video that has none. `stored`: how many of all have one.
    """
    shown = [with_strip(videos, mistake.place, strips) for mistake in mistakes[:MAX_MISTAKES]]
    stored = sum(bool(strips[mistake.place]) for mistake in mistakes)
    return {"shown": shown, "total": len(mistakes), "stored": stored}


def with_strip(videos: Sequence[Mapping[str, Any]], place: int, strips: Strips) -> dict[str, Any]:
    """The video at a place of a record, with that `place` and its `strip`, a data URI or ""."""
    return {**videos[place], "place": place, "strip": strips.uri(place)}
