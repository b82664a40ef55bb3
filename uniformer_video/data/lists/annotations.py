"""The official annotation files of known datasets: which videos are in which part, with their class.

Formats differ only here. Parts are called train, val and test.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.text import filled_lines, read_text
from uniformer_video.errors import DataError

# Folders that the official archives unpack to, or that the guides call so.
_FOLDERS = ("", "annotations", "labels", "ucfTrainTestlist", "testTrainMulti_7030_splits")
_NO_BRACKETS = str.maketrans("", "", "[]")
_WORDS = {
    "train": ("train",),
    "val": ("val", "validate", "validation"),
    "test": ("test",),
}


@dataclass(frozen=True)
class Annotated:
    """One annotated video.

    names: what its file or folder may be called, without suffix, best first. folders: where it lies
    when several have that name. label: class index. source: where it was read.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]
    label: int
    source: str


def read_annotations(
    dataset: str, folder: Path | str, split: int = 1, with_test: bool = False
) -> dict[str, list[Annotated]]:
    """Part -> list of `Annotated`, in the order of the files, from a folder of official annotations.

    `split` is that of UCF101 and HMDB51; `with_test` adds the test part of Kinetics. Raises `DataError`
    for a file that is missing or cannot be read, and for a class that the dataset does not have.
    """
    parts = (
        ("train", "val", "test") if with_test and dataset in ("k400", "k600") else ("train", "val")
    )
    return {part: read_part(dataset, folder, part, split) for part in parts}


def read_part(dataset: str, folder: Path | str, part: str, split: int = 1) -> list[Annotated]:
    """The `Annotated` videos of one part, as `read_annotations`.

    `folder` holds the files, or one of its folders does that are called as the archives' are.
    """
    return list(each_of_part(dataset, folder, part, split))


def each_of_part(
    dataset: str, folder: Path | str, part: str, split: int = 1
) -> Iterator[Annotated]:
    """What `read_part` gives, one by one."""
    if not Path(folder).is_dir():
        raise DataError(
            f"{folder} is not a folder; give the one that holds the annotations of {dataset}"
        )
    return _READERS[dataset](_Classes(dataset), Path(folder), part, split)


class _Classes:
    """Class names of a dataset -> their index, whatever the case of letters and the kind of blanks."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset
        self.names = class_names(dataset)
        self._index = {self._plain(name): index for index, name in enumerate(self.names)}
        self._met: dict[str, int] = {}

    @staticmethod
    def _plain(name: str) -> str:
        return " ".join(name.replace("_", " ").casefold().split())

    def index(self, name: str, source: str) -> int:
        """The index of a class, or a `DataError` that names the nearest one."""
        index = self._met.get(name)
        if index is None:
            index = self._index.get(self._plain(name))
        if index is not None:
            self._met[name] = index
            return index
        near = get_close_matches(self._plain(name), self._index, 1)
        hint = f"; did they mean {self.names[self._index[near[0]]]!r}?" if near else ""
        raise DataError(f"{source}: {name!r} is no class of {self._dataset}{hint}")

    def check(self, name: str, number: int | str, source: str, first: int = 0) -> None:
        """`DataError` where a table, counted from `first`, numbers a class otherwise than weights do."""
        usual = self.index(name, source) + first
        if str(usual) != str(number):
            raise DataError(
                f"{source} numbers {name!r} {number}, and in the usual order it is {usual}"
            )


def _kinetics(classes: _Classes, folder: Path, part: str, _split: int) -> Iterator[Annotated]:
    names = [f"{word}.{kind}" for kind in ("csv", "json") for word in _WORDS[part]]
    path = _first_file(folder, names)
    rows = _kinetics_json(path) if path.suffix == ".json" else _kinetics_csv(path)
    for video, start, end, label, source in rows:
        times = f"{_seconds(start, source):06d}_{_seconds(end, source):06d}"
        folders = (*_WORDS[part], label, label.replace(" ", "_"))
        yield Annotated((f"{video}_{times}", video), folders, classes.index(label, source), source)


def _kinetics_csv(path: Path) -> Iterator[tuple[Any, ...]]:
    table = csv.DictReader(io.StringIO(read_text(path), newline=""))
    columns = ("youtube_id", "time_start", "time_end", "label")
    if lacking := [column for column in columns if column not in (table.fieldnames or ())]:
        raise DataError(
            f"{path} has no column {lacking[0]!r}; its first line must name {', '.join(columns)}"
        )
    for row in table:
        source = f"{path}:{table.line_num}"
        if any(row[column] is None for column in columns):
            raise DataError(f"{source}: the line is too short")
        yield *(row[column] for column in columns), source


def _kinetics_json(path: Path) -> Iterator[tuple[Any, ...]]:
    for video, entry in _json(path, dict).items():
        source = f"{path}, {video}"
        try:
            start, end = entry["annotations"]["segment"]
            label = entry["annotations"]["label"]
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{source}: there are no annotations with segment and label") from None
        yield video, start, end, label, source


def _seconds(value: Any, source: str) -> int:
    try:
        return int(float(value))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{source}: {value!r} is no time in seconds") from None


def _ssv1(classes: _Classes, folder: Path, part: str, _split: int) -> Iterator[Annotated]:
    word = _WORDS[part][-1]
    path = _first_file(folder, (f"something-something-v1-{word}.csv", f"{word}.csv"))
    for source, line in filled_lines(path):
        video, mark, label = line.strip().partition(";")
        if not mark:
            raise DataError(f"{source}: expected `id;class`; got {line.strip()!r}")
        yield Annotated((video,), (), classes.index(label, source), source)


def _ssv2(classes: _Classes, folder: Path, part: str, _split: int) -> Iterator[Annotated]:
    start, word = "something-something-v2-", _WORDS[part][-1]
    table = _find_file(folder, ("labels.json", f"{start}labels.json"))
    for label, number in _json(table, dict).items() if table else ():
        classes.check(label, number, str(table))
    path = _first_file(folder, (f"{word}.json", f"{start}{word}.json"))
    for place, entry in enumerate(_json(path, list, _id_and_template())):
        source = f"{path}, entry {place}"
        try:
            video, label = str(entry["id"]), entry["template"].translate(_NO_BRACKETS)
        except (KeyError, TypeError, AttributeError):
            raise DataError(f"{source}: there is no id or no template") from None
        yield Annotated((video,), (), classes.index(label, source), source)


def _id_and_template() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What json's reader keeps of an entry, which says much more; the same template is kept once."""
    known: dict[Any, Any] = {}

    def keep(entry: dict[str, Any]) -> dict[str, Any]:
        template = entry.get("template")
        if not (isinstance(template, str) and "id" in entry):
            return entry
        return {"id": entry["id"], "template": known.setdefault(template, template)}

    return keep


