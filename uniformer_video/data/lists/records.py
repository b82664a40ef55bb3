"""Lists of videos: csv files, lists of frames -> `VideoRecord`s."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.data.decoding.frame_names import is_frame_folder
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
    filled_lines,
    is_class_name,
    last_number,
    read_lines,
    split_line,
    without_quotes,
)
from uniformer_video.errors import DataError
from uniformer_video.program import command
from uniformer_video.randomness import generator
from uniformer_video.storage.address import is_network_address, public_name

# `folder 40 name`; a name with a number as a word, such as "take 2", goes into quotes, or else that could be
# the number of frames.
_NAMED_FRAMES = re.compile(
    r'(?P<rest>.*?(?:[,;\s]+\d+)+)[,;\s]+("(?P<quoted>[^"]+)"|(?P<plain>\D[^,;"]*))'
)
_NUMBER_INSIDE = re.compile(r"\s\d+(\s|$)")


@dataclass(frozen=True)
class VideoRecord:
    """One video and its classes.

    path: what is opened: a file, or for extracted frames their folder and the template of their
    names, `folder/img_{:05d}.jpg`. name: as the list has it, for reports. labels: class indices in
    rising order, as many as the list says; the task says how many it takes. They may be class names
    until `labels.number_classes` has numbered them. source: where they were read, for error messages.
    num_frames: how many frames the list says there are; 0 where the file itself tells. start, end: the
    segment that counts, in seconds; end None = to the end of the video. weight: how often it comes in
    training, beside the others. group: what it has in common with others, such as a person, a source or a
    day; videos of one group are never parted, "" where nothing is said. medium: "video", or "image" for a
    file of one picture; also the noun of messages, see `noun_of`. mask: the file with the class of each pixel
    of a picture, "" where there is none.
    """

    path: str
    name: str
    labels: tuple[Any, ...]
    source: str = ""
    num_frames: int = 0
    start: float = 0.0
    end: float | None = None
    weight: float = 1.0
    group: str = ""
    medium: str = "video"
    mask: str = ""

    @property
    def label(self) -> int:
        """The class index of a video that has one; `DataError` for another."""
        if len(self.labels) != 1:
            raise DataError(
                f"{self.source}: {self.name} has {len(self.labels) or 'no'} labels; this takes "
                f"{self.medium}s with one label each"
            )
        return self.labels[0]

    @property
    def segment(self) -> tuple[str, float, float | None]:
        """What tells it from other records: the path and the seconds."""
        return self.path, self.start, self.end


@dataclass(frozen=True)
class VideoList:
    """The videos of one part of a data set, as a format reads them.

    class_names: in index order, None where nothing names them. notes: lines for the log and the report on
    what was left out.
    """

    records: list[VideoRecord]
    class_names: list[str] | None = None
    notes: list[str] = field(default_factory=list)


def noun_of(records: Iterable[VideoRecord]) -> str:
    """What messages call one of the records: "video" or "image"."""
    return next((record.medium for record in records), "video")


def read_csv(
    path: Path | str, prefix: Path | str = "", separator: str = "auto", medium: str = "video"
) -> list[VideoRecord]:
    """The records of a Kinetics-style list: a path and a label, a number or a class name, on each line.

    Without a header line, `separator` "auto" splits at the last comma or blank of the line, so that
    paths may hold both. A header line names the columns: path and label, and where wanted start, end
    (seconds; empty = the whole video), weight and group; there the label's cell may hold several of them, or
    none. Paths are taken from `prefix`, or from the csv's own folder. medium: what it lists, "video" or
    "image". Raises `DataError` with file and line.
    """
    folder = Path(prefix or Path(path).parent)
    lines = list(filled_lines(path))
    if lines and is_header(lines[0][1], separator):
        (source, header), *lines = lines
        table = Table(header, separator, source)
        records = [
            _table_record(table.row(line, source), folder, source, medium) for source, line in lines
        ]
    else:
        records = [_line_record(line, separator, folder, source, medium) for source, line in lines]
    if not records:
        raise DataError(
            f"{path} lists no {medium}s; each line holds a path and a label, `{MEDIA[medium].file},3`"
        )
    return records


def _line_record(line: str, separator: str, folder: Path, source: str, medium: str) -> VideoRecord:
    name, label = split_line(line, separator, source)
    video, number = last_number(name, separator)
    if number is not None and is_listed_file(video):  # such as a.mp4,3 of the line a.mp4,3 17
        raise DataError(
            f"{source}: {line.strip()!r} ends in two numbers; for several labels, or a path that ends "
            "in a number, begin the list with a header line, `path,label`"
        )
    if number is not None and is_frame_folder(folder / video) and not (folder / name).exists():
        raise DataError(
            f"{source}: {line.strip()!r} names a folder of frames and their number, as lists of the format "
            "frames do: set TRAIN.DATASET frames (`check` takes --template), or write `folder,label`"
        )
    return VideoRecord(listed_path(folder, name, source), name, (label,), source, medium=medium)


def _table_record(row: Mapping[str, str], folder: Path, source: str, medium: str) -> VideoRecord:
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
        listed_path(folder, name, source),
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
    """The absolute path of a name in a list. Where only that is there: of one in the spelling of Windows.

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


