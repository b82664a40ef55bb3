"""Lists of pictures with masks: readers of formats, `(root, split)` -> `VideoList`; see `layouts`.

A picture whose mask is missing stays in the list, is told of as missing, and counts as broken where it is
read; a mask without a picture is left out, and told of.
"""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from uniformer_video.config.shipped import command_that_makes
from uniformer_video.data.lists.class_names import class_names as known_names
from uniformer_video.data.lists.columns import VideoColumns, as_columns, concatenated
from uniformer_video.data.lists.folders import FoundVideos, find_videos
from uniformer_video.data.lists.layouts import find_list, hold_out_part, meant_part
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.lists.palettes import mask_classes
from uniformer_video.data.lists.records import VideoList, VideoRecord, listed_path
from uniformer_video.data.lists.table import Table, weight_of
from uniformer_video.data.lists.text import filled_lines
from uniformer_video.errors import AbsentError, DataError
from uniformer_video.words import name_some, plural

IMAGES, MASKS, ANNOTATIONS = "images", "masks", "annotations"
_PARTS = ("train", "val", "test")
_NEEDED = ("path", "mask")
_COLUMNS = (*_NEEDED, "weight", "group")
_ADE20K = {"train": "training", "val": "validation", "test": "validation"}


def read_mask_folders(
    root: Path,
    split: str,
    val_ratio: float = 0.2,
    seed: int = 0,
    class_names: str = "",
    group_pattern: str = "",
) -> VideoList:
    """`root/train/images` and `root/train/masks`, and so on, or `root/images` and `root/masks` alone.

    The mask of a picture has its name, but for the suffix. Without a folder of `val` the seed splits it off;
    without one of `test` val is tested.
    """
    names = mask_classes(class_names, root).names
    parts = {part: folders for part in _PARTS if (folders := _part(root, part))}
    others = _notes_on_other_parts(root)
    wanted = next((part for part in (split, "val") if part in parts), "")
    if split != "train" and wanted:
        records, notes = read_pairs(*parts[wanted], root)
        return VideoList(records, names, [*others, *notes])
    if "train" not in parts and parts:
        raise AbsentError(
            f"{root} has no {Path('train') / IMAGES} and {Path('train') / MASKS}, and has those of "
            f"{' and '.join(parts)}; add them, or call them so"
        )
    images, masks = parts.get("train") or _whole(root)
    records, notes = read_pairs(images, masks, root)
    notes = [*others, *notes]
    if split == "train" and "val" in parts:
        return VideoList(records, names, notes)
    chosen, held = hold_out_part(records, split, val_ratio, seed, group_pattern, root, IMAGE)
    return VideoList(chosen, names, [*notes, *([f"{images}: {held}"] if held else [])])


def _part(root: Path, part: str) -> tuple[Path, Path] | None:
    """The folders of pictures and masks of a part, either way round; None where there are none."""
    for images, masks in (
        (root / part / IMAGES, root / part / MASKS),
        (root / IMAGES / part, root / MASKS / part),
    ):
        if images.is_dir() or masks.is_dir():
            return images, masks
    return None


def _notes_on_other_parts(root: Path) -> list[str]:
    """A line on folders with images and masks in them that are no parts.

    Raises `DataError` for one that is called like a part elsewhere, such as `validation`.
    """
    used = (*_PARTS, IMAGES, MASKS)
    others = [name for name in _folders(root) if name not in used]
    others = [name for name in others if {IMAGES, MASKS} <= {*_folders(root / name)}]
    below = {*_folders(root / IMAGES)} & {*_folders(root / MASKS)}
    wrong = [*others, *(str(Path(IMAGES) / name) for name in sorted(below - {*used}))]
    for folder in wrong:
        if part := meant_part(Path(folder).name):
            raise DataError(
                f"{root} has a folder {folder}, which is no part; the parts are called {', '.join(_PARTS)}: "
                f"call it {part}, or move it elsewhere"
            )
    return [f"{root}: left out {name_some(others)}, of no part's name"] if others else []


