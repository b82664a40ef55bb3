"""Where the lists of a folder stand: its readers, one a format, `(root, split)` -> `VideoList`.

`split` is "train", "val" or "test". `root` is the folder, a `Path`, or an address where the format allows it.
All raise `DataError` for what is not there, with what was looked for.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from uniformer_video.config.shipped import command_that_makes, list_guides
from uniformer_video.data.lists import class_names as known_classes
from uniformer_video.data.lists.class_folders import (
    CLASSES_FILE,
    class_folders,
    name_folders,
    read_folder,
)
from uniformer_video.data.lists.folders import is_hidden
from uniformer_video.data.lists.folds import hold_out
from uniformer_video.data.lists.groups import count_groups, with_groups
from uniformer_video.data.lists.labels import check_one_kind, number_classes
from uniformer_video.data.lists.media import IMAGE, VIDEO, Medium
from uniformer_video.data.lists.official import read_official
from uniformer_video.data.lists.records import (
    VideoList,
    VideoRecord,
    read_class_names,
    read_csv,
    read_frame_list,
    relabelled,
)
from uniformer_video.data.lists.shard_index import COLUMNS, INDEX_FILE
from uniformer_video.data.lists.sharded import read_shards
from uniformer_video.data.lists.synsets import with_words
from uniformer_video.errors import AbsentError, DataError
from uniformer_video.program import command
from uniformer_video.storage.address import is_address, join
from uniformer_video.storage.places import is_file, size_of
from uniformer_video.words import name_some, plural

# Names that folders of parts have elsewhere -> the part. The latter could be classes, beside others.
_SURELY_MEANT = {"test": "test", "val": "val", "valid": "val", "validation": "val"}
_MEANT = {**_SURELY_MEANT, "train": "train", "training": "train", "testing": "test"}


def meant_part(name: str) -> str:
    """The part that a folder of this name is elsewhere, "train", "val" or "test"; "" for another name."""
    return _MEANT.get(name.lower(), "")


def read_kinetics(
    root: Path,
    split: str,
    prefix: str = "",
    separator: str = "auto",
    class_names: str = "",
    medium: Medium = VIDEO,
) -> VideoList:
    """csv lists of video files, or those of another `medium`; without test.csv, val.csv is tested."""
    choices = ("test.csv", "val.csv") if split == "test" else (f"{split}.csv",)
    path = find_list(root, choices, "path,label", medium=medium)
    records = read_csv(path, prefix, separator, medium.name)
    return _number_labels(records, given_names(class_names, root), medium)


def _number_labels(
    records: Sequence[VideoRecord], names: list[str] | None, medium: Medium
) -> VideoList:
    """`number_classes`, where labels of images may be ImageNet's synsets."""
    if medium == IMAGE and check_one_kind(records):
        records, names = with_words(records, names)
    return number_classes(records, names)


def read_class_folders(
    root: Path,
    split: str,
    val_ratio: float = 0.2,
    seed: int = 0,
    class_names: str = "",
    group_pattern: str = "",
    medium: Medium = VIDEO,
) -> VideoList:
    """`root/train`, `root/val`, `root/test` where they exist; else the seed splits off what lacks.

    A test may have its folder alone, without one of training. Videos of one group, which `group_pattern`
    finds in their names, stay together.
    """
    names = given_names(class_names, root)
    owner = f"DATA.CLASS_NAMES {class_names}" if class_names else join(root, CLASSES_FILE)
    parts = _parts_of(root, split)
    if parts and split != "train":
        if not names and "train" in parts:
            names = name_folders(class_folders(root / "train"), medium=medium).names()
            owner = f"the training folder {root / 'train'}"
        if part := next((part for part in (split, "val") if part in parts), ""):
            records, names, notes = read_folder(root / part, names, owner, medium)
            return VideoList(records, names, [*notes, *_beside(root, parts, medium)])
    source = root / "train" if parts else root
    records, names, notes = read_folder(source, names, owner, medium)
    notes += _beside(root, parts, medium)
    if split == "train" and "val" in parts:
        return VideoList(records, names, notes)
    chosen, held = hold_out_part(records, split, val_ratio, seed, group_pattern, root, medium)
    return VideoList(chosen, names, [*notes, *([f"{source}: {held}"] if held else [])])


