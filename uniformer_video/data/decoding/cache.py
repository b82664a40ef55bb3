"""Decoded frames kept on disk: where videos are few and seen hundreds of times, each is decoded once.

A file holds all frames of one video at the size in which training reads them, uint8, as the decoder gave
them: whoever reads a clip from it gets the very numbers that decoding would have given.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.reader import Reader
from uniformer_video.errors import DecodeError
from uniformer_video.files import atomic_write
from uniformer_video.words import one_line, system_reason

_VERSION = 1  # of the files; raise it when they change
_SUFFIX = ".frames"
_ROUND_BYTES = 256 * 2**20  # of frames that are decoded at once
_LEFT_FREE = 2**30  # bytes of the disk that other files need, such as checkpoints
_STALE_SECONDS = 3600  # an unfinished file of a killed process is that old


class CachedReader(Reader):
    """The frames of a kept video behind the reader interface of `uniformer_video.data.decoding`.

    The pixels are mapped into memory, so that processes share them and a clip reads its own frames alone.
    Raises `OSError` or `ValueError` where `file` is not there or no such file.
    """

    declared_frames = None

    def __init__(self, path: str, file: Path) -> None:
        self._path = path
        with open(file, "rb") as opened:
            (rate,) = np.load(opened)
            times = np.load(opened)
            np.lib.format.read_magic(opened)
            shape, _, kind = np.lib.format.read_array_header_1_0(opened)
            self._pixels = np.memmap(opened, kind, "r", opened.tell(), shape)
        self.fps: float | None = None if np.isnan(rate) else float(rate)
        self.times: np.ndarray | None = times if len(times) else None
        self.num_frames = len(self._pixels)
        height, width = self._pixels.shape[1:3]
        self.size: tuple[int, int] = height, width

    def frames(self, indices: Sequence[int] | np.ndarray, short_side: int = 0) -> np.ndarray:
        """`uint8 [N, H, W, 3]`, for any indices in 0..num_frames-1; they have their `short_side` already."""
        return np.asarray(self._pixels[self._check_indices(indices)])


@dataclass
class FrameCache:
    """The kept videos of a folder, which may be shared by any processes, and is filled up to `limit_bytes`.

    backend, short_side: as `open_video` and `frames` of a reader take them. A video is known by its full
    path, its size and when it was changed, so that a changed one is decoded anew. Only video files are
    kept, not frames in folders or members of shards. is_filled: all videos of a training were tried.
    """

    folder: Path
    limit_bytes: int
    backend: str = "auto"
    short_side: int = 0
    is_filled: bool = False

    def read(self, path: str) -> CachedReader | None:
        """A reader of the video at `path`, if it is kept."""
        file = self._file(path)
        if file is None:
            return None
        try:
            return CachedReader(path, file)
        except (OSError, ValueError, EOFError):
            return None

    def keep(self, path: str) -> str:
        """Decode the video at `path` and keep it; the reason where it is not kept, "" where it is.

        Raises `DecodeError` for a video that cannot be decoded to its end.
        """
        file = self._file(path)
        if file is None:
            return "it is no video file"
        if file.is_file():
            return ""
        with open_video(path, self.backend) as video:
            first = video.frames([0], self.short_side)
            size = video.num_frames * first.nbytes
            if reason := self._no_room_for(size):
                return reason
            try:
                with atomic_write(file) as opened:
                    times = video.times
                    np.save(opened, np.array([np.nan if video.fps is None else video.fps]))
                    np.save(opened, np.array([]) if times is None else times)
                    shape = (video.num_frames, *first.shape[1:])
                    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(opened, header)
                    step = max(1, _ROUND_BYTES // first.nbytes)
                    for start in range(0, video.num_frames, step):
                        part = np.arange(start, min(start + step, video.num_frames))
                        opened.write(np.ascontiguousarray(video.frames(part, self.short_side)).data)
            except DecodeError:
                raise
            except OSError as error:
                return f"{self.folder} cannot be written: {one_line(system_reason(error))}"
        return ""

    def make(self) -> None:
        """Make the folder, and remove what killed processes have left in it half written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(f".*{_SUFFIX}.*.tmp"):
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _STALE_SECONDS:
                    leftover.unlink()

    def remove(self) -> None:
        """Remove what is kept, and the folder unless it holds something else."""
        for pattern in (f"*{_SUFFIX}", f".*{_SUFFIX}.*.tmp"):
            for file in self.folder.glob(pattern):
                with suppress(OSError):  # Windows keeps what a process has mapped
                    file.unlink()
        with suppress(OSError):
            self.folder.rmdir()

    def used_bytes(self) -> int:
        """How much the folder holds."""
        used = 0
        for entry in os.scandir(self.folder):
            with suppress(OSError):  # another process has finished it just now
                used += entry.stat().st_size
        return used

    def _no_room_for(self, size: int) -> str:
        if self.used_bytes() + size > self.limit_bytes:
            return "the limit is reached"
        if shutil.disk_usage(self.folder).free - size < _LEFT_FREE:
            return (
                f"less than {_LEFT_FREE / 2**30:g} GiB would be left on the disk of {self.folder}"
            )
        return ""

    def _file(self, path: str) -> Path | None:
        """Where the video at `path` is kept, once it is; None for what is no video file."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        if not os.path.isfile(path):
            return None
        known_by = (
            _VERSION,
            os.path.abspath(path),
            found.st_size,
            found.st_mtime_ns,
            self.backend,
            self.short_side,
        )
        digest = hashlib.sha256(repr(known_by).encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / f"{digest[:32]}{_SUFFIX}"
