"""The frame index that is kept: what the packets of videos told, so that they are listed once.

One small file a video, in a folder that any processes of any machines may share: each file is written
whole and put in place by renaming, is checked by a checksum when it is read, and needs no lock. So nothing
is lost by a killed process, and network file systems do. Most take less than a kilobyte, which is a block
of the disk, commonly 4 kB: 240,000 videos take about 1 GB.

A file says which video it is of: its path, its size, when it was changed, what its first and last bytes are,
and the version of FFmpeg that listed it. What does not agree, or is damaged, is as if it were not there, and
is written anew. The bytes tell videos apart that were unpacked with one date: of many of those a few have
the size of another version, and frames by its listing would be wrong ones.
"""

import hashlib
import os
import stat
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

from uniformer_video.data.decoding.listing import Listing, pack, unpack
from uniformer_video.files import atomic_write
from uniformer_video.storage.members import member_of

_VERSION = (
    3  # of the files, and of what decides which frames a video has; raise it when one changes
)
_SUFFIX = ".index"
_END_BYTES = (
    4096  # of a video at either end, where its header lies; read in any case when it is opened
)
INDEX_FOLDER = ".frame_index"  # in a data folder; hidden, so that it is no class of videos
# What the tally counts. LEFT_OUT: what cannot be known again, or gains nothing by it. BROKEN: what cannot be
# opened, which is named where it should have been used.
FOUND, WRITTEN, UNWRITTEN, LEFT_OUT, BROKEN = _OPENED = (
    "found",
    "written",
    "unwritten",
    "left out",
    "broken",
)
# And of videos whose frames are counted: how many have places to begin at or none, and how often one of
# these gave something else than it had.
PLACED, UNPLACED, DOUBTED = _BEGUN = ("placed", "unplaced", "doubted")
_COUNTED = (*_OPENED, *_BEGUN)
_SLOTS = 256  # processes of a machine that count without waiting for each other


class Tally:
    """How often each thing happened, in this process and those that it starts.

    Without a lock, which a killed process could keep: each process counts in a slot of its own.
    """

    def __init__(self) -> None:
        self._cells = RawArray("q", _SLOTS * len(_COUNTED))

    def add(self, what: str) -> None:
        """Count one of what `total` gives, or of what `begun` gives."""
        self._cells[os.getpid() % _SLOTS * len(_COUNTED) + _COUNTED.index(what)] += 1

    def total(self) -> Counter[str]:
        """name -> count, of `FOUND`, `WRITTEN`, `UNWRITTEN`, `LEFT_OUT` and `BROKEN`: each opening is one."""
        return self._sums(_OPENED)

    def begun(self) -> Counter[str]:
        """name -> count, of `PLACED`, `UNPLACED` and `DOUBTED`."""
        return self._sums(_BEGUN)

    def _sums(self, of: tuple[str, ...]) -> Counter[str]:
        cells = list(self._cells)
        return Counter({what: sum(cells[_COUNTED.index(what) :: len(_COUNTED)]) for what in of})


@dataclass
class IndexStore:
    """The listings in `folder`; see the module.

    root: videos below it are known by their path from there, so that the folder may move with them; others
    are known by their full path. is_writable: whether it is tried to keep what is listed. tally: what came
    of the videos that were opened.
    """

    folder: Path
    root: Path | None = None
    is_writable: bool = True
    tally: Tally = field(default_factory=Tally, compare=False, repr=False)
    _failed: bool = field(default=False, init=False, compare=False, repr=False)  # to write, last

    @property
    def is_kept(self) -> bool:
        """Whether what takes long to find is kept, as far as this process knows."""
        return self.is_writable and not self._failed

    def identify(self, path: str) -> "Identity | None":
        """What the video at `path` is known by now; None for what is no file, nor in one."""
        member = member_of(path)
        if member is None or os.path.isfile(path):
            file, start, length = path, 0, None
        else:
            file, start, length = member.shard, member.offset, member.length
        try:
            found = os.stat(file)
            if not stat.S_ISREG(found.st_mode):  # a named pipe would keep its reader waiting
                return None
            ends = _ends(file, start, found.st_size if length is None else length)
        except (OSError, ValueError):
            return None
        return Identity(self._known_path(path), found.st_size, found.st_mtime_ns, ends)

    def _known_path(self, path: str) -> str:
        full = os.path.abspath(path)
        if self.root is None or not Path(full).is_relative_to(self.root):
            return full
        return os.path.relpath(full, self.root)

    def read(self, identity: "Identity") -> Listing | None:
        """The listing that is kept of a video, if there is one."""
        try:
            data = self._file(identity).read_bytes()
        except OSError:
            return None
        listing = unpack(data, identity.to_dict())
        if listing:
            self.tally.add(FOUND)
        return listing

    def keep(self, path: str, identity: "Identity | None", listing: Listing | None) -> None:
        """Keep what listing the video at `path` told; None is counted as left out.

        identity: from before it was opened; a video that has changed since is left out.
        """
        if identity is None or listing is None or self.identify(path) != identity:
            self.tally.add(LEFT_OUT)
            return
        written = False
        if self.is_writable:
            with suppress(OSError):
                self.write(identity, listing)
                written = True
            self._failed = not written
        self.tally.add(WRITTEN if written else UNWRITTEN)

    def forget_places(self, path: str, identity: "Identity") -> None:
        """Take the places of a video out of its file: they led to other frames, and would each time.

        identity: of when the places were read. What another process has written meanwhile, of this video or
        of another one in its place, loses its places or stays; what cannot be written stays too.
        """
        if not self.is_writable or self.identify(path) != identity:
            return
        with suppress(OSError):
            listing = unpack(self._file(identity).read_bytes(), identity.to_dict())
            if listing and listing.places:
                self.write(identity, replace(listing, places=None))

    def write(self, identity: "Identity", listing: Listing) -> None:
        """Raises `OSError` where the folder cannot be written."""
        file = self._file(identity)
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file, lasting=False) as opened:
            opened.write(pack(listing, identity.to_dict()))

    def _file(self, identity: "Identity") -> Path:
        name = os.fsencode(identity.path)
        digest = hashlib.sha256(name).hexdigest()[:32]
        return self.folder / digest[:2] / f"{digest[2:]}{_SUFFIX}"


def _ends(file: str, start: int, length: int) -> int:
    """A checksum of the first and the last bytes of `length` ones from `start` on."""
    with open(file, "rb", buffering=0) as opened:
        opened.seek(start)
        first = opened.read(min(length, _END_BYTES))
        opened.seek(start + max(0, length - _END_BYTES))
        return zlib.crc32(opened.read(min(length, _END_BYTES)), zlib.crc32(first))


@dataclass(frozen=True)
class Identity:
    """path: as the store knows the video. size: of its file, in bytes. changed: when, in nanoseconds.

    ends: a checksum of the first and the last bytes of the video.
    """

    path: str
    size: int
    changed: int
    ends: int

    def to_dict(self) -> dict[str, Any]:
        """All that must be the same for a listing to be that of the video."""
        from av import __version__, library_versions

        libraries = [".".join(map(str, library_versions[name])) for name in _LISTED_BY]
        return {
            "version": _VERSION,
            "path": self.path,
            "size": self.size,
            "changed": self.changed,
            "ends": self.ends,
            "libraries": [__version__, *libraries],
        }


_LISTED_BY = ("libavformat", "libavcodec")
