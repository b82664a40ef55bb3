"""The lists that a config asks for: which videos, which classes, what is worth a note."""

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from uniformer_video.data.lists import official as official
from uniformer_video.data.lists import records as lists
from uniformer_video.data.lists.check import check_list, note_overlaps
from uniformer_video.data.lists.class_names import (
    class_names,
    name_differences,
    named_classes,
    places,
    stand_ins,
)
from uniformer_video.data.lists.shard_index import COLUMNS, INDEX_FILE
from uniformer_video.data.lists.sharded import read_shards
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.runs.build_task import build_task
from uniformer_video.storage.address import check_no_secret, is_address, join
from uniformer_video.storage.places import is_file, size_of
from uniformer_video.zoo.published import may_be_fetched


@dataclass
class Data:
    """The lists of a run. `notes` are facts that belong in the log and on the report page.

    faults: {path: reason} of videos that hung or crashed their decoder in this run.
    """

    class_names: list
    train: list = field(default_factory=list)
    val: list = field(default_factory=list)
    test: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    faults: dict = field(default_factory=dict)

    @property
    def num_classes(self):
        """How many classes the model tells apart."""
        return len(self.class_names)


def build_data(cfg):
    """The `Data` that the config asks for: what it will train, validate and test on, and no more."""
    if not cfg.DATA.PATH_TO_DATA_DIR:
        raise ConfigError(
            "DATA.PATH_TO_DATA_DIR is not set: give a folder with train.csv, val.csv and test.csv, "
            "or, with TRAIN.DATASET folder, a folder with one sub-folder of videos a class, or, with "
            "any other TRAIN.DATASET, the folder of its lists"
        )
    task = build_task(cfg)
    tested = cfg.TEST.CHECKPOINT_FILE_PATH
    if cfg.TEST.ENABLE and tested and not (may_be_fetched(tested) or Path(tested).is_file()):
        raise CheckpointError(f"TEST.CHECKPOINT_FILE_PATH {tested} is not a file")
    splits, names, notes = {}, None, {}
    for split in _needed_splits(cfg):
        splits[split], found_names, found_notes = _read_split(cfg, split)
        names = names or found_names
        notes |= dict.fromkeys(found_notes)  # of a folder that is split, each part has the same
    names = _class_names(cfg, names, splits)
    data = Data(names, **splits, notes=list(notes))
    for records in splits.values():
        task.check_records(records, data.num_classes)
    if cfg.TRAIN.ENABLE and data.num_classes < task.min_classes:
        raise DataError(
            f"there is only one class, {names[0]!r}, so there is nothing to learn; is "
            f"{cfg.DATA.PATH_TO_DATA_DIR} the folder that holds the classes?"
        )
    if cfg.TRAIN.ENABLE and not any(record.labels for record in data.train):
        raise DataError(
            "no video of the training list has a label, so there is nothing to learn; is the column "
            "label filled?"
        )
    for split, records in splits.items():
        allowed = cfg.DATA.MAX_BAD_RATIO if split == "train" else 1.0
        records, notes = check_list(split, records, allowed)
        setattr(data, split, records)
        data.notes += notes
    data.notes += note_overlaps({split: getattr(data, split) for split in splits})
    return data


def _needed_splits(cfg):
    splits = []
    if cfg.TRAIN.ENABLE:
        splits += ["train", "val"] if cfg.TRAIN.EVAL_PERIOD else ["train"]
    return [*splits, "test"] if cfg.TEST.ENABLE else splits


def _read_split(cfg, split):
    """(records, class names or None, notes) of one split, in the format that the config names."""
    is_test = split == "test"
    kind = (is_test and cfg.TEST.DATASET) or cfg.TRAIN.DATASET
    root = _root(cfg.DATA.PATH_TO_DATA_DIR, kind)
    if kind == "folder":
        return _read_folder(cfg, root, split)
    readers = {"kinetics": _read_kinetics, "frames": _read_frames, "shards": _read_shards}
    return *readers.get(kind, partial(_read_official, kind))(cfg, root, split), []


def _root(place, kind):
    """`DATA.PATH_TO_DATA_DIR` as a `Path`, or an address as it is."""
    if not is_address(place):
        return Path(place)
    check_no_secret(place, "DATA.PATH_TO_DATA_DIR")
    if kind != "shards":
        raise ConfigError(
            f"DATA.PATH_TO_DATA_DIR {place} is an address, which TRAIN.DATASET shards can read; "
            f"{kind} takes a folder of this computer"
        )
    return place


def _read_kinetics(cfg, root, split):
    choices = ("test.csv", "val.csv") if split == "test" else (f"{split}.csv",)
    path = _find_list(root, choices, "path,label")
    prefix, separator = cfg.DATA.PATH_PREFIX, cfg.DATA.PATH_LABEL_SEPARATOR
    records = lists.read_csv(path, prefix, separator)
    return records, _given_names(cfg, root)


def _read_frames(cfg, root, split):
    """Something-Something calls its parts train and validation, HMDB51 train and val."""
    words = ("train",) if split == "train" else ("validation", "val")
    template = cfg.DATA.LABEL_PATH_TEMPLATE or "{}.txt"
    choices = [template.format(word) for word in words]
    named = ", or DATA.LABEL_PATH_TEMPLATE if it has another name"
    path = _find_list(root, choices, "folder num_frames label", named)
    records = lists.read_frame_list(path, cfg.DATA.IMAGE_TEMPLATE, cfg.DATA.PATH_PREFIX)
    return records, _given_names(cfg, root)


