"""Lists of hundreds of thousands of videos as columns: a few arrays in place of an object for each video.

`VideoColumns` is a sequence of `VideoRecord`s that makes each one when it is asked for. What looks at all
videos of a list asks for a column in its place: `columns.weight` are the weights of all of them. That takes a
third of the memory, and worker processes go on sharing it with the main one: reading an array writes nothing
into it, while reading an object counts up its references and so copies its page.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from operator import attrgetter
from typing import Any, overload

import numpy as np

from uniformer_video.data.lists.texts import (
    CHUNK,
    Texts,
    TextsInMaking,
    first_places,
    full,
    joined,
    thin,
)
from uniformer_video.data.lists.video_record import VideoRecord

_FIELDS = tuple(field.name for field in fields(VideoRecord))
_END = _FIELDS.index("end")
_row_of = attrgetter(*_FIELDS)


class Labels(Sequence[tuple[Any, ...]]):
    """The labels of videos, a tuple each: `values[starts[i]:starts[i] + counts[i]]` are those of video i.

    values: `int64`; objects where some are names, which wait to be numbered.
    """

    def __init__(self, values: np.ndarray, starts: np.ndarray, counts: np.ndarray) -> None:
        self.values, self.starts, self.counts = values, starts, counts

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, place: slice) -> "Labels": ...
    def __getitem__(self, place: int | slice) -> "tuple[Any, ...] | Labels":
        if isinstance(place, slice):
            return Labels(self.values, self.starts[place], self.counts[place])
        start = self.starts[place]
        return tuple(self.values[start : start + self.counts[place]].tolist())

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        values = self.flat()[1].tolist()
        if (self.counts == 1).all():
            return zip(values, strict=True)
        ends = np.cumsum(self.counts).tolist()
        return (tuple(values[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))

    def take(self, places: np.ndarray) -> "Labels":
        """Those of the videos at `places`, in this order."""
        return Labels(self.values, self.starts[places], self.counts[places])

    def flat(self) -> tuple[np.ndarray, np.ndarray]:
        """(`int64 [n]`: whose each label is, the labels `[n]`), video by video."""
        owner = np.repeat(np.arange(len(self)), self.counts)
        before = np.cumsum(self.counts) - self.counts  # labels of the videos before
        return owner, self.values[np.arange(len(owner)) + (self.starts - before)[owner]]


@dataclass(frozen=True, eq=False, repr=False)
class VideoColumns(Sequence[VideoRecord]):
    """A list of videos: what `VideoRecord` says of one, in a column each, under the same names.

    num_frames: `int64 [n]`. start, end, weight: `float64 [n]`; the end is NaN where the video itself ends.
    """

    path: Texts
    name: Texts
    labels: Labels
    source: Texts
    num_frames: np.ndarray
    start: np.ndarray
    end: np.ndarray
    weight: np.ndarray
    group: Texts
    medium: Texts
    mask: Texts

    @classmethod
    def of_rows(cls, rows: Iterable[Sequence[Any]], **same: Any) -> "VideoColumns":
        """The columns of rows `(path, name, labels, source, ...)`, in the order of `VideoRecord`'s fields.

        What rows leave out at their end is the `same` for all, or has its default.
        """
        columns: dict[str, Any] = {}
        texts = {
            name: TextsInMaking() for name in ("path", "name", "source", "group", "medium", "mask")
        }
        numbers: dict[str, list[np.ndarray]] = {
            "num_frames": [],
            "start": [],
            "end": [],
            "weight": [],
        }
        labels: list[Any] = []
        counts: list[np.ndarray] = []
        rows = iter(rows)
        defaults = _row_of(VideoRecord("", "", (), **same))
        while chunk := list(islice(rows, CHUNK)):
            given = list(zip(*chunk, strict=True))
            missing = [(value,) * len(chunk) for value in defaults[len(given) :]]
            for name, column in zip(_FIELDS, [*given, *missing], strict=True):
                if name in texts:
                    texts[name].extend(column)
                elif name == "labels":
                    counts.append(np.fromiter(map(len, column), np.int32, len(column)))
                    labels.append(_label_values(list(chain.from_iterable(column))))
                else:
                    kind = np.int64 if name == "num_frames" else np.float64
                    numbers[name].append(np.array(column, kind))  # None becomes NaN
        columns |= {name: one.done() for name, one in texts.items()}
        columns["name"] = columns["name"].sharing(columns["path"])
        columns |= {name: _compact(parts) for name, parts in numbers.items()}
        return cls(labels=_labels(labels, counts), **columns)

    def __reduce__(self) -> tuple:
        return _columns_again, tuple(
            thin(one) if isinstance(one, np.ndarray) else one for one in _row_of(self)
        )

    def __len__(self) -> int:
        return len(self.path)

    @overload
    def __getitem__(self, place: int) -> VideoRecord: ...
    @overload
    def __getitem__(self, place: slice) -> "VideoColumns": ...
    def __getitem__(self, place: int | slice) -> "VideoRecord | VideoColumns":
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        row = [one[place] for one in _row_of(self)]
        row[_END] = None if row[_END] != row[_END] else row[_END]
        return VideoRecord(*(one.item() if isinstance(one, np.generic) else one for one in row))

    def __iter__(self) -> Iterator[VideoRecord]:
        for first in range(0, len(self), CHUNK):
            yield from self._records(self[first : first + CHUNK])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(
            one == two for one, two in zip(self, other, strict=True)
        )

    def __add__(self, other: Iterable[VideoRecord]) -> "VideoColumns":
        return concatenated([self, as_columns(other)])

    def __repr__(self) -> str:
        return f"<VideoColumns of {len(self)}>"

    @staticmethod
    def _records(part: "VideoColumns") -> Iterator[VideoRecord]:
        columns = [one.tolist() if isinstance(one, np.ndarray) else one for one in _row_of(part)]
        columns[_END] = [
            None if end != end else end for end in columns[_END]
        ]  # NaN is unlike itself
        return map(VideoRecord, *columns)

    def take(self, places: np.ndarray) -> "VideoColumns":
        """The videos at `places`, `int64 [n]` or `bool [len]`, in this order."""
        places = np.asarray(places)
        if places.dtype == bool:
            places = np.flatnonzero(places)
        columns: Iterator[Any] = (
            _taken(one, places) if isinstance(one, np.ndarray) else one.take(places)
            for one in _row_of(self)
        )
        return VideoColumns(*columns)

    @property
    def has_segments(self) -> bool:
        """Whether of some videos only a part counts."""
        return bool(self.start.any() or not np.isnan(self.end).all())


def _columns_again(*columns: Any) -> VideoColumns:
    """From what pickle has kept."""
    kept: Iterator[Any] = (full(*one) if isinstance(one, tuple) else one for one in columns)
    return VideoColumns(*kept)


def as_columns(records: Iterable[VideoRecord]) -> VideoColumns:
    """Records as columns; nothing to do for those that are."""
    if isinstance(records, VideoColumns):
        return records
    return VideoColumns.of_rows(map(_row_of, records))


def with_labels(columns: VideoColumns, labels: Sequence[tuple[Any, ...]]) -> VideoColumns:
    """The videos with other labels, a tuple each."""
    counts = np.fromiter(map(len, labels), np.int32, len(labels))
    values = _label_values(list(chain.from_iterable(labels)))
    return replace(columns, labels=_labels([values], [counts]))


def with_numbers(columns: VideoColumns, numbers: np.ndarray) -> VideoColumns:
    """The videos with other labels, `int64` in place of those that `labels.flat` gives, sorted for each."""
    in_turn = np.lexsort((numbers, columns.labels.flat()[0]))
    return replace(columns, labels=_labels([numbers[in_turn]], [columns.labels.counts]))


def with_paths(columns: VideoColumns, paths: Iterable[str]) -> VideoColumns:
    """The videos at other paths."""
    return replace(columns, path=Texts.of(paths))


def with_weights(columns: VideoColumns, weights: np.ndarray) -> VideoColumns:
    """The videos with other weights, `float64 [n]`."""
    return replace(columns, weight=_compact([weights]))


def with_group_names(columns: VideoColumns, groups: Iterable[str]) -> VideoColumns:
    """The videos with other groups."""
    return replace(columns, group=Texts.of(groups))


def concatenated(lists: Sequence[VideoColumns]) -> VideoColumns:
    """The videos of lists, one list behind the other."""
    if len(lists) < 2:
        return lists[0] if lists else VideoColumns.of_rows([])
    columns = VideoColumns(*map(_joined, zip(*map(_row_of, lists), strict=True)))
    return replace(columns, name=columns.name.sharing(columns.path))


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], np.ndarray):
        return _compact(parts)
    if isinstance(parts[0], Texts):
        return joined(parts)
    return _labels([own.flat()[1] for own in parts], [own.counts for own in parts])


def segments_of(columns: VideoColumns) -> Iterator[tuple[str, float, float | None]]:
    """The `segment` of each video."""
    ends = (None if end != end else end for end in columns.end.tolist())
    return zip(columns.path, columns.start.tolist(), ends, strict=True)


def first_segments(columns: VideoColumns) -> np.ndarray:
    """Of each video the place of the first with the same segment, path and seconds: `int64 [n]`."""
    first = first_places(columns.path)
    if not columns.has_segments:
        return first
    keys = np.stack([first, columns.start, np.nan_to_num(columns.end, nan=-1.0)], axis=1)
    _, found, places = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return found[places.ravel()]


def _label_values(values: list[Any]) -> np.ndarray:
    """`int64` of plain whole numbers, objects of what is not."""
    if set(map(type, values)) <= {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            pass
    found = np.empty(len(values), object)
    found[:] = values
    return found


def _labels(parts: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Labels:
    values = np.concatenate([np.zeros(0, np.int64), *parts])
    count = np.concatenate([np.zeros(0, np.int32), *counts])
    starts = np.cumsum(count, dtype=np.int64) - count
    return Labels(values, starts.astype(np.int32) if len(values) < 2**31 else starts, count)


def _taken(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """`values[places]`; of one number in memory, one number."""
    if values.strides == (0,) and len(values):
        return np.broadcast_to(values[:1], (len(places),))
    return values[places]


def _compact(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The parts as one array, of one number in memory where all are the same."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return np.zeros(0)
    first = parts[0][:1]
    if all(
        np.array_equal(part, np.broadcast_to(first, part.shape), equal_nan=True) for part in parts
    ):
        return np.broadcast_to(first, (sum(map(len, parts)),))
    return np.concatenate(parts)
