"""The folder of an audit: labels.csv and duplicates.csv, beside the page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.audit.audit import Audit
from uniformer_video.audit.vectors import FEATURES_FILE
from uniformer_video.errors import DataError
from uniformer_video.files import name_special, remove_unfinished
from uniformer_video.pages.audit import PAGE_FILE
from uniformer_video.prepare.folders import write_table
from uniformer_video.prepare.overlap import CACHE_FILE

LABELS_FILE = "labels.csv"
DUPLICATES_FILE = "duplicates.csv"
_LABELS = (
    "rank",
    "path",
    "list",
    "given",
    "suggested",
    "likely wrong",
    "probability of given",
    "probability of suggested",
    "margin",
    "not judged because",
)
_DUPLICATES = (
    "path",
    "list",
    "label",
    "other path",
    "other list",
    "other label",
    "found by",
    "bits",
    "cosine",
    "labels differ",
    "across lists",
)


def claim_out(folder: Path | str) -> Path:
    """Make the folder of an audit; `DataError` where a file, or a table of somebody else's, is in the way."""
    if not str(folder):
        raise DataError("--out is empty; name a folder for the results")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        kind = name_special(folder.stat().st_mode) or "a file"
        raise DataError(f"--out {folder} is {kind}; name a folder for the results")
    for name in (LABELS_FILE, DUPLICATES_FILE, PAGE_FILE, FEATURES_FILE, CACHE_FILE):
        if (folder / name).is_dir():
            raise DataError(f"{folder / name} is a folder, where a file goes; choose another --out")
    for name, header in ((LABELS_FILE, _LABELS), (DUPLICATES_FILE, _DUPLICATES)):
        table = folder / name
        if table.exists() and not _begins_with(table, ",".join(header)):
            raise DataError(f"{table} is there and is not of an audit; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    return folder


def _begins_with(path: Path, line: str) -> bool:
    with open(path, "rb") as file:
        return file.readline().decode("utf-8", "replace").strip() == line


def write_tables(folder: Path, audit: Audit) -> None:
    """Write both tables: all videos, the most suspicious first, the unjudged last; all pairs."""
    write_table(folder / LABELS_FILE, _LABELS, _label_rows(audit))
    write_table(folder / DUPLICATES_FILE, _DUPLICATES, _pair_rows(audit))


def _label_rows(audit: Audit) -> Iterator[list[Any]]:
    names, found = audit.class_names, audit.suspicions
    for rank, at in enumerate(found.order.tolist(), start=1):
        listed = audit.videos[audit.judged[at]]
        row, suggested = audit.probabilities[at], int(found.suggested[at])
        yield [
            rank,
            listed.name,
            listed.part,
            names[listed.label],
            names[suggested],
            _yes(found.contradicted[at]),
            f"{row[listed.label]:.4f}",
            f"{row[suggested]:.4f}",
            f"{found.margins[at]:.4f}",
            "",
        ]
    for place, reason in sorted(audit.left_out.items()):
        listed = audit.videos[place]
        yield ["", listed.name, listed.part, names[listed.label], *[""] * 5, reason]


def _pair_rows(audit: Audit) -> Iterator[list[Any]]:
    for pair in audit.pairs:
        first, second = audit.videos[pair.first], audit.videos[pair.second]
        yield [
            *(first.name, first.part, audit.class_names[first.label]),
            *(second.name, second.part, audit.class_names[second.label]),
            pair.how,
            "" if pair.bits is None else f"{pair.bits:.2f}",
            "" if pair.cosine is None else f"{pair.cosine:.4f}",
            _yes(first.label != second.label),
            _yes(first.part != second.part),
        ]


def _yes(value: bool | np.bool_) -> str:
    return "yes" if value else "no"
