"""Lists of videos: csv files, lists of frames -> `VideoRecord`s."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path

import numpy as np

from uniformer_video.data.decoding.frame_names import is_frame_folder
from uniformer_video.data.lists.columns import (
    VideoColumns,
    as_columns,
    first_segments,
    with_numbers,
)
from uniformer_video.data.lists.media import MEDIA, is_listed_file
from uniformer_video.data.lists.table import (
    Table,
    is_header,
    labels_of,
    segment_name,
    segment_of,
    weight_of,
)
from uniformer_video.data.lists.text import (
    MARKS,
    filled_lines,
    is_class_name,
    last_number,
    read_lines,
    split_line,
    without_quotes,
)
from uniformer_video.data.lists.video_record import VideoRecord as VideoRecord
from uniformer_video.data.lists.video_record import noun_of as noun_of
from uniformer_video.errors import DataError
from uniformer_video.program import command
from uniformer_video.randomness import generator
from uniformer_video.storage.address import is_network_address, public_name
from uniformer_video.words import plural

# `folder 40 name`; a name with a number as a word, such as "take 2", goes into quotes, or else that could be
# the number of frames.
_NAMED_FRAMES = re.compile(
    r'(?P<rest>.*?(?:[,;\s]+\d+)+)[,;\s]+("(?P<quoted>[^"]+)"|(?P<plain>\D[^,;"]*))'
)
_NUMBER_INSIDE = re.compile(r"\s\d+(\s|$)")


@dataclass(frozen=True)
class VideoList:
    """The videos of one part of a data set, as a format reads them.

    class_names: in index order, None where nothing names them. notes: lines for the log and the report on
    what was left out.
    """

    records: Sequence[VideoRecord]
    class_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def read_csv(
    path: Path | str, prefix: Path | str = "", separator: str = "auto", medium: str = "video"
) -> VideoColumns:
    """The records of a Kinetics-style list: a path and a label, a number or a class name, on each line.

    Without a header line, `separator` "auto" splits at the last comma or blank of the line, so that
    paths may hold both. A header line names the columns: path and label, and where wanted start, end
    (seconds; empty = the whole video), weight and group; there the label's cell may hold several of them, or
    none. Paths are taken from `prefix`, or from the csv's own folder. medium: what it lists, "video" or
    "image". Raises `DataError` with file and line.
    """
    paths = PathsFrom(prefix or Path(path).parent)
    lines = filled_lines(path)
    first = list(islice(lines, 1))
    if first and is_header(first[0][1], separator):
        table = Table(first[0][1], separator, first[0][0])
        records = as_columns(
            _table_record(table.row(line, source), paths, source, medium) for source, line in lines
        )
    else:
        rows = _line_rows(chain(first, lines), separator, paths)
        records = VideoColumns.of_rows(rows, medium=medium)
    if not records:
        raise DataError(
            f"{path} lists no {medium}s; each line holds a path and a label, `{MEDIA[medium].file},3`"
        )
    return records


_Row = tuple[str, str, tuple[int | str], str]


def _line_rows(
    lines: Iterable[tuple[str, str]], separator: str, paths: "PathsFrom"
) -> Iterator[_Row]:
    """(path, name, labels, source) of each line. Most are plain, `a b.mp4 3`, and read by one expression."""
    plain, is_listed = _plain_line(separator), lru_cache(is_listed_file)
    for source, line in lines:
        found = plain.fullmatch(line) if plain else None
        name = found[1] if found else ""
        if found and is_listed(name[name.rfind(".") :]):
            yield paths(name, source), name, (int(found[2]),), source
        else:
            yield _line_row(line, separator, paths, source)


def _plain_line(separator: str) -> re.Pattern[str] | None:
    """What fits lines of a name, without quotes, and a number; None = there is nothing such."""
    if separator == "auto":
        return re.compile(rf'(?!\s)([^"]*[^"{MARKS}])[{MARKS}]+(-?[0-9]{{1,18}})[\t ]*')
    return re.compile(rf'(?!\s)([^"]+){separator}(-?[0-9]{{1,18}})') if separator in MARKS else None


def _line_row(line: str, separator: str, paths: "PathsFrom", source: str) -> _Row:
    name, label = split_line(line, separator, source)
    video, number = last_number(name, separator)
    if number is not None and is_listed_file(video):  # such as a.mp4,3 of the line a.mp4,3 17
        raise DataError(
            f"{source}: {line.strip()!r} ends in two numbers; for several labels, or a path that ends "
            "in a number, begin the list with a header line, `path,label`"
        )
    if (
        number is not None
        and is_frame_folder(paths.folder / video)
        and not (paths.folder / name).exists()
    ):
        raise DataError(
            f"{source}: {line.strip()!r} names a folder of frames and their number, as lists of the format "
            "frames do: set TRAIN.DATASET frames (`check` takes --template), or write `folder,label`"
        )
    return paths(name, source), name, (label,), source


def _table_record(
    row: Mapping[str, str], paths: "PathsFrom", source: str, medium: str
) -> VideoRecord:
    name = row["path"]
    if not name:
        raise DataError(f"{source}: the path is empty")
    start, end = segment_of(row, source)
    if medium == "image" and (start or end is not None):
        raise DataError(
            f"{source}: {name} has a start or an end in seconds, and an image has no time; leave the "
            "cells of start and end empty, or take the columns out"
        )
    return VideoRecord(
        paths(name, source),
        segment_name(name, start, end),
        labels_of(row, source),
        source,
        start=start,
        end=end,
        weight=weight_of(row, source),
        group=row.get("group", ""),
        medium=medium,
    )


def listed_path(folder: Path | str, name: str, source: str) -> str:
    """The absolute path of a name in a list, from `folder` on.

    A name with backslashes, as Windows spells them, is read with slashes where a file is there only so.

    Raises `DataError`, with the place in the list, for an address: a list opens no network.
    """
    if is_network_address(name):
        raise DataError(
            f"{source}: {public_name(name)} is an address, and a list names files; download it first "
            f"(shards may lie at addresses, and `{command('watch')}` opens streams)"
        )
    folder = Path(folder)
    path = os.path.abspath(folder / name)
    if "\\" in path and not os.path.exists(path):
        spelt_here = os.path.abspath(os.fspath(folder / name).replace("\\", "/"))
        return spelt_here if os.path.exists(spelt_here) else path
    return path


class PathsFrom:
    """`listed_path` of many names below one folder. A name without `.`, `..`, `:` or `\\` needs no look."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._start = os.path.join(os.path.abspath(folder), "")

    def __call__(self, name: str, source: str) -> str:
        odd = os.sep != "/" or "\\" in name or ":" in name or "//" in name or "/." in name
        if odd or name[:1] in ("", ".") or name[-1] == "/":
            return listed_path(self.folder, name, source)
        return name if name[0] == "/" else self._start + name


