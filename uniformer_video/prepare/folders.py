"""Folders that preparation writes its results to, locked for one run at a time."""

import contextlib
import csv
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from uniformer_video.data.lists.folders import list_videos
from uniformer_video.errors import DataError
from uniformer_video.files import write_text

SETTINGS_FILE = "prepared.json"
_SOURCE = "source"  # a setting
_PLACEHOLDER = re.compile(r"\{0?(?::0?\d*d)?\}")
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def planned_targets(
    videos: Iterable[Path], source: Path | str, out: Path | str, suffix: str
) -> dict[Path, Path]:
    """Video -> the path in `out` that it becomes: its own, with `suffix` for that of the video.

    Raises `DataError` where two videos would become one, and where results would lie among the
    videos of `source`, which a second run would take for videos of its own.
    """
    source, out = Path(source), Path(out)
    inside = os.path.realpath(source)
    real_out = os.path.realpath(out)
    targets: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    for video in videos:
        target = video.with_suffix(suffix) if suffix else video.with_suffix("")
        if target in owners:
            raise DataError(
                f"{source / owners[target]} and {source / video} would both become {out / target}; "
                "rename one of them"
            )
        if f"{os.path.join(real_out, target)}/".startswith(f"{inside}/"):
            raise DataError(
                f"{out / target} would lie inside {source}, among the videos that are read; choose "
                "another --out"
            )
        owners[target] = video
        targets[video] = out / target
    return targets


def video_files(source: Path | str, remedy: str) -> tuple[list[Path], list[tuple[str, str]]]:
    """(the video files of a folder, (path, reason) of its folders of frames), for steps that need files.

    Raises `DataError`, with the `remedy`, where the folder holds frames alone.
    """
    videos = list_videos(source)
    files = [video for video in videos if not (Path(source) / video).is_dir()]
    reason = f"is a folder of frames, and this step takes video files; {remedy}"
    frames = [str(Path(source) / video) for video in videos if video not in set(files)]
    if not files:
        raise DataError(f"{frames[0]} {reason}")
    return files, [(folder, reason) for folder in frames]


def around_the_number(template: str) -> tuple[str, str]:
    """(what stands before, what stands behind) the number in the names of pictures."""
    parts = _PLACEHOLDER.split(template)
    if len(parts) != 2 or "/" in template:
        raise DataError(
            f"--template {template} must be a name with one number, as img_{{:05d}}.jpg"
        )
    return parts[0], parts[1]


@contextlib.contextmanager
def claim_folder(
    out: Path | str, settings: dict[str, Any], targets: Collection[Path]
) -> Iterator[None]:
    """Hold the folder `out` for one run with `settings`; it is made if need be.

    What a killed run left unfinished is removed. Raises `DataError` when another run works there, when
    it was made with other settings or, where they hold a `source_setting`, from another folder, or when
    some of `targets` are there and nobody knows from where.
    """
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise DataError(
            f"{out} cannot be a folder, a file is in its place; choose another --out"
        ) from None
    with _lock(out):
        found = _read_settings(out / SETTINGS_FILE)
        if found is None:
            if present := [target for target in targets if os.path.lexists(target)]:
                raise DataError(
                    f"{present[0]} is there already and was not made by this tool; delete it, or choose "
                    "another --out"
                )
        else:
            _compare(out, found, settings)
        write_text(out / SETTINGS_FILE, json.dumps(settings) + "\n")
        for parent in {target.parent for target in targets}:
            parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(parent)
        yield


def source_setting(source: Path | str) -> dict[str, str]:
    """What `claim_folder` takes so that the results of one folder of videos are not taken for another's."""
    return {_SOURCE: os.path.realpath(source)}


def drop_outdated(source: Path | str, results: Iterable[Path]) -> None:
    """Remove the `results` that are older than the video `source`: they show what it was before."""
    try:
        changed = os.stat(source).st_mtime_ns
    except OSError:
        return  # no video to make others from
    for result in filter(os.path.lexists, results):
        if os.lstat(result).st_mtime_ns < changed:
            # Half a folder must never stand there under its name.
            unwanted = unfinished_name(result)
            result.rename(unwanted)
            _remove(unwanted)


def unfinished_name(path: Path) -> Path:
    """A name beside `path` that is removed by the next run, should this one be killed."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_table(path: Path | str, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a csv with a header line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    write_text(Path(path), text.getvalue())


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other runs out; the lock goes with the process, however that ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another run is writing to {folder}; wait for it, or choose another --out"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)


def _read_settings(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path} is not what this tool wrote; delete it")
    return found


def _compare(out: Path, found: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse `settings` other than those `found`; older versions of this tool recorded no source."""
    source = settings.get(_SOURCE)
    known = found.get(_SOURCE, source)
    if found | {_SOURCE: source} != settings | {_SOURCE: source}:
        raise DataError(
            f"{out} was made with {_settings_text(found)}, not {_settings_text(settings)}; use those, "
            "delete the folder, or choose another --out"
        )
    if known != source:
        raise DataError(
            f"{out} was made from what is in {known}, not in {source}; delete the folder, or "
            "choose another --out; where the same files were only moved, put their new place into "
            f"{out / SETTINGS_FILE}"
        )


def _settings_text(settings: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())


def _remove_leftovers(folder: Path) -> None:
    for entry in os.scandir(folder):
        if _LEFTOVER.fullmatch(entry.name):
            _remove(Path(entry.path))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()
