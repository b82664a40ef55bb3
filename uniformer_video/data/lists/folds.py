"""Videos cut into parts that are alike in their classes, groups whole: folds, and what validates.

The parts depend on the names, classes and groups of the videos, not on the order of the list.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from uniformer_video.data.lists.columns import VideoColumns, as_columns
from uniformer_video.data.lists.groups import group_of, group_places, listed_names
from uniformer_video.data.lists.records import VideoRecord, noun_of, split_records
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, one_line, plural

_UNLABELLED = -1  # counted beside the classes
_NEARLY_ALL = 0.75  # a group with more than this share of the videos makes no folds
_LARGE = 1.5  # times its even share: a fold of that size is told


def hold_out(
    records: Sequence[VideoRecord], ratio: float, seed: int
) -> tuple[Sequence[VideoRecord], Sequence[VideoRecord]]:
    """Split into (train, val), about `ratio` of each class for val, no group in both; by the seed.

    Where no two videos belong together this is `split_records`. Where both parts can have a video, they do.
    """
    columns = as_columns(records)
    first = group_places(columns)
    groups = len(np.unique(first))
    if groups == len(columns) and (columns.labels.counts == 1).all():
        return split_records(columns, ratio, seed)
    if ratio in (0, 1) or groups < 2:
        return (columns[:0], columns) if ratio == 1 else (columns, columns[:0])
    parts = _assign(_Groups(columns, first), (1 - ratio, ratio), seed)
    return columns.take(parts == 0), columns.take(parts == 1)


def make_folds(
    records: Sequence[VideoRecord], folds: int, class_names: Sequence[str]
) -> tuple[list[int], list[str]]:
    """(the fold of each record, notes): `folds` parts of even size, alike in their classes, groups whole.

    Raises `DataError` for fewer groups (or videos, where nothing groups them) than folds, for one group that
    holds nearly everything, and, where every video has one label, for a class that some fold would not leave
    a video to train on.
    """
    columns = as_columns(records)
    groups = _Groups(columns, group_places(columns))
    noun = noun_of(columns)
    what = "group" if columns.group.is_filled.any() else noun
    if len(groups.sizes) < folds:
        raise DataError(
            f"DATA.FOLDS {folds} takes at least as many {what}s as folds, and there are {len(groups.sizes)}; "
            f"lower it, or add {what}s"
        )
    largest = int(groups.sizes.max())
    name = groups.name(int(groups.sizes.argmax()))
    if largest > _NEARLY_ALL * len(columns):
        raise DataError(
            f"the group {name!r} holds {largest} of {len(columns)} {noun}s, so its fold would train on the "
            f"{len(columns) - largest} others alone; take a finer group (DATA.GROUP_PATTERN, or the column "
            "group), or DATA.FOLDS 0"
        )
    fold_of = _assign(groups, [1 / folds] * folds, 0)
    notes = _check_classes(groups, fold_of, folds, class_names)
    sizes = np.bincount(fold_of, minlength=folds)
    if sizes.max() > _LARGE * len(columns) / folds:
        notes.append(
            f"The folds differ in size, {', '.join(map(str, sizes))} {noun}s: the largest group, {name!r}, "
            f"holds {largest} of {len(columns)}."
        )
    return fold_of.tolist(), [one_line(note) for note in notes]


def assign_parts(
    records: Sequence[VideoRecord], shares: Sequence[float], key: int = 0
) -> np.ndarray:
    """Which part each record belongs to, `int64 [n]`: parts hold these `shares` of each class, groups whole.

    Greedy, as scikit-learn's `StratifiedGroupKFold`: group after group goes to the part that lacks its
    classes most, and of equal ones to that which lacks videos most. The first are those that hold the
    largest share of some class, so that rare labels of videos with several are spread first (Sechidis et
    al., "On the Stratification of Multi-Label Data", 2011). Equal groups come in an order that follows from
    their names and `key`. With as many groups as parts, or more, no part is empty.
    """
    columns = as_columns(records)
    return _assign(_Groups(columns, group_places(columns)), shares, key)


class _Groups:
    """The groups of videos, numbered by their first videos, and how many videos of each label they hold.

    Made of the videos and their `group_places`, which takes longest and which a caller may have already.

    first, of_video: of each video the place of the first one in its group, and the group, `int64 [n]`.
    sizes: videos, `[groups]`. totals: videos of each label, of all groups; what has none counts as one more
    label. labels, counts: of group g from `starts[g]` on, in the order of its videos: which of the labels it
    holds, a number within `totals`, and in how many videos.
    """

    def __init__(self, columns: VideoColumns, first: np.ndarray) -> None:
        self.columns = columns
        self.first = first
        self._places, self.of_video, self.sizes = np.unique(
            self.first, return_inverse=True, return_counts=True
        )
        owners, labels = columns.labels.flat()
        bare = np.flatnonzero(columns.labels.counts == 0)
        owners = np.concatenate([owners, bare])
        labels = np.concatenate([labels, np.full(len(bare), _UNLABELLED)])
        in_turn = np.argsort(owners, kind="stable")
        _, numbers, self.totals = np.unique(
            labels[in_turn], return_inverse=True, return_counts=True
        )
        pairs = self.of_video[owners[in_turn]] * len(self.totals) + numbers
        own, at, counts = np.unique(pairs, return_index=True, return_counts=True)
        holders, numbers = np.divmod(own, max(len(self.totals), 1))
        order = np.lexsort((at, holders))
        self.labels, self.counts = numbers[order], counts[order]
        self.starts = np.searchsorted(holders, np.arange(len(self.sizes)))

    def name(self, group: int) -> str:
        """The name of a group, or the path of a video that has none."""
        return group_of(self.columns[int(self._places[group])])[1]

    def in_turn(self, key: int) -> np.ndarray:
        """The groups as they are to be assigned, `int64 [groups]`."""
        most = np.maximum.reduceat(self.counts / self.totals[self.labels], self.starts)
        ranks = (*reversed(self._draws(key)), -self.sizes, -most)  # the last one decides first
        order = np.lexsort(ranks)
        same = [(one[order[1:]] == one[order[:-1]]) for one in ranks]
        tied = np.flatnonzero(np.logical_and.reduce(same))
        if not len(tied):
            return order
        # groups of one name, such as videos of two data sets: by their paths
        alike = np.union1d(order[tied], order[tied + 1]).tolist()
        by_path = sorted(alike, key=lambda one: group_of(self.columns[int(self._places[one])]))
        last = np.zeros(len(order), np.int64)
        last[by_path] = np.arange(len(by_path))
        return np.lexsort((last, *ranks))

    def _draws(self, key: int) -> list[np.ndarray]:
        """Four numbers a group, from its name and `key`: they order as its digest."""
        own = self.columns.take(self._places)
        loose = np.flatnonzero((self.sizes[self.of_video] > 1) & ~self.columns.group.is_filled)
        least: dict[
            int, str
        ] = {}  # of a video that is listed more than once: segments, other spellings
        names = listed_names(self.columns.take(loose))
        for group, name in zip(self.of_video[loose].tolist(), names, strict=True):
            least[group] = min(name, least.get(group, name))
        digests = bytearray()
        pairs = zip(own.group, listed_names(own), strict=True)
        for number, (group, name) in enumerate(pairs):
            text = f"{key} {group or least.get(number, name)}"
            digests += hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        return list(np.frombuffer(digests, ">u8").reshape(-1, 4).T.astype(np.uint64))


def _assign(groups: _Groups, shares: Sequence[float], key: int) -> np.ndarray:
    """`assign_parts` of groups."""
    order, parts = groups.in_turn(key), range(len(shares))
    # By label and part: the share of the label's videos that it has, less that which it is to have; of
    # videos likewise. Plain numbers: arrays of few parts take longer.
    excess = [[-share for share in shares] for _ in groups.totals]
    excess_of_all = [-share for share in shares]
    totals, count = groups.totals.tolist(), len(groups.of_video)
    starts, ends = groups.starts.tolist(), [*groups.starts[1:].tolist(), len(groups.labels)]
    labels, counts, sizes = groups.labels.tolist(), groups.counts.tolist(), groups.sizes.tolist()
    chosen: list[int] = []
    for group in order.tolist():
        own = slice(starts[group], ends[group])
        held = [*zip(labels[own], counts[own], strict=True)]
        cost = [
            (
                round(sum(number * excess[label][part] for label, number in held), 9),
                round(excess_of_all[part], 9),
            )
            for part in parts
        ]
        best = cost.index(min(cost))
        chosen.append(best)
        for label, number in held:
            excess[label][best] += number / totals[label]
        excess_of_all[best] += sizes[group] / count
    _fill_empty(chosen, len(shares))
    part_of = np.empty(len(order), np.int64)
    part_of[order] = chosen
    return part_of[groups.of_video]


def _fill_empty(chosen: list[int], parts: int) -> None:
    """Give a part without a group the last one, a small one, of the part that has most groups."""
    for part in range(min(parts, len(chosen))):
        if part not in chosen:
            donor = Counter(chosen).most_common(1)[0][0]
            chosen[len(chosen) - 1 - chosen[::-1].index(donor)] = part


def _check_classes(
    groups: _Groups, fold_of: np.ndarray, folds: int, class_names: Sequence[str]
) -> list[str]:
    """Notes on classes that not every fold tests; an error for those that some fold does not train on."""
    noun = noun_of(groups.columns)
    owners, labels = groups.columns.labels.flat()
    classes, numbers = np.unique(labels, return_inverse=True)
    seen = np.zeros((len(classes), folds), np.int64)  # videos of a class in a fold
    np.add.at(seen, (numbers, fold_of[owners]), 1)
    spread = (seen > 0).sum(axis=1)

    def describe(number: int) -> str:
        label = classes[number]
        name = class_names[label] if label < len(class_names) else f"class {label}"
        videos = plural(int(seen[number].sum()), noun)
        first, *others = np.unique(groups.first[owners[numbers == number]]).tolist()
        kind, group = group_of(groups.columns[first])
        inside = f", all of the group {group!r}" if kind == "group" and not others else ""
        return f"{name} ({videos}{inside})"

    alone = np.flatnonzero(spread == 1).tolist()
    if alone and (groups.columns.labels.counts == 1).all():
        fold = int(seen[alone[0]].argmax())
        raise DataError(
            f"too few {noun}s for DATA.FOLDS {folds}: {name_some([describe(one) for one in alone], 5)}; fold "
            f"{fold} would test what it has never trained on; a class takes two {noun}s, of two groups "
            f"where {noun}s are grouped: add some, or leave the class out"
        )
    few = np.flatnonzero(spread < folds).tolist()
    if not few:
        return []
    return [
        f"{plural(len(few), 'class', 'classes')} with fewer {noun}s or groups than folds, which not every "
        f"fold tests: {name_some([describe(one) for one in few], 5)}."
    ]
