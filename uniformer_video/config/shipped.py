"""The configs and the guides to datasets that come with the toolkit.

They stand at the top of the repository, `configs/` and `datasets/`; the build of a wheel copies them into
the package (`setup.py`), so that an installed toolkit has them too.
"""

import os
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

from uniformer_video.errors import ConfigError, choice_error
from uniformer_video.program import command

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "shipped"
SUFFIX, GUIDE = ".yaml", "README.md"
# Where generated sets lie that a config or a guide names: the ends of their paths, and what makes them.
_GENERATED = {
    ("datasets", "demo_hard"): "make-demo-data --hard",
    ("datasets", "dense"): "make-demo-data --dense",
    ("datasets", "inflation", "images"): "make-demo-data --inflation",
    ("datasets", "inflation", "videos"): "make-demo-data --inflation",
}


def shipped_folder(name: str) -> Path:
    """Where `configs` or `datasets` is: inside the installed package, or at the top of a check-out."""
    inside = _INSTALLED / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def list_configs(pattern: str = "*") -> list[str]:
    """The names of the shipped configs of runs that fit a shell pattern, or have it inside, sorted.

    A name is a path without its ending, such as `k400/uniformer_s_16x4`. What only other files start
    from (`_base_`) is left out.
    """
    names = (name for name in _names() if not name.startswith("_"))
    return [
        name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"*{pattern}*")
    ]


def is_config(path: Path) -> bool:
    """Whether there is something to read at `path`: a file, a pipe, but no folder."""
    return os.path.exists(path) and not os.path.isdir(path)


def find_config(path: str | Path) -> Path:
    """The file at `path`; without one, the shipped config of that name, with or without `.yaml`.

    A leading `configs/` is passed over, as that is where they stand in the repository. Where there is
    neither, `path` comes back.
    """
    path = Path(path)
    if is_config(path):
        return path
    name = _name(path)
    return _path(name) if name in _names() else path


def nearest_config(path: str | Path) -> str:
    """The shipped config whose name is most like `path`; "" where none is. The folder may be left out."""
    name = _name(Path(path))
    names = list_configs()
    if ends := [known for known in names if known.rpartition("/")[2] == name]:
        return ends[0]
    near = get_close_matches(name, names, n=1)
    return near[0] if near else ""


def first_line(name: str) -> str:
    """What a shipped config says of itself in its first sentence."""
    lines = []
    for line in _path(name).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines).partition(". ")[0].rstrip(".")


def command_that_makes(folder: os.PathLike[str] | str) -> str:
    """The words of the command that generates the demo set of this folder; "" for another one."""
    path = Path(folder)
    for names, words in _GENERATED.items():
        if path.parts[-len(names) :] == names:
            return command(words)
    return ""


def list_guides() -> list[str]:
    """The datasets that have a guide, sorted."""
    return sorted(path.parent.name for path in shipped_folder("datasets").glob(f"*/{GUIDE}"))


def read_guide(dataset: str = "") -> str:
    """The guide to a dataset; without one, what is common to all. `ConfigError` for another."""
    if dataset and dataset not in list_guides():
        raise choice_error("the dataset", dataset, list_guides())
    path = shipped_folder("datasets") / dataset / GUIDE
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise ConfigError(f"the guide {path} is missing; install the toolkit again") from None


def _names() -> list[str]:
    folder = shipped_folder("configs")
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(f"*{SUFFIX}")
    )


def _name(path: Path) -> str:
    name = path.as_posix().removesuffix(SUFFIX)
    return name.removeprefix("configs/")


def _path(name: str) -> Path:
    return shipped_folder("configs") / f"{name}{SUFFIX}"
