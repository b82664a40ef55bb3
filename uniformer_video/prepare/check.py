"""Every frame of every video, or every image, decoded, to find broken ones before a training meets them."""

import fnmatch
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import av

from uniformer_video.data.decoding import names_frames, open_video
from uniformer_video.data.decoding.decoders import find_decoder
from uniformer_video.data.decoding.guard import GuardedReader
from uniformer_video.data.decoding.source import is_member
from uniformer_video.data.lists.folders import (
    find_videos,
    holds_images,
    is_video,
    list_videos,
    walk,
)
from uniformer_video.data.lists.groups import listed_name
from uniformer_video.data.lists.masked import (
    is_mask_list,
    note_without_masks,
    pairs_below,
    read_mask_list,
)
from uniformer_video.data.lists.media import IMAGE, MEDIA, VIDEO, Medium, is_listed_file
from uniformer_video.data.lists.records import VideoRecord, read_csv, read_frame_list
from uniformer_video.data.lists.shard_index import INDEX_FILE, shard_folder
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.prepare.folders import write_table
from uniformer_video.prepare.jobs import Outcome, run_jobs
from uniformer_video.prepare.stream import decode_all, open_stream
from uniformer_video.storage.address import check_no_secret
from uniformer_video.words import plural

log = logging.getLogger(__name__)
HEADER = ("path", "reason", "frames found", "frames declared")
_CHUNK_BYTES = 256_000_000  # of pixels at a time
# Headers may count a few more than there are, as for frames dropped while recording.
_MOSTLY = 0.95
Segments = tuple[tuple[float, float | None], ...]
VideoToCheck = tuple[str, int] | tuple[str, int, Segments]
Check = Callable[[Any], "Found"]


@dataclass(frozen=True)
class Found:
    """What is wrong with a video (empty: nothing), frames that decode, and frames by its header or list.

    `found` and `declared` are None where nothing tells. classes: that a mask shows, by their numbers.
    """

    reason: str
    found: int | None
    declared: int | None
    classes: tuple[int, ...] = ()


def videos_to_check(
    path: Path | str, prefix: str = "", template: str = "", separator: str = "auto"
) -> list[VideoToCheck]:
    """(path, frames that the list declares or 0) of the videos that `records_to_check` gives, each once.

    Where only parts of a video count, their (start, end) in seconds come third, a tuple of them.
    """
    return to_check(records_to_check(path, prefix, template, separator))


def records_to_check(
    path: Path | str,
    prefix: str = "",
    template: str = "",
    separator: str = "auto",
    medium: str = "",
) -> Sequence[VideoRecord]:
    """The `VideoRecord`s of a folder or a list, in its order.

    medium: "image" for one of images; "" = told by the names in a list or shards, of a folder by
    `holds_images`. A folder with an index of shards, also an address, stands for the videos in them, and so
    does the index. A folder or list of images with masks stands for both. With `template` the list is one of
    folders of frames, `folder num_frames label`. `path` may also name the frames of one video,
    `folder/img_{:05d}.jpg`.
    """
    from uniformer_video.data.lists.sharded import read_shards

    check_no_secret(str(path), "the address")
    if folder := shard_folder(path):
        return _of_medium(read_shards(folder), medium)
    if os.path.isdir(path) and medium != VIDEO.name:
        if pairs := pairs_below(Path(path)):
            records, notes = pairs
            for note in notes:
                log.warning(note)
            return records
        if note := note_without_masks(Path(path)):
            log.warning(note)
    if os.path.isdir(path):
        found = MEDIA[medium] if medium else _medium_of_folder(path)
        return [
            VideoRecord(str(Path(path) / video), str(video), (), str(path), medium=found.name)
            for video in _videos_in(path, found)
        ]
    if names_frames(str(path)) and not os.path.exists(path):
        return [VideoRecord(str(path), str(path), (), str(path))]
    if os.path.isfile(path) and is_listed_file(path):
        kind = VIDEO if is_video(path) else IMAGE
        raise DataError(f"{path} is {kind.one}; give its folder or a list")
    if template:
        return read_frame_list(path, template, prefix)
    if is_mask_list(path):
        return read_mask_list(path, prefix)
    return _of_medium(read_csv(path, prefix, separator), medium)


def _medium_of_folder(path: Path | str) -> Medium:
    """What a folder holds, by the names of its files, and by pictures that can be no frames."""
    found = find_videos(path)
    if holds_images(found):
        return IMAGE
    if images := sum(map(IMAGE.fits, found.skipped)) if found.videos else 0:
        log.warning(
            "%s holds videos and %s, which are not looked at; --images looks at these instead",
            path,
            plural(images, "picture"),
        )
    return VIDEO


def _of_medium(records: Sequence[VideoRecord], medium: str) -> list[VideoRecord]:
    """The records as those of `medium`; "": as images where all of them are by their names."""
    names = [listed_name(record) for record in records]
    are_images = all(IMAGE.fits(name) and not VIDEO.fits(name) for name in names)
    chosen = medium or (IMAGE if are_images else VIDEO).name
    return [replace(record, medium=chosen) for record in records]


def to_check(records: Iterable[VideoRecord]) -> list[VideoToCheck]:
    """What `videos_to_check` gives, of records."""
    segments: dict[tuple[str, int], list[tuple[float, float | None]]] = {}
    for record in records:
        own = segments.setdefault((record.path, record.num_frames), [])
        if record.start or record.end is not None:
            own.append((record.start, record.end))
    return [(*video, tuple(parts)) if parts else video for video, parts in segments.items()]


def _videos_in(folder: Path | str, medium: Medium) -> list[Path]:
    """As `list_videos`; where there are none but shards, says what to do with those."""
    try:
        return list_videos(folder, medium)
    except DataError:
        _refuse_shards(folder)
        raise


