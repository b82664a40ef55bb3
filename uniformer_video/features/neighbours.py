"""Which rows of a table of features are most alike: search by example."""

import os
from dataclasses import dataclass

import numpy as np

from uniformer_video.errors import ConfigError, DataError
from uniformer_video.features.table import FeatureTable


@dataclass(frozen=True)
class Neighbour:
    """A row of a table, and the cosine of the angle between its vector and that of the query."""

    row: int
    similarity: float


def rows_of(table: FeatureTable, path: str, at: float | None = None) -> list[int]:
    """The rows of a video; at: of the windows that show that second alone. Raises `DataError` without any."""
    wanted = os.path.abspath(path)
    rows = [row for row, known in enumerate(table.paths) if os.path.abspath(known) == wanted]
    if not rows:
        raise DataError(
            f"{path} is not among the {len(table)} rows; give one of its videos, such as "
            f"{table.paths[0]}, or a new one with --checkpoint"
        )
    if at is None:
        return rows
    starts, ends = np.nan_to_num(table.starts), np.nan_to_num(table.ends, nan=np.inf)
    inside = [row for row in rows if starts[row] <= at < ends[row]]
    if not inside:
        raise DataError(f"no row of {path} shows the second {at:g}; it has {len(rows)} rows")
    return inside


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
    paths = np.array([os.path.abspath(path) for path in table.paths])
    found = np.zeros(len(table), bool)
    for row in rows:
        found |= (paths == paths[row]) & (starts < ends[row]) & (ends > starts[row])
    return found
