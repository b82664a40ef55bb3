"""Which classes the lists of a run show, and how often: lines for the log, notes on what never occurs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from uniformer_video.data.lists.class_names import are_stand_ins
from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.records import VideoRecord, noun_of
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, one_line, plural

# So many classes are all counted by name; of more, the rarest and the most frequent.
_ALL_NAMED = 20
_NAMED = 5
# More classes than this, and than there are videos, are taken for a slip of the pen.
_MOST_UNNAMED = 10_000


def class_counts(records: Iterable[VideoRecord]) -> Counter[int]:
    """`{class index: how many records have it}`."""
    _, labels = as_columns(records).labels.flat()
    own, first, counts = np.unique(labels, return_index=True, return_counts=True)
    order = np.argsort(first)  # as they come
    return Counter(dict(zip(own[order].tolist(), counts[order].tolist(), strict=True)))


def count_line(split: str, records: Sequence[VideoRecord], names: list[str]) -> str:
    """What the list of a split shows: "train: 5 videos of 2 classes: run (3), walk (2)".

    Of many classes the rarest and the most frequent are named.
    """
    counts = class_counts(records)
    if as_columns(records).mask.is_filled.any():
        return (
            f"{split}: {plural(len(records), noun_of(records))} with masks of {len(names)} classes"
        )
    absent = [name for label, name in enumerate(names) if label not in counts]
    of = f"{len(counts)} of {len(names)}" if absent else str(len(counts))
    mark = _mark(names)
    none = f"; none of {name_some(absent, _NAMED, mark)}" if absent else ""
    line = f"{split}: {plural(len(records), noun_of(records))} of {of} class{'' if of == '1' else 'es'}: "
    ranked = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    if len(ranked) <= _ALL_NAMED:
        return one_line(f"{line}{mark.join(_with_count(names, sorted(ranked)))}{none}")
    rarest, frequent = ranked[:_NAMED], ranked[-_NAMED:]
    return one_line(
        f"{line}{mark.join(_with_count(names, rarest))} ... {mark.join(_with_count(names, frequent))}; "
        f"{len(ranked) - 2 * _NAMED} more between{none}"
    )


def note_absent_classes(splits: Mapping[str, Sequence[VideoRecord]], names: list[str]) -> list[str]:
    """Notes on classes that training never sees: at all, or though another list has them.

    A test alone may show any of the classes; only numbers that seem to count from 1 are worth a note there.
    """
    shown = {split: set(class_counts(records)) for split, records in splits.items()}
    first = "train" if "train" in shown else next(iter(shown), None)
    if first is None or not shown[first]:
        return []
    notes = []
    noun = noun_of(splits[first])
    absent = sorted(set(range(len(names))) - shown[first])
    shifted = are_stand_ins(names) and min(shown[first]) == 1
    if absent and (first == "train" or shifted):
        hint = "; labels count from 0, and these seem to count from 1" if shifted else ""
        count = f"{len(absent)} of the {len(names)} classes never"
        verb = "occurs" if len(absent) == 1 else "occur"
        notes.append(f"{count} {verb} in the {first} list: {_name(names, absent)}{hint}.")
    columns = as_columns(splits[first])
    drawn = class_counts(columns.take(columns.weight != 0))
    idle = sorted(shown[first] - set(drawn)) if first == "train" else []
    if idle:
        count = plural(len(idle), "class", "classes")
        notes.append(
            f"{count} of which all train {noun}s have the weight 0, so that training never sees them: "
            f"{_name(names, idle)}."
        )
    # test.csv may be absent, so that val and test are one list
    unseen: dict[tuple[int, ...], list[str]] = {}
    for split in ("val", "test"):
        unseen.setdefault(tuple(sorted(shown.get(split, set()) - shown[first])), []).append(split)
    for labels, own in unseen.items():
        if labels:
            count = plural(len(labels), "class", "classes")
            where = f"{' and '.join(own)} {noun}s and no {first} {noun}"
            notes.append(f"{count} with {where}: {_name(names, labels)}.")
    return [one_line(note) for note in notes]


def count_unnamed(splits: Mapping[str, Sequence[VideoRecord]]) -> int:
    """How many classes there are where nothing names them: one more than the largest label.

    Raises `DataError`, with file and line, for a label that is absurd beside the number of videos.
    """
    lists = [as_columns(records) for records in splits.values()]
    count = sum(map(len, lists))
    most, largest = max(_MOST_UNNAMED, count), 0
    for columns in lists:
        owners, labels = columns.labels.flat()
        absurd = owners[labels >= most]
        if len(absurd):
            record = columns[int(absurd[0])]
            raise DataError(
                f"{record.source}: the label {max(record.labels)} of {record.name} would make as many "
                f"classes, of {plural(count, record.medium)}; mend the list, or set "
                "MODEL.NUM_CLASSES if it is right"
            )
        largest = max(largest, int(labels.max(initial=0)))
    return 1 + largest


def _with_count(names: Sequence[str], ranked: Iterable[tuple[int, int]]) -> list[str]:
    return [f"{names[label]} ({count})" for label, count in ranked]


def _name(names: Sequence[str], labels: Iterable[int]) -> str:
    return name_some([names[label] for label in labels], _NAMED, _mark(names))


def _mark(names: Iterable[str]) -> str:
    """What stands between class names: no comma where they hold some, as ImageNet's words do."""
    return "; " if any("," in name for name in names) else ", "
