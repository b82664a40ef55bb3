"""Videos, or images, in tar files of even size, in the layout of WebDataset, with an index to seek by.

A video is two members: `KEY.mp4` (or as its file ends) and `KEY.json`, `{"label": 3, "name": ...}`, with
a list of labels where there are several or none. KEY is its place in the list. A file of which the list
has several segments is packed once; its json tells the first, and under "segments" all of them. The
same list and files give the same bytes.
"""

import io
import json
import logging
import os
import re
import tarfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniformer_video.data.decoding import names_frames
from uniformer_video.data.decoding.frame_names import any_frame, is_frame_folder
from uniformer_video.data.lists.shard_index import INDEX_FILE, ShardEntry, index_table
from uniformer_video.errors import DataError
from uniformer_video.files import atomic_write
from uniformer_video.prepare.folders import claim_folder, write_table
from uniformer_video.prepare.jobs import Outcome, run_jobs
from uniformer_video.prepare.summary import Summary

if TYPE_CHECKING:
    from uniformer_video.data.lists.records import VideoRecord

log = logging.getLogger(__name__)

_SHARD = re.compile(r"shard-\d{6}\.tar")
_PADDING = 4 * tarfile.BLOCKSIZE  # of a tar, about, for each video


@dataclass(frozen=True)
class PackedFile:
    """A file to be packed: its key, its size in bytes, and the `VideoRecord`s of the list that show it."""

    key: str
    length: int
    records: "tuple[VideoRecord, ...]"

    @property
    def path(self) -> str:
        """Where the file is."""
        return self.records[0].path

    @property
    def video_name(self) -> str:
        """Its name in the shard."""
        return self.key + Path(self.path).suffix.lower()

    @property
    def note_name(self) -> str:
        """The name of the json beside it."""
        return f"{self.key}.json"

    @property
    def note(self) -> bytes:
        """The bytes of the json beside it."""
        note = _describe(self.records[0])
        if len(self.records) > 1 or len(_describe_segment(self.records[0])) > len(note):
            note["segments"] = [_describe_segment(record) for record in self.records]
        return json.dumps(note).encode()


def _describe(record: "VideoRecord") -> dict[str, Any]:
    single = len(record.labels) == 1
    return {"label": record.label if single else list(record.labels), "name": record.name}


def _describe_segment(record: "VideoRecord") -> dict[str, Any]:
    """The description of a record with what is not the default of segment, weight and group."""
    further = {
        "start": (record.start, 0),
        "end": (record.end, None),
        "weight": (record.weight, 1),
        "group": (record.group, ""),
    }
    return _describe(record) | {
        key: value for key, (value, default) in further.items() if value != default
    }


def make_shards(
    list_file: Path | str,
    out: Path | str,
    shard_mb: int = 500,
    prefix: str = "",
    separator: str = "auto",
    workers: int = 0,
    progress: Callable[[int, int, int], None] | None = None,
) -> Summary:
    """Pack the files of a `path,label` list into shards of about `shard_mb` million bytes in `out`.

    `list_file` may also be a folder with one sub-folder of images a class; the class is called as that.

    Finished shards are kept when they hold what they should. `index.csv` appears when all are there;
    `failed.csv` names videos that cannot be read, which are left out, and shards that failed. Returns a
    `Summary` that counts shards and calls `progress`.
    """
    from uniformer_video.data.lists.labels import check_one_kind

    records = _records_to_pack(list_file, prefix, separator)
    check_one_kind(records)
    files, unreadable = _readable_files(records)
    out = Path(out)
    shards = _files_by_shard(files, shard_mb * 1_000_000)
    jobs = [(out / f"shard-{number:06d}.tar", part) for number, part in enumerate(shards)]
    settings = {"command": "shards", "list": Path(list_file).name, "shard_mb": shard_mb}
    with claim_folder(out, settings, [path for path, _ in jobs]):
        _refuse_others(out, {path.name for path, _ in jobs})
        summary = Summary(len(jobs), progress=progress)
        offsets: dict[Path, list[int]] = {}

        def collect(
            outcome: Outcome[tuple[Path, list[PackedFile]], tuple[bool, list[int]]],
        ) -> None:
            made, offsets[outcome.task[0]] = outcome.result or (False, [])
            summary.add(outcome, kind=lambda _: "packed" if made else "kept")

        (out / INDEX_FILE).unlink(missing_ok=True)
        with summary.write_failures(out):
            run_jobs(make_shard, jobs, collect, workers)
            summary.failed += unreadable
        if all(offsets[path] for path, _ in jobs):
            places = {
                file.path: (file.key, path.name, offset, file.length)
                for path, part in jobs
                for file, offset in zip(part, offsets[path], strict=True)
            }
            write_table(out / INDEX_FILE, *index_table(_entries(records, places)))
    return summary


