"""The same footage in several lists, or twice in one, found by what videos show."""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uniformer_video.data.decoding.source import is_member
from uniformer_video.data.lists.folders import find_videos
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.lists.shard_index import shard_folder
from uniformer_video.data.lists.table import segment_name
from uniformer_video.errors import DataError
from uniformer_video.prepare.check import records_to_check, shard_folders_in
from uniformer_video.prepare.fingerprints import (
    cache_key,
    fingerprint,
    is_comparable,
    open_cache,
    read_cache,
)
from uniformer_video.prepare.folders import write_table
from uniformer_video.prepare.jobs import Outcome, run_jobs
from uniformer_video.prepare.matching import close_pairs
from uniformer_video.storage.address import name_for_messages

OVERLAP_FILE = "overlap.csv"
NOT_COMPARED_FILE = "not_compared.csv"
CACHE_FILE = "fingerprints.tsv"
_HEADER = ("path", "list", "other path", "other list", "mean distance")
_Segment = tuple[str, float, float | None]  # path, start, end
_Side = tuple[_Segment, str]  # with its list
_Progress = Callable[[int, int, int], None]
_PARTS = ("train", "val", "test")  # folders that are lists of their own
_TOO_PLAIN = "shows too little to compare: most of its frames are of one colour, or nearly"


@dataclass
class Overlap:
    """What `find_overlap` found.

    videos: how many there are, each once. between: rows of the table, on the same footage in two lists;
    within: on a video that shows what another of its list does, one row each. unreadable, plain: (path, list,
    reason) of those that could not be compared. hashed, known: fingerprints made now and before; seconds: for
    those made now, and for comparing.
    """

    videos: int
    between: list[tuple] = field(default_factory=list)
    within: list[tuple] = field(default_factory=list)
    unreadable: list[tuple] = field(default_factory=list)
    plain: list[tuple] = field(default_factory=list)
    hashed: int = 0
    known: int = 0
    hash_seconds: float = 0.0
    compare_seconds: float = 0.0


def lists_to_compare(
    sources: Iterable[str],
    prefix: str = "",
    template: str = "",
    separator: str = "auto",
    medium: str = "",
) -> dict[str, list[VideoRecord]]:
    """List -> its videos, for each list or folder of `sources` that `records_to_check` takes.

    A folder that holds train and val, or test, stands for these: each is a list of its own, of videos or of
    shards.
    """
    lists: dict[str, list[VideoRecord]] = {}
    for source in sources:
        parts = _parts(source)
        lists |= {os.path.join(source, part): [] for part in parts}  # in their usual order
        shards = shard_folders_in(source) if parts else []
        lists |= {folder: list(records_to_check(folder, medium=medium)) for folder in shards}
        if shards and not find_videos(source).videos:
            continue
        for record in records_to_check(source, prefix, template, separator, medium):
            part = Path(record.name).parts[0] if parts else ""
            name = os.path.join(source, part) if part in parts else str(source)
            lists.setdefault(name, []).append(record)
    return lists


def _parts(source: str) -> list[str]:
    if not os.path.isdir(source) or shard_folder(source):
        return []
    found = [part for part in _PARTS if os.path.isdir(os.path.join(source, part))]
    return found if "train" in found and len(found) > 1 else []


def find_overlap(
    lists: Mapping[str, list[VideoRecord]],
    out: str | os.PathLike,
    workers: int = 0,
    timeout: float = 300,
    progress: _Progress | None = None,
) -> Overlap:
    """Look for the same footage in the `lists`, name -> videos; write what is found into the folder `out`.

    `overlap.csv` has the pairs, those between two lists first; `not_compared.csv` the videos that cannot be
    read within `timeout` seconds, or show too little; `fingerprints.tsv` keeps what was read of each video.
    `progress(done, all, failed)` is called with numbers of videos, read and then compared.
    """
    footage: dict[_Segment, VideoRecord] = {}
    members: dict[_Segment, dict[str, None]] = {}  # the lists that it stands in
    for name, records in lists.items():
        for record in records:
            footage.setdefault(_segment(record), record)
            members.setdefault(_segment(record), {})[name] = None
    found = Overlap(len(footage))
    out = Path(out)
    with _say_where_to_write(out):
        for file in (OVERLAP_FILE, NOT_COMPARED_FILE):  # of another call
            (out / file).unlink(missing_ok=True)
        fingerprints = _fingerprints(found, footage, members, out, workers, timeout, progress)
    _compare(found, fingerprints, footage, members, list(lists), workers, progress)
    write_table(out / OVERLAP_FILE, _HEADER, [*found.between, *found.within])
    rows = [*found.unreadable, *found.plain]
    write_table(out / NOT_COMPARED_FILE, ("path", "list", "reason"), rows)
    return found


def _segment(record: VideoRecord) -> _Segment:
    """What tells it from other footage, by whichever list it is named."""
    path, start, end = record.segment
    return path if is_member(path) else os.path.abspath(path), start, end


