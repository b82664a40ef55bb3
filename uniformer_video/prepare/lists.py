"""Lists of a dataset's videos, from its official annotations and what is there of it."""

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uniformer_video.data.lists.annotations import Annotated, read_annotations
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.folders import list_videos, walk
from uniformer_video.errors import DataError
from uniformer_video.files import write_text
from uniformer_video.prepare.folders import (
    around_the_number,
    write_table,
)

MISSING_FILE = "missing.csv"
# The lists of frames of Something-Something keep the names that its recipes read.
_FRAME_LISTS = {
    "ssv1": {
        "train": "somesomev1_rgb_train_split.txt",
        "val": "somesomev1_rgb_validation_split.txt",
    },
    "ssv2": {
        "train": "somesomev2_rgb_train_split.txt",
        "val": "somesomev2_rgb_validation_split.txt",
    },
}


@dataclass
class ListSummary:
    """One written list: its file name, how many videos it has, and what it lacks.

    missing: (video, reason) of annotated videos that are not listed. repeated: annotations of a video
    that was listed already.
    """

    file: str
    videos: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)
    repeated: int = 0


def default_template(dataset: str) -> str:
    """How the pictures of a dataset's frame folders are named."""
    return "{:05d}.jpg" if dataset == "ssv1" else "img_{:05d}.jpg"


def make_lists(
    dataset: str,
    annotations: Path | str,
    out: Path | str,
    videos: Path | str | None = None,
    frames: Path | str | None = None,
    template: str | None = None,
    split: int = 1,
    with_test: bool = False,
) -> list[ListSummary]:
    """Write the lists of a dataset and `classes.txt` into the folder `out`.

    Give `videos`, a folder of video files, for `path,label` lists, or `frames`, a folder of frame
    folders whose pictures are named by `template`, for `folder num_frames label` lists. Paths are
    relative to `out` where they lie inside it. Annotated videos that are not there are counted and named
    in `missing.csv`. Returns a `ListSummary` for each list. Raises `DataError` when there are none of a
    part's videos, and when it is unclear which of several files is meant.
    """
    annotated = read_annotations(dataset, annotations, split, with_test)
    folder = videos or frames
    if not folder:
        raise DataError("a list is made of a folder: of videos (--videos), or of frames (--frames)")
    source = Path(folder)
    template = template or default_template(dataset)
    there = _video_files(source) if videos else _frame_folders(source, template)
    out = Path(out)
    summaries, texts = [], {}
    for part, rows in annotated.items():
        file = f"{part}.csv" if videos else _FRAME_LISTS.get(dataset, {}).get(part, f"{part}.txt")
        texts[file], summary = _list_of(rows, there, source, out, file)
        summaries.append(summary)
    out.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        write_text(out / file, text)
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in class_names(dataset)))
    write_missing(out, summaries)
    return summaries


@dataclass(frozen=True)
class _Found:
    """A video file, or a frame folder with its number of frames or what is wrong with it."""

    path: Path
    frames: int = 0
    fault: str = ""


def _list_of(
    rows: Sequence[Annotated],
    there: "Mapping[str, Sequence[_Found]]",
    source: Path,
    out: Path,
    file: str,
) -> tuple[str, ListSummary]:
    """(the text of a list, its `ListSummary`)."""
    summary, lines = ListSummary(file), []
    labels: dict[Path, int] = {}
    for row in rows:
        found = _matching(row, there, source)
        if found is None or found.fault:
            fault = found.fault if found else "is not there"
            summary.missing.append((row.names[0], f"{fault} ({row.source})"))
            continue
        if found.path in labels:
            if labels[found.path] != row.label:
                raise DataError(f"{row.source}: {row.names[0]} was given another class before")
            summary.repeated += 1
            continue
        labels[found.path] = row.label
        lines.append(line_of(path_in_list(source / found.path, out), found.frames, row.label))
    summary.videos = len(lines)
    if not lines:
        first = f", such as {rows[0].names[0]}" if rows else ""
        raise DataError(
            f"{source} holds none of the {len(rows)} videos that {file} would list{first}; is it the "
            "folder that they are in?"
        )
    return "".join(lines), summary


def _matching(row: Annotated, there: Mapping[str, Sequence[_Found]], source: Path) -> _Found | None:
    """The one file or folder that is meant by an annotation; None without any."""
    found = next((there[name] for name in row.names if name in there), ())
    if len(found) > 1:
        folders = set(row.folders)
        chosen = [item for item in found if folders & set(item.path.parent.parts)]
        found = chosen or found
    if len(found) > 1:
        both = " and ".join(str(source / item.path) for item in found[:2])
        raise DataError(f"{both} have the same name, and {row.source} could mean each; keep one")
    return found[0] if found else None


def _video_files(source: Path) -> dict[str, list[_Found]]:
    """Name without suffix -> the videos of that name, or the folders of frames where there is none."""
    there: defaultdict[str, list[_Found]] = defaultdict(list)
    frames = []
    for path in list_videos(source):
        if (source / path).is_dir():
            frames.append(path)
        else:
            there[path.stem].append(_Found(path))
    for path in frames:
        if path.name not in there:
            there[path.name].append(_Found(path))
    return there


def _frame_folders(source: Path, template: str) -> dict[str, list[_Found]]:
    """Name -> the folders of that name that hold pictures named by `template`."""
    start, end = around_the_number(template)
    pattern = re.compile(f"{re.escape(start)}([0-9]+){re.escape(end)}")
    if not source.is_dir():
        raise DataError(f"--frames {source} is not a folder")
    there: defaultdict[str, list[_Found]] = defaultdict(list)
    for path, names in walk(source):
        numbers = {int(match[1]) for match in map(pattern.fullmatch, names) if match}
        if not numbers:
            continue
        first, last, present = min(numbers), max(numbers), set(names)
        lacking = [n for n in range(first, last + 1) if template.format(n) not in present]
        fault = f"lacks {template.format(lacking[0])}" if lacking else ""
        there[path.name].append(_Found(path, len(numbers), fault))
    if not there:
        raise DataError(
            f"{source} holds no folder with pictures named {template}; --template gives their names"
        )
    return there


def path_in_list(path: Path, out: Path) -> str:
    """As the list gives it: from the list's folder where it lies inside that, else absolute."""
    place, folder = os.path.abspath(path), os.path.abspath(out)
    inside = place.startswith(os.path.join(folder, ""))
    return Path(os.path.relpath(place, folder) if inside else place).as_posix()


def line_of(path: str, frames: int, label: int) -> str:
    """A line of a list, in csv's quotes where the path needs them."""
    if len(path.splitlines()) != 1 or not _is_unicode(path):
        raise DataError(
            f"{path!r} cannot stand in a list; rename it without line breaks or odd bytes"
        )
    if set(path) & set(',"') or path != path.strip():
        path = '"' + path.replace('"', '""') + '"'
    return f"{path} {frames} {label}\n" if frames else f"{path},{label}\n"


def _is_unicode(text: str) -> bool:
    """False for a file name that is no UTF-8."""
    return text == text.encode("utf-8", "replace").decode()


def write_missing(out: Path, summaries: Sequence[ListSummary]) -> None:
    """Write `missing.csv` in the folder `out`, or remove it where nothing is missing."""
    path = out / MISSING_FILE
    rows = [(summary.file, *item) for summary in summaries for item in summary.missing]
    if rows:
        write_table(path, ("list", "video", "reason"), rows)
    else:
        path.unlink(missing_ok=True)
