"""Which files of a folder are the frames of a video, and in which order: by the number in their names.

Numbers may start anywhere and need no leading zeros; 10 comes after 9. A number that is left out in between
is a missing frame.
"""

import os
import re
from collections.abc import Iterable
from itertools import pairwise

from uniformer_video.errors import DecodeError
from uniformer_video.words import plural

PICTURE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".webp",
    ".bmp",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
    ".tif",
    ".tiff",
)
_NUMBER = re.compile("([0-9]+)")


def frame_file(path: str, number: int) -> str:
    """The file of one frame, where `path` is a folder and a template, `folder/img_{:05d}.jpg`."""
    folder, template = os.path.split(path)
    return os.path.join(folder, template.format(number))


def holds_frames(names: Iterable[str]) -> bool:
    """Whether files of these names, all of a folder, make it the frames of a video: numbered pictures.

    Their numbers may still be wrong, which makes it a broken video.
    """
    shapes = set()
    for shape in map(_shape, _pictures(names)):
        if len(shape) > 1 and shape in shapes:
            return True
        shapes.add(shape)
    return len(shapes) == 1 and len(shapes.pop()) > 1


def is_frame_folder(path: str | os.PathLike) -> bool:
    """Whether `path` is a folder whose pictures are the frames of a video."""
    try:
        return holds_frames(os.listdir(path))
    except OSError:
        return False


def any_picture(folder: str) -> str:
    """The name of a picture in a folder, the first one; "" where there is none."""
    try:
        return min(_pictures(os.listdir(folder)), default="")
    except OSError:
        return ""


def numbered_frames(folder: str) -> dict[int, str]:
    """{number: name} of the pictures in a folder, in rising order.

    Raises `DecodeError` where there are none, where their names differ in more than a number, and where a
    number stands there twice or is left out.
    """
    names = list(_pictures(_listed(folder)))
    if not names:
        raise DecodeError(f"{folder} is a folder, not a video: it holds no pictures")
    kinds = {_shape(name): name for name in sorted(names, reverse=True)}
    if len(kinds) > 1:
        some = " and ".join(sorted(kinds.values())[:2])
        raise DecodeError(
            f"{folder} holds pictures of {len(kinds)} kinds of names, such as {some}; put what are no frames "
            "elsewhere, or name the frames by a template: FOLDER/img_{:05d}.jpg"
        )
    columns = list(zip(*(_NUMBER.findall(name) for name in names), strict=True))
    if not columns:
        raise DecodeError(
            f"{folder} holds pictures without numbers, such as {names[0]}; number them"
        )
    told = [
        dict(sorted(zip(map(int, column), names, strict=True)))
        for column in columns
        if len(set(map(int, column))) == len(names)
    ]
    if not told:
        raise DecodeError(
            f"{folder} holds pictures whose numbers repeat, such as {' and '.join(_alike(names))}; number "
            "each frame differently"
        )
    frames = next((numbers for numbers in told if not _gap(numbers)), told[0])
    _check_no_gap(folder, frames)
    return frames


def frames_by_template(folder: str, template: str) -> dict[int, str]:
    """{number: name} of the files in a folder whose names are `template` with a number, in rising order.

    Raises `DecodeError` where there are none, and where a number is left out.
    """
    numbers = _template_numbers(folder, template)
    if not numbers:
        raise DecodeError(f"{folder} holds no frames named {template}")
    frames = {number: template.format(number) for number in sorted(numbers)}
    _check_no_gap(folder, frames)
    return frames


def first_number(path: str, count: int) -> int:
    """From which number `count` frames are there, by their folder and template: 1, or 0, or the lowest.

    0 where that is there and the last one, counted from 1, is not. Raises `DecodeError` where the first or
    the last one is missing however they are counted: where frames lack, a list mostly counts too many.
    """
    if _is_there(path, count) and _is_there(path, 1):
        return 1
    if _is_there(path, 0) and _is_there(path, count - 1):
        return 0
    lowest = min(_template_numbers(*os.path.split(path)), default=1)
    if lowest > 1 and _is_there(path, lowest + count - 1):
        return lowest
    lost, place = (1, "first") if _is_there(path, count) else (lowest + count - 1, "last")
    raise DecodeError(
        f"{frame_file(path, lost)} is not there, the {place} of {count} frames; extract the frames again, "
        "mend the list, or set DATA.IMAGE_TEMPLATE to the names of the frames"
    )


def any_frame(path: str) -> bool:
    """Whether a frame is there, by their folder and template."""
    if _is_there(path, 1) or _is_there(path, 0):
        return True
    try:
        return bool(_template_numbers(*os.path.split(path)))
    except DecodeError:
        return False


def _is_there(path, number):
    return os.path.isfile(frame_file(path, number))


def _template_numbers(folder, template):
    return {
        number
        for name in _listed(folder)
        for number in map(int, _NUMBER.findall(name))
        if template.format(number) == name
    }


def _listed(folder):
    try:
        return os.listdir(folder)
    except OSError as error:
        raise DecodeError(f"cannot read the folder {folder}: {error.strerror}") from None


def _pictures(names):
    """Those of the names that are pictures' and not hidden."""
    return (n for n in names if n.lower().endswith(PICTURE_SUFFIXES) and not n.startswith("."))


def _shape(name):
    """What stands around the numbers of a name."""
    return tuple(_NUMBER.split(name)[::2])


def _alike(names):
    """Two names with the same last number."""
    first: dict[int, str] = {}
    for name in sorted(names):
        number = int(_NUMBER.findall(name)[-1])
        if number in first:
            return first[number], name
        first[number] = name
    return sorted(names)[:2]


def _gap(numbers):
    """The first number that is left out between those of a rising sequence; None = none."""
    return next((before + 1 for before, after in pairwise(numbers) if after > before + 1), None)


def _check_no_gap(folder, frames):
    gap = _gap(frames)
    if gap is None:
        return
    first, *_, last = frames
    lost = last - first + 1 - len(frames)
    raise DecodeError(
        f"{folder} lacks {plural(lost, 'frame')} between {frames[first]} and {frames[last]}: "
        f"{_next_name(frames[gap - 1], gap)}{' is the first' * (lost > 1)}; extract the frames again, or "
        "number them without gaps"
    )


def _next_name(name, number):
    """The name of frame `number` where that of the one before is `name`."""
    digits = next(digits for digits in reversed(_NUMBER.findall(name)) if int(digits) == number - 1)
    start, _, end = name.rpartition(digits)
    return f"{start}{number:0{len(digits)}d}{end}"
