"""Lists whose labels count in another class order."""

import re
from pathlib import Path

from uniformer_video.data.lists.class_names import name_differences, places
from uniformer_video.data.lists.table import Table, is_header, labels_of, relabel_cell
from uniformer_video.data.lists.text import label_start, read_lines, split_line
from uniformer_video.errors import DataError
from uniformer_video.files import write_text

_LABEL = re.compile(r'[^\s"]+')


def remap_list(path, out, given, wanted, separator="auto"):
    """Write the list `path` to `out`, its labels counted in `wanted` instead of `given`.

    Both are class names in index order. All else of the list stays as it is. Returns (videos, labels
    changed). Raises `DataError` where the names differ as sets, a line cannot be read, a label is
    outside `given`, or `out` exists.
    """
    out = Path(out)
    if out.exists():
        raise DataError(f"{out} exists already; delete it, or choose another --out")
    if not out.absolute().parent.is_dir():
        raise DataError(f"there is no folder {out.parent} to write {out} into")
    differences = name_differences(given, wanted, "--from", "--to")
    if differences:
        raise DataError(
            "\n".join(
                [
                    f"--from names {len(given)} classes, --to {len(wanted)}, and not the same ones:",
                    *differences,
                    "Give two orders of the same names.",
                ]
            )
        )
    order = places(given, wanted)
    lines = list(relabel_lines(path, order, separator))
    videos = [labels for _, labels in lines if labels is not None]
    if not videos:
        raise DataError(f"{path} lists no videos; each line holds a path and a label, `a.mp4,3`")
    write_text(out, "".join(line for line, _ in lines))
    return len(videos), sum(order[label] != label for labels in videos for label in labels)


def relabel_lines(path, order, separator="auto"):
    """The lines of a Kinetics-style list with each label L replaced by `order[L]`, all else as it is.

    Yields (line with its ending, its labels before), None in place of the labels for an empty line and
    for a header line, below which quotes that a cell does not need are left out. Raises `DataError`,
    with file and line, for a line that cannot be read and for a label outside `order`.
    """
    table, first = None, True
    for number, line in enumerate(read_lines(path, keepends=True), start=1):
        labels, source = None, f"{path}:{number}"
        if first and line.strip() and is_header(line, separator):
            table = Table(line, separator, source)
        elif line.strip():
            relabelled = _relabel_row if table else _relabel_line
            line, labels = relabelled(line, order, table or separator, source)
        first = first and not line.strip()
        yield line, labels


def _relabel_line(line, order, separator, source):
    name, label = split_line(line, separator, source)
    _check_known((label,), name, source, order)
    start = label_start(line, separator)
    return line[:start] + _LABEL.sub(str(order[label]), line[start:], count=1), (label,)


def _relabel_row(line, order, table, source):
    row = table.row(line, source)
    labels = labels_of(row, source)
    _check_known(labels, row["path"], source, order)
    ending = line[len(line.rstrip("\r\n")) :]
    return table.text(row | {"label": relabel_cell(row["label"], order)}) + ending, labels


def _check_known(labels, name, source, order):
    for label in labels:
        if isinstance(label, str):
            raise DataError(
                f"{source}: the label of {name} is the name {label!r}; names hold in every order, so "
                "this list needs no remapping"
            )
        if not 0 <= label < len(order):
            raise DataError(
                f"{source}: label {label} of {name} is outside 0..{len(order) - 1}; mend the list"
            )
