"""The features that an audit rests on: one vector for each line of its lists."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from uniformer_video.audit.listed import Listed
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.features.extract import Progress, features_of_records
from uniformer_video.features.predictor import FeaturePredictor
from uniformer_video.features.table import FeatureTable

FEATURES_FILE = "features.npz"
_EXACT = 0.05  # seconds by which a view may reach beyond a segment


def extract_vectors(
    checkpoint: str,
    records: Sequence[VideoRecord],
    out: Path,
    workers: int = -1,
    device: str | None = None,
    progress: Progress | None = None,
) -> tuple[FeatureTable, Mapping[VideoRecord, str]]:
    """(the features of records, the mean over the test's views each; {record: why it has none})."""
    predictor = FeaturePredictor.from_checkpoint(checkpoint, device=device)
    table = features_of_records(predictor, checkpoint, records, out, False, workers, progress)
    failed = {
        record: table.failed[record.name].removeprefix(f"{record.path} ")
        for record in records
        if record.name in table.failed
    }
    return table, failed


def rows_of(
    videos: Sequence[Listed], table: FeatureTable, source: str
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """(features `[N, D]`, row of each of N videos or -1, {place: why it has none}).

    The vectors of several views or windows that lie in a video's segment are averaged. Raises `DataError`
    where no video has any.
    """
    own: dict[str, list[int]] = {}
    for row, path in enumerate(table.paths):
        own.setdefault(os.path.abspath(path), []).append(row)
    vectors = table.flat()
    features: list[np.ndarray] = []
    rows = np.full(len(videos), -1, np.int64)
    missing: dict[int, str] = {}
    for place, listed in enumerate(videos):
        mine = _inside(own.get(os.path.abspath(listed.record.path), []), table, listed.record)
        if mine:
            rows[place] = len(features)
            features.append(vectors[mine].mean(axis=0))
        else:
            missing[place] = f"{source} has no features of it"
    if not features:
        raise DataError(
            f"{source} has features of none of the {len(videos)} videos: it names such as "
            f"{next(iter(table.paths), 'none')}, the lists {videos[0].record.path}"
        )
    return np.stack(features), rows, missing


def _inside(rows: Sequence[int], table: FeatureTable, record: VideoRecord) -> list[int]:
    """Those of the rows of a video that lie in the record's segment, or say no times."""
    end = np.inf if record.end is None else record.end
    return [
        row
        for row in rows
        if not table.starts[row] < record.start - _EXACT and not table.ends[row] > end + _EXACT
    ]
