"""The lists of several data sets as those of one: `DATA.PATH_TO_DATA_DIR [A, B]`."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.data.lists.class_counts import class_counts
from uniformer_video.data.lists.columns import (
    VideoColumns,
    as_columns,
    concatenated,
    segments_of,
    with_weights,
)
from uniformer_video.data.lists.folds import hold_out
from uniformer_video.data.lists.formats import holds_masks, medium_of
from uniformer_video.data.lists.joined import (
    align_classes,
    at_first_path,
    concatenate,
    note_class_differences,
    same_files,
    without_shared,
)
from uniformer_video.data.lists.records import VideoList, noun_of
from uniformer_video.data.loading.loader import sampling_weights
from uniformer_video.errors import DataError
from uniformer_video.words import name_some, one_line, plural

# {split: {data set: its list}}
SetLists = dict[str, dict[str, VideoList]]


def data_sets(cfg: CfgNode) -> list[str]:
    """The folders, or addresses, that `DATA.PATH_TO_DATA_DIR` names."""
    given = cfg.DATA.PATH_TO_DATA_DIR
    return [given] if isinstance(given, str) else list(given)


def join_sets(
    cfg: CfgNode, lists: SetLists, absent: Mapping[str, Collection[str]], splits_later: bool
) -> dict[str, VideoList]:
    """`{split: list}` of all data sets: classes by name, a video of several sets once, training by weights.

    absent: {split: the data sets that have no such list}. splits_later: where validation is absent,
    `DATA.VAL_RATIO` of the training videos are held out. Raises `DataError` for sets that do not name their
    classes.
    """
    for place, listed in ((p, one) for own in lists.values() for p, one in own.items()):
        if not listed.class_names:
            raise DataError(
                f"joined data sets are matched by the names of their classes, and {place} has bare "
                "numbers; name them in its classes.txt, or all of them by DATA.CLASS_NAMES"
            )
    places = dict.fromkeys(place for own in lists.values() for place in own)
    of_set = {place: [own[place] for own in lists.values() if place in own] for place in places}
    same = same_files({place: _records(own) for place, own in of_set.items()})
    notes = note_class_differences(
        {
            p: list(dict.fromkeys(n for one in own for n in one.class_names or ()))
            for p, own in of_set.items()
        }
    )
    all_lists = {
        (split, place): at_first_path(listed, same)
        for split, own in lists.items()
        for place, listed in own.items()
    }
    aligned = align_classes(all_lists)
    kept: SetLists = {}
    told: dict[str, list[str]] = {}
    for split, own in lists.items():
        kept[split], told[split] = without_shared(
            {place: aligned[split, place] for place in own}, f"the joined {split} lists"
        )
    if splits_later:
        notes += _hold_out(cfg, kept, absent)
    notes += [
        f"{place} has no {split} list."
        for split, lacking in absent.items()
        for place in lacking
        if kept[split] and place not in kept[split]
    ]
    joined = {}
    for split, own in kept.items():
        if own:
            own = _weighted(cfg, own) if _trains(cfg, split) else own
            listed = concatenate(own)
            counted = _count_sets(cfg, split, own)
            joined[split] = replace(listed, notes=[*listed.notes, *notes, counted, *told[split]])
    return joined


def _hold_out(cfg: CfgNode, kept: SetLists, absent: Mapping[str, Collection[str]]) -> list[str]:
    """Move a part of the training videos of sets without one to validation, all sets at once; notes.

    So neither a group nor a video that sets share is parted. Where they have no test either, it is that part.
    """
    noun = medium_of(cfg.TRAIN.DATASET)
    places = [place for place in absent["val"] if place in kept["train"]]
    records = _records([kept["train"][place] for place in places])
    train, val = hold_out(records, cfg.DATA.VAL_RATIO, cfg.RNG_SEED)
    if places and cfg.DATA.VAL_RATIO and not (train and val):
        raise DataError(
            f"DATA.VAL_RATIO {cfg.DATA.VAL_RATIO:g} leaves no {noun}s to "
            f"{'validate on' if train else 'train on'}, of {plural(len(records), noun)} in "
            f"{name_some(places)}; add {noun}s or change the ratio"
        )
    if val:
        held = set(segments_of(as_columns(val)))
        for place in places:
            listed = kept["train"][place]
            videos = as_columns(listed.records)
            is_held = np.array([segment in held for segment in segments_of(videos)], bool)
            kept["train"][place] = replace(listed, records=videos.take(~is_held))
            kept["val"][place] = VideoList(videos.take(is_held), listed.class_names)
    if cfg.TEST.DATASET in ("", cfg.TRAIN.DATASET):
        for place in absent.get("test", ()):
            if place in kept["val"]:
                kept["test"][place] = kept["val"][place]
    if not val:
        return []
    count = f"{len(val)} of {plural(len(records), noun)} in {name_some(places)}"
    return [f"{count} are held out (DATA.VAL_RATIO {cfg.DATA.VAL_RATIO:g})."]


def _trains(cfg: CfgNode, split: str) -> bool:
    """Whether videos of a list are trained on: with folds those of any list."""
    return cfg.TRAIN.ENABLE and (split == "train" or bool(cfg.DATA.FOLDS))


def _weights(cfg: CfgNode) -> dict[str, float]:
    """`{data set: how often its videos come in training}`."""
    sets = data_sets(cfg)
    return dict(zip(sets, cfg.DATA.JOIN_WEIGHTS or [1.0] * len(sets), strict=True))


def _weighted(cfg: CfgNode, lists: Mapping[str, VideoList]) -> dict[str, VideoList]:
    weights, weighted = _weights(cfg), {}
    for place, listed in lists.items():
        videos = as_columns(listed.records)
        records = with_weights(videos, videos.weight * weights[place])
        weighted[place] = replace(listed, records=records)
    return weighted


def _records(lists: Iterable[VideoList]) -> VideoColumns:
    """The videos of all."""
    return concatenated([as_columns(listed.records) for listed in lists])


def _count_sets(cfg: CfgNode, split: str, lists: Mapping[str, VideoList]) -> str:
    """How many videos of which data set a list joins, and of training how much of an epoch they are."""
    records = _records(lists.values())
    trains = _trains(cfg, split) and bool(records)
    drawn = sampling_weights(records, cfg.DATA.BALANCE) if trains else None
    weights = _weights(cfg) if trains and cfg.DATA.JOIN_WEIGHTS else {}
    parts, start = [], 0
    for place, listed in lists.items():
        end = start + len(listed.records)
        share = len(listed.records) / max(len(records), 1)
        if drawn is not None:
            share = drawn[start:end].sum() / drawn.sum()
        count = plural(len(listed.records), noun_of(listed.records))
        # which classes a mask holds is known once it is read
        counted = {} if holds_masks(cfg.TRAIN.DATASET) else class_counts(listed.records)
        classes = f" of {plural(len(counted), 'class', 'classes')}" if counted else ""
        weight = f" (weight {weights[place]:g})" if place in weights else ""
        parts.append(f"{place}: {count}{classes}, {share:.1%}{weight}")
        start = end
    return one_line(f"The {split} list joins {'; '.join(parts)}.")
