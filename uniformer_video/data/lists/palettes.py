"""Class names with colours, for masks: a line of `classes.txt` is `name`, or `name,red,green,blue`."""

import os
import re
from pathlib import Path

from uniformer_video.data.lists.class_folders import CLASSES_FILE
from uniformer_video.data.lists.class_names import named_classes
from uniformer_video.data.lists.records import check_class_names
from uniformer_video.data.lists.text import read_lines
from uniformer_video.errors import DataError

Palette = list[tuple[int, int, int]]
_COLOURED = re.compile(r"(?P<name>.*\S)\s*[,;\t]\s*(\d+)\s*[,;\t ]\s*(\d+)\s*[,;\t ]\s*(\d+)")


def mask_classes(class_names: str, root: Path | str) -> tuple[list[str] | None, Palette | None]:
    """(names, palette) of the classes that `DATA.CLASS_NAMES` gives, or else `root/classes.txt`.

    None for what neither of them gives. Raises `DataError`.
    """
    if class_names and not Path(class_names).is_file():
        return named_classes(class_names, "DATA.CLASS_NAMES"), None
    path = Path(class_names or os.path.join(root, CLASSES_FILE))
    return read_mask_classes(path) if os.path.lexists(path) else (None, None)


def read_mask_classes(path: Path | str) -> tuple[list[str], Palette | None]:
    """(names, palette or None) of a text file. Raises `DataError`, with file and line."""
    lines = [line.strip() for line in read_lines(path)]
    found = [_COLOURED.fullmatch(line) for line in lines]
    if not any(found):
        return check_class_names(lines, path), None
    names: list[str] = []
    palette: Palette = []
    first: dict[tuple[int, int, int], str] = {}
    for number, (line, match) in enumerate(zip(lines, found, strict=True), start=1):
        if not line and not any(lines[number:]):
            break
        if match is None:
            raise DataError(
                f"{path}:{number}: {line!r} has no colour, and other lines have one, `name,red,green,blue`; "
                "give one to each class, or to none"
            )
        red, green, blue = colour = tuple(map(int, match.groups()[1:]))
        if max(colour) > 255:
            raise DataError(f"{path}:{number}: {line!r}: a colour is three numbers from 0 to 255")
        name = match["name"].rstrip(" ,;\t")
        if first.setdefault((red, green, blue), name) != name:
            raise DataError(
                f"{path}:{number}: {name} has the colour {red},{green},{blue}, which is "
                f"{first[red, green, blue]}'s too; colours tell the classes apart"
            )
        names.append(name)
        palette.append((red, green, blue))
    return check_class_names(names, path), palette
