"""The lists of a run, as its formats read them: of one data set or of several, as they are or in folds."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.settings import flat_config, with_settings
from uniformer_video.data.lists.class_counts import class_counts, count_unnamed
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.folds import hold_out, make_folds
from uniformer_video.data.lists.formats import ListFormat, find_format, list_formats
from uniformer_video.data.lists.groups import note_groups, note_shared_groups, with_groups
from uniformer_video.data.lists.joined import (
    align_classes,
    at_first_path,
    concatenate,
    note_class_differences,
    same_files,
    without_shared,
)
from uniformer_video.data.lists.records import VideoList, VideoRecord
from uniformer_video.data.loading.loader import sampling_weights
from uniformer_video.errors import AbsentError, ConfigError, DataError, UserError
from uniformer_video.storage.address import check_no_secret, is_address
from uniformer_video.words import one_line, plural

log = logging.getLogger(__name__)

_PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Folds:
    """All labelled videos, each once, and the fold that tests each of them; source: from which lists."""

    videos: VideoList
    fold_of: list[int]
    source: str
    notes: list[str] = field(default_factory=list)


def read_lists(cfg: CfgNode, splits: Sequence[str]) -> dict[str, VideoList]:
    """The `VideoList` of each of the `splits`, with the groups of the videos, labels by the names of each.

    With `DATA.FOLDS` they are cut from one list of all videos. Raises `DataError` and `ConfigError`.
    """
    if cfg.DATA.FOLDS:
        return _lists_of_fold(cfg, splits)
    lists = _read_parts(cfg, splits)
    # validation and test may be one list
    records = {r.segment: r for listed in lists.values() for r in listed.records}
    notes = note_groups(list(records.values()), cfg.DATA.GROUP_PATTERN)
    notes += note_shared_groups({split: listed.records for split, listed in lists.items()})
    return {
        split: replace(listed, notes=[*listed.notes, *notes]) for split, listed in lists.items()
    }


def read_folds(cfg: CfgNode) -> Folds:
    """The videos of all lists that there are, train, val and test, and the fold of each.

    Raises `DataError` where they make no folds: see `make_folds`.
    """
    lists = align_classes(_read_parts(cfg, _PARTS))
    if {"val", "test"} <= lists.keys() and lists["test"].records == lists["val"].records:
        del lists["test"]  # there is none of its own
    source = f"the lists {', '.join(lists)}" if len(lists) > 1 else f"the {next(iter(lists))} list"
    kept, notes = without_shared(lists, source, also_own=True)
    videos = concatenate(kept)
    names = videos.class_names
    if names is None:
        names = stand_ins(cfg.MODEL.NUM_CLASSES or count_unnamed({"all": videos.records}))
    notes = [*videos.notes, *notes, *note_groups(videos.records, cfg.DATA.GROUP_PATTERN)]
    fold_of, told = make_folds(videos.records, cfg.DATA.FOLDS, names)
    return Folds(replace(videos, class_names=names), fold_of, source, [*notes, *told])


def without_validation(cfg: CfgNode) -> CfgNode:
    """`cfg` without validations where `DATA.FOLDS` and `DATA.VAL_RATIO` 0 leave no videos for them.

    The videos of a fold are tested, and choose no weights.
    """
    if not cfg.DATA.FOLDS or cfg.DATA.VAL_RATIO or not cfg.TRAIN.EVAL_PERIOD:
        return cfg
    log.info("DATA.VAL_RATIO 0: nothing is validated, the weights of the last epoch are tested.")
    return with_settings(cfg, {"TRAIN.EVAL_PERIOD": 0})


def _lists_of_fold(cfg: CfgNode, splits: Sequence[str]) -> dict[str, VideoList]:
    folds = read_folds(cfg)
    pairs = list(zip(folds.videos.records, folds.fold_of, strict=True))
    test = [record for record, fold in pairs if fold == cfg.DATA.FOLD]
    train = [record for record, fold in pairs if fold != cfg.DATA.FOLD]
    val: list[VideoRecord] = []
    if "val" in splits:
        train, val = hold_out(train, cfg.DATA.VAL_RATIO, cfg.RNG_SEED)
        if cfg.DATA.VAL_RATIO and not (train and val):
            raise DataError(
                f"DATA.VAL_RATIO {cfg.DATA.VAL_RATIO:g} leaves no videos to "
                f"{'validate on' if train else 'train on'} beside fold {cfg.DATA.FOLD}; change it, or set "
                "TRAIN.EVAL_PERIOD 0, so that nothing is validated"
            )
    counts = f"{len(test)} of {plural(len(pairs), 'video')} of {folds.source} are tested"
    held = f", {len(val)} of the others validate" if val else ""
    notes = [f"Fold {cfg.DATA.FOLD} of 0 to {cfg.DATA.FOLDS - 1}: {counts}{held}.", *folds.notes]
    records = {"train": train, "val": val, "test": test}
    return {split: VideoList(records[split], folds.videos.class_names, notes) for split in splits}


def _read_parts(cfg: CfgNode, splits: Sequence[str]) -> dict[str, VideoList]:
    """The lists of the splits, joined over data sets; for folds without those that are not there."""
    given = cfg.DATA.PATH_TO_DATA_DIR
    sets = [given] if isinstance(given, str) else list(given)
    lists: dict[str, dict[str, VideoList]] = {split: {} for split in splits}
    absent: dict[str, UserError | OSError] = {}
    notes = []
    for place, weight in _set_weights(cfg).items():
        found, lacking = _read_set(
            cfg, place, splits, may_lack=bool(cfg.DATA.FOLDS) or len(sets) > 1
        )
        for split, listed in found.items():
            if weight != 1 and (split == "train" or cfg.DATA.FOLDS):
                weighted = [replace(r, weight=r.weight * weight) for r in listed.records]
                listed = replace(listed, records=weighted)
            lists[split][place] = listed
        for split, error in lacking.items():
            absent.setdefault(split, error)
            notes.append(f"{place} has no {split} list.")
    for split, error in absent.items():
        if not lists[split] and not cfg.DATA.FOLDS:
            raise error
    lists = {split: own for split, own in lists.items() if own}
    if len(sets) > 1:
        return _join(cfg, lists, notes)
    return {split: own[sets[0]] for split, own in lists.items()}


def _set_weights(cfg: CfgNode) -> dict[str, float]:
    """How much each data set counts in training, `{place: weight}`."""
    given = cfg.DATA.PATH_TO_DATA_DIR
    sets = [given] if isinstance(given, str) else list(given)
    weights = list(cfg.DATA.JOIN_WEIGHTS) if cfg.TRAIN.ENABLE else []
    return dict(zip(sets, weights or [1.0] * len(sets), strict=True))


def _read_set(
    cfg: CfgNode, place: str, splits: Sequence[str], may_lack: bool
) -> tuple[dict[str, VideoList], dict[str, UserError | OSError]]:
    """The lists of one data set, and the errors of those that are not there, where it may lack some.

    A format of somebody's own may say so by any `DataError`.
    """
    found: dict[str, VideoList] = {}
    lacking: dict[str, UserError | OSError] = {}
    read = find_format(cfg.TRAIN.DATASET).read
    is_ours = (read.__module__ or "").startswith("uniformer_video.")
    for split in splits:
        try:
            listed = _read_split(cfg, place, split)
        except (DataError, FileNotFoundError) as error:
            is_absence = isinstance(error, (AbsentError, FileNotFoundError)) or not is_ours
            if not (may_lack and is_absence):
                raise
            lacking[split] = error
            continue
        grouped = with_groups(listed.records, cfg.DATA.GROUP_PATTERN)
        found[split] = replace(listed, records=grouped)
    if not found:
        raise next(iter(lacking.values()))
    return found, lacking


def _join(
    cfg: CfgNode, lists: dict[str, dict[str, VideoList]], notes: list[str]
) -> dict[str, VideoList]:
    """`{split: {data set: its list}}` -> `{split: list}`, classes by name, a video of several sets once."""
    sets = dict.fromkeys(place for own in lists.values() for place in own)
    for own in lists.values():
        for place, listed in own.items():
            if not listed.class_names:
                raise DataError(
                    f"joined data sets are matched by the names of their classes, and {place} has bare "
                    "numbers; name them in its classes.txt, or all of them by DATA.CLASS_NAMES"
                )
    same = same_files(
        {
            place: [r for own in lists.values() if place in own for r in own[place].records]
            for place in sets
        }
    )
    notes = [*notes, *note_class_differences({place: _names_of(place, lists) for place in sets})]
    joined = {}
    for split, own in lists.items():
        own = {place: at_first_path(listed, same) for place, listed in own.items()}
        kept, told = without_shared(align_classes(own), f"the joined {split} lists")
        told = [_count_sets(cfg, split, kept), *told]
        listed = concatenate(kept)
        joined[split] = replace(listed, notes=[*listed.notes, *notes, *told])
    return joined


def _names_of(place: str, lists: dict[str, dict[str, VideoList]]) -> list[str]:
    """The names of a data set's classes, over all its lists."""
    own = [one[place].class_names or [] for one in lists.values() if place in one]
    return list(dict.fromkeys(name for names in own for name in names))


