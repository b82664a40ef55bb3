"""Which views, classes and videos of a stored test are meant by the words that somebody gives.

All raise `ConfigError` or `DataError` with the option that the words were given to.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from uniformer_video.config.rows import SETTINGS
from uniformer_video.data.lists.text import read_lines
from uniformer_video.errors import ConfigError, DataError, quote
from uniformer_video.evaluation.view_choice import central_crops, spread_clips
from uniformer_video.words import name_some, plural

_COLUMNS = ("name", "path")  # of lists with a header line; a name tells parts of one video apart


def chosen_clips(text: str, total: int) -> list[int]:
    """Which of `total` clips: "3" is three evenly spread ones, "0,2" these (counted from 0, in the order of
    time), "2," that one; "first", "middle", "last", "all".
    """
    places = {"first": [0], "middle": spread_clips(1, total), "last": [total - 1]}
    if text in places:
        return places[text]
    return _chosen("--clips", "clip", text, total, spread_clips, " first, middle, last,")


def chosen_crops(text: str, total: int) -> list[int]:
    """Which of `total` crops, as `chosen_clips`; "1" or "centre" is the centre one, "all" are all of them."""
    if text in ("centre", "center"):
        return central_crops(1, total)
    crops = _chosen("--crops", "crop", text, total, central_crops, " centre,")
    allowed = SETTINGS["TEST.NUM_SPATIAL_CROPS"].choices
    if len(crops) not in allowed:
        raise ConfigError(
            f"--crops {text} takes {len(crops)} crops; a test has {' or '.join(map(str, allowed))}"
        )
    return crops


def _chosen(option: str, noun: str, text: str, total: int, spread: Any, words: str) -> list[int]:
    if text == "all":
        return list(range(total))
    allowed = f"the test has {plural(total, noun)} of each {'video' if noun == 'clip' else 'clip'}"
    if total == 1:
        allowed += ", which is what all takes"
    else:
        allowed += (
            f"; give a number from 1 to {total},{words} all, or which ones, from 0 to {total - 1}, with "
            "commas: 0,1 or 0,"
        )
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if not numbers:
        raise ConfigError(f"{option} is {quote(text)}, and {allowed}")
    if "," not in text:
        if not 1 <= numbers[0] <= total:
            raise ConfigError(f"{option} asks for {numbers[0]}, and {allowed}")
        return spread(numbers[0], total)
    if beyond := [number for number in numbers if not 0 <= number < total]:
        raise ConfigError(f"{option} asks for {noun} {beyond[0]}, and {allowed}")
    if len(set(numbers)) < len(numbers):
        raise ConfigError(f"{option} {text} names a {noun} twice; each view counts once")
    return sorted(numbers)


def chosen_classes(
    words: Iterable[str], names: Sequence[str], option: str = "--classes"
) -> list[int]:
    """Which of the classes: each word is the name of one, several with commas, or a file, one a line.

    option: what the words were given to, for messages.
    """
    index = {name: place for place, name in enumerate(names)}
    chosen = set()
    for word in words:
        for name in _names_in(word, index, option):
            if name not in index:
                near = get_close_matches(name, names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ConfigError(
                    f"{option}: {quote(name)} is none of the test's "
                    f"{plural(len(names), 'class', 'classes')}, nor a file of names, one a line{hint}"
                )
            chosen.add(index[name])
    return sorted(chosen)


def _names_in(word: str, known: Mapping[str, int], option: str) -> list[str]:
    if word in known:  # names may hold commas
        return [word]
    if Path(word).is_file():
        lines = [line.strip() for line in read_lines(word)]
        if not any(lines):
            raise DataError(f"{option}: {word} is empty; it holds the names of classes, one a line")
        return [line for line in lines if line]
    return _parts(word, known)


def _parts(word: str, known: Mapping[str, int]) -> list[str]:
    """The names between commas, each as long as a known one goes, as names may hold commas themselves."""
    pieces, names = word.split(","), []
    while pieces:
        ends = range(len(pieces), 0, -1)
        end = next((n for n in ends if ",".join(pieces[:n]).strip() in known), 1)
        names.append(",".join(pieces[:end]).strip())
        pieces = pieces[end:]
    return [name for name in names if name] or [word]


def chosen_videos(
    words: Iterable[str], videos: Sequence[Mapping[str, Any]], noun: str = "video"
) -> tuple[list[int], list[str]]:
    """(which of a record's videos, what of the lists is none of them). noun: what messages call them.

    Each word is the name or the path of a video, a shell pattern of names or paths, or a file that lists
    them: one a line, perhaps with a label behind, or a csv with a column `path` or `name`.
    """
    by_name: dict[str, list[int]] = {}
    for place, video in enumerate(videos):
        for key in {video["name"], video["path"]}:
            by_name.setdefault(key, []).append(place)
    chosen: set[int] = set()
    unknown = []
    for word in words:
        if word in by_name:
            chosen.update(by_name[word])
        elif Path(word).is_file():
            found, strange = _listed(word, by_name, noun)
            chosen |= found
            unknown += strange
        else:
            found = {p for key, own in by_name.items() if fnmatchcase(key, word) for p in own}
            if not found:
                raise DataError(
                    f"--videos: {quote(word)} is no file, and no name or path of the "
                    f"{plural(len(videos), noun)} of the test fits it; such as {videos[0]['name']!r}"
                )
            chosen |= found
    return sorted(chosen), unknown


def _listed(
    path: str, by_name: Mapping[str, Sequence[int]], noun: str
) -> tuple[set[int], list[str]]:
    """(places of the videos that a file lists, what else it lists); `DataError` where it has none of them."""
    lines = [line.strip("\r\n") for line in read_lines(path) if line.strip()]
    found: set[int] = set()
    unknown = []
    for entries in entries_of(lines):
        own = next((by_name[entry] for entry in entries if entry in by_name), None)
        if own is None:
            unknown.append(entries[0])
        else:
            found.update(own)
    if not found:
        holds = name_some([quote(entry, 60) for entry in unknown]) if unknown else "nothing"
        raise DataError(
            f"--videos: {path} lists none of the test's {noun}s; it holds {holds}. Each line gives a name or "
            "a path as the test has it"
        )
    return found, unknown


def entries_of(lines: Sequence[str]) -> list[list[str]]:
    """Of each line what could be the name or the path of a video."""
    rows = [next(csv.reader([line], skipinitialspace=True)) for line in lines]
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    columns = [header.index(column) for column in _COLUMNS if column in header]
    if columns:
        return [[row[at] for at in columns if at < len(row)] or [""] for row in rows[1:]]
    plain = [line.strip() for line in lines]
    return [
        [line, row[0].strip(), line.rpartition(" ")[0].strip()]
        for line, row in zip(plain, rows, strict=True)
    ]
