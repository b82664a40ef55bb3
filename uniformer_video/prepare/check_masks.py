"""Images and their masks, both read as training does, to find what is wrong before a training meets it."""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import numpy as np

from uniformer_video.data.decoding.masks import IGNORED, MOST_CLASSES, MaskReader
from uniformer_video.data.decoding.pictures import read_image
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.masked import is_ade20k
from uniformer_video.data.lists.palettes import mask_classes
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DecodeError
from uniformer_video.prepare.check import Found
from uniformer_video.words import name_some, plural

MaskToCheck = tuple[str, int, VideoRecord, MaskReader]


def masks_to_check(
    records: Iterable[VideoRecord],
    source: Path | str,
    names: str = "",
    reduce_zero_label: bool = False,
    ignore_label: int = IGNORED,
) -> tuple[list[MaskToCheck], str]:
    """(what `check_mask` takes, a line on what cannot be checked or "") of the records of a folder or list.

    names: as `DATA.CLASS_NAMES`; without them classes.txt beside the masks says how many classes there are.
    """
    root = Path(source) if os.path.isdir(source) else Path(source).parent
    note = ""
    if is_ade20k(root) and not names:
        reader = MaskReader(len(class_names("ade20k")), True, ignore_label)
    else:
        classes = mask_classes(names, root)
        count = len(classes.names) if classes.names else MOST_CLASSES
        if not classes.names:
            note = (
                f"{root} has no classes.txt, so that nothing tells how many classes there are: values of "
                f"masks are looked at for being below {MOST_CLASSES} alone"
            )
        palette = tuple(classes.palette) if classes.palette else None
        reader = MaskReader(count, reduce_zero_label, ignore_label, palette, classes.ignored_colour)
    return [(record.path, 0, record, reader) for record in records], note


def check_mask(pair: MaskToCheck) -> Found:
    """What is wrong with an image, or with its mask."""
    path, _, record, reader = pair
    try:
        mask = reader.read(record, read_image(path).shape[:2])
    except DecodeError as error:
        return Found(str(error), None, None)
    shown = np.flatnonzero(np.bincount(mask.ravel(), minlength=IGNORED)[:IGNORED])
    return Found("", 1, None, tuple(map(int, shown)))


def note_unseen(pairs: Sequence[MaskToCheck], seen: Collection[int]) -> str:
    """A line on classes that none of the masks shows; "" where there are none, or nothing tells the classes.

    Such as of masks of 0 and 255, of which the latter is ignored as it comes.
    """
    readers = {reader for *_, reader in pairs}
    reader = next(iter(readers))
    count = reader.num_classes
    unseen = [str(number) for number in range(count) if number not in seen]
    if len(readers) > 1 or count == MOST_CLASSES or not unseen or not seen:
        return ""
    hint = (
        ". Where masks have other values for them, such as 255, give classes.txt lines of "
        "`name,red,green,blue`"
    )
    return (
        f"No mask that can be read shows {len(unseen)} of the {plural(count, 'class', 'classes')}: number "
        f"{name_some(unseen, 5)}{'' if reader.palette or reader.reduce_zero_label else hint}"
    )
