"""Videos cut into parts that are alike in their classes, groups whole: folds, and what validates.

The parts depend on the names, classes and groups of the videos, not on the order of the list.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from uniformer_video.data.lists.columns import as_columns
from uniformer_video.data.lists.groups import count_groups, group_of, listed_name
from uniformer_video.data.lists.records import VideoRecord, noun_of, split_records
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, one_line, plural

_UNLABELLED, _ALL = -1, -2  # counted beside the classes
_NEARLY_ALL = 0.75  # a group with more than this share of the videos makes no folds
_LARGE = 1.5  # times its even share: a fold of that size is told


def hold_out(
    records: Sequence[VideoRecord], ratio: float, seed: int
) -> tuple[Sequence[VideoRecord], Sequence[VideoRecord]]:
    """Split into (train, val), about `ratio` of each class for val, no group in both; by the seed.

    Where no two videos belong together this is `split_records`. Where both parts can have a video, they do.
    """
    columns = as_columns(records)
    groups = count_groups(columns)
    if groups == len(columns) and (columns.labels.counts == 1).all():
        return split_records(columns, ratio, seed)
    if ratio in (0, 1) or groups < 2:
        return (columns[:0], columns) if ratio == 1 else (columns, columns[:0])
    parts = np.array(assign_parts(list(columns), (1 - ratio, ratio), seed))
    return columns.take(parts == 0), columns.take(parts == 1)


def make_folds(
    records: Sequence[VideoRecord], folds: int, class_names: Sequence[str]
) -> tuple[list[int], list[str]]:
    """(the fold of each record, notes): `folds` parts of even size, alike in their classes, groups whole.

    Raises `DataError` for fewer groups (or videos, where nothing groups them) than folds, for one group that
    holds nearly everything, and, where every video has one label, for a class that some fold would not leave
    a video to train on.
    """
    members = Counter(group_of(record) for record in records)
    noun = noun_of(records)
    what = "group" if any(record.group for record in records) else noun
    if len(members) < folds:
        raise DataError(
            f"DATA.FOLDS {folds} takes at least as many {what}s as folds, and there are {len(members)}; "
            f"lower it, or add {what}s"
        )
    (_, name), largest = members.most_common(1)[0]
    if largest > _NEARLY_ALL * len(records):
        raise DataError(
            f"the group {name!r} holds {largest} of {len(records)} {noun}s, so its fold would train on the "
            f"{len(records) - largest} others alone; take a finer group (DATA.GROUP_PATTERN, or the column "
            "group), or DATA.FOLDS 0"
        )
    fold_of = assign_parts(records, [1 / folds] * folds)
    notes = _check_classes(records, fold_of, folds, class_names)
    sizes = np.bincount(fold_of, minlength=folds)
    if sizes.max() > _LARGE * len(records) / folds:
        notes.append(
            f"The folds differ in size, {', '.join(map(str, sizes))} {noun}s: the largest group, {name!r}, "
            f"holds {largest} of {len(records)}."
        )
    return fold_of, [one_line(note) for note in notes]


def assign_parts(
    records: Sequence[VideoRecord], shares: Sequence[float], key: int = 0
) -> list[int]:
    """Which part each record belongs to: parts hold these `shares` of each class, groups stay whole.

    Greedy, as scikit-learn's `StratifiedGroupKFold`: group after group goes to the part that lacks its
    classes most, and of equal ones to that which lacks videos most. The first are those that hold the
    largest share of some class, so that rare labels of videos with several are spread first (Sechidis et
    al., "On the Stratification of Multi-Label Data", 2011). Equal groups come in an order that follows from
    their names and `key`. With as many groups as parts, or more, no part is empty.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for index, record in enumerate(records):
        members.setdefault(group_of(record), []).append(index)
    counts = {group: _count([records[i] for i in own]) for group, own in members.items()}
    totals = _count(records)
    # By label and part: the share of the label's videos that it has, less that which it is to have. Plain
    # numbers: a list may have hundreds of thousands of groups, and arrays of few parts take longer.
    excess = {label: [-share for share in shares] for label in totals}

    def rank(group: tuple[str, str]) -> tuple:
        own = counts[group]
        most = max(own[label] / totals[label] for label in own if label != _ALL)
        names = min(listed_name(records[i]) for i in members[group])
        text = group[1] if group[0] == "group" else names
        digest = hashlib.sha256(f"{key} {text}".encode("utf-8", "surrogateescape")).hexdigest()
        return -most, -own[_ALL], digest, group

    order = sorted(members, key=rank)
    part_of: dict[tuple[str, str], int] = {}
    for group in order:
        own = counts[group]
        labels = [(excess[label], count) for label, count in own.items() if label != _ALL]
        cost = [
            (round(sum(count * of[part] for of, count in labels), 9), round(excess[_ALL][part], 9))
            for part in range(len(shares))
        ]
        best = part_of[group] = cost.index(min(cost))
        for label, count in own.items():
            excess[label][best] += count / totals[label]
    _fill_empty(part_of, order, len(shares))
    parts = [0] * len(records)
    for group, indices in members.items():
        for index in indices:
            parts[index] = part_of[group]
    return parts


def _count(records: Sequence[VideoRecord]) -> Counter[int]:
    """How many of the records have each label, how many none, and how many there are."""
    counts = Counter(label for record in records for label in record.labels or (_UNLABELLED,))
    counts[_ALL] = len(records)
    return counts


def _fill_empty(
    part_of: dict[tuple[str, str], int], order: Sequence[tuple[str, str]], parts: int
) -> None:
    """Give a part without a group the last one, a small one, of the part that has most groups."""
    for part in range(min(parts, len(order))):
        if part not in part_of.values():
            donor = Counter(part_of.values()).most_common(1)[0][0]
            part_of[next(group for group in reversed(order) if part_of[group] == donor)] = part


def _check_classes(
    records: Sequence[VideoRecord], fold_of: Sequence[int], folds: int, class_names: Sequence[str]
) -> list[str]:
    """Notes on classes that not every fold tests; an error for those that some fold does not train on."""
    noun = noun_of(records)
    seen: dict[int, Counter[int]] = {}
    groups: dict[int, set[tuple[str, str]]] = {}
    for record, fold in zip(records, fold_of, strict=True):
        for label in record.labels:
            seen.setdefault(label, Counter())[fold] += 1
            groups.setdefault(label, set()).add(group_of(record))

    def describe(label: int) -> str:
        name = class_names[label] if label < len(class_names) else f"class {label}"
        videos = plural(seen[label].total(), noun)
        (kind, group), *others = groups[label]
        inside = f", all of the group {group!r}" if kind == "group" and not others else ""
        return f"{name} ({videos}{inside})"

    alone = [label for label in sorted(seen) if len(seen[label]) == 1]
    if alone and all(len(record.labels) == 1 for record in records):
        fold = next(iter(seen[alone[0]]))
        raise DataError(
            f"too few {noun}s for DATA.FOLDS {folds}: {name_some([describe(one) for one in alone], 5)}; fold "
            f"{fold} would test what it has never trained on; a class takes two {noun}s, of two groups "
            f"where {noun}s are grouped: add some, or leave the class out"
        )
    few = [label for label in sorted(seen) if len(seen[label]) < folds]
    if not few:
        return []
    return [
        f"{plural(len(few), 'class', 'classes')} with fewer {noun}s or groups than folds, which not every "
        f"fold tests: {name_some([describe(one) for one in few], 5)}."
    ]