def _read_shards(cfg, root, split):
    choices = [
        f"{part}/{INDEX_FILE}" for part in (("test", "val") if split == "test" else (split,))
    ]
    try:
        path = _find_list(root, choices, ",".join(COLUMNS))
    except DataError:
        if not is_file(join(root, INDEX_FILE)):
            raise
        raise DataError(
            f"DATA.PATH_TO_DATA_DIR {root} is a folder of shards itself, {INDEX_FILE} stands in it; "
            "give the folder above, with train/ and val/ in it"
        ) from None
    folder = path.removesuffix(f"/{INDEX_FILE}")
    return read_shards(folder), _given_names(cfg, root)


def _read_official(kind, cfg, root, split):
    """Annotations as their owners publish them. They have no third part: val validates and is tested."""
    beside = root / "videos"
    videos = cfg.DATA.PATH_PREFIX or (beside if beside.is_dir() else root)
    part = "train" if split == "train" else "val"
    records = official.read_official(kind, root, videos, part, cfg.DATA.SPLIT_NUMBER)
    usual = class_names(official.FORMATS[kind][0])
    names = _given_names(cfg, root) or usual
    if names == usual:
        return records, names
    if differences := name_differences(names, usual, "the names given", kind):
        raise DataError(
            "\n".join([f"the class names given are not those of {kind}:", *differences])
        )
    order = places(usual, names)
    return [lists.relabel(record, order) for record in records], names


def _find_list(root, choices, line, hint=""):
    """The first of the lists that exists in `root`; else an error that says what a `line` holds."""
    if os.path.isfile(root):
        raise DataError(
            f"DATA.PATH_TO_DATA_DIR {root} is a file; give the folder that it stands in, {root.parent}"
        )
    places = [join(root, name) for name in choices]
    for place in places:
        if is_file(place) or os.path.lexists(place):
            return place
    wanted = " or ".join(choices)
    reason = (
        f"there is no {wanted} in {root}{_refusal(places[-1])}.\n"
        f"It lists the videos, one `{line}` a line; set DATA.PATH_TO_DATA_DIR if it is elsewhere{hint}."
    )
    if not is_address(root) and not os.path.exists(root):
        reason = (
            f"there is no folder {root}; set DATA.PATH_TO_DATA_DIR if it is elsewhere.\n"
            f"It holds {wanted}, which lists the videos, one `{line}` a line."
        )
    raise DataError(
        f"The videos are not prepared: {reason}\nHow to get and prepare them: {_guide(root)}"
    )


def _refusal(place):
    """Why there is no list at an address, in its server's words."""
    if not is_address(place):
        return ""
    try:
        size_of(place)
    except DataError as error:
        return f": {error}"
    return ""


def _given_names(cfg, root):
    """The class names of the config or of `root/classes.txt`; None without either."""
    beside = join(root, "classes.txt")
    if cfg.DATA.CLASS_NAMES:
        return named_classes(cfg.DATA.CLASS_NAMES, "DATA.CLASS_NAMES")
    return lists.read_class_names(beside) if is_file(beside) else None


def _read_folder(cfg, root, split):
    """`root/train`, `root/val`, `root/test` where they exist; else the seed splits off what lacks."""
    divided = (root / "train").is_dir()
    records, names, notes = lists.read_folder(root / "train" if divided else root)
    misnamed = sorted({"test", "val", "valid", "validation"} & {name.lower() for name in names})
    if misnamed and not divided:
        raise DataError(
            f"{root} has a folder {misnamed[0]} and none called train; name the parts train, val and "
            "test, with one sub-folder a class in each, or put the classes side by side"
        )
    if divided and split != "train":
        for part in dict.fromkeys((split, "val")):
            if (root / part).is_dir():
                return lists.read_folder(root / part, names)
    train, val = lists.split_records(records, cfg.DATA.VAL_RATIO, cfg.RNG_SEED)
    if divided and split == "train" and (root / "val").is_dir():
        return records, names, notes
    chosen = train if split == "train" else val
    if not chosen:
        raise DataError(
            f"{root} leaves no videos for {split}: it holds {len(records)} and DATA.VAL_RATIO is "
            f"{cfg.DATA.VAL_RATIO:g}; add videos or change the ratio"
        )
    return chosen, names, notes


def _guide(root):
    own = os.path.join(root, "README.md")
    return own if os.path.isfile(own) else "datasets/README.md"


def _class_names(cfg, names, splits):
    """Names in index order; numbers stand in where nobody named the classes."""
    wanted = cfg.MODEL.NUM_CLASSES
    if names and wanted and len(names) != wanted:
        raise ConfigError(
            f"MODEL.NUM_CLASSES is {wanted} and there are {len(names)} class names; "
            "make them agree, or set MODEL.NUM_CLASSES 0"
        )
    if names:
        return names
    seen = {label for records in splits.values() for record in records for label in record.labels}
    return stand_ins(wanted or 1 + max({0, *seen}))