def _count_sets(cfg: CfgNode, split: str, lists: dict[str, VideoList]) -> str:
    """How many videos of which data set a list joins, and of training how much of an epoch they are."""
    records = [record for listed in lists.values() for record in listed.records]
    drawn = None
    if cfg.TRAIN.ENABLE and (split == "train" or cfg.DATA.FOLDS) and records:
        drawn = sampling_weights(records, cfg.DATA.BALANCE)
    weights, parts, start = _set_weights(cfg), [], 0
    for place, listed in lists.items():
        end = start + len(listed.records)
        share = len(listed.records) / max(len(records), 1)
        if drawn is not None:
            share = drawn[start:end].sum() / drawn.sum()
        count = plural(len(listed.records), "video")
        weight = (
            f" (weight {weights[place]:g})" if cfg.DATA.JOIN_WEIGHTS and cfg.TRAIN.ENABLE else ""
        )
        classes = plural(len(class_counts(listed.records)), "class", "classes")
        parts.append(f"{place}: {count} of {classes}, {share:.1%}{weight}")
        start = end
    return one_line(f"The {split} list joins {'; '.join(parts)}.")


def _read_split(cfg: CfgNode, place: str, split: str) -> VideoList:
    """The `VideoList` of one split of the data set at `place`, in the format that the config names."""
    other = split == "test" and cfg.TEST.DATASET and not cfg.DATA.FOLDS
    key = "TEST.DATASET" if other else "TRAIN.DATASET"
    flat = flat_config(cfg)
    list_format = find_format(flat[key], key)
    root = _root(place, list_format)
    if cfg.DATA.FOLDS:
        flat["DATA.VAL_RATIO"] = 0.0  # the format holds nothing out: that is done inside a fold
    arguments = {name: flat[setting] for setting, name in list_format.settings.items()}
    try:
        found = list_format.read(root, split, **arguments)
    except (UserError, OSError):
        raise
    except Exception as error:
        if (list_format.read.__module__ or "").startswith("uniformer_video."):
            raise  # a fault of ours
        raise DataError(
            f"the format {list_format.name}, of {list_format.read.__module__}, fails on the {split} list in "
            f"{root}: {type(error).__name__}: {one_line(error)}"
        ) from error
    _check_list(found, list_format.name)
    return found