def read_frame_list(path: Path | str, template: str, prefix: Path | str = "") -> VideoColumns:
    """The records of a list of folders of frames: `folder num_frames label` on each line.

    The last two blanks or commas of the line split it, so that folders may hold both. Folders are
    taken from `prefix`, or from the list's own folder; `template` names their frames by number, such
    as "img_{:05d}.jpg". Raises `DataError` with file and line.
    """
    paths = PathsFrom(prefix or Path(path).parent)
    expected = (
        "a folder, its number of frames and a whole-number label (or a class name, in quotes where it "
        "begins with a number), such as `folder 40 3`"
    )

    def rows() -> Iterator[tuple[str, str, tuple[int | str], str, int]]:
        for source, line in filled_lines(path):
            name, count, label = _frame_line(line)
            if not name or label is None or count is None:
                raise DataError(f"{source}: expected {expected}; got {line.strip()!r}")
            if count < 1:
                raise DataError(
                    f"{source}: {name} has {count} frames; leave it out, or mend the list"
                )
            yield os.path.join(paths(name, source), template), name, (label,), source, count

    records = VideoColumns.of_rows(rows())
    if not records:
        raise DataError(f"{path} lists no videos; each line holds {expected}")
    return records


def _frame_line(line: str) -> tuple[str, int | None, int | str | None]:
    """(folder, number of frames or None, label or None) of a line; the label may be a class name."""
    label: int | str | None
    rest, label = last_number(line, "auto")
    if named := _NAMED_FRAMES.fullmatch(line.strip()):
        class_name = named["quoted"] or named["plain"]
        clear = named["quoted"] or not _NUMBER_INSIDE.search(class_name)
        if clear and is_class_name(class_name):
            rest, label = named["rest"], class_name
    name, count = last_number(rest, "auto")
    return without_quotes(name), count, label


def split_records(
    records: Sequence[VideoRecord], val_ratio: float, seed: int
) -> tuple[VideoColumns, VideoColumns]:
    """Split into (train, val), each class by itself, the same way for the same seed.

    A class with two or more videos has at least one in each part when `val_ratio` is between 0 and 1.
    """
    columns = as_columns(records)
    several = columns.labels.counts != 1
    if several.any():
        raise columns[int(several.argmax())].not_one_label
    labels = columns.labels.flat()[1]
    places = np.argsort(labels, kind="stable")
    train, val = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for own in np.split(places, np.flatnonzero(np.diff(labels[places])) + 1) if len(places) else ():
        order = generator("split", seed, int(labels[own[0]])).permutation(len(own))
        held_out = round(len(own) * val_ratio)
        if 0 < val_ratio < 1 and len(own) > 1:
            held_out = min(max(held_out, 1), len(own) - 1)
        val.append(own[np.sort(order[:held_out])])
        train.append(own[np.sort(order[held_out:])])
    return columns.take(np.concatenate(train)), columns.take(np.concatenate(val))


