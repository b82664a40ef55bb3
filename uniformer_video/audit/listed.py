"""The videos that an audit looks at: every line of every list, with the list that it stands in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uniformer_video.advice.source import PARTS, Source
from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.groups import group_places
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.lists.table import segment_name
from uniformer_video.errors import DataError, choice_error

ALL = "all"


@dataclass(frozen=True)
class Listed:
    """One line of a list. part: the list's, "train", "val" or "test"."""

    record: VideoRecord
    part: str

    @property
    def label(self) -> int:
        """The class index that is given."""
        return self.record.label

    @property
    def name(self) -> str:
        """The path, and the seconds where a segment counts."""
        return segment_name(self.record.path, self.record.start, self.record.end)


def listed_videos(source: Source, part: str = ALL) -> list[Listed]:
    """The videos of one part of a source, or of all, in the order of its lists.

    Raises `ConfigError` for a part that is not there, `DataError` for videos without labels or with several.
    """
    # Where a list is absent a run takes another in its place: each line once, in the first list that has it.
    lines: dict[tuple[object, ...], Listed] = {}
    for name in PARTS:
        for record in source.splits.get(name, ()):
            lines.setdefault((record.source, record.segment), Listed(record, name))
    there = [name for name in PARTS if any(listed.part == name for listed in lines.values())]
    if not source.class_names:
        raise DataError(
            f"{source.given} has no labels, and an audit is about labels; give a folder with one sub-folder "
            "a class, or lists that have them"
        )
    if part not in (ALL, *there):
        raise choice_error(f"--split of {source.given}", part, [*there, ALL])
    found = [listed for listed in lines.values() if part in (ALL, listed.part)]
    for listed in found:
        listed.record.label  # noqa: B018  raises for several labels, with the line of the list
    return found


def independent_groups(videos: Sequence[Listed], pairs: np.ndarray) -> np.ndarray:
    """Which videos may say something of each other: int64 `[N]`, one number a group.

    A group is what the lists call one, with all that nearly shows the same: `pairs` int `[P, 2]` of places. A
    copy in another fold would speak for its own wrong label.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    first = group_places(as_columns(each.record for each in videos))
    start = np.concatenate([first, pairs[:, 0]])
    end = np.concatenate([np.arange(len(videos)), pairs[:, 1]])
    count = len(videos)
    links = coo_matrix((np.ones(len(start), bool), (start, end)), shape=(count, count))
    return connected_components(links, directed=False)[1].astype(np.int64)