def _check_list(found: Any, name: str) -> None:
    """Raise `ConfigError` for what a format of somebody's own must not give."""
    if not isinstance(found, VideoList):
        raise ConfigError(
            f"the format {name} gives a {type(found).__name__}; its reader returns a VideoList"
        )
    for record in found.records:
        labels = record.labels
        if not isinstance(labels, tuple) or any(type(label) is not int for label in labels):
            raise ConfigError(
                f"the format {name} gives {record.name} the labels {labels!r}; they are a tuple of class "
                "numbers"
            )
        if not isinstance(record.group, str):
            raise ConfigError(
                f"the format {name} gives {record.name} the group {record.group!r}; it is a text"
            )


def _root(place: str, list_format: ListFormat) -> Path | str:
    """A value of `DATA.PATH_TO_DATA_DIR` as a `Path`, or an address as it is."""
    if not is_address(place):
        return Path(place)
    check_no_secret(place, "DATA.PATH_TO_DATA_DIR")
    if not list_format.takes_address:
        able = [known.name for known in list_formats() if known.takes_address]
        raise ConfigError(
            f"DATA.PATH_TO_DATA_DIR {place} is an address, which TRAIN.DATASET {' or '.join(able)} can "
            f"read; {list_format.name} takes a folder of this computer"
        )
    return place
