"""The predictions of a stored test as a table, and as the files that Something-Something's test takes."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uniformer_video.data.lists.class_names import class_names as known_names
from uniformer_video.data.lists.table import label_cell
from uniformer_video.errors import ConfigError, DataError, MissingLibraryError
from uniformer_video.evaluation.metrics import best_classes, hit_at_1, ranked_classes, topk_correct
from uniformer_video.evaluation.parts import LISTED_CLASSES, number
from uniformer_video.files import atomic_write, write_text
from uniformer_video.program import command, install
from uniformer_video.words import name_some, plural

TEXT, INTEGER, NUMBER, FLAG = "text", "integer", "number", "flag"
_OF_THE_BEST = re.compile(r"top\d+_(name|score)")
SOMETHING = "ssv2"  # V1 has the same classes in the same order


@dataclass(frozen=True)
class Column:
    """One column of a table: what its values are, and the values; None is an empty cell."""

    kind: str
    values: list[Any]


Table = dict[str, Column]


def columns_of_one_label(
    labels: Sequence[int], scores: np.ndarray, shares: np.ndarray, class_names: Sequence[str]
) -> Table:
    """What is true and what is answered, of videos with one label: scores and probabilities `[N, K]`."""
    best = ranked_classes(scores, labels, 1)[:, 0]
    rows = np.arange(len(labels))
    true = np.asarray(labels, np.int64)
    return {
        "label": Column(INTEGER, true.tolist()),
        "label_name": Column(TEXT, [class_names[label] for label in true]),
        "predicted": Column(INTEGER, best.tolist()),
        "predicted_name": Column(TEXT, [class_names[k] for k in best]),
        "score": Column(NUMBER, _numbers(shares[rows, best])),
        "true_score": Column(NUMBER, _numbers(shares[rows, true])),
        "right": Column(FLAG, topk_correct(scores, true, 1).tolist()),
        **_best_columns(ranked_classes(scores, labels, LISTED_CLASSES), shares, class_names),
    }


def columns_of_labels(
    truth: np.ndarray,
    scores: np.ndarray,
    shares: np.ndarray,
    threshold: float,
    class_names: Sequence[str],
) -> Table:
    """The same of videos with any labels, truth bool `[N, K]`: a cell holds several, as in lists of videos.

    `chosen` are the classes that score the threshold or more; `right` is hit@1, empty without a label.
    """
    best = best_classes(scores, truth, LISTED_CLASSES)
    first, rows = best[:, 0], np.arange(len(truth))
    true, chosen = (
        [np.flatnonzero(row) for row in table] for table in (truth, shares >= threshold)
    )
    labelled = np.asarray(truth.any(axis=1))
    hits = zip(labelled, hit_at_1(scores, truth), strict=True)
    own = [" ".join(map(repr, shares[row, labels].tolist())) for row, labels in enumerate(true)]
    return {
        "label": Column(TEXT, [label_cell(labels.tolist()) for labels in true]),
        "label_name": Column(TEXT, _name_cells(true, class_names)),
        "predicted": Column(INTEGER, first.tolist()),
        "predicted_name": Column(TEXT, [class_names[k] for k in first]),
        "score": Column(NUMBER, _numbers(shares[rows, first])),
        "true_score": Column(TEXT, own),
        "right": Column(FLAG, [bool(hit) if has_label else None for has_label, hit in hits]),
        "chosen": Column(TEXT, [label_cell(labels.tolist()) for labels in chosen]),
        "chosen_name": Column(TEXT, _name_cells(chosen, class_names)),
        **_best_columns(best, shares, class_names),
    }


def _name_cells(labels: Sequence[np.ndarray], class_names: Sequence[str]) -> list[str]:
    return [";".join(class_names[label] for label in own) for own in labels]


def _best_columns(best: np.ndarray, shares: np.ndarray, class_names: Sequence[str]) -> Table:
    """Names and probabilities of the best classes, int `[N, 5]`."""
    columns: Table = {}
    for rank, classes in enumerate(best.T, start=1):
        columns[f"top{rank}_name"] = Column(TEXT, [class_names[k] for k in classes])
        columns[f"top{rank}_score"] = Column(
            NUMBER, _numbers(shares[np.arange(len(shares)), classes])
        )
    return columns


def _numbers(values: np.ndarray) -> list[float | None]:
    return [number(value) for value in values]


def prediction_table(
    results: Mapping[str, Any], found: Table, shares: np.ndarray, every_class: bool
) -> Table:
    """All columns of a test's table, one row a video of the record.

    found: what the task has to say, `[N]` each, of which cells are emptied where a video failed. every_class:
    the probability of each class, of `shares` `[N, K]`, in place of the five best.
    """
    videos = results["videos"]
    reasons = {
        (failure["path"], failure.get("start"), failure.get("end")): failure["reason"]
        for failure in results["failures"]
    }
    why = [reasons.get((v["path"], v.get("start"), v.get("end"))) for v in videos]
    if every_class:
        found = {key: column for key, column in found.items() if not _OF_THE_BEST.fullmatch(key)}
        for k, name in enumerate(results["class_names"]):
            found[f"probability: {name}"] = Column(NUMBER, _numbers(shares[:, k]))
    known = ("label", "label_name")
    return {
        "name": Column(TEXT, [video["name"] for video in videos]),
        "path": Column(TEXT, [video["path"] for video in videos]),
        "start": Column(NUMBER, [video.get("start") for video in videos]),
        "end": Column(NUMBER, [video.get("end") for video in videos]),
        **{
            key: column if key in known else Column(column.kind, _unless(why, column.values))
            for key, column in found.items()
        },
        "failure": Column(TEXT, why),
    }


def _unless(why: Sequence[str | None], values: Sequence[Any]) -> list[Any]:
    return [value if reason is None else None for reason, value in zip(why, values, strict=True)]


def write_csv(path: Path, table: Table) -> None:
    """A csv file with a header line; numbers in full, an empty cell where there is nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(column.values for column in table.values()), strict=True))
    write_text(path, text.getvalue())


