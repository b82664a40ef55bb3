"""`strips.npz` beside the scores of a test: a small picture of each video that could be read."""

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uniformer_video.files import atomic_write
from uniformer_video.words import one_line

log = logging.getLogger(__name__)

STRIPS_FILE = "strips.npz"


@dataclass(frozen=True)
class Strips:
    """A JPEG file a video, four frames side by side, or an image, in the order of the record's "videos".

    Of pictures whose pixels have classes it is what `pixel_strips.pixel_strip` gives.

    jpegs: the bytes of all of them, uint8. offsets: int64 `[N + 1]`; those of video i are
    `jpegs[offsets[i]:offsets[i + 1]]`, none for a video that has no strip.
    """

    jpegs: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, found: Mapping[int, bytes], num_videos: int) -> "Strips":
        """From {place of a video: JPEG file}."""
        parts = [found.get(place, b"") for place in range(num_videos)]
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return cls(np.frombuffer(b"".join(parts), np.uint8), np.concatenate([[0], ends]))

    @classmethod
    def load(cls, folder: Path | str, num_videos: int) -> "Strips":
        """Those in a folder of results; none of any video where there is no such file, and, with a warning,
        where it is damaged or of another test.
        """
        path = Path(folder) / STRIPS_FILE
        try:
            with np.load(path) as file:
                strips = cls(file["jpegs"], file["offsets"])
            strips._check(num_videos)
            return strips
        except FileNotFoundError:
            pass
        except Exception as error:  # on damaged files, NumPy and zipfile raise whatever they meet
            log.warning(
                "No frames are shown, %s cannot be read: %s; test again for new ones",
                path,
                one_line(error),
            )
        return cls.of({}, num_videos)

    def _check(self, num_videos: int) -> None:
        if len(self.offsets) != num_videos + 1:
            raise ValueError(f"it is of {len(self.offsets) - 1} videos, the test of {num_videos}")
        if (
            (self.jpegs.dtype, self.jpegs.ndim) != (np.uint8, 1)
            or self.offsets[0] != 0
            or self.offsets[-1] != len(self.jpegs)
            or (np.diff(self.offsets) < 0).any()
        ):
            raise ValueError("its offsets do not fit its pictures")

    def save(self, folder: Path | str) -> None:
        """Write them into a folder, or remove those of an earlier test where there are none."""
        path = Path(folder) / STRIPS_FILE
        if not len(self.jpegs):
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez(file, jpegs=self.jpegs, offsets=self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, place: int) -> bytes:
        """The JPEG file of a video, empty if it has none."""
        return self.jpegs[self.offsets[place] : self.offsets[place + 1]].tobytes()

    def uri(self, place: int) -> str:
        """The same as a data URI, "" if it has none."""
        return jpeg_uri(self[place])


def jpeg_uri(jpeg: bytes) -> str:
    """A JPEG file as a data URI, "" of none."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}" if jpeg else ""


def join_strips(parts: Sequence[Strips], order: Sequence[Sequence[int]]) -> Strips:
    """The strips of several tests as those of all their videos; order: where those of each stand there."""
    found = {
        place: strips[own]
        for strips, places in zip(parts, order, strict=True)
        for own, place in enumerate(places)
    }
    return Strips.of(found, len(found))
