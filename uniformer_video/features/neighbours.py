"""Which rows of a table of features are most alike: search by example."""

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from uniformer_video.errors import ConfigError, DataError
from uniformer_video.features.table import FeatureTable, file_of


@dataclass(frozen=True)
class Neighbour:
    """A row of a table, and the cosine of the angle between its vector and that of the query."""

    row: int
    similarity: float


def rows_of_path(table: FeatureTable, path: str) -> list[int]:
    """The rows of a video, however its path is spelt or linked; empty where it has none."""
    wanted = file_of(path)
    return [row for row, known in enumerate(table.paths) if file_of(known) == wanted]


def rows_of(table: FeatureTable, query: str, at: float | None = None) -> list[int]:
    """The rows of a query: a video's path, else the number of a row, from 0.

    at: of the windows that show that second alone. Raises `DataError` where there are none.
    """
    rows = rows_of_path(table, query)
    if not rows and re.fullmatch("[0-9]{1,18}", query) and int(query) < len(table):
        rows = [int(query)]
    if not rows:
        raise DataError(
            f"{query} is not among the {len(table)} rows; {_nearest_path(table, query)} Give one of its "
            f"videos, a row from 0 to {len(table) - 1}, or a new video with --checkpoint"
        )
    if at is None:
        return rows
    starts, ends = np.nan_to_num(table.starts), np.nan_to_num(table.ends, nan=np.inf)
    inside = [row for row in rows if starts[row] <= at < ends[row]]
    if not inside:
        raise DataError(f"no row of {query} shows the second {at:g}; it has {len(rows)} rows")
    return inside


def _nearest_path(table: FeatureTable, path: str) -> str:
    """A sentence that names the video that may be meant: one of that name elsewhere, else one spelt alike."""
    own = os.path.basename(path)
    same = [known for known in table.paths if os.path.basename(known) == own]
    near = same or get_close_matches(path, dict.fromkeys(table.paths), n=1)
    return f"did you mean {near[0]}?" if near else f"one of them is {table.paths[0]}."


def nearest(
    table: FeatureTable, query: np.ndarray, k: int, without: list[int] | None = None
) -> list[Neighbour]:
    """The `k` rows most alike to a vector `[D]`, the nearest first.

    without: rows of the query itself; they are left out, and with them what they overlap in time in the same
    video. Raises `ConfigError` for a vector of another length.
    """
    vectors = table.flat()
    if query.shape != vectors.shape[1:]:
        raise ConfigError(
            f"the query has {len(query)} numbers, and the features {vectors.shape[1]}; they are of "
            "different models or layers"
        )
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosines = vectors @ query / np.maximum(lengths, np.finfo(np.float32).tiny)
    cosines[_overlapping(table, without or [])] = -np.inf
    found = np.argsort(-cosines, kind="stable")[:k]
    return [Neighbour(int(row), float(cosines[row])) for row in found if np.isfinite(cosines[row])]


def _overlapping(table: FeatureTable, rows: list[int]) -> np.ndarray:
    """Which rows show something that these rows show: bool `[N]`."""
    starts, ends = np.nan_to_num(table.starts), np.nan_to_num(table.ends, nan=np.inf)
    paths = np.array([file_of(path) for path in table.paths])
    found = np.zeros(len(table), bool)
    for row in rows:
        found |= (paths == paths[row]) & (starts < ends[row]) & (ends > starts[row])
    return found
