"""The features that an audit rests on: one vector for each line of its lists."""

from collections.abc import Sequence

import numpy as np

from uniformer_video.audit.listed import Listed
from uniformer_video.data.lists.media import VIDEO
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.features.predictor import FeaturePredictor
from uniformer_video.features.table import FeatureTable, file_of

FEATURES_FILE = "features.npz"
_EXACT = 0.05  # seconds by which a view may reach beyond a segment


def feature_model(checkpoint: str, device: str | None = None) -> FeaturePredictor:
    """The model that makes the features; `ConfigError` for one of images."""
    predictor = FeaturePredictor.from_checkpoint(checkpoint, device=device)
    if predictor.medium is not VIDEO:
        raise ConfigError(
            f"{checkpoint} is a model of images, and an audit is of videos; give one of videos"
        )
    return predictor


def rows_of(
    videos: Sequence[Listed], table: FeatureTable, source: str
) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """(features `[N, D]`, row of each of N videos or -1, {place: why it has none}).

    The vectors of several views or windows that lie in a video's segment are averaged; those of a whole video
    are not of a segment. source: what to call the table. Raises `DataError` where no video has any.
    """
    own: dict[str, list[int]] = {}
    for row, path in enumerate(table.paths):
        own.setdefault(file_of(path), []).append(row)
    vectors = table.flat()
    features: list[np.ndarray] = []
    rows = np.full(len(videos), -1, np.int64)
    missing: dict[int, str] = {}
    for place, listed in enumerate(videos):
        rows_of_it = own.get(file_of(listed.record.path), [])
        mine = _inside(rows_of_it, table, listed.record)
        if mine:
            rows[place] = len(features)
            features.append(vectors[mine].mean(axis=0))
        else:
            missing[place] = _reason(listed.record, table, source, bool(rows_of_it))
    if not features and own.keys() & {file_of(listed.record.path) for listed in videos}:
        raise DataError(
            f"{source} has features of the videos, and of none of the {len(videos)} segments that are "
            f"listed, such as {videos[0].name}; make them of the segments (--checkpoint)"
        )
    if not features:
        raise DataError(
            f"{source} has features of none of the {len(videos)} videos: it names such as "
            f"{next(iter(table.paths), 'none')}, the lists {videos[0].record.path}"
        )
    return np.stack(features), rows, missing


def _inside(rows: Sequence[int], table: FeatureTable, record: VideoRecord) -> list[int]:
    """Those of the rows of a video that lie in the record's segment; such as say no times are of none."""
    if record.start == 0 and record.end is None:
        return [row for row in rows if np.isnan(table.starts[row])] or list(rows)
    end = np.inf if record.end is None else record.end
    return [
        row
        for row in rows
        if table.starts[row] >= record.start - _EXACT
        and (table.ends[row] <= end + _EXACT or end == np.inf)
    ]


def _reason(record: VideoRecord, table: FeatureTable, source: str, known: bool) -> str:
    """Why a video has no row: as the table says it, if it does. known: it has rows of other seconds."""
    failed = table.failed.get(record.path, table.failed.get(record.name, ""))
    if failed:
        return failed.removeprefix(f"{record.path} ")
    return (
        f"{source} has features of other seconds of it"
        if known
        else f"{source} has no features of it"
    )
