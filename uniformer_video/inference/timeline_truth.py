"""Known segments of a video from a csv table, to score a timeline against."""

import math
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from uniformer_video.data.lists.table import cells_of, segment_of
from uniformer_video.data.lists.text import filled_lines, whole_number
from uniformer_video.errors import DataError, quote
from uniformer_video.evaluation.segments import Segment
from uniformer_video.words import plural

_NEEDED = ("start", "end", "label")
_SEPARATORS = (",", ";", "\t")


def read_truth(path: Path | str, class_names: Sequence[str], video: str) -> list[Segment]:
    """The segments of `video` in a table with the columns start, end (seconds; empty = the whole video) and
    label, a class name or its number from 0. Other columns do not count, but `path`: where it is there, rows
    of other videos are left out.

    An end that is not given is infinite. Raises `DataError` with file and line.
    """
    lines = list(filled_lines(path))
    if not lines:
        raise DataError(f"{path} is empty; it must hold the columns {', '.join(_NEEDED)}")
    (source, header), *rows = lines
    separator = next((mark for mark in _SEPARATORS if mark in header), ",")
    columns = [cell.lower() for cell in cells_of(header, separator, source)]
    for column in _NEEDED:
        if columns.count(column) != 1:
            times = "twice" if column in columns else "nowhere"
            raise DataError(
                f"{source}: the column {column} stands there {times}; a header line names the columns "
                f"{', '.join(_NEEDED)}, got {header.strip()!r}"
            )
    found, others = [], 0
    for source, line in rows:
        cells = cells_of(line, separator, source)
        if len(cells) != len(columns):
            raise DataError(f"{source}: {len(cells)} cells below a header of {len(columns)}")
        row = dict(zip(columns, cells, strict=True))
        if row.get("path") and Path(row["path"]).name != Path(video).name:
            others += 1
            continue
        found.append(_segment(row, class_names, source))
    if not found:
        why = f"of other videos than {os.path.basename(video)} it has {plural(others, 'row')}"
        raise DataError(f"{path} holds no segment{f': {why}' if others else ''}")
    return found


def _segment(row: Mapping[str, str], class_names: Sequence[str], source: str) -> Segment:
    start, end = segment_of(row, source)
    last = math.inf if end is None else end
    return Segment(start, last, _label(row["label"], class_names, source))


def _label(text: str, class_names: Sequence[str], source: str) -> int:
    if text in class_names:
        return class_names.index(text)
    number = whole_number(text)
    if number is not None and 0 <= number < len(class_names):
        return number
    near = get_close_matches(text, class_names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise DataError(
        f"{source}: the label is {quote(text)}; it must be one of the {len(class_names)} classes of the "
        f"model, by its name or its number from 0{hint}"
    )
