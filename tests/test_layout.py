"""The plan of the house: imports go downward only, and the guide for contributors is complete and true."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "uniformer_video"
# From top to bottom: a room imports only from rooms below it, or from itself. Rooms in one line do not know
# each other.
FLOORS = [
    ["__main__"],
    ["cli"],
    ["commands"],
    ["api"],
    ["audit"],
    ["features"],
    ["advice", "bench", "doctor", "explain"],
    ["runs"],
    ["inference"],
    ["export"],
    ["tasks"],
    ["pages"],
    ["training", "evaluation"],
    ["zoo", "prepare"],
    ["data/loading", "data/protocol"],
    ["data/clips"],
    ["data/sampling", "data/lists"],
    ["data/decoding"],
    ["weights"],
    ["storage", "models", "config"],
    ["distributed"],
    ["plugins"],
    ["locks", "signals", "files", "words", "logs"],
    ["torch_internals", "versions", "cores", "memory", "randomness", "program"],
    ["errors"],
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# What is made available at the top imports from everywhere, lazily.
PUBLIC = {"", "data"}

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (.+?) \| (.+) \|$", GUIDE.partition("## Where things go")[2], re.M))


def module_name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module):
    """`uniformer_video.data.lists.table` -> `data/lists`; the rooms of `data` are counted one by one."""
    parts = module.split(".")[1:]
    return "/".join(parts[:2] if parts[:1] == ["data"] else parts[:1])


def imported_by(path):
    """The modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_module_has_a_floor():
    rooms = {room_of(module) for module in MODULES} - PUBLIC
    assert rooms == set(FLOOR_OF)


@pytest.mark.parametrize("room", sorted(FLOOR_OF))
def test_imports_go_downward(room):
    upward = {
        f"{module} imports {target}"
        for module, path in MODULES.items()
        if room_of(module) == room
        for target in imported_by(path)
        if target in MODULES and room_of(target) not in {room, *PUBLIC}
        if FLOOR_OF[room_of(target)] <= FLOOR_OF[room]
    }
    assert not upward


def test_modules_do_not_import_each_other_in_circles():
    below = {
        module: {target for target in imported_by(path) if target in MODULES} - {module}
        for module, path in MODULES.items()
        if room_of(module) not in PUBLIC
    }
    while free := {module for module, targets in below.items() if not targets & below.keys()}:
        below = {module: targets for module, targets in below.items() if module not in free}
    assert not below


def paths_in(text):
    """The files and folders that a text of the guide names in backticks."""
    return [
        name for name in re.findall(r"`([a-z][\w./]+)`", text) if re.search(r"/|\.\w{2,4}$", name)
    ]


def is_there(name):
    """Whether the repository or the package has a file, a folder, or `module.name` of that name."""
    module, _, member = name.rpartition(".")
    path = PACKAGE / f"{module}.py"
    inside = path.is_file() and re.search(
        rf"^(def|class) {member}\b|^{member} =", path.read_text(), re.M
    )
    found = any((root / name).exists() for root in (ROOT, PACKAGE)) or list(PACKAGE.rglob(name))
    return bool(found or inside)


@pytest.mark.parametrize("guide", ["CONTRIBUTING.md", "README.md"])
def test_what_the_guides_name_is_there(guide):
    text = (ROOT / guide).read_text(encoding="utf-8")
    table = text.partition("## How it is built" if guide == "README.md" else "# Contributing")[2]
    assert ROWS and not [
        name for name in paths_in(table) if not is_there(name) and "FILE" not in name
    ]


# A row of the guide, and the name of one such thing that is there. Whoever adds another one would look for
# the places of this name: all must stand in the row.
EXAMPLES = {
    "a setting": "LOG_PERIOD",
    "a named model of a family": "x3d_s",
    "a list format": "ssv2-json",
    "a decoder": "torchcodec",
    "a sub-command": "make-demo-data",
    "an operation of RandAugment": "Rotate",
    "a task, what a model is trained for and judged by": "multi-label",
}
ELSEWHERE = {
    "bench/decode.py",  # compares decoders
    "bench/published_loader.py",  # the other side of a comparison
    "config/foreign/data.py",  # DATA.MULTI_LABEL, the other name of one task
    "config/foreign/words.py",  # where that is asked
}


@cache
def constants_in(path):
    """The texts that stand in a module."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {
        node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str
    }


@pytest.mark.parametrize("row", EXAMPLES)
def test_the_guide_names_every_place(row):
    named = [
        str(path.relative_to(PACKAGE))
        for path in MODULES.values()
        if EXAMPLES[row] in constants_in(path)
    ]
    places = paths_in(ROWS[row])
    missing = {file for file in named if not any(file.startswith(place) for place in places)}
    assert named and missing <= ELSEWHERE