def check_parquet() -> None:
    """Raise `MissingLibraryError` without pyarrow."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingLibraryError(
            f"a parquet file needs pyarrow, which cannot be imported; run: {install('parquet')}"
        ) from error


def write_parquet(path: Path, table: Table) -> None:
    """A parquet file of typed columns; `MissingLibraryError` without pyarrow."""
    check_parquet()
    import pyarrow
    from pyarrow import parquet

    types = {
        TEXT: pyarrow.string(),
        INTEGER: pyarrow.int64(),
        NUMBER: pyarrow.float64(),
        FLAG: pyarrow.bool_(),
    }
    arrays = {
        name: pyarrow.array(map(_clean, column.values), types[column.kind])
        for name, column in table.items()
    }
    with atomic_write(path) as file:
        parquet.write_table(pyarrow.table(arrays), file)


def _clean(value: Any) -> Any:
    """Bytes of names that are no UTF-8 spelt out, as in csv files."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def write_something(
    path: Path, results: Mapping[str, Any], ranked: np.ndarray, version: str
) -> list[str]:
    """The file of predictions for Something-Something's test, and notes on what lacks in it.

    version "ssv2": on each line the id of a video and its five best classes, by their number in labels.json,
    with `;` between, as TSM's test_models.py and the data set's own baseline (test_submission.csv) write
    it. version "ssv1": the id, `;` and the name of the best class, as TSM writes it. ranked: the best
    classes of all videos, int `[N, 5]`. Raises `DataError` for other classes, and for videos whose names are
    no ids.
    """
    usual = known_names(SOMETHING)
    names = results["class_names"]
    if set(names) != set(usual):
        raise DataError(
            f"the test's {plural(len(names), 'class is', 'classes are')} not the {len(usual)} of "
            "Something-Something by name; test with DATA.CLASS_NAMES ssv2, or, where only the names differ, "
            f"give the record these by `{command('rescore RUN --class-names ssv2 --out FOLDER')}`"
        )
    numbers = {name: place for place, name in enumerate(usual)}
    lines, seen, failed = [], set(), []
    for video, best in zip(results["videos"], ranked.tolist(), strict=True):
        own = Path(video["name"]).stem
        if not own.isascii() or not own.isdigit():
            raise DataError(
                f"{video['name']!r} is no video of Something-Something: those are called by their number, "
                "such as 78687.webm, or a folder of frames 78687"
            )
        if own in seen:
            raise DataError(f"the test has the video {own} twice; its file takes each once")
        seen.add(own)
        if not video["top5"]:
            failed.append(video["name"])
            continue
        if version == "ssv1":
            lines.append(f"{own};{names[best[0]]}")
        else:
            lines.append(";".join([own, *(str(numbers[names[k]]) for k in best)]))
    if not lines:
        raise ConfigError(
            "no video of the test could be decoded, so that there is nothing to hand in"
        )
    write_text(path, "".join(f"{line}\n" for line in lines))
    if not failed:
        return []
    are = "is" if len(failed) == 1 else "are"
    return [
        f"{plural(len(failed), 'video')} could not be decoded and {are} not in the file: {name_some(failed)}"
    ]
