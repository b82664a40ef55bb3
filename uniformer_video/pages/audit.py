"""The page of an audit: suspect videos with frames, how classes are mixed up, near-duplicates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uniformer_video.files import atomic_write
from uniformer_video.pages.parts import MAX_TABLE_CLASSES
from uniformer_video.pages.report import page_environment

PAGE_FILE = "audit.html"
MAX_MIXED = 30  # pairs of classes in the table


def write_audit_page(folder: Path, record: Mapping[str, Any]) -> Path:
    """Write `audit.html`; its path. Raises `MissingLibraryError` without Jinja.

    record: what `audit/shown.py` makes of an audit.
    """
    names = record["class_names"]
    page = (
        page_environment()
        .get_template("audit.html.j2")
        .render(
            **record,
            matrix=_matrix(record) if 1 < len(names) <= MAX_TABLE_CLASSES else None,
            mixed=_mixed(record),
        )
    )
    path = folder / PAGE_FILE
    with atomic_write(path) as file:
        file.write(page.encode("utf-8", errors="replace"))  # undecodable file names
    return path


def _matrix(record: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """The confident joint as rows of cells, each with its share of the row."""
    rows = []
    for counts in record["counts"]:
        total = sum(counts) or 1
        rows.append([{"count": count, "share": count / total} for count in counts])
    return rows


def _mixed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The pairs of classes that are mixed up most: by the estimated number of videos."""
    names, joint, total = record["class_names"], record["joint"], record["judged"]
    rows = [
        {
            "given": names[given],
            "seems": names[seems],
            "counted": record["counts"][given][seems],
            "estimated": share * total,
        }
        for given, shares in enumerate(joint)
        for seems, share in enumerate(shares)
        if given != seems and record["counts"][given][seems]
    ]
    rows.sort(key=lambda row: (-row["estimated"], row["given"], row["seems"]))
    return {"rows": rows[:MAX_MIXED], "total": len(rows)}
