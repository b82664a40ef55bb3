"""Csv tables with a header line: columns in any order, most of them optional."""

import csv
import io
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from uniformer_video.data.lists.text import is_class_name, whole_number
from uniformer_video.errors import DataError

NEEDED = ("path", "label")
OPTIONAL = ("start", "end", "weight", "group")
_SEPARATORS = (",", ";", "\t")
_CELL_LIMIT = 100_000  # letters; longer cells are refused by `csv`
_LABEL = re.compile(r"[^\s,;|]+")


class Table:
    """The columns of a list, from its header line.

    needed: the columns that must be there; known: all that may be. Raises `DataError`, naming `source`, for a
    header with unknown, repeated or lacking columns.
    """

    def __init__(
        self,
        header: str,
        separator: str,
        source: str,
        needed: Sequence[str] = NEEDED,
        known: Sequence[str] = NEEDED + OPTIONAL,
    ) -> None:
        self.separator = _separator(header, separator, source)
        self.columns = [cell.lower() for cell in cells_of(header, self.separator, source)]
        for column in self.columns:
            if column not in known:
                raise DataError(f"{source}: unknown column {column!r}; {_columns(known)}")
            if self.columns.count(column) > 1:
                raise DataError(f"{source}: the column {column} stands there twice; keep one")
        if lacking := [column for column in needed if column not in self.columns]:
            raise DataError(f"{source}: there is no column {lacking[0]}; {_columns(known)}")

    def row(self, line: str, source: str) -> dict[str, str]:
        """`{column: text}` of a line."""
        cells = cells_of(line, self.separator, source)
        if len(cells) != len(self.columns):
            raise DataError(
                f"{source}: {len(cells)} cells below a header of {len(self.columns)}, "
                f"{self.separator.join(self.columns)}; a cell that holds {self.separator!r} goes "
                f"into quotes; got {line.strip()!r}"
            )
        return dict(zip(self.columns, cells, strict=True))

    def text(self, row: Mapping[str, str]) -> str:
        """The line, without its end, of a row as `row` gives it."""
        out = io.StringIO()
        csv.writer(out, delimiter=self.separator, lineterminator="").writerow(row.values())
        return out.getvalue()


def _columns(known: Sequence[str]) -> str:
    """What the columns of a list are, for messages; the optional ones stand last."""
    needed = ", ".join(column for column in known if column not in OPTIONAL)
    optional = ", ".join(column for column in known if column in OPTIONAL)
    return f"the columns are {needed} and, where wanted, {optional}"


def cells_of(line: str, separator: str, source: str) -> list[str]:
    """The cells of one line of csv; `DataError`, naming `source`, for what is none."""
    if '"' not in line and separator != " " and len(line) < _CELL_LIMIT:  # many blanks part as one
        return [cell.strip() for cell in line.strip("\r\n").split(separator)]
    try:
        (cells,) = csv.reader(
            [line.strip("\r\n")], delimiter=separator, skipinitialspace=True, strict=True
        )
    except csv.Error as error:
        raise DataError(f"{source}: cannot be read as csv, {error}: {line.strip()!r}") from None
    return [cell.strip() for cell in cells]


def is_header(line: str, separator: str) -> bool:
    """True for a line that names columns, which ends in no number."""
    mark = _find_separator(line) if separator == "auto" else separator
    cells = [cell.strip(' \t"\r\n').lower() for cell in line.strip().split(mark or None)]
    named = any if mark else all  # names of videos hold blanks
    return whole_number(cells[-1]) is None and named(cell in NEEDED for cell in cells)


def labels_of(row: Mapping[str, str], source: str) -> tuple[int, ...] | tuple[str, ...]:
    """The labels of a row: a sorted tuple of class indices, or of class names, each class once.

    Several numbers stand in the cell between blanks, commas (in quotes where commas part the columns), `;`
    or `|`; several names between the latter two. An empty cell has none.
    """
    cell = row["label"]
    labels: list[Any] = [whole_number(word) for word in _LABEL.findall(cell)]
    if None in labels:
        labels = [name.strip() for name in re.split("[;|]", cell)]
        if not all(map(is_class_name, labels)):
            labels = []
    if cell and not labels:
        raise DataError(
            f"{source}: the label is {cell!r}; it must be a whole number from 0, or several with blanks "
            "between, or a class name, or several with ; between"
        )
    return tuple(sorted(set(labels)))


def label_cell(labels: Collection[int | str]) -> str:
    """The cell that `labels_of` reads as these."""
    return (";" if any(isinstance(label, str) for label in labels) else " ").join(map(str, labels))


def relabel_cell(cell: str, order: Sequence[int]) -> str:
    """The cell of a row with each label L replaced by `order[L]`, all between them as it is."""
    return _LABEL.sub(lambda label: str(order[int(label[0])]), cell)


def segment_of(row: Mapping[str, str], source: str) -> tuple[float, float | None]:
    """(start, end) of a row in seconds; (0, None), the whole video, where its cells are empty."""
    start = _number(row, "start", source) or 0.0
    end = _number(row, "end", source)
    if end is not None and end <= start:
        raise DataError(f"{source}: the segment ends at {end:g} s and starts at {start:g} s")
    return start, end


def weight_of(row: Mapping[str, str], source: str) -> float:
    """How often a row's video comes in training, beside the others; 1 where nothing is said."""
    weight = _number(row, "weight", source)
    return 1.0 if weight is None else weight


def segment_name(name: str, start: float, end: float | None) -> str:
    """`name#2-4.5` for a segment of a video, `name` for all of it."""
    if not start and end is None:
        return name
    return f"{name}#{_plain(start)}-{'' if end is None else _plain(end)}"


def _plain(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _number(row: Mapping[str, str], column: str, source: str) -> float | None:
    """The number in a cell; None where it is empty, or there is no such column."""
    text = row.get(column)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise DataError(f"{source}: {column} is {text!r}; it must be a number from 0, or empty")
    return value


def _find_separator(line: str) -> str:
    return next((mark for mark in _SEPARATORS if mark in line), "")


def _separator(header: str, separator: str, source: str) -> str:
    if separator == "auto":
        separator = _find_separator(header)
    if len(separator) != 1:
        raise DataError(
            f"{source}: a header line takes commas, semicolons or tabs between its columns, or one "
            f"character as DATA.PATH_LABEL_SEPARATOR; got {header.strip()!r}"
        )
    return separator
