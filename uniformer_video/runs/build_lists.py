"""The lists of a run, as its formats read them: of one data set or of several, as they are or in folds."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.config.settings import flat_config, with_settings
from uniformer_video.data.lists.class_counts import count_unnamed
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.columns import (
    VideoColumns,
    as_columns,
    concatenated,
    first_segments,
)
from uniformer_video.data.lists.folds import hold_out, make_folds
from uniformer_video.data.lists.formats import ListFormat, find_format, list_formats, medium_of
from uniformer_video.data.lists.groups import note_groups, note_shared_groups, with_groups
from uniformer_video.data.lists.joined import align_classes, concatenate, without_shared
from uniformer_video.data.lists.records import VideoList, VideoRecord, noun_of
from uniformer_video.errors import AbsentError, ConfigError, DataError, UserError
from uniformer_video.runs.join_sets import data_sets, join_sets
from uniformer_video.storage.address import check_no_secret, is_address
from uniformer_video.words import one_line, plural

log = logging.getLogger(__name__)

_PARTS = ("train", "val", "test")
_TEXTS = ("path", "name", "source", "group", "medium", "mask")  # of a record


@dataclass(frozen=True)
class Folds:
    """All labelled videos, each once, and the fold that tests each of them; source: from which lists."""

    videos: VideoList
    fold_of: list[int]
    source: str
    notes: list[str] = field(default_factory=list)


def read_lists(cfg: CfgNode, splits: Sequence[str]) -> dict[str, VideoList]:
    """The `VideoList` of each of the `splits`, with the groups of the videos, labels by the names of each.

    With `DATA.FOLDS` they are cut from one list of all videos. What is called "test" is the list that
    `TEST.SPLIT` names. Raises `DataError` and `ConfigError`.
    """
    if "test" in splits and cfg.TEST.SPLIT != "test":
        if cfg.TEST.DATASET:
            raise ConfigError(
                f"TEST.SPLIT {cfg.TEST.SPLIT} tests a list of TRAIN.DATASET, and TEST.DATASET is "
                f"{cfg.TEST.DATASET}; leave one of them out"
            )
        read = {split: cfg.TEST.SPLIT if split == "test" else split for split in splits}
        lists = _read_lists(cfg, list(dict.fromkeys(read.values())))
        return {split: lists[name] for split, name in read.items()}
    return _read_lists(cfg, splits)


def _read_lists(cfg: CfgNode, splits: Sequence[str]) -> dict[str, VideoList]:
    if cfg.DATA.FOLDS:
        return _lists_of_fold(cfg, splits)
    lists = _read_parts(cfg, splits)
    notes = _note_groups(lists, cfg.DATA.GROUP_PATTERN)
    notes += note_shared_groups({split: listed.records for split, listed in lists.items()})
    return {
        split: replace(listed, notes=[*listed.notes, *notes]) for split, listed in lists.items()
    }


def _note_groups(lists: Mapping[str, VideoList], pattern: str) -> list[str]:
    """`note_groups` of all lists, which has nothing to say where there are no groups and no pattern."""
    columns = [as_columns(listed.records) for listed in lists.values()]
    if not pattern and not any(own.group.is_filled.any() for own in columns):
        return []
    return note_groups(_each_once(columns), pattern)


def _each_once(lists: Sequence[VideoColumns]) -> VideoColumns:
    """Each segment once, as the last list has it: validation and test may be one list."""
    columns = concatenated(lists)
    first = first_segments(columns)
    last = np.zeros(len(first), np.int64)
    last[first] = np.arange(len(first))  # of equal places the last one stays
    return columns.take(last[np.unique(first)])


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
    log.info("DATA.VAL_RATIO 0: nothing is validated, the last weights are tested.")
    return with_settings(cfg, {"TRAIN.EVAL_PERIOD": 0, "TRAIN.EVAL_ITERS": 0})


def _lists_of_fold(cfg: CfgNode, splits: Sequence[str]) -> dict[str, VideoList]:
    folds = read_folds(cfg)
    videos = as_columns(folds.videos.records)
    is_tested = np.array(folds.fold_of) == cfg.DATA.FOLD
    test = videos.take(is_tested)
    train: Sequence[VideoRecord] = videos.take(~is_tested)
    val: Sequence[VideoRecord] = ()
    # whoever tests the training list alone means the videos that the training learns from
    if "val" in splits or ("train" in splits and cfg.TRAIN.EVAL_PERIOD):
        train, val = hold_out(train, cfg.DATA.VAL_RATIO, cfg.RNG_SEED)
        if cfg.DATA.VAL_RATIO and not (train and val):
            raise DataError(
                f"DATA.VAL_RATIO {cfg.DATA.VAL_RATIO:g} leaves no {noun_of(train or val)}s to "
                f"{'validate on' if train else 'train on'} beside fold {cfg.DATA.FOLD}; change it, or set "
                "TRAIN.EVAL_PERIOD 0, so that nothing is validated"
            )
    are = "are tested" if cfg.TEST.SPLIT == "test" else "are its test list"
    counts = f"{len(test)} of {plural(len(videos), noun_of(test))} of {folds.source} {are}"
    held = f", {len(val)} of the others validate" if val else ""
    notes = [f"Fold {cfg.DATA.FOLD} of 0 to {cfg.DATA.FOLDS - 1}: {counts}{held}.", *folds.notes]
    records = {"train": train, "val": val, "test": test}
    return {split: VideoList(records[split], folds.videos.class_names, notes) for split in splits}


def _read_parts(cfg: CfgNode, splits: Sequence[str]) -> dict[str, VideoList]:
    """The lists of the splits, joined over data sets; for folds without those that are not there."""
    sets, splits_later = data_sets(cfg), _splits_later(cfg)
    # What is not split yet needs its training list, for whatever it is split into.
    wanted = list(dict.fromkeys(["train", "val", *splits])) if splits_later else list(splits)
    lists: dict[str, dict[str, VideoList]] = {split: {} for split in wanted}
    absent: dict[str, dict[str, UserError | OSError]] = {split: {} for split in wanted}
    for place in sets:
        found, lacking = _read_set(cfg, place, wanted)
        for split, listed in found.items():
            lists[split][place] = listed
        for split, error in lacking.items():
            absent[split][place] = error
    if len(sets) > 1:
        joined = join_sets(cfg, lists, absent, splits_later)
    else:
        joined = {split: own[sets[0]] for split, own in lists.items() if own}
    for split in splits:
        if split not in joined and not cfg.DATA.FOLDS:
            raise next(iter(absent[split].values()))
    return {split: joined[split] for split in splits if split in joined}


def _splits_later(cfg: CfgNode) -> bool:
    """Whether joined data sets hold out `DATA.VAL_RATIO` of all they train on, and not each of its own."""
    splits_itself = "DATA.VAL_RATIO" in find_format(cfg.TRAIN.DATASET).settings
    return len(data_sets(cfg)) > 1 and splits_itself and not cfg.DATA.FOLDS


def _read_set(
    cfg: CfgNode, place: str, splits: Sequence[str]
) -> tuple[dict[str, VideoList], dict[str, UserError | OSError]]:
    """The lists of one data set, and the errors of those that are not there.

    Joined sets, and folds, may do without some. A format of somebody's own may say so by any `DataError`.
    """
    may_lack = bool(cfg.DATA.FOLDS) or len(data_sets(cfg)) > 1
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
        if _splits_later(cfg) and split != "train" and not listed.records:
            lacking[split] = DataError(f"{place} has no {split} {medium_of(cfg.TRAIN.DATASET)}s")
            continue
        grouped = with_groups(listed.records, cfg.DATA.GROUP_PATTERN)
        found[split] = replace(listed, records=grouped)
    if not found:
        raise next(iter(lacking.values()))
    return found, lacking


def format_of_split(cfg: CfgNode, split: str) -> ListFormat:
    """The format of the list of a split: "train", "val" or "test"."""
    if split == "test" and cfg.TEST.DATASET and not cfg.DATA.FOLDS:
        return find_format(cfg.TEST.DATASET, "TEST.DATASET")
    return find_format(cfg.TRAIN.DATASET, "TRAIN.DATASET")


def _read_split(cfg: CfgNode, place: str, split: str) -> VideoList:
    """The `VideoList` of one split of the data set at `place`, in the format that the config names."""
    flat = flat_config(cfg)
    list_format = format_of_split(cfg, split)
    root = _root(place, list_format)
    if cfg.DATA.FOLDS or _splits_later(cfg):
        # the format holds nothing out: that is done with all videos at hand
        flat["DATA.VAL_RATIO"] = 0.0
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
    if isinstance(found.records, VideoColumns) and found.records.labels.values.dtype != object:
        return  # whose types allow nothing that is refused below
    if not isinstance(found.records, Sequence):
        raise ConfigError(
            f"the format {name} gives a {type(found.records).__name__} of records; it is a list of "
            "VideoRecord"
        )
    for record in found.records:
        _check_record(record, name)


def _check_record(record: Any, name: str) -> None:
    """What columns could not keep as it is; a list that is read from a file is checked by its reader."""
    if type(record) is not VideoRecord:
        raise ConfigError(
            f"the format {name} gives {getattr(record, 'name', record)} as a {type(record).__name__}; it is "
            "a VideoRecord itself, for its fields are all that is kept"
        )
    labels, seconds = record.labels, "a number of seconds from 0"
    if not isinstance(labels, tuple) or any(type(label) is not int for label in labels):
        raise ConfigError(
            f"the format {name} gives {record.name} the labels {labels!r}; they are a tuple of class "
            "numbers"
        )
    ends_after = record.end is None or (
        _is_from_zero(record.end) and (not _is_from_zero(record.start) or record.end > record.start)
    )
    expected = {
        field_name: ("a text", isinstance(getattr(record, field_name), str))
        for field_name in _TEXTS
    }
    expected["num_frames"] = ("a whole number from 0", _is_count(record.num_frames))
    expected["start"] = (seconds, _is_from_zero(record.start))
    expected["end"] = (f"{seconds}, behind the start, or None", ends_after)
    expected["weight"] = ("a number from 0", _is_from_zero(record.weight))
    for field_name, (kind, is_right) in expected.items():
        if not is_right:
            raise ConfigError(
                f"the format {name} gives {record.name} the {field_name} {getattr(record, field_name)!r}; "
                f"it is {kind}"
            )


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_from_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and value >= 0


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
