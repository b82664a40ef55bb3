"""Lists of videos: csv files and folders -> `VideoRecord`s. Formats differ only here."""

import csv
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from uniformer_video.errors import DataError
from uniformer_video.randomness import generator

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"),
    *(".3gp", ".m2ts", ".mts", ".ogv", ".vob"),
)


@dataclass(frozen=True)
class VideoRecord:
    """One video and its class.

    path: what is opened. name: as the list has it, for reports. label: class index. source: where
    the label was read, for error messages.
    """

    path: str
    name: str
    label: int
    source: str = ""


def read_csv(path, prefix="", separator="auto"):
    """The records of a Kinetics-style list: a path and a label on each line.

    `separator` "auto" splits at the last comma or blank of the line, so that paths may hold both.
    Paths are taken from `prefix`, or from the csv's own folder. Raises `DataError` with file and line.
    """
    path = Path(path)
    folder = Path(prefix) if prefix else path.parent
    records = []
    for number, line in enumerate(_read_lines(path), start=1):
        if not line.strip():
            continue
        source = f"{path}:{number}"
        name, label = _split(line, separator, source)
        records.append(VideoRecord(os.path.abspath(folder / name), name, label, source))
    if not records:
        raise DataError(f"{path} lists no videos; each line holds a path and a label, `a.mp4,3`")
    return records


def read_folder(root, names=None):
    """The records and class names of a folder with one sub-folder of videos for each class.

    Returns `(records, names)`; classes are numbered in the order of their sorted names, or of the
    given `names`, beside which no other sub-folder is allowed.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}; set DATA.PATH_TO_DATA_DIR to a folder of videos"
        )
    classes = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        videos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
        if videos:
            classes[folder.name] = videos
    if not classes:
        raise DataError(
            f"{root} has no sub-folder with videos; it takes one sub-folder a class, "
            f"such as {root / 'running' / 'a.mp4'}"
        )
    names = names or list(classes)
    if unknown := [name for name in classes if name not in names]:
        raise DataError(
            f"{root} has the class {unknown[0]!r}, which the training folder lacks; the classes are "
            f"{', '.join(names[:8])}" + (" ..." if len(names) > 8 else "")
        )
    records = [
        VideoRecord(os.path.abspath(video), str(video.relative_to(root)), label, str(root))
        for label, name in enumerate(names)
        for video in classes.get(name, ())
    ]
    return records, names


def split_records(records, val_ratio, seed):
    """Split into (train, val), each class by itself, the same way for the same seed.

    A class with two or more videos has at least one in each part when `val_ratio` is between 0 and 1.
    """
    train, val = [], []
    for label in sorted({record.label for record in records}):
        own = [record for record in records if record.label == label]
        order = generator("split", seed, label).permutation(len(own))
        held_out = round(len(own) * val_ratio)
        if 0 < val_ratio < 1 and len(own) > 1:
            held_out = min(max(held_out, 1), len(own) - 1)
        val += [own[i] for i in sorted(order[:held_out])]
        train += [own[i] for i in sorted(order[held_out:])]
    return train, val


def read_class_names(path):
    """The class names of a text file, one a line, in index order."""
    names = [line.strip() for line in _read_lines(path)]
    while names and not names[-1]:
        names.pop()
    if not names or not all(names):
        raise DataError(f"{path} must hold one class name a line, with no empty line between")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{path} names a class twice: {', '.join(repeated[:3])}")
    return names


def check_labels(records, num_classes):
    """Raise `DataError`, with file and line, for a label outside 0..num_classes-1."""
    for record in records:
        if not 0 <= record.label < num_classes:
            raise DataError(
                f"{record.source}: label {record.label} of {record.name} is outside "
                f"0..{num_classes - 1}; mend the list, or set MODEL.NUM_CLASSES"
            )


def list_digest(records):
    """Hex digest of a list's names and labels: equal for equal lists, wherever they lie."""
    text = "\n".join(f"{record.name}\t{record.label}" for record in records)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def relabel(record, order):
    """`record` with its label L replaced by `order[L]`."""
    return replace(record, label=order[record.label])


def missing_files(records):
    """The records whose file does not exist."""
    return [record for record in records if not os.path.isfile(record.path)]


def _read_lines(path):
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def _split(line, separator, source):
    line = line.strip()
    if separator == "auto":
        cut = max(line.rfind(mark) for mark in ", \t")
        name, text = (line[:cut], line[cut + 1 :]) if cut > 0 else ("", line)
        name = name.rstrip(", \t")
    else:
        name, _, text = line.rpartition(separator)
    name = name.strip()
    if name[:1] == '"' == name[-1:] and len(name) > 1:
        name = next(csv.reader([name]))[0]
    try:
        label = int(text.strip().strip('"'))
    except ValueError:
        label = None
    if not name or label is None:
        raise DataError(
            f"{source}: expected a path and a whole-number label, such as `a.mp4,3`; got {line!r}"
        )
    return name, label