def _ucf101(classes: _Classes, folder: Path, part: str, split: int) -> Iterator[Annotated]:
    for source, line in filled_lines(_first_file(folder, ("classInd.txt",))):
        number, _, name = line.strip().partition(" ")
        classes.check(name, number, source, first=1)
    word = "trainlist" if part == "train" else "testlist"
    for source, line in filled_lines(_first_file(folder, (f"{word}{split:02d}.txt",))):
        video = Path(line.split()[0])
        label = classes.index(video.parent.name, source)
        yield Annotated((video.stem,), (video.parent.name,), label, source)


def _hmdb51(classes: _Classes, folder: Path, part: str, split: int) -> Iterator[Annotated]:
    wanted = {"train": "1", "val": "2"}[part]  # 0: in neither
    for label, name in enumerate(classes.names):
        for source, line in filled_lines(_first_file(folder, (f"{name}_test_split{split}.txt",))):
            video, _, number = line.strip().rpartition(" ")
            if number not in ("0", "1", "2") or not video:
                raise DataError(f"{source}: expected a video and 0, 1 or 2; got {line.strip()!r}")
            if number == wanted:
                yield Annotated((Path(video.strip()).stem,), (name,), label, source)


_READERS = {
    "k400": _kinetics,
    "k600": _kinetics,
    "ssv1": _ssv1,
    "ssv2": _ssv2,
    "ucf101": _ucf101,
    "hmdb51": _hmdb51,
}
DATASETS = tuple(_READERS)


def _find_file(folder: Path, names: Sequence[str]) -> Path | None:
    paths = (folder / inside / name for inside in _FOLDERS for name in names)
    return next((path for path in paths if path.is_file()), None)


def _first_file(folder: Path, names: Sequence[str]) -> Path:
    path = _find_file(folder, names)
    if path is None:
        raise DataError(
            f"{folder} holds no {' or '.join(names)}, nor do {', '.join(_FOLDERS[1:])} inside it; it "
            "takes the official annotation files"
        )
    return path


def _json(
    path: Path, kind: type, keep: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> Any:
    """The content of a file; keep: what to take of each of its objects."""
    try:
        content = json.loads(read_text(path), object_hook=keep)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no json: {error}") from None
    if not isinstance(content, kind):
        raise DataError(f"{path} holds no {'table' if kind is dict else 'list'} of videos")
    return content
