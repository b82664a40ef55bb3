"""A file of predictions that grows row by row: a run that is killed goes on where it was.

Beside `OUT` stands `OUT.predict.json`, which says by what the rows were made, so that no others are put
among them. csv and JSON lines are written where they stay; the rows of a parquet file stand in
`OUT.rows.jsonl` until all are there.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.evaluation.predictions import Column, check_parquet, write_parquet
from uniformer_video.files import check_new_file, write_text
from uniformer_video.inference.prediction_rows import (
    Key,
    Outcome,
    Row,
    TableRows,
    csv_line,
    csv_rows,
    entry_of,
    failure_of_row,
    json_line,
    json_rows,
    key_of,
    key_of_row,
    loss_of_row,
)
from uniformer_video.locks import lock_file
from uniformer_video.weights.checkpoint import file_sha256
from uniformer_video.words import name_some, plural
from uniformer_video.zoo.published import local_file

SUFFIXES = (".csv", ".jsonl", ".parquet")
_BESIDE = ".predict.json"
_ROWS = ".rows.jsonl"


def check_target(path: Path) -> None:
    """Raise `ConfigError` where no file of predictions can be, or another file is; nothing is written."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"--out {str(path)!r} tells no form by its name; call it .csv, .jsonl or .parquet"
        )
    check_new_file(path)
    if path.suffix.lower() == ".parquet":
        check_parquet()
    if path.exists() and path.stat().st_size and not _beside(path).is_file():
        raise ConfigError(
            f"--out {path} is there already and was not written by predict: {_beside(path).name} is not "
            "beside it; give another file"
        )


