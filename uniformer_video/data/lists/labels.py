"""Labels that are class names, as lists may have them in place of numbers -> class indices."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

import numpy as np

from uniformer_video.data.lists.columns import VideoColumns, as_columns, with_labels
from uniformer_video.data.lists.records import VideoList, VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.words import name_some

_BETWEEN = (r",", r"[,\s]")  # what may part several names in a cell, beside ; and |


def number_classes(records: Sequence[VideoRecord], given: list[str] | None = None) -> VideoList:
    """The `VideoList` of records whose labels are numbers, or names.

    Names count in the order of the `given` ones, or else of their own sorted ones, which then name the
    classes. Raises `DataError`, with file and line, for a list that has both numbers and names, and for a
    name that is none of the given ones.
    """
    columns = as_columns(records)
    if not check_one_kind(columns):
        return VideoList(columns, given)
    owners, labels = columns.labels.flat()
    # where each of the names stands first
    first = {name: len(labels) - 1 - back for back, name in enumerate(reversed(labels))}
    order = list(given or sorted(first))
    if not given:
        _refuse_ambiguous(columns, first.keys())
    index = {name: place for place, name in enumerate(order)}
    numbers: dict[str, list[int]] = {}
    for name in sorted(first, key=first.__getitem__):
        record = columns[int(owners[first[name]])]
        numbers[name] = [index[one] for one in _names_in(name, index, record)]
    found = [
        tuple(sorted({number for name in own for number in numbers[name]}))
        for own in columns.labels
    ]
    return VideoList(with_labels(columns, found), order)


def check_one_kind(records: Sequence[VideoRecord]) -> bool:
    """Whether the labels are names. `DataError`, with file and line, where only some of them are."""
    columns = as_columns(records)
    owners, labels = columns.labels.flat()
    if labels.dtype != object:
        return False
    are_names = np.fromiter((isinstance(label, str) for label in labels), bool, len(labels))
    if are_names.any() and not are_names.all():
        named, numbered = (columns[int(owners[np.argmax(own)])] for own in (are_names, ~are_names))
        name, number = labels[np.argmax(are_names)], labels[np.argmax(~are_names)]
        raise DataError(
            f"{named.source}: the label of {named.name} is the name {name!r}, and in {numbered.source} the "
            f"number {number}; a list has either names or numbers (a first line of column names is "
            "`path,label`)"
        )
    return bool(are_names.any())


def _names_in(label: str, index: Mapping[str, int], record: VideoRecord) -> list[str]:
    """The class names that a label stands for: one, or several with commas or blanks between."""
    if label in index:
        return [label]
    for mark in _BETWEEN:
        parts = _parts(label, mark)
        if all(part in index for part in parts):
            return parts
    near = get_close_matches(label, index, 1)
    hint = f"; did they mean {near[0]!r}?" if near else ""
    raise DataError(
        f"{record.source}: {record.name} has the class {label!r}, which is none of the {len(index)} class "
        f"names ({name_some(list(index), 5)}){hint}; mend the list, or classes.txt or DATA.CLASS_NAMES"
    )


def _refuse_ambiguous(columns: VideoColumns, names: Collection[str]) -> None:
    """Without a list of the names nobody knows whether "run jump" is one class or two."""
    owners, labels = columns.labels.flat()
    own, looked_at = set(names), set[str]()
    for owner, label in zip(owners.tolist(), labels, strict=True):
        if label in looked_at:
            continue
        looked_at.add(label)
        for mark in _BETWEEN:
            parts = _parts(label, mark)
            if len(parts) > 1 and own.issuperset(parts):
                raise DataError(
                    f"{columns.source[owner]}: {label!r} could be one class or the classes "
                    f"{name_some(parts)}; put ; between several names, or name the classes in classes.txt or "
                    "DATA.CLASS_NAMES"
                )


def _parts(label: str, mark: str) -> list[str]:
    return [part.strip() for part in re.split(mark, label) if part.strip()]