def _records_to_pack(source: Path | str, prefix: str, separator: str) -> "Sequence[VideoRecord]":
    """The `VideoRecord`s of a list, or of a folder of images by class."""
    from uniformer_video.data.lists.class_folders import class_folders, read_folder
    from uniformer_video.data.lists.media import IMAGE
    from uniformer_video.data.lists.records import read_csv
    from uniformer_video.data.lists.text import is_class_name, whole_number

    if not os.path.isdir(source):
        return read_csv(source, prefix, separator)
    folders = class_folders(source)
    if parts := [name for name in ("train", "val", "test") if name in folders]:
        raise DataError(
            f"{source} holds the parts {', '.join(parts)}, and shards are made of one at a time; give "
            f"{Path(source) / parts[0]}"
        )
    records, _, notes = read_folder(source, medium=IMAGE)
    for note in notes:
        log.warning(note)
    numbers = {name: whole_number(name) for name in folders}
    numbered = None not in numbers.values()
    for name in () if numbered else folders:
        if not is_class_name(name) or set(name) & set(";|"):
            raise DataError(
                f"{source}: the folder {name!r} cannot stand in a list as the name of a class; rename it"
            )
    return [
        replace(record, labels=(numbers[folder] if numbered else folder,))
        for record in records
        for folder in [Path(record.name).parts[0]]
    ]


def make_shard(job: tuple[Path, Sequence[PackedFile]]) -> tuple[bool, list[int]]:
    """`job` is (the tar to write, its files). Returns (was it made now, their offsets in bytes)."""
    path, files = job
    if path.is_file() and (offsets := _read_offsets(path, files)):
        return False, offsets
    with atomic_write(path) as output, tarfile.open(fileobj=output, mode="w") as tar:
        for file in files:
            _add(tar, file.video_name, _read(file))
            _add(tar, file.note_name, file.note)
    offsets = _read_offsets(path, files)
    if not offsets:
        raise DataError(f"{path} does not hold what was written to it; check the disk")
    return True, offsets


def _entries(
    records: "Iterable[VideoRecord]", places: Mapping[str, tuple[str, str, int, int]]
) -> list[ShardEntry]:
    """The `ShardEntry`s of the records whose file was packed: key, shard, offset and length by path."""
    return [
        ShardEntry(
            *places[record.path],
            record.labels,
            record.name,
            record.start,
            record.end,
            record.weight,
            group=record.group,
        )
        for record in records
        if record.path in places
    ]


def _readable_files(
    records: "Sequence[VideoRecord]",
) -> tuple[list[PackedFile], list[tuple[str, str]]]:
    """The `PackedFile`s that can be read, and (path, reason) of the other files."""
    known: dict[str, tuple[str, list[VideoRecord]]] = {}
    for place, record in enumerate(records):
        known.setdefault(record.path, (f"{place:08d}", []))[1].append(record)
    files, unreadable = [], []
    for path, (key, shown) in known.items():
        if os.path.isfile(path) and os.access(path, os.R_OK):
            files.append(PackedFile(key, os.path.getsize(path), tuple(shown)))
        else:
            reason = _why_unreadable(path)
            unreadable.append((path, f"{reason} ({shown[0].source})"))
    if not files:
        raise DataError(
            f"none of the {len(records)} listed files can be packed; the first, {unreadable[0][0]}, "
            f"{unreadable[0][1]}; --prefix is the folder that the paths start from"
        )
    return files, unreadable


def _why_unreadable(path: str) -> str:
    if is_frame_folder(path) or (names_frames(path) and any_frame(path)):
        return "is a folder of frames, and shards hold video files; train from the list as it is"
    return "is not a file that can be read" if os.path.lexists(path) else "does not exist"


def _files_by_shard(files: Iterable[PackedFile], shard_bytes: int) -> list[list[PackedFile]]:
    """The files of each shard, in order: as many as fit, and at least one."""
    shards: list[list[PackedFile]] = []
    room = 0
    for file in files:
        size = file.length + _PADDING
        if size > room or not shards:
            shards.append([])
            room = shard_bytes
        shards[-1].append(file)
        room -= size
    return shards


def _refuse_others(out: Path, names: Collection[str]) -> None:
    """Shards that this list does not fill are of another one; with a new index they would only mislead."""
    others = sorted(n for n in os.listdir(out) if _SHARD.fullmatch(n) and n not in names)
    if others:
        raise DataError(
            f"{out} holds {others[0]}, which is none of the {len(names)} shards of this list; delete "
            "the folder, or choose another --out"
        )


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Owner, time and mode are left at their fixed defaults, so that equal shards are equal files."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _read(file: PackedFile) -> bytes:
    data = Path(file.path).read_bytes()
    if len(data) != file.length:
        raise DataError(
            f"{file.path} changes: it had {file.length} bytes, now {len(data)}; run again when it "
            "is complete"
        )
    return data


def _read_offsets(path: Path, files: Sequence[PackedFile]) -> list[int] | None:
    """The offsets of the videos by the shard's own headers; None unless it holds just these files."""
    wanted = [
        (name, size, file)
        for file in files
        for name, size in (
            (file.video_name, file.length),
            (file.note_name, len(file.note)),
        )
    ]
    try:
        with tarfile.open(path, "r:") as tar:
            found = tar.getmembers()
            if [(info.name, info.size) for info in found] != [item[:2] for item in wanted]:
                return None
            files_of_notes = [tar.extractfile(info) for info in found[1::2]]
            notes = [note.read() for note in files_of_notes if note]
    except tarfile.TarError:
        return None
    if notes != [file.note for file in files]:
        return None
    return [info.offset_data for info in found[::2]]
