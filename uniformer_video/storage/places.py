"""Files, and parts of files, wherever they lie: on a disk, behind http, in what fsspec knows.

A place is a path, or an address: `https://host/folder/file`, `s3://bucket/folder/file`. Nothing is kept
from call to call but connections, and those by process, so that forked workers have their own.
"""

import math
import os

from uniformer_video.errors import AbsentError, DataError, MissingLibraryError
from uniformer_video.storage.address import HTTP, is_address, shown


def is_file(place):
    """True where `place` is a file that may be read."""
    if not is_address(place):
        return os.path.isfile(place)
    try:
        size_of(place)
    except AbsentError:
        return False
    return True


def size_of(place):
    """Bytes of a file, `math.inf` where an address does not tell.

    Raises `AbsentError` where there is none, `DataError` where it cannot be asked for.
    """
    return _store(place).size_of(place)


def read_bytes(place):
    """All bytes of a file. Raises as `size_of` does."""
    return _store(place).read(place, 0, None)


def read_range(place, start, length):
    """`length` bytes of a file from byte `start` on. Raises `DataError`, also where it is shorter."""
    data = _store(place).read(place, start, length)
    if len(data) != length:
        raise DataError(
            f"{shown(place)} is cut off: it ends {length - len(data)} bytes before byte "
            f"{start + length}; get it again, or make it again"
        )
    return data


def _store(place):
    if not is_address(place):
        return _Disk
    if HTTP.match(place):
        try:
            from uniformer_video.storage import http
        except ImportError:
            raise MissingLibraryError(
                f"{shown(place)} needs the library urllib3: pip install 'uniformer-video[remote]'"
            ) from None
        return http
    return _Fsspec


class _Disk:
    """Files of this computer."""

    @staticmethod
    def size_of(path):
        """See `size_of`."""
        if not os.path.isfile(path):
            raise AbsentError(f"{path} does not exist")
        return os.path.getsize(path)

    @staticmethod
    def read(path, start, length):
        """Bytes from `start` on, fewer than `length` at the end of the file; None = to its end."""
        try:
            with open(path, "rb") as file:
                file.seek(start)
                left = max(os.fstat(file.fileno()).st_size - start, 0)
                return file.read(left if length is None else min(length, left))
        except FileNotFoundError:
            raise AbsentError(f"{path} does not exist") from None
        except (OSError, ValueError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"cannot read {path}: {reason}") from None


class _Fsspec:
    """What fsspec has a driver for. The drivers make their own further attempts."""

    @classmethod
    def size_of(cls, address):
        """See `size_of`."""
        info = cls._call(address, lambda system, path: system.info(path))
        if info["type"] == "directory":
            raise AbsentError(f"{shown(address)} is a folder")
        return math.inf if info.get("size") is None else info["size"]

    @classmethod
    def read(cls, address, start, length):
        """As `_Disk.read`."""
        end = None if length is None else start + length
        return cls._call(address, lambda system, path: system.cat_file(path, start, end))

    @staticmethod
    def _call(address, action):
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise MissingLibraryError(
                f"{shown(address)} needs the library fsspec: `pip install fsspec`"
            ) from None
        try:
            # Asked for anew each time: fsspec keeps file systems, each for the process that made it.
            return action(*url_to_fs(address))
        except ImportError as error:
            raise MissingLibraryError(
                f"{shown(address)} needs another library: {_one_line(error)}"
            ) from None
        except FileNotFoundError:
            raise AbsentError(f"{shown(address)} does not exist") from None
        except PermissionError as error:
            raise AbsentError(
                f"{shown(address)} may not be read, or does not exist: {_one_line(error)}"
            ) from None
        except Exception as error:  # each driver has its own
            raise DataError(f"cannot read {shown(address)}: {_one_line(error)}") from None


def _one_line(error):
    return " ".join(str(error).split())[:300] or type(error).__name__
