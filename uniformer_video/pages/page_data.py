"""What the page's script works on: the row of every video, and small pictures, in blocks of JSON.

Nothing in a block can end it or become markup: `<`, `>` and `&` stand there as JSON escapes.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from uniformer_video.evaluation.parts import Mistake
from uniformer_video.evaluation.strips import Strips

MAX_ROW_BYTES = 2_000_000
MAX_STRIP_BYTES = 8_000_000
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def json_block(value: Any) -> str:
    """A value as JSON that may stand in a `<script>` element as it is."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


def chosen_strips(
    mistakes: Sequence[Mistake], strips: Strips, shown: Iterable[int], limit: int = MAX_STRIP_BYTES
) -> dict[int, str]:
    """{place of a video: data URI} of what fits into `limit` bytes: those `shown` on the page, one mistake of
    each confused pair, the most frequent pair first and of each the surest, and then the surest ones.
    """
    counts = Counter(mistake.pair for mistake in mistakes)
    surest = {mistake.pair: mistake for mistake in reversed(mistakes)}
    pairs = sorted(surest.values(), key=lambda mistake: (-counts[mistake.pair], -mistake.score))
    order = [*shown, *(mistake.place for mistake in (*pairs, *mistakes))]
    chosen, total = {}, 0
    for place in dict.fromkeys(order):
        uri = strips.uri(place)
        total += len(uri)
        if total > limit:
            break
        if uri:
            chosen[place] = uri
    return chosen


def video_rows(
    results: Mapping[str, Any],
    mistakes: Sequence[Mistake],
    folder: Path,
    limit: int = MAX_ROW_BYTES,
) -> str | None:
    """A JSON block with a row a video, of at most `limit` bytes; None where a task's videos have no `top5`.

    A video's name is the one of `folders` that `folder` says, its entry in `names`, and the `suffix` that all
    names share. `truth` is the class, or a list of them. `top` and `scores`
    hold `width` numbers a row: the best classes, -1 for a video that could not be read, and their scores in
    thousandths. `wrong`: with several labels, the rows of the mistakes, in their order. `beside` is
    {row: [address from the page, start, end]} of those that lie below the `folder`. Of more videos
    than fit, the mistakes come first, and `places` says which videos the rows are; `total` counts all.
    """
    videos = results["videos"]
    if not videos or not all("top5" in v and ("label" in v or "labels" in v) for v in videos):
        return None
    names = [video["name"] for video in videos]
    folders, suffix = _common_folders(names), _common_ending(names)
    number_of = {name: number for number, name in enumerate(folders)}
    found = _originals(videos, folder)
    fields: dict[str, Any] = {
        "total": len(videos),
        "classes": results["class_names"],
        "several": "labels" in videos[0],
        "width": max(len(video["top5"]) for video in videos),
        "folders": folders,
        "suffix": suffix,
    }
    # one label: those are the rows whose best class is not the true one
    wrong = [mistake.place for mistake in mistakes] if fields["several"] else []
    mistaken = set(wrong)
    rows = []
    for place, video in enumerate(videos):
        own = _folder_of(video["name"]) if len(folders) > 1 else folders[0]
        name = video["name"][len(own) : len(video["name"]) - len(suffix)]
        answers = _answers(video, fields["width"])
        mark = place if place in mistaken else None
        rows.append((name, number_of[own], _truth(video), *answers, mark, found.get(place)))
    kept = _fitting(rows, [m.place for m in mistakes], limit - _size(fields))
    chosen = [rows[place] for place in kept]
    for number, key in enumerate(("names", "folder", "truth", "top", "scores")):
        fields[key] = [row[number] for row in chosen]
    for key in ("top", "scores"):
        fields[key] = [value for row in fields[key] for value in row]
    fields["beside"] = {place: row[-1] for place, row in enumerate(chosen) if row[-1]}
    row_of = {place: row for row, place in enumerate(kept)}
    fields["wrong"] = [row_of[place] for place in wrong if place in row_of]
    if len(kept) < len(videos):
        fields["places"] = kept
    return json_block(fields)


def _truth(video: Mapping[str, Any]) -> int | list[int]:
    return video["labels"] if "labels" in video else video["label"]


def _answers(video: Mapping[str, Any], width: int) -> tuple[list[int], list[int]]:
    """The best classes of a video and their scores in thousandths, `width` of each."""
    missing = width - len(video["top5"])
    classes = [entry["class"] for entry in video["top5"]] + [-1] * missing
    scores = [round(1000 * (entry["score"] or 0)) for entry in video["top5"]] + [0] * missing
    return classes, scores


def _fitting(rows: Sequence[tuple[Any, ...]], first: Sequence[int], limit: int) -> list[int]:
    """The places of the rows that fit into `limit` bytes, in order; those at `first` are taken first."""
    sizes = [_size(row) for row in rows]
    if sum(sizes) <= limit:
        return list(range(len(rows)))
    kept, left = [], limit
    for place in dict.fromkeys((*first, *range(len(rows)))):
        left -= sizes[place] + len(f"{place},")
        if left < 0:
            break
        kept.append(place)
    return sorted(kept)


def _size(value: Any) -> int:
    """At least the bytes that a value takes in a block; for a row, with its `beside`."""
    return len(json_block(value).encode("utf-8", errors="replace")) + 8


def _folder_of(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _common_folders(names: Sequence[str]) -> list[str]:
    """The folders of names, if many lie in each; else the one that all of them are in."""
    folders = list(dict.fromkeys(map(_folder_of, names)))
    if 1 < len(folders) <= len(names) / 4:
        return folders
    return [_folder_of(_common_start(folders))]


def _common_ending(names: Sequence[str]) -> str:
    """What all names end with, from a dot on: ".mp4"."""
    ending = _common_start([name[::-1] for name in names])[::-1]
    dot = ending.find(".", ending.rfind("/") + 1)
    return ending[dot:] if dot >= 0 and len(names) > 1 else ""


def _common_start(texts: Sequence[str]) -> str:
    pairs = zip(min(texts), max(texts), strict=False)
    return "".join(first for first, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _originals(videos: Sequence[Mapping[str, Any]], folder: Path) -> dict[int, list[Any]]:
    """{place: [address from the folder, start, end]} of the videos that are files below it."""
    root, own = os.path.abspath(folder), set(os.listdir(folder))
    found: dict[int, list[Any]] = {}
    for place, video in enumerate(videos):
        name = (
            video["name"].rpartition("#")[0] if {"start", "end"} & video.keys() else video["name"]
        )
        path = os.path.abspath(video["path"])
        beneath = path[len(root) + 1 :] if path.startswith(root + os.sep) else ""
        for address in (beneath, os.path.normpath(name)):
            # The folder's own names first: most videos lie elsewhere, and asking the disk takes time.
            if address.split(os.sep)[0] in own and os.path.isfile(os.path.join(root, address)):
                url = quote(address.replace(os.sep, "/"), errors="surrogateescape")
                found[place] = [url, video.get("start", 0), video.get("end", 0)]
                break
    return found
