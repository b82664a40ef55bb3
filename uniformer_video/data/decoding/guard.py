"""Where a decoder ends and a run begins: whatever is raised on one file is the fault of that file.

Decoders, and the libraries under them, raise errors of many kinds on odd files. Here all of them become
the `DecodeError` that makes one video broken, and what is no fault of a video passes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from uniformer_video.errors import DecodeError, UserError
from uniformer_video.storage.address import name_for_messages
from uniformer_video.words import one_line, system_reason

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self


class VideoReader(Protocol):
    """What the readers of all decoders have; see `uniformer_video.data.decoding`."""

    @property
    def num_frames(self) -> int:
        """How many frames there are."""

    @property
    def fps(self) -> float | None:
        """Frames a second; None = unknown."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as shown."""

    @property
    def times(self) -> "np.ndarray | None":
        """When each frame begins to show, float64 [num_frames] seconds from the first; None = unknown."""

    def frames(self, indices: "Sequence[int] | np.ndarray", short_side: int = 0) -> "np.ndarray":
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed."""

    def close(self) -> None:
        """Let go of the file."""


class WrongIndices(ValueError):
    """Frames were asked for that a video does not have: the caller's mistake, and not the video's."""


@contextmanager
def faults_of(path: str) -> Iterator[None]:
    """Raise a `DecodeError` that names the video at `path` in place of any error of the block.

    These pass: errors for the user, such as a library that is not installed; memory that is used up;
    indices of frames that the caller should not have asked for; interrupts.
    """
    try:
        yield
    except (UserError, WrongIndices):
        raise
    except Exception as error:
        by_number = getattr(error, "errno", None) is not None  # of the system, or of FFmpeg
        if isinstance(error, MemoryError) and not by_number:
            raise
        reason = system_reason(error) if by_number else f"{type(error).__name__}: {error}"
        name = name_for_messages(path)
        raise DecodeError(f"{name} cannot be decoded: {one_line(reason)[:200]}") from error


_AT_ONCE = 4  # frames that a reader without a pass of its own is asked for


class GuardedReader:
    """A reader of any decoder, whose every failure is a `DecodeError` that names the video.

    Made from the function that opens a path; otherwise as the reader is.
    """

    def __init__(self, path: str, open_reader: Callable[[str], VideoReader]) -> None:
        self._path = path
        with faults_of(path):
            self._reader = open_reader(path)

    def frames(self, indices: "Sequence[int] | np.ndarray", short_side: int = 0) -> "np.ndarray":
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed."""
        with faults_of(self._path):
            return self._reader.frames(indices, short_side)

    def map_frames(
        self,
        indices: "Sequence[int] | np.ndarray",
        change: "Callable[[np.ndarray], np.ndarray]",
        short_side: int = 0,
    ) -> "np.ndarray":
        """What `change` makes of each frame, uint8 `[H, W, 3]`: `[N, ...]`, else as `frames`.

        Few of the frames themselves are in memory at once, so that large pictures take little of it.
        """
        import numpy as np

        with faults_of(self._path):
            if in_one_pass := getattr(self._reader, "map_frames", None):
                return in_one_pass(indices, change, short_side)
            wanted, places = np.unique(indices, return_inverse=True)
            changed = [
                change(np.ascontiguousarray(frame))
                for start in range(0, len(wanted), _AT_ONCE)
                for frame in self._reader.frames(wanted[start : start + _AT_ONCE], short_side)
            ]
            return np.stack(changed)[places]

    @property
    def num_frames(self) -> int:
        """How many frames there are."""
        with faults_of(self._path):
            return self._reader.num_frames

    @property
    def fps(self) -> float | None:
        """Frames a second; None = unknown."""
        with faults_of(self._path):
            return self._reader.fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as shown."""
        with faults_of(self._path):
            return self._reader.size

    @property
    def times(self) -> "np.ndarray | None":
        """When each frame begins to show, float64 [num_frames] seconds from the first; None = unknown."""
        with faults_of(self._path):
            return self._reader.times

    def __len__(self) -> int:
        """How many frames there are."""
        return self.num_frames

    def close(self) -> None:
        """Let go of the file; the reader is of no use after it."""
        with faults_of(self._path):
            self._reader.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        """What a reader knows beside that; it takes no decoding."""
        if name == "_reader":  # where opening failed
            raise AttributeError(name)
        return getattr(self._reader, name)
