"""Videos inside tar files, opened by the text `SHARD#OFFSET+LENGTH`: `train/shard-000000.tar#1536+482113`."""

import os
import re
import tarfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

from uniformer_video.errors import AbsentError, DataError, DecodeError
from uniformer_video.storage.address import name_for_messages
from uniformer_video.storage.places import read_range, size_of

_MEMBER = re.compile(r"(.+)#(\d+)\+(\d+)", re.DOTALL)
_AT_ONCE = 16  # questions about shards


class Place(Protocol):
    """Where in a shard something stands, in bytes."""

    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...


class Member(NamedTuple):
    """The bytes of a video in a shard."""

    shard: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """How many bytes the shard has at least."""
        return self.offset + self.length


def member_path(shard: str, entry: Place) -> str:
    """The text by which `open_video` opens a video of the shard at `shard`."""
    return f"{shard}#{entry.offset}+{entry.length}"


def member_of(path: Path | str) -> Member | None:
    """The `Member` that a text names, None where it is the name of a file."""
    match = _MEMBER.fullmatch(os.fspath(path))
    return Member(match[1], int(match[2]), int(match[3])) if match else None


def read_member(member: Member) -> tuple[str, bytes]:
    """(name in the shard, bytes) of a video.

    Raises `DecodeError` where the shard cannot be read, is shorter than its index says, or holds
    something else in this place.
    """
    start = member.offset - tarfile.BLOCKSIZE  # where its header is
    header: tarfile.TarInfo | None
    try:
        data = read_range(member.shard, max(start, 0), member.end - max(start, 0))
        header = tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except DataError as error:
        raise DecodeError(str(error)) from None
    except tarfile.HeaderError:
        header = None
    if start < 0 or header is None or header.size != member.length:
        raise DecodeError(
            f"{member_path(name_for_messages(member.shard), member)} is no member of this shard: the index "
            "is of other shards; get both again, or make them again"
        )
    return header.name, data[tarfile.BLOCKSIZE :]


def lost_shards(members: Iterable[Member]) -> dict[str, tuple[float, str]]:
    """{shard: (bytes of it that are there, what is wrong)} of the shards that do not hold all `members`.

    Each shard is asked for once, many at a time where they lie elsewhere.
    """
    needed: dict[str, int] = {}
    for member in members:
        needed[member.shard] = max(needed.get(member.shard, 0), member.end)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(_present, needed, needed.values())
        return {
            shard: (size, problem)
            for shard, (size, problem) in zip(needed, found, strict=True)
            if problem
        }


def _present(shard: str, needed: int) -> tuple[float, str]:
    """(bytes that are there, what is wrong or "") of a shard."""
    try:
        size = size_of(shard)
    except AbsentError as error:
        return 0, _without_place(error, shard)
    except DataError as error:
        return 0, str(error)
    return size, "" if size >= needed else f"cut off: {size:,} of at least {needed:,} bytes"


def _without_place(error: AbsentError, shard: str) -> str:
    return str(error).removeprefix(f"{name_for_messages(shard)} ")
