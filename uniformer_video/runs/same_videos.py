"""Tests of the same videos, brought into one order of videos and of classes; others are refused."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from uniformer_video.data.lists.class_names import are_stand_ins, name_differences, places
from uniformer_video.data.lists.table import segment_name
from uniformer_video.errors import DataError
from uniformer_video.runs.stored_test import StoredTest
from uniformer_video.words import name_some

_NAMED = 5
_AT_ONCE = 256  # videos whose logits are compared at a time
_Key = tuple[str, float, float]  # a video of a list: its name, and the seconds that count


@dataclass(frozen=True)
class SameTest:
    """A test in the order of the first one. labels: of all videos, in the first one's classes.

    rows: int `[N]`, where the first test's videos stand in this one. classes: int `[K]`, where its classes
    do.
    """

    test: StoredTest
    rows: np.ndarray
    classes: np.ndarray
    labels: list[Any]

    @property
    def decoded(self) -> np.ndarray:
        """bool `[N]`."""
        return self.test.decoded[self.rows]

    @cached_property
    def numbers(self) -> list[int]:
        """What the first test calls this one's classes, in this one's order."""
        return np.argsort(self.classes).tolist()

    def view_scores(self, which: np.ndarray) -> np.ndarray:
        """Logits `[len(which), view, K]` of the videos at the places `which`."""
        places = self.rows[which]
        scores = self.test.view_scores
        if not np.array_equal(places, np.arange(len(scores))):  # else nothing is copied
            scores = scores[places]
        if not np.array_equal(self.classes, np.arange(len(self.classes))):
            scores = scores[..., self.classes]
        return scores

    def has_scores_of(self, other: "SameTest") -> bool:
        """Whether all logits are those of another test, to the bit."""
        if self.test.view_scores.shape != other.test.view_scores.shape:
            return False
        places = np.arange(len(self.rows))
        return all(
            np.array_equal(self.view_scores(part), other.view_scores(part), equal_nan=True)
            for part in np.split(places, range(_AT_ONCE, len(places), _AT_ONCE))
        )


def in_one_order(tests: Mapping[str, StoredTest]) -> tuple[list[SameTest], list[str]]:
    """The tests, by their names, in the order of the first; and notes on what was assumed.

    Raises `DataError` for tests of other tasks, classes, videos or labels than the first one's, with the
    names of what differs.
    """
    (name, first), *_ = tests.items()
    _check_task(name, first)
    own = _labels(first, np.arange(len(first.results.class_names)))
    found, notes = [], []
    for other, test in tests.items():
        if test.task.name != first.task.name:
            raise DataError(
                f"{name} is of the task {first.task.name} and {other} of {test.task.name}, whose figures do "
                "not compare; compare runs of one TRAIN.TASK"
            )
        classes, note = _classes(name, first, other, test)
        notes += note
        labels = _labels(test, np.argsort(classes))
        rows = _rows(name, first, own, other, test, labels)
        found.append(SameTest(test, rows, classes, [labels[row] for row in rows]))
        _check_labels(name, own, other, found[-1], first.results.class_names)
    return found, notes


def _check_task(name: str, test: StoredTest) -> None:
    if not test.task.has_analyses:
        raise DataError(
            f"{name} is of the task {test.task.name}, whose answers are no scores of classes for each video; "
            "compare runs of single-label or multi-label"
        )


def _labels(test: StoredTest, new: np.ndarray) -> list[Any]:
    """The labels of a test's videos, where class k is called `new[k]`."""
    labels = [test.task.recorded_label(video) for video in test.results.videos]
    return [
        tuple(sorted(int(new[k]) for k in label)) if isinstance(label, tuple) else int(new[label])
        for label in labels
    ]


def _classes(
    name: str, first: StoredTest, other: str, test: StoredTest
) -> tuple[np.ndarray, list[str]]:
    """Where the first test's classes stand in another one, int `[K]`, by name; and a note, if need be."""
    theirs, own = first.results.class_names, test.results.class_names
    if own == theirs:
        return np.arange(len(own)), []
    if len(own) == len(theirs) and are_stand_ins(own) != are_stand_ins(theirs):
        unnamed, named = (other, name) if are_stand_ins(own) else (name, other)
        note = (
            f"{unnamed} does not name its classes, which are taken to be in the order of {named}."
        )
        return np.arange(len(own)), [note]
    if sorted(own) != sorted(theirs) or len({*own}) < len(own):
        lines = [line.strip() for line in name_differences(theirs, own, name, other)]
        differences = "; ".join(lines) or "several of them have the same name"
        raise DataError(
            f"{name} tells {len(theirs)} classes apart and {other} {len(own)}, and not the same ones: "
            f"{differences}; compare runs with the same classes"
        )
    return np.array(places(theirs, own)), []


def _key(video: Mapping[str, Any]) -> _Key:
    end = video.get("end")
    return video["name"], video.get("start") or 0.0, np.inf if end is None else end


def _shown(key: _Key) -> str:
    name, start, end = key
    segment = segment_name("", start, None if end == np.inf else end)
    return name if name.endswith(segment) else f"{name}{segment}"


def _rows(
    name: str,
    first: StoredTest,
    labels: Sequence[Any],
    other: str,
    test: StoredTest,
    own_labels: Sequence[Any],
) -> np.ndarray:
    """Where the first test's videos stand in another one, int `[N]`; a list may hold a video twice."""
    keys = [_key(video) for video in first.results.videos]
    own_keys = [_key(video) for video in test.results.videos]
    lacking, added = Counter(keys) - Counter(own_keys), Counter(own_keys) - Counter(keys)
    sides = ((lacking, name, keys), (added, other, own_keys))
    told = [
        f"{only.total()} of {len(side)} only in {owner}: "
        f"{name_some([_shown(key) for key in only.elements()], _NAMED)}"
        for only, owner, side in sides
        if only
    ]
    if told:
        noun = first.results.protocol.medium
        raise DataError(
            f"{name} and {other} are tests of different {noun}s; {'; '.join(told)}. Compare runs that were "
            "tested on one list: test one of them again, with TRAIN.ENABLE False, on the list of the other"
        )
    order = sorted(range(len(keys)), key=lambda at: (keys[at], repr(labels[at])))
    own_order = sorted(range(len(own_keys)), key=lambda at: (own_keys[at], repr(own_labels[at])))
    rows = np.empty(len(keys), dtype=np.int64)
    rows[order] = own_order
    return rows


def _check_labels(
    name: str, labels: Sequence[Any], other: str, test: SameTest, class_names: Sequence[str]
) -> None:
    """Raise `DataError` where videos have other labels than in the first test."""
    videos = [test.test.results.videos[row] for row in test.rows]
    differ = [at for at, label in enumerate(test.labels) if label != labels[at]]
    if not differ:
        return
    told = [
        f"{_shown(_key(videos[at]))} is {_words(labels[at], class_names)} in {name}, "
        f"{_words(test.labels[at], class_names)} in {other}"
        for at in differ
    ]
    noun = test.test.results.protocol.medium
    raise DataError(
        f"{name} and {other} have different labels for {len(differ)} of {len(labels)} {noun}s: "
        f"{name_some(told)}. Compare runs that were tested on one list: test one of them again, with "
        "TRAIN.ENABLE False, on the list of the other"
    )


def _words(label: Any, class_names: Sequence[str]) -> str:
    """A label as the names of its classes."""
    classes = label if isinstance(label, tuple) else (label,)
    return " and ".join(repr(class_names[k]) for k in classes) or "without a label"
