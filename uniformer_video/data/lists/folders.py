"""Folders of videos: which files in them and below are videos. All that reads folders asks here.

A folder of extracted frames counts as a video too.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.data.decoding.frame_names import holds_frames
from uniformer_video.errors import DataError
from uniformer_video.words import plural

log = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    ".mp4",
    ".avi",
    ".mkv",
    ".mov",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".ts",
    ".flv",
    ".wmv",
    ".3gp",
    ".m2ts",
    ".mts",
    ".ogv",
    ".vob",
)
_NAMED = 3  # hidden videos in a note


@dataclass(frozen=True)
class FoundVideos:
    """The videos in `folder` and below it, paths relative to it; folders of frames are videos too.

    hidden: those that do not count, for their name or that of a folder above them begins with a dot, as
    where macOS or a wastebasket keeps things of its own: `._a.mp4`, `.Trash/a.mp4`.
    """

    folder: Path
    videos: list[Path]
    hidden: list[Path]

    @property
    def notes(self) -> list[str]:
        """Lines on what was left out: one, or none."""
        if not self.hidden:
            return []
        names = ", ".join(map(str, self.hidden[:_NAMED]))
        more = ", ..." if len(self.hidden) > _NAMED else ""
        count = plural(len(self.hidden), "hidden video")
        return [f"{self.folder}: left out {count}, by names that begin with a dot: {names}{more}"]


def is_video(path: str | os.PathLike) -> bool:
    """Whether a file is a video by its name."""
    return os.fspath(path).lower().endswith(VIDEO_SUFFIXES)


def find_videos(folder: str | os.PathLike) -> FoundVideos:
    """The videos in `folder` and below, sorted; links are followed.

    A folder of numbered pictures is a video, and may be `folder` itself, `Path(".")`, unless a video lies in
    it or below, or beside it under its name. Raises `DataError` where there is no such folder, and where one
    in it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {kind}; give a folder of videos")
    videos, hidden, with_pictures = [], [], []
    for part, names, hidden_folders in _visit(folder):
        if holds_frames(names):
            with_pictures.append(part)
        for name in filter(is_video, names):
            (hidden if _is_hidden(name) else videos).append(part / name)
        for name in hidden_folders:
            hidden += _videos_below(folder, part / name)
    videos += _frames_alone(with_pictures, videos)
    return FoundVideos(folder, sorted(videos), sorted(hidden))


def _frames_alone(folders, videos):
    """Those of the `folders` with pictures whose pictures are the frames of a video of their own.

    Not where a video, or another such folder, lies in one, nor where the video itself lies beside it.
    """
    taken = {parent for path in (*folders, *videos) for parent in path.parents}
    taken |= {video.with_suffix("") for video in videos}
    return [folder for folder in folders if folder not in taken]


def list_videos(folder: str | os.PathLike) -> list[Path]:
    """The paths of `find_videos`, with a line in the log on those that it left out.

    Raises `DataError` as that does, and where no video is left.
    """
    found = find_videos(folder)
    for note in found.notes:
        log.warning(note)
    if not found.videos:
        raise DataError(
            f"{folder} holds no videos; their names end in {', '.join(VIDEO_SUFFIXES[:5])}, ..."
        )
    return found.videos


def walk(folder: str | os.PathLike) -> Iterator[tuple[Path, list[str]]]:
    """(path relative to `folder`, names of its files) of it and all folders below, links followed.

    Hidden folders are left out, and so is a link back to a folder that it lies in. Raises `DataError`
    where a folder cannot be read.
    """
    for part, names, _ in _visit(folder):
        yield part, names


def _visit(folder):
    """As `walk`, with the names of hidden folders."""

    def refuse(error):
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}")

    above = {os.fspath(folder): ()}  # real paths on the way to a folder, links counted
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        way = (*above.pop(place), os.path.realpath(place))
        hidden = sorted(filter(_is_hidden, folders))
        folders[:] = sorted(
            name
            for name in folders
            if not _is_hidden(name) and not _leads_back(os.path.join(place, name), way)
        )
        above |= {os.path.join(place, name): way for name in folders}
        yield Path(os.path.relpath(place, folder)), names, hidden


def _leads_back(place, way):
    """Whether a folder is, or holds, one of those on the way to it: it would go round for ever."""
    real = os.path.join(os.path.realpath(place), "")
    return any(os.path.join(passed, "").startswith(real) for passed in way)


def _is_hidden(name):
    return name.startswith(".")


def _videos_below(folder, part):
    """The videos in a hidden folder; what cannot be read there matters to nobody, and links neither."""
    return [
        Path(os.path.relpath(place, folder)) / name
        for place, _, names in os.walk(os.path.join(folder, part))
        for name in filter(is_video, names)
    ]
