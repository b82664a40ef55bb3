"""Labels that are class names, as lists may have them in place of numbers -> class indices."""

import re
from dataclasses import replace
from difflib import get_close_matches

from uniformer_video.data.lists.records import VideoList, VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.words import name_some

_BETWEEN = (r",", r"[,\s]")  # what may part several names in a cell, beside ; and |


def number_classes(records: list[VideoRecord], given: list[str] | None = None) -> VideoList:
    """The `VideoList` of records whose labels are numbers, or names.

    Names count in the order of the `given` ones, or else of their own sorted ones, which then name the
    classes. Raises `DataError`, with file and line, for a list that has both numbers and names, and for a
    name that is none of the given ones.
    """
    if not check_one_kind(records):
        return VideoList(records, given)
    own = {label for record in records for label in record.labels}
    order = list(given or sorted(own))
    if not given:
        _refuse_ambiguous(records, own)
    index = {name: place for place, name in enumerate(order)}

    def number(record):
        found = {index[name] for label in record.labels for name in _names_in(label, index, record)}
        return replace(record, labels=tuple(sorted(found)))

    return VideoList([number(record) for record in records], order)


def check_one_kind(records: list[VideoRecord]) -> bool:
    """Whether the labels are names. `DataError`, with file and line, where only some of them are."""
    first = {}
    for record in records:
        for label in record.labels:
            first.setdefault(isinstance(label, str), (record, label))
    if len(first) > 1:
        (named, name), (numbered, number) = first[True], first[False]
        raise DataError(
            f"{named.source}: the label of {named.name} is the name {name!r}, and in {numbered.source} the "
            f"number {number}; a list has either names or numbers (a first line of column names is "
            "`path,label`)"
        )
    return True in first


def _names_in(label, index, record):
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


def _refuse_ambiguous(records, names):
    """Without a list of the names nobody knows whether "run jump" is one class or two."""
    for record in records:
        for label in record.labels:
            for mark in _BETWEEN:
                parts = _parts(label, mark)
                if len(parts) > 1 and names.issuperset(parts):
                    raise DataError(
                        f"{record.source}: {label!r} could be one class or the classes {name_some(parts)}; "
                        "put ; between several names, or name the classes in classes.txt or "
                        "DATA.CLASS_NAMES"
                    )


def _parts(label, mark):
    return [part.strip() for part in re.split(mark, label) if part.strip()]
