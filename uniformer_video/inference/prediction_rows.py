"""One prediction as a row of a file: a JSON object, or the cells of a table."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import simplejson

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError
from uniformer_video.evaluation.predictions import FLAG, NUMBER, TEXT
from uniformer_video.tasks.prediction import (
    NONE_OF_THESE,
    FailedPrediction,
    PixelShares,
    Prediction,
)

Row = dict[str, Any]
Outcome = Prediction | PixelShares | FailedPrediction
Key = tuple[str, float, float | None]  # path, start, end: the segment of a video


def key_of(record: VideoRecord) -> Key:
    """What a video's row is known by; bytes of its name that are no UTF-8 are spelt out, as in the file."""
    path, start, end = record.segment
    return path.encode("utf-8", "backslashreplace").decode(), start, end


def entry_of(
    record: VideoRecord, outcome: Outcome, noun: str, marks: Mapping[str, Any], top: int
) -> Row:
    """A prediction as one JSON object; `noun` is the key of the video's name, `marks` those of the task."""
    entry: Row = {noun: record.name}
    if record.path != record.name:
        entry["path"] = record.path
    if record.start or record.end is not None:
        entry |= {"start": record.start, "end": record.end}
    if isinstance(outcome, FailedPrediction):
        return {**entry, **outcome.to_dict()}
    return {**entry, **marks, **outcome.to_dict(top)}


@dataclass(frozen=True)
class TableRows:
    """The rows of a table: what is in its columns, {name: kind}, for the `top` best classes."""

    top: int

    @property
    def kinds(self) -> dict[str, str]:
        best: dict[str, str] = {}
        for rank in range(1, self.top + 1):
            best |= {f"top{rank}_name": TEXT, f"top{rank}_score": NUMBER}
        return {
            "name": TEXT,
            "path": TEXT,
            "start": NUMBER,
            "end": NUMBER,
            "predicted_name": TEXT,
            "score": NUMBER,
            "none_of_these": FLAG,
            **best,
            "failure": TEXT,
        }

    def row(self, record: VideoRecord, outcome: Outcome) -> Row:
        """The cells of a prediction; None is an empty one. start, end: of the whole video both are empty."""
        row = self._begin(record)
        if isinstance(outcome, FailedPrediction):
            return {**row, "failure": outcome.reason}
        if not isinstance(outcome, Prediction):
            raise ConfigError(
                f"a {type(outcome).__name__} is no list of classes, which a table takes; give --out a name "
                "that ends in .jsonl"
            )
        found = outcome.to_dict(self.top)["top"]
        row |= {"predicted_name": found[0]["class"], "score": found[0]["score"]}
        if outcome.threshold is not None:
            row["none_of_these"] = outcome.none_of_these
            row["predicted_name"] = NONE_OF_THESE if outcome.none_of_these else found[0]["class"]
        for rank, best in enumerate(found, start=1):
            row |= {f"top{rank}_name": best["class"], f"top{rank}_score": best["score"]}
        return row

    def _begin(self, record: VideoRecord) -> Row:
        """The cells that say which file it is of, the others empty."""
        row: Row = dict.fromkeys(self.kinds)
        row |= {"name": record.name, "path": record.path}
        if record.start or record.end is not None:
            row |= {"start": record.start, "end": record.end}
        return row


@dataclass(frozen=True)
class ShareRows(TableRows):
    """The rows of predictions for pixels: the shares of the `top` classes with the most of them."""

    @property
    def kinds(self) -> dict[str, str]:
        best: dict[str, str] = {}
        for rank in range(1, self.top + 1):
            best |= {f"top{rank}_name": TEXT, f"top{rank}_share": NUMBER}
        numbers = dict.fromkeys(("start", "end", "height", "width", "frames", "seconds"), NUMBER)
        facts = {**numbers, "broken": FLAG}
        return {"name": TEXT, "path": TEXT, **facts, **best, "notes": TEXT, "failure": TEXT}

    def row(self, record: VideoRecord, outcome: Outcome) -> Row:
        """The cells of a prediction; None is an empty one."""
        row = self._begin(record)
        if not isinstance(outcome, PixelShares):
            return {**row, "failure": outcome.to_dict(self.top)["error"]}
        found = outcome.to_dict(self.top)
        facts = ("height", "width", "frames", "seconds", "broken")
        row |= {key: found[key] for key in facts if key in found}
        for rank, best in enumerate(found["classes"], start=1):
            row |= {f"top{rank}_name": best["class"], f"top{rank}_share": best["share"]}
        return {**row, "notes": " ".join(found.get("notes", ())) or None}


def key_of_row(row: Mapping[str, Any], noun: str) -> Key:
    """The key of a row that was read back; `KeyError`, `TypeError` or `ValueError` for what is none."""
    path = row.get("path") or row[noun]
    start, end = row.get("start"), row.get("end")
    if not isinstance(path, str):
        raise TypeError(path)
    return path, float(start or 0), None if end in (None, "") else float(end)


def failure_of_row(row: Mapping[str, Any]) -> str:
    """Why the video of a row has no prediction; "" where it has one."""
    return row.get("error") or row.get("failure") or ""


def loss_of_row(row: Mapping[str, Any]) -> str:
    """What a row notes of a video of which something could not be decoded; "" of others."""
    if row.get("broken") not in (True, "True"):  # in csv it is text
        return ""
    notes = row.get("notes") or ""
    return notes if isinstance(notes, str) else " ".join(notes)


def json_line(row: Mapping[str, Any]) -> str:
    """A row as one line, its end included."""
    return simplejson.dumps(row, ensure_ascii=False) + "\n"


def csv_line(cells: Sequence[Any]) -> str:
    """Cells as one line of csv, its end included."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def json_rows(text: str) -> list[Row]:
    """The rows of JSON lines; `ValueError` for what is none."""
    rows = [json.loads(line) for line in text.split("\n") if line]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no object")
    return rows


def csv_rows(kinds: Mapping[str, str]) -> Callable[[str], list[Row]]:
    """A function that reads the rows of csv with these columns back; it raises `ValueError` for others."""

    def read(text: str) -> list[Row]:
        header, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
        if header and header != list(kinds):
            raise ValueError("it has other columns")
        return [dict(zip(kinds, cells, strict=True)) for cells in lines]

    return read