def hold_out_part(
    records: Sequence[VideoRecord],
    split: str,
    val_ratio: float,
    seed: int,
    group_pattern: str,
    root: Path,
    medium: Medium,
) -> tuple[Sequence[VideoRecord], str]:
    """(those of `records` that train, or else those that are held out; how many these are, "" for none).

    Videos of one group, which `group_pattern` finds in their names, stay together. Raises `AbsentError`,
    which names the folder `root`, where none is left for the split.
    """
    records = with_groups(records, group_pattern)
    train, val = hold_out(records, val_ratio, seed)
    chosen = train if split == "train" else val
    if not chosen:
        groups = f" in {plural(count_groups(records), 'group')}" if group_pattern else ""
        raise AbsentError(
            f"{root} leaves no {medium.name}s for {split}: it holds {len(records)}{groups}, and "
            f"DATA.VAL_RATIO is {val_ratio:g}; add {medium.name}s or change the ratio"
        )
    count = f"{len(val)} of {plural(len(records), medium.name)}"
    return chosen, f"{count} are held out (DATA.VAL_RATIO {val_ratio:g})." if val else ""


read_image_folders = partial(read_class_folders, medium=IMAGE)
read_image_csv = partial(read_kinetics, medium=IMAGE)


def _beside(root: Path, parts: Collection[str], medium: Medium) -> Iterator[str]:
    """Lines on folders and videos beside train, val and test, if there are any."""
    if not parts:
        return
    files = filter(medium.fits, os.listdir(root))
    videos = sorted(name for name in files if not is_hidden(name))
    folders = [name for name in class_folders(root) if name not in parts]
    beside = " and ".join(sorted(parts))
    for noun, names in (
        ("folder", folders),
        (medium.name, [v for v in videos if v not in folders]),
    ):
        if names:
            count = plural(len(names), noun)
            yield f"{root}: left out {count} beside {beside}: {name_some(names)}"


def _parts_of(root: Path, split: str) -> set[str]:
    """Which of the folders train, val and test there are; none where the classes lie side by side.

    Raises `DataError` for parts under other names, and for a part that is called for and is not there.
    """
    if not root.is_dir():
        return set()  # what reads it says so
    folders = class_folders(root)
    parts = {"train", "val", "test"} & set(folders)
    others = [name for name in folders if name not in parts]
    meant = [name for name in folders if name.lower() in _MEANT]
    named = "name the parts train, val and test, with one sub-folder a class in each"
    if "train" in parts:
        if wrong := [name for name in meant if _MEANT[name.lower()] not in parts]:
            raise DataError(f"{root} has a folder {wrong[0]}, which is no part; {named}")
        return parts
    surely = [name for name in folders if name.lower() in _SURELY_MEANT]
    surely += meant if len(meant) == len(folders) > 1 else []
    if surely and (others or split == "train"):
        raise DataError(
            f"{root} has a folder {surely[0]} and none called train; {named}, or put the classes side by side"
        )
    return parts


def read_frames(
    root: Path,
    split: str,
    image_template: str,
    list_template: str = "",
    prefix: str = "",
    class_names: str = "",
) -> VideoList:
    """Lists of folders of frames.

    Something-Something calls its parts train and validation, HMDB51 train and val.
    """
    words = ("train",) if split == "train" else ("validation", "val")
    choices = [(list_template or "{}.txt").format(word) for word in words]
    named = ", or DATA.LABEL_PATH_TEMPLATE if it has another name"
    path = find_list(root, choices, "folder num_frames label", named)
    records = read_frame_list(path, image_template, prefix)
    return number_classes(records, given_names(class_names, root))


