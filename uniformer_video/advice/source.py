"""What somebody points at, a folder, a list or a video -> its videos, and the settings that name them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.config.rows import SETTINGS
from uniformer_video.config.settings import flat_config, load_config
from uniformer_video.data.decoding import names_frames
from uniformer_video.data.lists.class_counts import count_unnamed
from uniformer_video.data.lists.class_names import stand_ins
from uniformer_video.data.lists.folders import (
    find_videos,
    holds_images,
    is_video,
    list_videos,
)
from uniformer_video.data.lists.formats import ListFormat, find_format, list_formats, medium_of
from uniformer_video.data.lists.labels import number_classes
from uniformer_video.data.lists.media import IMAGE, VIDEO
from uniformer_video.data.lists.records import VideoRecord, read_csv, read_frame_list
from uniformer_video.data.lists.shard_index import INDEX_FILE, shard_folder
from uniformer_video.data.lists.text import filled_lines
from uniformer_video.errors import AbsentError, DataError, UserError
from uniformer_video.program import command
from uniformer_video.runs.build_data import build_data
from uniformer_video.storage.address import check_no_secret, is_address
from uniformer_video.tasks.multi_label import MultiLabel

PARTS = ("train", "val", "test")
# Any recipe of a folder reads lists alike; what it says of training is not asked for here.
_READER = "finetune/small"
_IMAGE_RECIPE = "images/small"  # of a folder of images
_MOST_BROKEN = 1.0  # here they are counted, and never stop


@dataclass(frozen=True)
class Source:
    """The videos that were pointed at.

    given: as it was typed. settings: those that name the data in a run. splits: records by part, "train",
    "val" and "test"; without labels all are in "train". class_names: in index order; empty = there are no
    labels. notes: lines of the reader on what was left out. copy_list: a list to copy, and where to, for the
    run to find it.
    """

    given: str
    settings: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, Sequence[VideoRecord]] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    copy_list: tuple[str, str] | None = None

    @property
    def records(self) -> list[VideoRecord]:
        """All videos, each segment once, in the order of the parts."""
        first: dict[tuple[str, float, float | None], VideoRecord] = {}
        for record in (record for part in PARTS for record in self.splits.get(part, ())):
            first.setdefault(record.segment, record)
        return list(first.values())

    @property
    def format(self) -> str:
        """The format of its lists; "" where there are no labels."""
        return str(self.settings.get("TRAIN.DATASET", ""))


def find_source(given: str, pinned: Mapping[str, str]) -> Source:
    """The `Source` at `given`: a folder, a list, a video or an address of shards.

    pinned: settings that the user has given, as words; `TRAIN.DATASET` says the format, which is found out
    otherwise. Raises `UserError` for what is not there, holds no videos, or would stop a run.
    """
    check_no_secret(given, "the address")
    if medium_of(pinned.get("TRAIN.DATASET", "")) == IMAGE.name:
        raise _of_images(given)
    if "TRAIN.DATASET" in pinned:
        root = os.path.dirname(given) or "." if os.path.isfile(given) else given
        return _read(given, {"DATA.PATH_TO_DATA_DIR": root}, pinned)
    if is_address(given):
        return _read(given, _named("shards", given.rstrip("/")), pinned)
    if os.path.isfile(given):
        return _of_file(given, pinned)
    if names_frames(given):
        return _unlabelled(given, [given])
    if not os.path.isdir(given):
        raise DataError(
            f"there is no folder or list {given}; give a folder of videos, a list of them or a video"
        )
    return _of_folder(given, pinned)


def _named(name: str, root: str, **further: str) -> dict[str, Any]:
    settings = {"TRAIN.DATASET": name, "DATA.PATH_TO_DATA_DIR": root}
    return {**settings, **{f"DATA.{key}": value for key, value in further.items()}}


def _of_file(given: str, pinned: Mapping[str, str]) -> Source:
    folder, name = os.path.dirname(given) or ".", os.path.basename(given)
    if is_video(given):
        return _unlabelled(given, [given])
    if IMAGE.fits(given):
        raise _of_images(given)
    if name == INDEX_FILE and shard_folder(given):
        return _read(given, _named("shards", os.path.dirname(os.path.abspath(folder))), pinned)
    if Path(name).stem in PARTS and name.endswith(".csv"):
        return _read(given, _named("kinetics", folder), pinned)
    lines = [line.strip() for _, line in filled_lines(given)]
    if lines and all(map(is_video, lines)):
        start = pinned.get("DATA.PATH_PREFIX") or folder
        return _unlabelled(given, [os.path.join(start, line) for line in lines])
    if template := _frame_list_template(Path(given), pinned):
        return _read(given, _named("frames", folder, LABEL_PATH_TEMPLATE=template), pinned)
    return _of_other_list(given, folder, pinned)


def _of_other_list(given: str, folder: str, pinned: Mapping[str, str]) -> Source:
    """A csv list that is called in another way than a run looks for."""
    target = os.path.normpath(os.path.join(folder, "train.csv"))
    if os.path.lexists(target):
        raise DataError(
            f"{given} is a list beside {target}, which is what a run reads; give {target}, or put this list "
            "into a folder of its own as train.csv"
        )
    prefix = pinned.get("DATA.PATH_PREFIX", "")
    found = number_classes(read_csv(given, prefix, pinned.get("DATA.PATH_LABEL_SEPARATOR", "auto")))
    names = found.class_names or stand_ins(count_unnamed({"train": found.records}))
    settings = _named("kinetics", folder)
    settings |= _about_labels(found.records, pinned)
    settings |= {"TRAIN.EVAL_PERIOD": 0, "TEST.ENABLE": False}
    return Source(given, settings, {"train": found.records}, names, found.notes, (given, target))


def _of_folder(given: str, pinned: Mapping[str, str]) -> Source:
    root = Path(given)
    if any(shard_folder(root / part) for part in ("train", "val", ".")):
        return _read(given, _named("shards", given), pinned)
    if any((root / f"{part}.csv").is_file() for part in PARTS):
        return _read(given, _named("kinetics", given), pinned)
    for settings in _candidates(root, given, pinned):
        if _can_be_read(settings, pinned):
            return _read(given, settings, pinned)
    found = find_videos(root)
    if holds_images(found):
        raise _of_images(given)
    if not found.videos or all(len(video.parts) <= 1 for video in found.videos):
        return _unlabelled(given, [str(root / video) for video in list_videos(root)])
    return _read(given, _named("folder", given), pinned)


def _of_images(given: str) -> DataError:
    """Advice, and an audit, are about videos."""
    listed = "" if os.path.isdir(given) else ", or image-csv for a list of images"
    words = command(f"run --cfg {_IMAGE_RECIPE} DATA.PATH_TO_DATA_DIR FOLDER")
    return DataError(
        f"{given} holds images, and this looks at videos alone; a model of images is trained by `{words}`, "
        f"FOLDER with one sub-folder of images a class (TRAIN.DATASET imagefolder{listed})"
    )


def _candidates(root: Path, given: str, pinned: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Settings that may read a folder, but those of the formats that are told by their files."""
    for path in sorted(root.glob("*train*.txt")):
        if template := _frame_list_template(path, pinned):
            yield _named("frames", given, LABEL_PATH_TEMPLATE=template)
    for known in list_formats():
        told_by_files = ("kinetics", "frames", "shards", "folder")
        if known.medium == VIDEO.name and known.name not in told_by_files:
            yield _named(known.name, given)