def read_frame_list(path: Path | str, template: str, prefix: Path | str = "") -> list[VideoRecord]:
    """The records of a list of folders of frames: `folder num_frames label` on each line.

    The last two blanks or commas of the line split it, so that folders may hold both. Folders are
    taken from `prefix`, or from the list's own folder; `template` names their frames by number, such
    as "img_{:05d}.jpg". Raises `DataError` with file and line.
    """
    start = Path(prefix or Path(path).parent)
    expected = (
        "a folder, its number of frames and a whole-number label (or a class name, in quotes where it "
        "begins with a number), such as `folder 40 3`"
    )
    records = []
    for source, line in filled_lines(path):
        name, count, label = _frame_line(line)
        if not name or label is None or count is None:
            raise DataError(f"{source}: expected {expected}; got {line.strip()!r}")
        if count < 1:
            raise DataError(f"{source}: {name} has {count} frames; leave it out, or mend the list")
        frames = os.path.join(listed_path(start, name, source), template)
        records.append(VideoRecord(frames, name, (label,), source, count))
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
) -> tuple[list[VideoRecord], list[VideoRecord]]:
    """Split into (train, val), each class by itself, the same way for the same seed.

    A class with two or more videos has at least one in each part when `val_ratio` is between 0 and 1.
    """
    train: list[VideoRecord] = []
    val: list[VideoRecord] = []
    members: dict[int, list[VideoRecord]] = {}
    for record in records:
        members.setdefault(record.label, []).append(record)
    for label, own in sorted(members.items()):
        order = generator("split", seed, label).permutation(len(own))
        held_out = round(len(own) * val_ratio)
        if 0 < val_ratio < 1 and len(own) > 1:
            held_out = min(max(held_out, 1), len(own) - 1)
        val += [own[i] for i in sorted(order[:held_out])]
        train += [own[i] for i in sorted(order[held_out:])]
    return train, val


def read_class_names(path: Path | str) -> list[str]:
    """The class names of a text file, one a line, in index order."""
    return check_class_names([line.strip() for line in read_lines(path)], path)


def check_class_names(names: list[str], path: Path | str) -> list[str]:
    """The names without empty ones at the end; `DataError` naming `path` for none, gaps and repeats."""
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise DataError(f"{path} must hold one class name a line, with no empty line between")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} names a class twice: {', '.join(repeated[:3])}")
    return names


def check_labels(records: Sequence[VideoRecord], num_classes: int) -> None:
    """Raise `DataError`, with file and line, for a label outside 0..num_classes-1."""
    for record in records:
        for label in record.labels:
            if not 0 <= label < num_classes:
                lowest = min(min(other.labels, default=label) for other in records)
                shifted = (
                    "; labels count from 0, and these seem to count from 1" if lowest == 1 else ""
                )
                raise DataError(
                    f"{record.source}: label {label} of {record.name} is outside "
                    f"0..{num_classes - 1}{shifted}; mend the list, or set MODEL.NUM_CLASSES"
                )


def label_table(records: Iterable[VideoRecord], num_classes: int) -> np.ndarray:
    """Which classes the videos show: bool `[videos, num_classes]`."""
    return multi_hot([record.labels for record in records], num_classes)


def multi_hot(labels: Sequence[Iterable[int]], num_classes: int) -> np.ndarray:
    """Tuples of class indices -> bool `[len(labels), num_classes]`."""
    table = np.zeros((len(labels), num_classes), bool)
    for row, own in zip(table, labels, strict=True):
        row[list(own)] = True
    return table


def without_repeats(records: Iterable[VideoRecord]) -> list[VideoRecord]:
    """The records, each segment of a video once.

    Raises `DataError`, with file and line, where one stands there twice with different labels.
    """
    first: dict[tuple[str, float, float | None], VideoRecord] = {}
    for record in records:
        known = first.setdefault(record.segment, record)
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
    return list(first.values())


def label_text(labels: Iterable[int | str]) -> str:
    """Labels in words, for messages."""
    return " ".join(map(str, labels)) or "none"


def list_digest(records: Iterable[VideoRecord]) -> str:
    """Hex digest of what a list says of its videos: equal for equal lists, wherever they lie."""
    text = "\n".join(
        f"{record.name}\t{' '.join(map(str, record.labels))}"
        + (f"\t{record.num_frames}" if record.num_frames else "")
        + (f"\tx{record.weight!r}" if record.weight != 1 else "")
        + (f"\t{os.path.basename(record.mask)}" if record.mask else "")
        for record in records
    )
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def relabel(record: VideoRecord, order: Sequence[int]) -> VideoRecord:
    """`record` with each label L replaced by `order[L]`. Raises `DataError` for one with a mask."""
    if record.mask and list(order) != list(range(len(order))):
        raise DataError(
            f"{record.source}: the classes stand in another order than in the list before it, and masks "
            f"such as {record.mask} hold class numbers; give both the same classes.txt, or DATA.CLASS_NAMES"
        )
    return replace(record, labels=tuple(sorted(order[label] for label in record.labels)))