class PredictionFile:
    """The rows of `records` in a file at `path`; a context manager, which alone may write there.

    Args:
        asked: plain data that say by what the rows are made: the checkpoint's digest, its protocol, how many
            classes are told. A file that others have made is refused.
        noun: "video", "image" or "file". marks: of the task. table: the columns, and how many classes are
            told.

    `left`: the records without a row, in their order. Raises `ConfigError` for a file that is none of these,
    or is being written, `DataError` for a damaged one.
    """

    def __init__(
        self,
        path: Path,
        records: Sequence[VideoRecord],
        asked: Mapping[str, Any],
        noun: str,
        marks: Mapping[str, Any],
        table: TableRows,
    ):
        check_target(path)
        self.path, self.records, self._noun, self._marks = path, records, noun, marks
        self._top, self._table = table.top, table
        self._is_parquet = path.suffix.lower() == ".parquet"
        self._is_csv = path.suffix.lower() == ".csv"
        self._place = path.with_name(path.name + _ROWS) if self._is_parquet else path
        self._check_asked(asked)
        # open until `close`
        self._file: IO[bytes] = open(self._place, "a+b", buffering=0)  # noqa: SIM115
        try:
            lock_file(self._file, path)
            self._begin()
        except BaseException:
            self._file.close()
            raise

    def add(self, record: VideoRecord, outcome: Outcome) -> None:
        """Write the row of one video, whole or not at all."""
        if self._is_parquet or self._is_csv:
            row = self._table.row(record, outcome)
        else:
            row = entry_of(record, outcome, self._noun, self._marks, self._top)
        self._append(self._line(row))
        self._rows[key_of(record)] = row

    @property
    def left(self) -> list[VideoRecord]:
        """The records without a row."""
        return [record for record in self.records if key_of(record) not in self._rows]

    @property
    def failures(self) -> list[str]:
        """The names of the records whose rows say why there is no prediction."""
        found = [record for record in self.records if key_of(record) in self._rows]
        return [record.name for record in found if failure_of_row(self._rows[key_of(record)])]

    @property
    def losses(self) -> dict[str, str]:
        """{name of a record of which something could not be decoded: what its row notes}."""
        found = {record.name: self._rows.get(key_of(record), {}) for record in self.records}
        return {name: loss for name, row in found.items() if (loss := loss_of_row(row))}

    def finish(self) -> list[str]:
        """Put the rows into the order of `records`, where earlier runs had others, and write parquet.

        Returns notes on rows of videos that are not among the records: they stay, behind the others.
        """
        keys = [key_of(record) for record in self.records]
        others = [key for key in self._rows if key not in set(keys)]
        rows = {key: self._rows[key] for key in [*keys, *others] if key in self._rows}
        if self._is_parquet:
            write_parquet(self.path, self._columns(list(rows.values())))
        elif list(rows) != list(self._rows):
            write_text(self.path, self._head() + "".join(map(self._line, rows.values())))
        self.close()
        if self._is_parquet:
            self._place.unlink()
        if not others:
            return []
        names = name_some([path for path, *_ in others])
        return [
            f"{self.path} has {plural(len(others), 'row')} of others, from before: {names}; they stay"
        ]

    def close(self) -> None:
        """Let go of the file, whose rows stay."""
        self._file.close()

    def __enter__(self) -> "PredictionFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_asked(self, asked: Mapping[str, Any]) -> None:
        """Refuse rows that were made by something else; note by what these are."""
        beside, wanted = _beside(self.path), {"made_by": "predict", **asked}
        is_begun = self.path.exists() or self._place.exists()
        if is_begun and beside.is_file():
            try:
                known = json.loads(beside.read_bytes())
                differs = [key for key in wanted if known.get(key) != wanted[key]]
            except (ValueError, AttributeError):
                raise DataError(
                    f"{beside} is damaged; give --out another file, or delete both"
                ) from None
            if differs:
                raise ConfigError(
                    f"--out {self.path} was begun with another {' and another '.join(differs)}; give another "
                    "file, or delete it to begin anew"
                )
        else:
            write_text(beside, json.dumps(wanted, indent=1, ensure_ascii=False) + "\n")

    def _begin(self) -> None:
        """Read the rows that are there, and cut off what a killed run has left of one."""
        text = self._read()
        if self._is_parquet and not text and self.path.exists():
            rows = _parquet_rows(self.path, self._table.kinds)
            self._append("".join(map(self._line, rows)))
        elif not text and self._head():
            self._append(self._head())
        read: Callable[[str], list[Row]] = (
            csv_rows(self._table.kinds) if self._is_csv else json_rows
        )
        try:
            rows = read(self._read())
            self._rows: dict[Key, Row] = {
                key_of_row(row, "name" if self._is_tabular else self._noun): row for row in rows
            }
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"--out {self.path} is no file of these predictions any more ({error}); give another file, "
                "or delete it to begin anew"
            ) from None

    @property
    def _is_tabular(self) -> bool:
        return self._is_csv or self._is_parquet

    def _read(self) -> str:
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        return whole.decode("utf-8", "replace")

    def _append(self, text: str) -> None:
        """Write all of it, or leave the file as it was: a full disk may take a part."""
        data, size = text.encode("utf-8", "backslashreplace"), self._file.seek(0, os.SEEK_END)
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
        except OSError as error:
            self._file.truncate(size)
            error.filename = str(self.path)
            raise

    def _head(self) -> str:
        return csv_line(list(self._table.kinds)) if self._is_csv else ""

    def _line(self, row: Row) -> str:
        return csv_line(list(row.values())) if self._is_csv else json_line(row)

    def _columns(self, rows: Sequence[Row]) -> dict[str, Column]:
        return {
            name: Column(kind, [row[name] for row in rows])
            for name, kind in self._table.kinds.items()
        }


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _BESIDE)


def _parquet_rows(path: Path, kinds: Mapping[str, str]) -> list[Row]:
    """The rows of a finished parquet file."""
    from pyarrow import ArrowInvalid, parquet

    try:
        rows = parquet.read_table(path).to_pylist()
    except ArrowInvalid:
        raise DataError(
            f"--out {path} is no parquet file; give another file, or delete it"
        ) from None
    if rows and list(rows[0]) != list(kinds):
        raise DataError(f"--out {path} has other columns; give another file, or delete it")
    return rows


def asked_of(
    checkpoint: str, protocol: Protocol, class_names: Sequence[str], top: int
) -> dict[str, Any]:
    """What says by what predictions are made: rows of others are not put among them."""
    return {
        "checkpoint": file_sha256(local_file(checkpoint)),
        "protocol": protocol.to_dict(),
        "class names": list(class_names),
        "number of classes told (--top)": top,
    }
