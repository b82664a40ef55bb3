"""Writing files so that a reader, or a crash, never meets half of one."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from uniformer_video.errors import ConfigError

METRICS_FILE = "metrics.jsonl"  # of a run: written by the training, drawn by the report
_GRAPH_BYTES = (
    1 << 24
)  # what the graph of a large model takes beside its weights, with room to spare

_SPECIAL = [  # (how the system tells it, what it is)
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
]


def name_special(mode: int) -> str:
    """What a place with the `st_mode` is that is neither a file nor a folder; "" for these."""
    return next((text for tells, text in _SPECIAL if tells(mode)), "")


def special_kind(path: Path | str) -> str:
    """What stands at `path` that could keep a reader waiting for ever: "a named pipe"; "" for all else.

    A pipe without a name, as the shell's `<(command)` makes, has its writer and can be read. Nothing is
    opened: to open a named pipe is to wait for whoever writes into it.
    """
    try:
        kind = name_special(os.stat(path).st_mode)
    except (OSError, ValueError):  # whoever reads it says why
        return ""
    unnamed = str(path).startswith("/dev/fd/") or not os.path.lexists(os.path.realpath(path))
    return "" if kind == _SPECIAL[0][1] and unnamed else kind


def check_new_file(path: Path, option: str = "--out") -> None:
    """Raise `ConfigError` where `path`, given as `option`, is no place for a file, before any work is done.

    A file is made in its folder and removed again: rights alone tell neither of a file system that is mounted
    read-only nor of one that takes no files, such as /proc.
    """
    if path.is_dir():
        raise ConfigError(f"{option} {path} is a folder; give a file in it")
    if kind := special_kind(path):
        raise ConfigError(f"{option} {path} is {kind}; give a file")
    folder = path.absolute().parent
    if not folder.is_dir():
        if folder.exists():
            raise ConfigError(f"{option} {path}: {folder} is a file; give a folder there")
        raise ConfigError(
            f"{option} {path}: there is no folder {path.parent}; make it, or give another"
        )
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(
            f"{option} {path}: no file can be written in the folder {folder} ({error.strerror}); "
            "give a file in another one"
        ) from None


def remove_unfinished(folder: Path | str) -> None:
    """Delete what `atomic_write` had to leave in `folder` when its process was killed."""
    for leftover in Path(folder).glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: Path | str, lasting: bool = True) -> Iterator[IO[bytes]]:
    """A binary file to write into; it becomes `path` when the block ends without an error.

    Until then it is a temporary file in the same folder, which must exist. After an error (an
    interrupt too) the temporary file is gone and whatever was at `path` is untouched. lasting: it is on the
    disk then; else it comes there in a while, and a computer that loses its power may leave it half written.
    """
    path = Path(path)
    # `tempfile` makes private files (0600); a plain open lets the umask decide, as for any result.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            with contextlib.suppress(AttributeError):  # FFmpeg's errors keep their own
                error.filename = str(path)  # what the caller knows, not the temporary file
        raise


@contextlib.contextmanager
def full_disk_told(path: Path, size: int) -> Iterator[None]:
    """Around what other people's code writes beside `path`, or reads of that, which hides why it failed.

    Its error becomes the system's `OSError` for a full disk where there is no room for `size` bytes of
    weights and the graph beside them: what could not be written may be gone again by then. An `OSError` of
    its own that names no file gets the name `path`.
    """
    try:
        yield
    except MemoryError:
        raise
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    except Exception:
        if shutil.disk_usage(path.parent).free < size + _GRAPH_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write UTF-8 text, whole or not at all; bytes of names that are no UTF-8 are spelt out."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