def read_shard_folders(
    root: Path | str, split: str, class_names: str = "", medium: Medium = VIDEO
) -> VideoList:
    """Folders `train`, `val` and `test` of shards; without `test`, `val` is tested."""
    parts = ("test", "val") if split == "test" else (split,)
    try:
        indices = [f"{part}/{INDEX_FILE}" for part in parts]
        path = find_list(root, indices, ",".join(COLUMNS), medium=medium)
    except DataError:
        if not is_file(join(root, INDEX_FILE)):
            raise
        raise DataError(
            f"DATA.PATH_TO_DATA_DIR {root} is a folder of shards itself, {INDEX_FILE} stands in it; "
            "give the folder above, with train/ and val/ in it"
        ) from None
    folder = path.removesuffix(f"/{INDEX_FILE}")
    return _number_labels(read_shards(folder, medium.name), given_names(class_names, root), medium)


read_image_shards = partial(read_shard_folders, medium=IMAGE)


def _read_official_parts(
    dataset: str,
    root: Path,
    split: str,
    split_number: int = 1,
    prefix: str = "",
    class_names: str = "",
) -> VideoList:
    """Annotations as their owners publish them. They have no third part: val validates and is tested."""
    beside = root / "videos"
    videos = prefix or (beside if beside.is_dir() else root)
    part = "train" if split == "train" else "val"
    records = read_official(dataset, root, videos, part, split_number)
    usual = known_classes.class_names(dataset)
    names = given_names(class_names, root) or usual
    if names == usual:
        return VideoList(records, names)
    if differences := known_classes.name_differences(names, usual, "the names given", dataset):
        raise DataError(
            "\n".join([f"the class names given are not those of {dataset}:", *differences])
        )
    order = known_classes.places(usual, names)
    return VideoList(relabelled(records, order), names)


read_ssv2, read_ucf101, read_hmdb51 = (
    partial(_read_official_parts, dataset) for dataset in ("ssv2", "ucf101", "hmdb51")
)


def given_names(class_names: str, root: Path | str) -> list[str] | None:
    """The class names that `DATA.CLASS_NAMES` gives, or else `root/classes.txt`; None without either."""
    beside = join(root, CLASSES_FILE)
    if class_names:
        return known_classes.named_classes(class_names, "DATA.CLASS_NAMES")
    is_there = is_file(beside) or os.path.lexists(beside)  # what is no file is refused by its kind
    return read_class_names(beside) if is_there else None


def find_list(
    root: Path | str, choices: Sequence[str], line: str, hint: str = "", medium: Medium = VIDEO
) -> str:
    """The first of the lists `choices` that exists in `root`; else an error, with what a `line` holds.

    It is an `AbsentError` but for an address, where a list may be there and not be told of.
    """
    if os.path.isfile(root):
        raise DataError(
            f"DATA.PATH_TO_DATA_DIR {root} is a file; give the folder that it stands in, "
            f"{Path(root).parent}"
        )
    paths = [join(root, name) for name in choices]
    for path in paths:
        if is_file(path) or os.path.lexists(path):
            return path
    wanted = " or ".join(choices)
    reason = (
        f"there is no {wanted} in {root}{_refusal(paths[-1])}.\n"
        f"It lists the {medium.name}s, one `{line}` a line; set DATA.PATH_TO_DATA_DIR if it is "
        f"elsewhere{hint}."
    )
    if not is_address(root) and not os.path.exists(root):
        reason = (
            f"there is no folder {root}; set DATA.PATH_TO_DATA_DIR if it is elsewhere.\n"
            f"It holds {wanted}, which lists the {medium.name}s, one `{line}` a line."
        )
    kind = DataError if is_address(root) else AbsentError
    raise kind(
        f"The {medium.name}s are not prepared: {reason}\nHow to get and prepare them: {_guide(root)}"
    )


def _refusal(place: str) -> str:
    """Why there is no list at an address, in its server's words."""
    if not is_address(place):
        return ""
    try:
        size_of(place)
    except DataError as error:
        return f": {error}"
    return ""


def _guide(root: Path | str) -> str:
    own = os.path.join(root, "README.md")
    if os.path.isfile(own):
        return own
    if made_by := command_that_makes(root):
        return f"`{made_by}`"
    dataset = os.path.basename(os.fspath(root))
    return f"`{command(f'guide {dataset}' if dataset in list_guides() else 'guide')}`"
