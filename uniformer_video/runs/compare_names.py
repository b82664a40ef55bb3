"""What the runs of a comparison, their recipes, and its own folder are called."""

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

_NAMED = 3


def default_folder(folders: Sequence[str | Path]) -> Path:
    """Where a comparison goes that nobody gave a folder: beside the first run, named by those compared."""
    places = [Path(os.path.abspath(folder)) for folder in folders]
    words = [re.sub(r"[^\w.-]+", "_", name) for name in names_of_folders(places)]
    name = "-".join(["compare", *words[:_NAMED]])
    if len(words) > _NAMED:
        digest = hashlib.sha256("\n".join(map(str, places)).encode("utf-8", "replace")).hexdigest()
        name = f"compare-{words[0]}-and-{len(words) - 1}-more-{digest[:8]}"
    return Path(os.path.relpath(places[0].parent / name[:120]))


def names_of_folders(places: Sequence[Path]) -> list[str]:
    """Names of folders: their paths from the folder that they have in common."""
    common = Path(os.path.commonpath(places))
    paths = [place.relative_to(common).as_posix() for place in places]
    return [place.name if path == "." else path for place, path in zip(places, paths, strict=True)]


def names_of_recipes(
    recipes: Sequence[Sequence[int]], rows: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What recipes are called: the title of their runs, or what the names of these begin with, or the name of
    the first; whatever none of the others has.
    """
    names: list[str] = []
    for group in recipes:
        own = [rows[place]["name"] for place in group]
        titles = {row["title"] for place, row in enumerate(rows) if place not in group}
        beginning = _beginning(own)
        others = [row["name"] for place, row in enumerate(rows) if place not in group]
        if len(group) == 1:
            names.append(own[0])
        elif rows[group[0]]["title"] not in titles:
            names.append(rows[group[0]]["title"])
        elif len(beginning) > 1 and not any(name.startswith(beginning) for name in others):
            names.append(beginning)
        else:
            names.append(f"{own[0]} and {len(group) - 1} more")
    return names


def _beginning(names: Sequence[str]) -> str:
    """What all names begin with, without the marks at its end: "s16_0", "s16_1" -> "s16"."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in alike).rstrip("_-./ ")
