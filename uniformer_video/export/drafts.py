"""An exported file before it has its name: in a hidden folder beside it, until it is good.

One process at a time has the folder, by a lock in it, so that what a killed one has left is known for that.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path

from uniformer_video.errors import CheckpointError
from uniformer_video.export.files import files_of
from uniformer_video.locks import temporary_folder

_LOCK = "lock"


@contextmanager
def draft_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target` that lasts as long as the block.

    What a process that was killed has left there is removed first. Raises `ConfigError` where another process
    is exporting to the same name, `OSError`, of `target`, where no folder can be.
    """
    folder = target.with_name(f".{target.name}.export")
    with ExitStack() as held:
        try:
            held.enter_context(temporary_folder(folder / _LOCK, choose="another --out"))
        except OSError as error:
            error.filename = str(target)  # what the caller knows, not the folder
            raise
        yield folder


def place_files(draft: Path, target: Path) -> None:
    """Give the files of an exported model at `draft` the names that those of `target` have.

    Nothing is written over: where something stands there by now, the model gets a free name beside it, and
    the `CheckpointError` says which.
    """
    if _place(draft, target):
        return
    others = (target.with_stem(f"{target.stem}-{number}") for number in count(2))
    found = next(other for other in others if _place(draft, other))
    raise CheckpointError(
        f"{target} was written by something else while this ran, and is left as it is; the exported model is "
        f"{found}"
    )


def _place(draft: Path, target: Path) -> bool:
    """Whether all files got their names; else none has."""
    pairs = list(zip(files_of(draft), files_of(target), strict=True))
    claimed: list[Path] = []
    try:
        for source, goal in pairs:
            _claim(source, goal)
            claimed.append(goal)
        for source, goal in pairs:
            os.replace(source, goal)  # does nothing where both are names of one file already
    except BaseException as error:
        for goal in claimed:
            with suppress(OSError):
                goal.unlink()
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _claim(source: Path, goal: Path) -> None:
    """Give a file a second name, or the name an empty file; `FileExistsError` where something has it."""
    try:
        os.link(source, goal)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with open(goal, "xb"):
            pass
