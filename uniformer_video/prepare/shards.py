"""Videos in tar files of even size, in the layout of WebDataset, with an index to seek by.

A video is two members: `KEY.mp4` (or as its file ends) and `KEY.json`, `{"label": 3, "name": ...}`. KEY
is its place in the list. The same list and files give the same bytes.
"""

import io
import json
import os
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.errors import DataError
from uniformer_video.files import atomic_write
from uniformer_video.prepare.folders import claimed
from uniformer_video.prepare.index import INDEX_FILE, ShardEntry, write_index
from uniformer_video.prepare.jobs import run_jobs
from uniformer_video.prepare.summary import Summary

_SHARD = re.compile(r"shard-\d{6}\.tar")
_PADDING = 4 * tarfile.BLOCKSIZE  # of a tar, about, for each video


@dataclass(frozen=True)
class Member:
    """A video to be packed: its key, file, size in bytes, label, and name in the list."""

    key: str
    path: str
    length: int
    label: int
    name: str

    @property
    def video_name(self):
        """Its name in the shard."""
        return self.key + Path(self.path).suffix.lower()

    @property
    def note_name(self):
        """The name of the json beside it."""
        return f"{self.key}.json"

    @property
    def note(self):
        """The bytes of the json beside it."""
        return json.dumps({"label": self.label, "name": self.name}).encode()


def make_shards(
    list_file, out, shard_mb=500, prefix="", separator="auto", workers=0, progress=None
):
    """Pack the videos of a `path,label` list into shards of about `shard_mb` million bytes in `out`.

    Finished shards are kept when they hold what they should. `index.csv` appears when all are there;
    `failed.csv` names videos that cannot be read, which are left out, and shards that failed. Returns a
    `Summary` that counts shards and calls `progress`.
    """
    from uniformer_video.data.records import read_csv

    members, unreadable = _members(read_csv(list_file, prefix, separator))
    out = Path(out)
    plan = _plan(members, shard_mb * 1_000_000)
    jobs = [(out / f"shard-{number:06d}.tar", part) for number, part in enumerate(plan)]
    settings = {"command": "shards", "list": Path(list_file).name, "shard_mb": shard_mb}
    with claimed(out, settings, [path for path, _ in jobs]):
        _refuse_others(out, {path.name for path, _ in jobs})
        summary = Summary(len(jobs), progress=progress)
        entries = {}

        def collect(outcome):
            made, offsets = outcome.result or (None, None)
            entries[outcome.task[0]] = offsets
            summary.add(outcome, kind=lambda _: "packed" if made else "kept")

        (out / INDEX_FILE).unlink(missing_ok=True)
        with summary.reported(out):
            run_jobs(make_shard, jobs, collect, workers)
            summary.failed += unreadable
        if all(entries[path] for path, _ in jobs):
            write_index(out, [entry for path, _ in jobs for entry in entries[path]])
    return summary


def make_shard(job):
    """`job` is (the tar to write, its members). Returns (was it made now, their `ShardEntry`s)."""
    path, members = job
    if path.is_file() and (entries := _verified(path, members)):
        return False, entries
    with atomic_write(path) as file, tarfile.open(fileobj=file, mode="w") as tar:
        for member in members:
            _add(tar, member.video_name, _read(member))
            _add(tar, member.note_name, member.note)
    entries = _verified(path, members)
    if not entries:
        raise DataError(f"{path} does not hold what was written to it; check the disk")
    return True, entries


def _members(records):
    """The `Member`s that can be read, and (path, reason) of the others."""
    members, unreadable = [], []
    for place, record in enumerate(records):
        if record.segment != (record.path, 0, None) or record.weight != 1:
            raise DataError(
                f"{record.source}: shards hold whole videos without weights; cut the segments out first"
            )
        if os.path.isfile(record.path) and os.access(record.path, os.R_OK):
            length = os.path.getsize(record.path)
            key = f"{place:08d}"
            members.append(Member(key, record.path, length, record.label, record.name))
        else:
            there = os.path.lexists(record.path)
            reason = "is not a file that can be read" if there else "does not exist"
            unreadable.append((record.path, f"{reason} ({record.source})"))
    if not members:
        raise DataError(
            f"none of the {len(records)} listed videos can be read; the first is {unreadable[0][0]}; "
            "--prefix is the folder that the paths start from"
        )
    return members, unreadable


def _plan(members, shard_bytes):
    """The members of each shard, in order: as many as fit, and at least one."""
    shards, room = [], 0
    for member in members:
        size = member.length + _PADDING
        if size > room or not shards:
            shards.append([])
            room = shard_bytes
        shards[-1].append(member)
        room -= size
    return shards


def _refuse_others(out, names):
    """Shards beyond the plan are of another list; with a new index they would only mislead."""
    others = sorted(n for n in os.listdir(out) if _SHARD.fullmatch(n) and n not in names)
    if others:
        raise DataError(
            f"{out} holds {others[0]}, which is none of the {len(names)} shards of this list; delete "
            "the folder, or choose another --out"
        )


def _add(tar, name, data):
    """Owner, time and mode are left at their fixed defaults, so that equal shards are equal files."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _read(member):
    data = Path(member.path).read_bytes()
    if len(data) != member.length:
        raise DataError(
            f"{member.path} changes: it had {member.length} bytes, now {len(data)}; run again when it "
            "is complete"
        )
    return data


def _verified(path, members):
    """The entries of a shard by its own headers; None unless it holds just these members."""
    wanted = [
        (name, size, member)
        for member in members
        for name, size in (
            (member.video_name, member.length),
            (member.note_name, len(member.note)),
        )
    ]
    try:
        with tarfile.open(path, "r:") as tar:
            found = tar.getmembers()
            if [(info.name, info.size) for info in found] != [item[:2] for item in wanted]:
                return None
            notes = [tar.extractfile(info).read() for info in found[1::2]]
    except tarfile.TarError:
        return None
    if notes != [member.note for member in members]:
        return None
    return [
        ShardEntry(member.key, path.name, info.offset_data, info.size, member.label, member.name)
        for member, info in zip(members, found[::2], strict=True)
    ]