@contextlib.contextmanager
def _say_where_to_write(out: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise DataError(
            f"cannot write into {out}: {error.strerror}; choose another --out"
        ) from None


def _fingerprints(
    found: Overlap,
    footage: Mapping[_Segment, VideoRecord],
    members: Mapping[_Segment, Iterable[str]],
    out: Path,
    workers: int,
    timeout: float,
    progress: _Progress | None,
) -> dict[_Segment, np.ndarray]:
    """Segment -> fingerprint, of the cache and of all that can be read; notes in `found` what was done."""
    begin = time.perf_counter()
    read = read_fingerprints(list(footage.values()), out / CACHE_FILE, workers, timeout, progress)
    for place, reason in read.unreadable.items():
        record = read.records[place]
        _note(found.unreadable, record, members[_segment(record)], reason)
    found.known, found.hashed = read.known, len(read.prints) - read.known
    found.hash_seconds = time.perf_counter() - begin
    found.unreadable.sort()
    return {_segment(read.records[place]): one for place, one in read.prints.items()}


@dataclass
class ReadFingerprints:
    """Fingerprints of `records`, by their places.

    prints: {place: int8 `[32, 64]`}. unreadable: {place: why it cannot be read}. known: how many of the
    prints a file held from before.
    """

    records: Sequence[VideoRecord]
    prints: dict[int, np.ndarray] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    known: int = 0


def read_fingerprints(
    records: Sequence[VideoRecord],
    cache: Path,
    workers: int = 0,
    timeout: float = 300,
    progress: _Progress | None = None,
) -> ReadFingerprints:
    """The fingerprints of records, each of another segment; the file `cache` gets those that it lacks.

    workers, timeout: as in `find_overlap`. `progress(done, all, failed)` is called with numbers of videos.
    """
    places = {_segment(record): place for place, record in enumerate(records)}
    keys = [cache_key(record) for record in records]
    known = read_cache(cache, filter(None, keys))
    found = ReadFingerprints(records)
    found.prints = {place: known[key] for place, key in enumerate(keys) if key in known}
    found.known = len(found.prints)
    left = [record for place, record in enumerate(records) if place not in found.prints]
    with open_cache(cache) as add:

        def collect(outcome: Outcome[VideoRecord, np.ndarray]) -> None:
            place = places[_segment(outcome.task)]
            if outcome.result is None:
                found.unreadable[place] = outcome.reason.removeprefix(f"{outcome.task.path} ")
            else:
                found.prints[place] = outcome.result
                if key := keys[place]:
                    add(key, outcome.result)
            if progress:
                done = len(found.prints) + len(found.unreadable)
                progress(done, len(records), len(found.unreadable))

        run_jobs(fingerprint, left, collect, workers, timeout)
    return found


def _compare(
    found: Overlap,
    fingerprints: Mapping[_Segment, np.ndarray],
    footage: Mapping[_Segment, VideoRecord],
    members: Mapping[_Segment, Collection[str]],
    names: Sequence[str],
    workers: int,
    progress: _Progress | None,
) -> None:
    """Fill `between`, `within` and `plain` of `found`."""
    begin = time.perf_counter()
    segments = []
    for segment in footage:  # in the order of the lists, whoever was read first
        if segment in fingerprints and is_comparable(fingerprints[segment]):
            segments.append(segment)
        elif segment in fingerprints:
            _note(found.plain, footage[segment], members[segment], _TOO_PLAIN)
    pairs, measured = np.empty((0, 2), int), np.empty(0)
    if segments:
        stacked = np.stack([fingerprints[segment] for segment in segments])
        failed = len(found.unreadable)

        def show(done: int, of: int) -> None:
            if progress:
                progress(done, of, failed)

        pairs, measured = close_pairs(stacked, workers, show)
    closest = np.argsort(measured, kind="stable")
    # One segment in two lists needs no look at what it shows.
    couples = [(segment, segment, 0.0) for segment in footage if len(members[segment]) > 1]
    couples += [(segments[pairs[i, 0]], segments[pairs[i, 1]], float(measured[i])) for i in closest]
    repeats = set()
    for first, second, distance in couples:
        for name in members[first]:
            for other in members[second]:
                if name != other:
                    row = _ordered((first, name), (second, other), names)
                    found.between.append((*_cells(row, footage), f"{distance:.2f}"))
                elif first != second and (second, name) not in repeats:
                    repeats.add((second, name))
                    row = [(first, name), (second, name)]
                    found.within.append((*_cells(row, footage), f"{distance:.2f}"))
    found.between = list(dict.fromkeys(found.between))  # one segment in two lists is met from both
    found.compare_seconds = time.perf_counter() - begin


def _ordered(one: _Side, other: _Side, names: Sequence[str]) -> list[_Side]:
    """The two, that of the list which was named first before the other."""
    return sorted((one, other), key=lambda side: names.index(side[1]))


def _cells(sides: Iterable[_Side], footage: Mapping[_Segment, VideoRecord]) -> list[str]:
    return [cell for segment, name in sides for cell in (_title(footage[segment]), name)]


def _note(rows: list[tuple], record: VideoRecord, lists: Iterable[str], reason: str) -> None:
    rows.append((_title(record), " and ".join(lists), reason))


def _title(record: VideoRecord) -> str:
    """The path, and the seconds where a segment counts."""
    return segment_name(name_for_messages(record.path), record.start, record.end)