def _folders(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted; none where there is none."""
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _whole(root: Path) -> tuple[Path, Path]:
    """The folders of pictures and masks that are not cut into parts."""
    images, masks = root / IMAGES, root / MASKS
    if images.is_dir() and masks.is_dir():
        return images, masks
    if not root.is_dir():
        what = f"{root} is a file" if root.is_file() else f"there is no folder {root}"
    else:
        what = f"{root} holds {name_some(sorted(os.listdir(root)), 5) or 'nothing'}"
    made_by = command_that_makes(root)
    made = f"`{made_by}` makes it; or " if made_by and not root.exists() else ""
    if is_ade20k(root):
        made = "set TRAIN.DATASET ade20k, whose layout this is; or "
    raise AbsentError(
        f"The images are not prepared: {what}; {made}set DATA.PATH_TO_DATA_DIR to a folder with {IMAGES} and "
        f"{MASKS} in it, or with train/{IMAGES} and train/{MASKS}; a mask has the name of its image, but for "
        "the suffix"
    )


def read_ade20k(root: Path, split: str) -> VideoList:
    """ADE20K's folders as they come. Its test images have no masks, so that val validates and is tested."""
    part = _ADE20K[split]
    images, masks = root / IMAGES / part, root / ANNOTATIONS / part
    inside = root / "ADEChallengeData2016"
    if not images.is_dir() and inside.is_dir():
        raise DataError(
            f"set DATA.PATH_TO_DATA_DIR {inside}, the folder that was unpacked in {root}"
        )
    records, notes = read_pairs(images, masks, root)
    return VideoList(records, known_names("ade20k"), notes)


def read_mask_csv(root: Path, split: str, prefix: str = "", class_names: str = "") -> VideoList:
    """csv lists with the columns path and mask, and where wanted weight and group; without test.csv, val.csv
    is tested.
    """
    choices = ("test.csv", "val.csv") if split == "test" else (f"{split}.csv",)
    path = find_list(root, choices, ",".join(_NEEDED), medium=IMAGE)
    return VideoList(read_mask_list(path, prefix), mask_classes(class_names, root).names)


def read_mask_list(path: Path | str, prefix: Path | str = "") -> VideoColumns:
    """The records of a csv list of pictures and masks, whose first line is `path,mask`.

    Paths are taken from `prefix`, or from the list's own folder. Raises `DataError` with file and line.
    """
    folder = Path(prefix or Path(path).parent)
    lines = filled_lines(path)
    source, header = next(lines, ("", ""))
    if not header:
        raise DataError(
            f"{path} lists no images; its first line is `path,mask`, then comes one a line"
        )
    table = Table(header, "auto", source, _NEEDED, _COLUMNS)

    def record(source: str, line: str) -> VideoRecord:
        row = table.row(line, source)
        if not row["path"]:
            raise DataError(f"{source}: the path is empty")
        return VideoRecord(
            listed_path(folder, row["path"], source),
            row["path"],
            (),
            source,
            weight=weight_of(row, source),
            group=row.get("group", ""),
            medium=IMAGE.name,
            mask=listed_path(folder, row["mask"], source) if row["mask"] else "",
        )

    records = as_columns(record(source, line) for source, line in lines)
    if not records:
        raise DataError(
            f"{path} lists no images below its header; each line holds a path and a mask"
        )
    return records


def is_mask_list(path: Path | str) -> bool:
    """Whether the first line of a csv names columns of paths and of masks."""
    _, header = next(filled_lines(path), ("", ""))
    cells = [
        cell.strip(' "\r\n').lower()
        for cell in header.replace(";", ",").replace("\t", ",").split(",")
    ]
    return set(_NEEDED) <= set(cells)


def is_ade20k(root: Path) -> bool:
    """Whether a folder is laid out as ADE20K's, whose 0 is no class."""
    return all((root / part / "validation").is_dir() for part in (IMAGES, ANNOTATIONS))


def pairs_below(root: Path) -> tuple[VideoColumns, list[str]] | None:
    """(records, notes) of all parts of a folder of `masks`, or of `ade20k`; None for another.

    Raises `DataError` where such a folder lies in `root`, one level below.
    """
    parts = _parts_below(root)
    if not parts:
        inside = [name for name in _folders(root) if _parts_below(root / name)]
        if inside:
            raise DataError(
                f"{root} holds {name_some(inside)} with images and masks in it; give {root / inside[0]} in "
                f"place of {root}"
            )
        return None
    others = [] if is_ade20k(root) else _notes_on_other_parts(root)
    read = [read_pairs(images, masks, root) for images, masks in parts]
    notes = [note for _, own in read for note in own]
    return concatenated([records for records, _ in read]), [*others, *notes]


def _parts_below(root: Path) -> list[tuple[Path, Path]]:
    """The folders of pictures and masks in a folder, one of which has both; none in another folder."""
    parts = _laid_out(root)
    return parts if any(images.is_dir() and masks.is_dir() for images, masks in parts) else []


def _laid_out(root: Path) -> list[tuple[Path, Path]]:
    """Where the pictures and masks of a folder lie, by its layout; some may not be there."""
    if is_ade20k(root):
        return [
            (root / IMAGES / part, root / ANNOTATIONS / part)
            for part in ("training", "validation")
            if (root / IMAGES / part).is_dir()
        ]
    parts = [folders for part in _PARTS if (folders := _part(root, part))]
    return parts or [(root / IMAGES, root / MASKS)]


def note_without_masks(root: Path) -> str:
    """A line on a folder of pictures that is laid out as one with masks, and has none; "" for another."""
    unmasked = [
        images for images, masks in _laid_out(root) if images.is_dir() and not masks.is_dir()
    ]
    if not unmasked:
        return ""
    return (
        f"{unmasked[0]} has no folder of masks beside it, so that no mask is looked at: what follows is of "
        f"images alone; masks lie in folders called {MASKS}, those of ADE20K in {ANNOTATIONS}"
    )


def read_pairs(images: Path, masks: Path, root: Path) -> tuple[VideoColumns, list[str]]:
    """(records, notes) of the pictures in a folder, at any depth, with the masks in another.

    Names are relative to `root`. Raises `DataError` where a folder is missing, two files go by one name, and
    where no picture has a mask.
    """
    for folder, word in ((images, "images"), (masks, "masks")):
        if not folder.is_dir():
            kind = "is no folder" if folder.exists() else "is not there"
            raise AbsentError(
                f"The images are not prepared: the folder of {word} {folder} {kind}; set "
                f"DATA.PATH_TO_DATA_DIR if it is elsewhere"
            )
    pictures, own = find_videos(images, IMAGE), find_videos(masks, IMAGE)
    if not pictures.videos:
        raise DataError(f"{images} holds no images; their names end in {IMAGE.usual_suffixes}")
    by_stem, mask_of = _by_stem(pictures), _by_stem(own)
    missing = [stem for stem in by_stem if stem not in mask_of]
    alone = [mask_of[stem] for stem in mask_of if stem not in by_stem]
    if len(missing) == len(by_stem):
        other = f"{alone[0]}" if alone else "nothing"
        raise DataError(
            f"none of the {plural(len(by_stem), 'image')} in {images} has a mask in {masks}: a mask has the "
            f"name of its image, but for the suffix; there is {by_stem[missing[0]]}, and {other} beside it"
        )
    place, source = os.path.abspath(images), str(images)
    records = as_columns(
        VideoRecord(
            os.path.join(place, picture),
            os.path.relpath(images / picture, root),
            (),
            source,
            medium=IMAGE.name,
            mask=os.path.abspath(masks / mask_of.get(stem, Path(f"{stem}.png"))),
        )
        for stem, picture in by_stem.items()
    )
    return records, [*pictures.notes, *own.notes, *_notes_on_lone(alone, masks)]


def _by_stem(found: FoundVideos) -> dict[str, Path]:
    """`{path without suffix: path}`; `DataError` where two files differ by their suffixes alone."""
    stems: dict[str, Path] = {}
    for path in found.videos:
        # some systems store an accent as a letter of its own, and pairs may come from two systems
        stem = unicodedata.normalize("NFC", path.with_suffix("").as_posix())
        other = stems.setdefault(stem, path)
        if other != path:
            raise DataError(
                f"{found.folder} holds {other} and {path}; an image and its mask go by the name without the "
                "suffix, so one of them must go"
            )
    return stems


def _notes_on_lone(alone: Sequence[Path], masks: Path) -> Iterator[str]:
    if alone:
        named = name_some([path.as_posix() for path in alone])
        yield f"{masks}: left out {plural(len(alone), 'mask')} without an image of the name: {named}"
