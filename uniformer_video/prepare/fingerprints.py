"""What a video shows, as difference hashes of 32 of its frames, and the file that keeps them.

A difference hash (dHash) takes the picture in 9x8 cells of grey and, in each row, the differences of
neighbouring cells: 64 of them, whose signs are the bits of the hash. The differences are kept and not their
signs alone, which are alike in all that was filmed in one place, and chance where a picture is plain: see
`matching.py`.
"""

import base64
import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.decoders import PICTURES
from uniformer_video.data.decoding.source import is_member
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.loading.dataset import timeline_of
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.storage.address import is_address
from uniformer_video.storage.members import member_of

FRAMES = 32  # of a video, evenly spaced in time
BITS = 64  # of the hash of a frame
# Every fourth of the frames: the 8 that are compared with the 32 of another video.
COMPARED = slice(2, None, 4)
PLAIN = 6  # grey levels, of 255: what coding may change
_MOST = 127  # grey levels, as an int8 holds them
_LEAST_CLEAR = 8  # differences of more than `PLAIN`, for a frame to count
_LEAST_COUNTED = 4  # of the 8 frames
_CELLS = (9, 8)  # width, height
_SHORT_SIDE = 64  # pixels, to decode at: enough for the cells, and quick
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_VERSION = 1  # raise it when the same video gives other numbers


def fingerprint(record: VideoRecord) -> np.ndarray:
    """The differences of 32 frames of a record's segment: int8 `[32, 64]`, in grey levels.

    A video with fewer frames repeats some, and an image its one. Raises `DecodeError` for one that cannot be
    read, or has no frame there.
    """
    backend = PICTURES if record.medium == IMAGE.name else "auto"
    with open_video(record.path, backend, num_frames=record.num_frames) as video:
        frames = timeline_of(video, ClipSampling(1), record.path, record.start, record.end)
        times = frames if video.times is None else np.asarray(video.times)[frames]
        pixels = video.frames(frames[_evenly_spaced(times)], _SHORT_SIDE)
    return np.stack([_differences(picture) for picture in pixels])


def _evenly_spaced(times: np.ndarray) -> np.ndarray:
    """Which frame is shown in the middle of each of 32 equal parts: int64 `[32]`.

    By time and not by number: a copy at a constant frame rate shows the same as the recording of a phone.
    """
    last = times[-1] + (times[-1] - times[0]) / max(len(times) - 1, 1)
    middles = times[0] + (last - times[0]) * (np.arange(FRAMES) + 0.5) / FRAMES
    return np.searchsorted(times, middles, side="right").clip(1) - 1


def _differences(picture: np.ndarray) -> np.ndarray:
    """uint8 `[H, W, 3]` -> int8 `[64]`: each cell less its neighbour to the right, row by row."""
    cells = np.asarray(Image.fromarray(picture @ _LUMA).resize(_CELLS, Image.Resampling.BOX))
    return np.rint(cells[:, :-1] - cells[:, 1:]).clip(-_MOST, _MOST).astype(np.int8).ravel()


def frames_that_count(fingerprints: np.ndarray) -> np.ndarray:
    """int8 `[..., 64]` -> bool `[...]`: False for frames of one colour, or nearly.

    One that counts has at least 8 clear differences, and so is more than 6 bits away from a plain one.
    """
    return (np.abs(fingerprints) > PLAIN).sum(-1) >= _LEAST_CLEAR


def is_comparable(fingerprints: np.ndarray) -> np.ndarray:
    """int8 `[..., 32, 64]` -> bool `[...]`: whether half or more of the 8 frames count."""
    return frames_that_count(fingerprints[..., COMPARED, :]).sum(-1) >= _LEAST_COUNTED


def cache_key(record: VideoRecord) -> str | None:
    """What tells footage from other footage, and from what its file was before; None where there is none."""
    path = record.path if is_member(record.path) else os.path.abspath(record.path)
    try:
        stamp = _stamp(path)
    except OSError:
        return None
    return json.dumps([_VERSION, path, record.start, record.end, record.num_frames, *stamp])


def _stamp(path: str) -> list[int]:
    """Numbers that are other ones when a video was replaced: size and time of change, mostly."""
    if is_member(path) and (member := member_of(path)):  # the text names place and length in it
        return [] if is_address(member.shard) else [os.stat(member.shard).st_mtime_ns]
    if os.path.isfile(path):
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns]
    folder = path if os.path.isdir(path) else os.path.dirname(path)
    pictures = [entry.stat() for entry in os.scandir(folder) if entry.is_file()]
    times = [status.st_mtime_ns for status in pictures]
    return [len(pictures), sum(status.st_size for status in pictures), max(times, default=0)]


def read_cache(path: str | os.PathLike, wanted: Iterable[str]) -> dict[str, np.ndarray]:
    """Those fingerprints of the file that have the keys `wanted`; what a killed run left half is skipped."""
    keys, found = set(wanted), {}
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        for line in file:
            key, _, text = line.decode("ascii", "replace").rstrip("\n").partition("\t")
            if key in keys:
                with contextlib.suppress(ValueError, zlib.error):
                    data = zlib.decompress(base64.b64decode(text, validate=True))
                    found[key] = np.frombuffer(data, np.int8).reshape(FRAMES, BITS)
    return found


@contextlib.contextmanager
def open_cache(path: str | os.PathLike) -> Iterator[Callable[[str, np.ndarray], None]]:
    """A function that adds (key, fingerprint) to the file at once, whole lines only."""
    with open(path, "ab+", buffering=0) as file:
        if size := file.seek(0, os.SEEK_END):
            file.seek(size - 1)
            if file.read(1) != b"\n":  # the run before was killed within a line
                file.write(b"\n")

        def add(key: str, numbers: np.ndarray) -> None:
            text = base64.b64encode(zlib.compress(numbers.tobytes()))
            file.write(key.encode("ascii") + b"\t" + text + b"\n")

        yield add