def read_class_names(path: Path | str) -> list[str]:
    """The class names of a text file, one a line, in index order."""
    return check_class_names([line.strip() for line in read_lines(path)], path)


def check_class_names(names: list[str], path: Path | str) -> list[str]:
    """The names without empty ones at the end; `DataError` naming `path` for none, gaps and repeats."""
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise DataError(f"{path} must hold one class name a line, with no empty line between")
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise DataError(f"{path} names a class twice: {', '.join(repeated[:3])}")
    return names


def check_labels(
    records: Sequence[VideoRecord], num_classes: int, remedy: str = "set MODEL.NUM_CLASSES"
) -> None:
    """Raise `DataError`, with file and line, for a label outside 0..num_classes-1.

    remedy: what helps where the list is right.
    """
    columns = as_columns(records)
    owners, labels = columns.labels.flat()
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        record, label = columns[int(owners[outside[0]])], labels[outside[0]]
        shifted = (
            "; labels count from 0, and these seem to count from 1" if labels.min() == 1 else ""
        )
        raise DataError(
            f"{record.source}: label {label} of {record.name} is outside "
            f"0..{num_classes - 1}{shifted}; mend the list, or {remedy}"
        )


def label_table(records: Iterable[VideoRecord], num_classes: int) -> np.ndarray:
    """Which classes the videos show: bool `[videos, num_classes]`."""
    columns = as_columns(records)
    table = np.zeros((len(columns), num_classes), bool)
    table[columns.labels.flat()] = True
    return table


def multi_hot(labels: Sequence[Iterable[int]], num_classes: int) -> np.ndarray:
    """Tuples of class indices -> bool `[len(labels), num_classes]`."""
    table = np.zeros((len(labels), num_classes), bool)
    for row, own in zip(table, labels, strict=True):
        row[list(own)] = True
    return table


def without_repeats(records: Iterable[VideoRecord]) -> VideoColumns:
    """The records, each segment of a video once.

    Raises `DataError`, with file and line, where one stands there twice with different labels.
    """
    columns = as_columns(records)
    first = first_segments(columns)
    repeats = first != np.arange(len(first))
    for record, known in zip(columns.take(repeats), columns.take(first[repeats]), strict=True):
        if known.mask != record.mask:
            raise DataError(
                f"{record.source}: {record.name} has the mask {record.mask}, and in {known.source} "
                f"{known.mask}; keep one of the lines"
            )
        if known.labels != record.labels:
            raise DataError(
                f"{record.source}: {record.name} has label {label_text(record.labels)}, and in "
                f"{known.source} label {label_text(known.labels)}; keep one of the lines, or, where videos "
                "may have several labels, put all of them into one line"
            )
    return columns.take(~repeats) if repeats.any() else columns


def label_text(labels: Iterable[int | str]) -> str:
    """Labels in words, for messages."""
    return " ".join(map(str, labels)) or "none"


def list_digest(records: Iterable[VideoRecord]) -> str:
    """Hex digest of what a list says of its videos: equal for equal lists, wherever they lie."""
    columns = as_columns(records)
    rows = zip(
        columns.name,
        columns.labels,
        columns.num_frames.tolist(),
        columns.weight.tolist(),
        columns.mask,
        strict=True,
    )
    digest, between = hashlib.sha256(), ""
    for name, labels, num_frames, weight, mask in rows:
        text = f"{between}{name}\t{' '.join(map(str, labels))}"
        text += f"\t{num_frames}" if num_frames else ""
        text += f"\tx{weight!r}" if weight != 1 else ""
        text += f"\t{os.path.basename(mask)}" if mask else ""
        digest.update(text.encode("utf-8", "surrogateescape"))
        between = "\n"
    return digest.hexdigest()


def relabelled(records: Iterable[VideoRecord], order: Sequence[int]) -> VideoColumns:
    """The records with each label L replaced by `order[L]`.

    Raises `DataError` for a label that the order does not have, and where it changes what masks mean.
    """
    columns = as_columns(records)
    check_labels(columns, len(order), f"complete its {plural(len(order), 'class name')}")
    if list(order) == list(range(len(order))):
        return columns
    masked = np.flatnonzero(columns.mask.is_filled)
    if len(masked):
        record = columns[int(masked[0])]
        raise DataError(
            f"{record.source}: the classes stand in another order than in the list before it, and masks "
            f"such as {record.mask} hold class numbers; give both the same classes.txt, or DATA.CLASS_NAMES"
        )
    return with_numbers(columns, np.array(order, np.int64)[columns.labels.flat()[1]])
