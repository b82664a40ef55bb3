"""A file of features that grows video by video: a run that is killed goes on where it was.

Beside `OUT` stand, until all videos are through, `OUT.rows.jsonl`, one line a video, and `OUT.vectors`, the
float32 numbers of their rows in the same order. A finished file goes on too, where more videos are asked for.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.features.predictor import difference
from uniformer_video.features.table import (
    MEAN_OF_VIEWS,
    FeatureTable,
    check_form,
    read_features,
    write_features,
)
from uniformer_video.files import check_new_file
from uniformer_video.locks import lock_file

_Key = tuple[str, float, float | None]
_EARLIER = {"earlier": True}  # marks the line of a failure of a run that is finished


def check_target(path: Path) -> None:
    """Raise `ConfigError` where no file of features can be; nothing is written."""
    check_form(path)
    check_new_file(path)


class GrowingFeatures:
    """Features of `records` on their way into a file; a context manager, which alone may write there.

    made_by: as in `FeatureTable`. one_a_view: a row for each view of a video in place of their mean. Raises
    `ConfigError` for a file that was made by something else, or is being written, `DataError` for a damaged
    one.
    """

    def __init__(
        self,
        path: Path,
        records: Sequence[VideoRecord],
        made_by: Mapping[str, Any],
        one_a_view: bool = False,
    ):
        check_target(path)
        self.path, self.records, self.one_a_view = path, records, one_a_view
        told = {**made_by, "rows": "views" if one_a_view else "means of views"}
        self.made_by: dict[str, Any] = json.loads(json.dumps(told))  # as a file has them
        self._lines: dict[_Key, dict[str, Any]] = {}
        self._shape: list[int] | None = None
        self._open = ExitStack()
        locked = False
        try:
            self._rows = self._file(".rows.jsonl")
            lock_file(self._rows, path)
            locked = True
            self._numbers = self._file(".vectors")
            self._begin()
        except BaseException:
            if locked:  # else what is there, empty or not, is another process's
                self._remove_empty()
            self._open.close()
            raise

    @property
    def left(self) -> list[VideoRecord]:
        """The records without a line, or with one of an earlier failure alone."""
        return [
            record
            for record in self.records
            if self._lines.get(_key(record), _EARLIER).get("earlier")
        ]

    @property
    def failed(self) -> dict[str, str]:
        """{name of one of the records: why it has no features}."""
        return _failures([self._lines.get(_key(record), {}) for record in self.records])

    def add(self, record: VideoRecord, found: np.ndarray | str) -> None:
        """Keep what was found of one video: float32 `[view, ...]`, or why there is nothing."""
        line: dict[str, Any] = {"path": record.path, "start": record.start, "end": record.end}
        if isinstance(found, str):
            self._keep({**line, "name": record.name, "failed": found})
            return
        rows = found if self.one_a_view else found.mean(0, keepdims=True)
        shape = list(rows.shape[1:])
        if self._shape not in (None, shape):
            # of a map whose size follows the picture's
            raise DataError(
                f"{record.name} gives features of the shape {shape}, and others {self._shape}; leave "
                "out --maps"
            )
        self._shape = shape
        _write_all(self._numbers, np.ascontiguousarray(rows, np.float32).tobytes())
        self._keep({**line, "rows": len(rows), "shape": shape})

    def finish(self) -> FeatureTable:
        """Write the file, whose rows stand in the order of the records, others from before behind them.

        The vectors of the table that is returned stay on the disk where the form allows it (npz).
        """
        keys = [*map(_key, self.records)]
        order = [key for key in keys if key in self._lines]
        order += [key for key in self._lines if key not in set(keys)]
        if not any("rows" in self._lines[key] for key in order):
            reasons = [line["failed"] for line in self._lines.values()]
            self._remove()  # so that another call tries them again
            raise DataError(f"no video has features: {reasons[0] if reasons else 'none is given'}")
        table = self._table(order)
        write_features(table, self.path)
        del table
        self._remove()
        return read_features(self.path, mapped=True)

    def close(self) -> None:
        """Let go of the files, which stay."""
        self._open.close()

    def _remove(self) -> None:
        self.close()
        for suffix in (".rows.jsonl", ".vectors", ".sorted"):
            _beside(self.path, suffix).unlink(missing_ok=True)

    def _remove_empty(self) -> None:
        for suffix in (".rows.jsonl", ".vectors"):
            place = _beside(self.path, suffix)
            if place.is_file() and not place.stat().st_size:
                place.unlink()

    def __enter__(self) -> "GrowingFeatures":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _file(self, suffix: str) -> IO[bytes]:
        return self._open.enter_context(open(_beside(self.path, suffix), "a+b", buffering=0))

    def _begin(self) -> None:
        """Take over what is there: of a run that was killed, else of a finished file."""
        self._rows.seek(0)
        data = self._rows.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._rows.truncate(len(whole))
        try:
            head, *lines = map(json.loads, whole.decode().splitlines() or ["{}"])
            for line in lines:
                self._take(line)
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{_beside(self.path, '.rows.jsonl')} is damaged; delete it to begin anew"
            ) from None
        if head:
            self._check(head)
            if os.fstat(self._numbers.fileno()).st_size < self._bytes():
                raise DataError(
                    f"{_beside(self.path, '.vectors')} is damaged; delete it, and "
                    f"{_beside(self.path, '.rows.jsonl')}"
                )
            self._numbers.truncate(self._bytes())
            return
        known = read_features(self.path, mapped=True) if self.path.exists() else None
        if known:
            self._check(known.made_by, "was made")
        self._numbers.truncate(0)
        self._write(self.made_by)
        if known:
            self._take_over(known)

    def _check(self, known: Mapping[str, Any], how: str = "was begun") -> None:
        if differs := difference(known, self.made_by):
            raise ConfigError(
                f"--out {self.path} {how} with another {' and another '.join(differs)}: features of "
                "two kinds cannot be compared; give another file, or delete it to begin anew"
            )

    def _take_over(self, known: FeatureTable) -> None:
        """The rows of a finished file."""
        rows: dict[_Key, list[int]] = {}
        for row, path in enumerate(known.paths):
            start, end = float(known.starts[row]), float(known.ends[row])
            key = (path, 0.0 if math.isnan(start) else start, None if math.isnan(end) else end)
            rows.setdefault(key, []).append(row)
        for (path, begin, stop), own in rows.items():
            if (os.path.abspath(path), begin, stop) in self._lines:
                continue  # spelt in two ways
            values = np.ascontiguousarray(known.vectors[own], np.float32)
            _write_all(self._numbers, values.tobytes())
            line = {"path": path, "start": begin, "end": stop, "rows": len(own)}
            self._keep({**line, "shape": list(values.shape[1:])})
        asked = _names(self.records)
        for name, why in known.failed.items():
            key = (os.path.abspath(name), 0.0, None)
            if name not in asked and key not in self._lines:
                line = {"path": name, "start": 0.0, "end": None, "name": name, "failed": why}
                self._keep({**line, **_EARLIER})

    def _take(self, line: dict[str, Any]) -> None:
        if "rows" in line:
            self._shape = line["shape"]
        key = os.path.abspath(line["path"]), line["start"], line["end"]
        self._lines.pop(key, None)  # their order is that of the rows in the file of numbers
        self._lines[key] = line

    def _keep(self, line: dict[str, Any]) -> None:
        self._write(line)
        self._take(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        _write_all(self._rows, (json.dumps(line) + "\n").encode())

    def _bytes(self) -> int:
        return 4 * math.prod(self._shape or [0]) * sum(map(_count, self._lines.values()))

    def _table(self, order: Sequence[_Key]) -> FeatureTable:
        """All rows in an order; the vectors lie on the disk."""
        shape = tuple(self._shape or ())
        counts = {key: _count(line) for key, line in self._lines.items()}
        firsts = dict(zip(counts, np.cumsum([0, *counts.values()]).tolist(), strict=False))
        taken = np.array(
            [row for key in order for row in range(firsts[key], firsts[key] + counts[key])], int
        )
        vectors: np.ndarray = np.memmap(
            _beside(self.path, ".vectors"), np.float32, "r", shape=(sum(counts.values()), *shape)
        )
        if not np.array_equal(taken, np.arange(len(taken))):
            vectors = _sorted(vectors, taken, _beside(self.path, ".sorted"))
        keys = [key for key in order for _ in range(counts[key])]
        numbers = [range(counts[key]) if self.one_a_view else [MEAN_OF_VIEWS] for key in order]
        whole = [start == 0 and end is None for _, start, end in keys]
        starts = [np.nan if w else start for (_, start, _), w in zip(keys, whole, strict=True)]
        return FeatureTable(
            vectors,
            [str(self._lines[key]["path"]) for key in keys],
            np.array(starts, np.float64),
            np.array([np.nan if end is None else end for *_, end in keys], np.float64),
            np.array(
                [
                    number
                    for row, key in zip(numbers, order, strict=True)
                    for number in row
                    if counts[key]
                ],
                np.int64,
            ),
            self.made_by,
            self._all_failures(order),
        )

    def _all_failures(self, order: Sequence[_Key]) -> dict[str, str]:
        """As `failed`, with those of earlier runs whose videos were not asked for again."""
        asked = _names([record for record in self.records if _key(record) in self._lines])
        lines = [self._lines[key] for key in order]
        return _failures(
            [line for line in lines if not (line.get("earlier") and line["name"] in asked)]
        )


def _sorted(vectors: np.ndarray, rows: np.ndarray, place: Path) -> np.ndarray:
    """The rows of a file on the disk in another order, in another file."""
    found = np.memmap(place, np.float32, "w+", shape=(len(rows), *vectors.shape[1:]))
    for new, old in enumerate(rows):
        found[new] = vectors[old]
    found.flush()
    return found


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write to a file without a buffer, which may take a part alone, as a disk does that is nearly full."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _count(line: Mapping[str, Any]) -> int:
    return int(line.get("rows", 0))


def _key(record: VideoRecord) -> _Key:
    # a video is one, however its path is spelt
    return os.path.abspath(record.path), float(record.start), record.end


def _names(records: Sequence[VideoRecord]) -> set[str]:
    """What the failures of these are called."""
    return {name for record in records for name in (record.name, record.path)}


def _failures(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """{name: why it has no features}; of videos of one name, as two lists may have, the others' paths."""
    found: dict[str, str] = {}
    for line in lines:
        if "failed" in line:
            name = line["name"]
            found[line["path"] if name in found else name] = line["failed"]
    return found


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
