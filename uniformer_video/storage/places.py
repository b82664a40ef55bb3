"""Files, and parts of files, wherever they lie: on a disk, behind http, in what fsspec knows.

A place is a path, or an address: `https://host/folder/file`, `s3://bucket/folder/file`. Nothing is kept
from call to call but connections, and those by process, so that forked workers have their own.
"""

import math
import os
from collections.abc import Callable
from typing import Any, Protocol

from uniformer_video.errors import AbsentError, DataError, MissingLibraryError
from uniformer_video.program import install
from uniformer_video.storage import http
from uniformer_video.storage.address import HTTP, is_address, name_for_messages
from uniformer_video.words import one_line, system_reason


def is_file(place: str) -> bool:
    """True where `place` is a file that may be read."""
    if not is_address(place):
        return os.path.isfile(place)
    try:
        size_of(place)
    except AbsentError:
        return False
    return True


def size_of(place: str) -> float:
    """Bytes of a file, `math.inf` where an address does not tell.

    Raises `AbsentError` where there is none, `DataError` where it cannot be asked for.
    """
    return _store(place).size_of(place)


def read_bytes(place: str) -> bytes:
    """All bytes of a file. Raises as `size_of` does."""
    return _store(place).read(place, 0, None)


def read_range(place: str, start: int, length: int) -> bytes:
    """`length` bytes of a file from byte `start` on. Raises `DataError`, also where it is shorter."""
    data = _store(place).read(place, start, length)
    if len(data) != length:
        raise DataError(
            f"{name_for_messages(place)} is cut off: it ends {length - len(data)} bytes before byte "
            f"{start + length}; get it again, or make it again"
        )
    return data


class _Store(Protocol):
    """What each kind of storage can do."""

    def size_of(self, place: str, /) -> float: ...
    def read(self, place: str, start: int, length: int | None, /) -> bytes: ...


def _store(place: str) -> _Store:
    if not is_address(place):
        return _Disk
    return http if HTTP.match(place) else _Fsspec


class _Disk:
    """Files of this computer."""

    @staticmethod
    def size_of(path: str) -> int:
        """See `size_of`."""
        if not os.path.isfile(path):
            raise AbsentError(f"{path} does not exist")
        return os.path.getsize(path)

    @staticmethod
    def read(path: str, start: int, length: int | None) -> bytes:
        """Bytes from `start` on, fewer than `length` at the end of the file; None = to its end."""
        try:
            with open(path, "rb") as file:
                file.seek(start)
                left = max(os.fstat(file.fileno()).st_size - start, 0)
                return file.read(left if length is None else min(length, left))
        except FileNotFoundError:
            raise AbsentError(f"{path} does not exist") from None
        except (OSError, ValueError, OverflowError) as error:
            raise DataError(f"cannot read {path}: {system_reason(error)}") from None


class _Fsspec:
    """What fsspec has a driver for. The drivers make their own further attempts."""

    @classmethod
    def size_of(cls, address: str) -> float:
        """See `size_of`."""
        info = cls._call(address, lambda system, path: system.info(path))
        if info["type"] == "directory":
            raise AbsentError(f"{name_for_messages(address)} is a folder")
        return math.inf if info.get("size") is None else info["size"]

    @classmethod
    def read(cls, address: str, start: int, length: int | None) -> bytes:
        """As `_Disk.read`."""
        end = None if length is None else start + length
        return cls._call(address, lambda system, path: system.cat_file(path, start, end))

    @staticmethod
    def _call(address: str, action: Callable[[Any, str], Any]) -> Any:
        name = name_for_messages(address)
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise MissingLibraryError(
                f"{name} needs the library fsspec: {install('remote')}"
            ) from None
        try:
            # Asked for anew each time: fsspec keeps file systems, each for the process that made it.
            return action(*url_to_fs(address))
        except ImportError as error:
            raise MissingLibraryError(f"{name} needs another library: {_reason(error)}") from None
        except FileNotFoundError:
            raise AbsentError(f"{name} does not exist") from None
        except PermissionError as error:
            raise AbsentError(
                f"{name} may not be read, or does not exist: {_reason(error)}"
            ) from None
        except Exception as error:  # each driver has its own
            raise DataError(f"cannot read {name}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return one_line(error)[:300]  # some drivers give the whole answer of a server