def _frame_list_template(path: Path, pinned: Mapping[str, str]) -> str:
    """`DATA.LABEL_PATH_TEMPLATE` of a list of folders of frames; "" for another list."""
    if "train" not in path.name:
        return ""
    images = pinned.get("DATA.IMAGE_TEMPLATE") or SETTINGS["DATA.IMAGE_TEMPLATE"].default
    try:
        records = read_frame_list(path, images, pinned.get("DATA.PATH_PREFIX", ""))
    except (UserError, OSError):
        return ""
    if any(is_video(record.name) for record in records):
        return ""
    return path.name.replace("train", "{}", 1)


def _can_be_read(settings: Mapping[str, Any], pinned: Mapping[str, str]) -> bool:
    cfg = _config(settings, pinned)
    try:
        read_part(cfg, "train")
    except Exception:  # of any reader, also somebody's own: another format may read it
        return False
    return True


def read_part(cfg: CfgNode, part: str) -> Sequence[VideoRecord]:
    """The records of one part by the settings of a run, before anything is checked. Raises `DataError`."""
    known: ListFormat = find_format(cfg.TRAIN.DATASET)
    flat, root = flat_config(cfg), cfg.DATA.PATH_TO_DATA_DIR
    arguments = {name: flat[setting] for setting, name in known.settings.items()}
    return known.read(root if is_address(root) else Path(root), part, **arguments).records


def _config(settings: Mapping[str, Any], pinned: Mapping[str, str]) -> CfgNode:
    words = [word for pair in {**settings, **pinned}.items() for word in map(str, pair)]
    return load_config(_READER, words)


def _read(given: str, settings: dict[str, Any], pinned: Mapping[str, str]) -> Source:
    """The `Source` of lists, read and checked as a run does."""
    settings = {**settings, **{key: pinned[key] for key in ("TRAIN.DATASET",) if key in pinned}}
    cfg = _config(settings, pinned)
    train = read_part(cfg, "train")
    settings |= _about_labels(train, pinned)
    if not _has_part(cfg, "val"):
        settings["TRAIN.EVAL_PERIOD"] = 0
    if not _has_part(cfg, "test"):
        settings["TEST.ENABLE"] = False
    data = build_data(_config({**settings, "DATA.MAX_BAD_RATIO": _MOST_BROKEN}, pinned))
    splits = {part: getattr(data, part) for part in PARTS if getattr(data, part)}
    return Source(given, settings, splits, data.class_names, data.notes)


def _has_part(cfg: CfgNode, part: str) -> bool:
    try:
        read_part(cfg, part)
    except AbsentError:
        return False
    return True


def _about_labels(records: Sequence[VideoRecord], pinned: Mapping[str, str]) -> dict[str, Any]:
    """The task that takes such labels, where it is not the usual one."""
    several = any(len(record.labels) != 1 for record in records)
    asked = "TRAIN.TASK" in pinned or "DATA.MULTI_LABEL" in pinned
    return {"TRAIN.TASK": MultiLabel.name} if several and not asked else {}


def _unlabelled(given: str, paths: Sequence[str]) -> Source:
    start = given if os.path.isdir(given) else None
    names = [os.path.relpath(path, start) if start else path for path in paths]
    records = [
        VideoRecord(os.path.abspath(path), name, (), given)
        for path, name in zip(paths, names, strict=True)
    ]
    return Source(given, splits={"train": records})