def shard_folders_in(folder: Path | str) -> list[str]:
    """The folders of shards in a folder, at any depth. Raises `DataError` for shards without an index."""
    indexed = []
    for part, names in walk(folder):
        place = Path(folder) / part
        if shard_folder(place):
            indexed.append(str(place))
        elif INDEX_FILE not in names and fnmatch.filter(names, "shard-*.tar"):
            raise DataError(
                f"{place} holds shards without {INDEX_FILE}; get it too, or make them again"
            ) from None
    return indexed


def _refuse_shards(folder: Path | str) -> None:
    if indexed := shard_folders_in(folder):
        raise DataError(
            f"{folder} holds folders of shards; name these instead: {' '.join(indexed)}"
        ) from None


def check_videos(
    videos: Iterable[tuple],
    out: Path | str,
    workers: int = 0,
    timeout: float = 300,
    strict: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
    backend: str = "auto",
    check: Check | None = None,
    look: Callable[[Found], object] = lambda found: None,
) -> tuple[int, list[tuple]]:
    """Decode what `videos_to_check` gives in parallel and write a table of the bad ones to the csv `out`.

    A video that takes more than `timeout` seconds counts as bad, with `strict` also one with damage that
    decoders hide. Returns (number checked, rows of the table). `progress(checked, all, bad)` is called
    with counts after each video. The table is written after an interrupt too. backend: a decoder, as
    `open_video` takes it; that of images for these. check: what looks at one of the videos, `check_video` as
    it comes; a video is then any tuple that begins with its path and the number of its frames. look: is given
    what was found of each.
    """
    videos = list(dict.fromkeys(videos))
    bad: list[tuple] = []
    checked = 0

    def collect(outcome: Outcome[tuple, Found]) -> None:
        nonlocal checked
        checked += 1
        path, declared, *_ = outcome.task
        video = outcome.result or Found(outcome.reason, None, declared or None)
        look(video)
        if video.reason:
            reason = video.reason.removeprefix(f"{path} ")
            bad.append((path, reason, *map(_cell, (video.found, video.declared))))
        if progress:
            progress(checked, len(videos), len(bad))

    _write(out, bad)  # hours of checking must not end at a folder that cannot be written
    try:
        run_jobs(
            check or partial(check_video, strict=strict, backend=backend),
            videos,
            collect,
            workers,
            timeout,
        )
    finally:
        bad.sort()
        _write(out, bad)
    return checked, bad


def check_video(video: VideoToCheck, strict: bool = False, backend: str = "auto") -> Found:
    """`video` is one of `videos_to_check`. Returns what was `Found`.

    Decoders fill small damage with what was there before; `strict` looks for that in a pass of its own.
    """
    path, listed, *segments = video
    in_file = is_member(path) or os.path.isfile(path)
    try:
        with open_video(path, backend, num_frames=listed) as reader:
            read_all(reader)
            empty = _empty_segment(reader, *segments)
            count = reader.num_frames
            declared = listed or reader.declared_frames
    except DecodeError as error:
        if find_decoder(backend).of_images:
            return Found(str(error), None, None)
        if listed or os.path.isdir(path) or (not in_file and names_frames(path)):
            return Found(str(error), None, listed or None)
        if not in_file:  # whoever opens a pipe waits
            return Found(str(error), 0, None)
        return Found(str(error), _frames_before_damage(path), _frames_by_header(path))
    if empty:
        return Found(empty, count, declared)
    if not in_file or find_decoder(backend).of_images:  # pictures
        return Found("", count, declared)
    # A cut off avi shows by this alone; other headers may count frames that are not to be shown.
    if "avi" in reader.formats and count < _MOSTLY * (declared or 0):
        return Found(f"is cut off: {count} of its {declared} frames are there", count, declared)
    if strict and (hidden := _damaged_frames(path)):
        return Found(f"has damage in {hidden} of its frames or more", count, declared)
    return Found("", count, declared)


def _empty_segment(reader: GuardedReader, segments: Segments = ()) -> str:
    """Why the first of the segments that has no frame has none; empty = all have."""
    for start, end in segments:
        try:
            ClipSampling(1).timeline(reader.num_frames, reader.fps, start, end, reader.times)
        except DataError as error:
            return str(error)
    return ""


def read_all(reader: GuardedReader) -> None:
    """Decode every frame of an open video as training does. Raises `DecodeError` where one does not come.

    In chunks as large as memory allows: each may have to start over from a key frame before it.
    """
    first = reader.frames([0])
    step = max(1, _CHUNK_BYTES // first.nbytes)
    for start in range(0, reader.num_frames, step):
        reader.frames(range(start, min(start + step, reader.num_frames)))


def _frames_before_damage(path: str) -> int:
    count = 0
    try:
        with open_stream(path) as (container, stream):
            for _ in decode_all(container, stream):
                count += 1
    except (DecodeError, av.FFmpegError, OSError):
        pass  # that is where it ends
    return count


def _damaged_frames(path: str) -> int:
    """How many frames the decoder itself marks as damaged; those that follow from them are not."""
    with open_stream(path) as (container, stream):
        return sum(frame.is_corrupt for frame in decode_all(container, stream))


def _frames_by_header(path: str) -> int | None:
    try:
        with open_stream(path) as (_, stream):
            return stream.frames or None
    except (DecodeError, av.FFmpegError, OSError):
        return None


def _cell(number: int | None) -> int | str:
    return "" if number is None else number


def _write(out: Path | str, rows: Iterable[tuple]) -> None:
    try:
        write_table(out, HEADER, rows)
    except OSError as error:
        raise DataError(f"cannot write {out}: {error.strerror}; choose another --out") from None
