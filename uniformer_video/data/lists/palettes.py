"""Class names with colours, for masks: a line of `classes.txt` is `name`, or `name,red,green,blue`."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.data.decoding.masks import Colour
from uniformer_video.data.lists.class_folders import CLASSES_FILE
from uniformer_video.data.lists.class_names import named_classes
from uniformer_video.data.lists.records import check_class_names
from uniformer_video.data.lists.text import read_lines
from uniformer_video.errors import DataError

IGNORED_NAME = "ignored"  # of the colour of pixels that are not looked at, which is no class
_COLOURED = re.compile(r"(.*\S)\s*[,;\t]\s*(\d+)\s*[,;\t ]\s*(\d+)\s*[,;\t ]\s*(\d+)")
_NUMBER_BEHIND = re.compile(r"[,;\t]\s*\d+$")


@dataclass(frozen=True)
class MaskClasses:
    """Classes as masks show them; None for what nothing tells.

    palette: the colour of each class. ignored_colour: of pixels that are not looked at.
    """

    names: list[str] | None = None
    palette: list[Colour] | None = None
    ignored_colour: Colour | None = None


def mask_classes(class_names: str, root: Path | str) -> MaskClasses:
    """The classes that `DATA.CLASS_NAMES` gives, or else `root/classes.txt`. Raises `DataError`."""
    if class_names and not Path(class_names).is_file():
        return MaskClasses(named_classes(class_names, "DATA.CLASS_NAMES"))
    path = Path(class_names or os.path.join(root, CLASSES_FILE))
    return read_mask_classes(path) if os.path.lexists(path) else MaskClasses()


def read_mask_classes(path: Path | str) -> MaskClasses:
    """The classes of a text file. Raises `DataError`, with file and line."""
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    matches = [_COLOURED.fullmatch(line) for line in lines]
    if not any(matches):
        return MaskClasses(check_class_names(lines, path))
    palette: dict[str, Colour] = {}
    names = []
    for number, (line, match) in enumerate(zip(lines, matches, strict=True), start=1):
        if match is None:
            raise DataError(
                f"{path}:{number}: {line!r} has no colour, and other lines have one, `name,red,green,blue`; "
                "give one to each class, or to none"
            )
        name = match[1].rstrip(" ,;\t")
        if _NUMBER_BEHIND.search(name):
            raise DataError(
                f"{path}:{number}: {line!r} has more than three numbers behind the name; a colour is three, "
                "`name,red,green,blue`"
            )
        colour = (int(match[2]), int(match[3]), int(match[4]))
        if max(colour) > 255:
            raise DataError(f"{path}:{number}: {line!r}: a colour is three numbers from 0 to 255")
        if other := next((known for known, of in palette.items() if of == colour), ""):
            raise DataError(
                f"{path}:{number}: {name} has the colour of {other}, {match[2]},{match[3]},{match[4]}; "
                "colours tell the classes apart"
            )
        if name == IGNORED_NAME in palette:
            raise DataError(f"{path}:{number}: {name} has a colour already; one colour is ignored")
        names.append(name)
        palette[name] = colour
    classes = check_class_names([name for name in names if name != IGNORED_NAME], path)
    return MaskClasses(classes, [palette[name] for name in classes], palette.get(IGNORED_NAME))
