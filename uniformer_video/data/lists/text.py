"""Text lists: reading their lines, and splitting a line before its labels."""

import codecs
import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

from uniformer_video.data.lists.media import is_listed_file
from uniformer_video.errors import DataError
from uniformer_video.files import special_kind
from uniformer_video.storage.address import is_address, name_for_messages
from uniformer_video.storage.places import read_bytes

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MARKS = ",;\t "  # between a path and its label
_NEVER_PLAIN = set(",;|\t")  # in names without quotes
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
_MOST_DIGITS = 18  # more are no number of anything here, and beyond 64 bits


def read_text(path: Path | str) -> str:
    """The text of a UTF-8 file or address, with or without a BOM, or of one in UTF-16 with its BOM.

    The latter is what spreadsheets call Unicode text. Raises `DataError` naming it.
    """
    try:
        remote = is_address(path)
        if not remote and (kind := special_kind(path)):
            raise DataError(f"{path} is {kind}; it must be a text file")
        data = read_bytes(str(path)) if remote else Path(path).read_bytes()
        text = data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
        if "\0" in text:
            raise DataError(f"{name_for_messages(path)} is not plain text; save it as UTF-8")
        return text
    except UnicodeDecodeError:
        raise DataError(f"{name_for_messages(path)} is not UTF-8 text; save it as UTF-8") from None
    except IsADirectoryError:
        raise DataError(f"{path} is a folder; a list is a text file") from None
    except FileNotFoundError:
        if os.path.islink(path):
            target = os.readlink(path)
            raise DataError(f"{path} is a link to {target}, which is not there") from None
        raise DataError(f"there is no file {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None


def read_lines(path: Path | str, keepends: bool = False) -> list[str]:
    """The lines of a UTF-8 file, whose names may hold all but line breaks. Raises `DataError`."""
    lines = _lines_of(read_text(path))
    return [line if keepends else line.rstrip("\r\n") for line in lines]


def _lines_of(text: str) -> Iterator[str]:
    """The lines with their ends, one by one; `str.splitlines` would break at more."""
    return (line[0] for line in _LINE.finditer(text))


def filled_lines(path: Path | str) -> Iterator[tuple[str, str]]:
    """("file:line" for messages, the line) of each line that is not empty."""
    start = f"{path}:"
    for number, line in enumerate(_lines_of(read_text(path)), start=1):
        if line.strip():
            yield f"{start}{number}", line.rstrip("\r\n")


def split_line(line: str, separator: str, source: str) -> tuple[str, int | str]:
    """(name, label) of a line that ends in its label, a whole number, or a class name behind a video.

    Raises `DataError` naming `source` for another.
    """
    label: int | str | None
    name, text = _behind_video(line.strip(), separator)
    label = _class_name(text)
    if label is None:
        rest, label = last_number(line, separator)
        name = without_quotes(rest)
    if label is None and is_class_name(text) and _begins_with_number(text):
        raise DataError(
            f"{source}: the class name {text!r} begins with a number; put it into quotes, "
            f'`a.mp4,"{text}"`, or begin the list with the header line `path,label`; got {line.strip()!r}'
        )
    if not name or label is None:
        raise DataError(
            f"{source}: expected a path and a whole-number label, such as `a.mp4,3`, or a class name, "
            f"`a.mp4,running`, or a header line `path,label`; got {line.strip()!r}"
        )
    return name, label


def _behind_video(line: str, separator: str) -> tuple[str, str]:
    """(name of the video, the text of the label) of a line with a video's name; ("", "") for another."""
    for place in reversed(range(len(line))):
        found = line[place] in MARKS if separator == "auto" else line.startswith(separator, place)
        video = without_quotes(line[:place].strip())
        if found and is_listed_file(video):
            return video, line[place + (1 if separator == "auto" else len(separator)) :].strip()
    return "", ""


def _class_name(text: str) -> str | None:
    """The class name that the text of a label is, or None. What could be more than a name needs quotes."""
    label = without_quotes(text)
    is_plain = not set(text) & _NEVER_PLAIN and not _begins_with_number(text)
    return label if (label != text or is_plain) and is_class_name(label) else None


def _begins_with_number(text: str) -> bool:
    """Whether the first word of a text without separators is a whole number: `100 m run`, not `3d print`."""
    first = text.split()[:1]
    return bool(first) and whole_number(first[0]) is not None and not set(text) & _NEVER_PLAIN


def is_class_name(text: str) -> bool:
    """Whether a text can be the name of a class: it has a letter and is no number."""
    if not any(map(str.isalpha, text)):
        return False
    try:
        float(text)  # also nan, which stands for an empty cell in tables
    except ValueError:
        return True
    return False


def last_number(line: str, separator: str) -> tuple[str, int | None]:
    """(what stands before the last separator, the whole number behind it or None)."""
    start = label_start(line, separator)
    rest, text = line[:start], line[start:]
    rest = rest.rstrip(MARKS) if separator == "auto" else rest.removesuffix(separator)
    return rest.strip(), whole_number(text.strip().strip('"'))


def whole_number(text: str) -> int | None:
    """The whole number that `text` spells in plain digits, 18 at most, or None."""
    digits = text.strip().removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return int(text) if plain else None


def label_start(line: str, separator: str) -> int:
    """Where the text of the label begins."""
    text = line.rstrip()
    if separator == "auto":
        return 1 + max(text.rfind(mark) for mark in MARKS)
    return text.rfind(separator) + len(separator) if separator in text else 0


def without_quotes(name: str) -> str:
    """A name without the quotes that csv files put around some."""
    if name[:1] == '"' == name[-1:] and len(name) > 1:
        return next(csv.reader([name]))[0]
    return name
