"""Folders of videos or images: which files in them and below are such. All that reads folders asks here.

A folder of extracted frames counts as a video too.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.frame_names import holds_frames
from uniformer_video.data.decoding.index_store import INDEX_FOLDER
from uniformer_video.data.lists.media import IMAGE, VIDEO, Medium
from uniformer_video.errors import DataError, DecodeError
from uniformer_video.words import name_some, plural

_LOOKED_AT = 5  # folders of pictures, and pictures of them
log = logging.getLogger(__name__)

# What systems put into folders, beside all that begins with a dot; in small letters.
_OF_SYSTEMS = {
    "__macosx",
    "@eadir",
    "#recycle",
    "@recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
    "lost+found",
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "icon\r",
    "__pycache__",
}


@dataclass(frozen=True)
class FoundVideos:
    """The videos, or the files of another `medium`, in `folder` and below it, and what is there beside them;
    paths relative to it.

    Folders of frames are videos too, and their pictures are not skipped.

    hidden: videos that do not count, for their name or that of a folder above them is hidden, see
    `is_hidden`. skipped: files that are no videos by their names and not hidden. empty: the uppermost
    folders without any video. circular: links to a folder that they lie in, which are not followed.
    """

    folder: Path
    videos: list[Path]
    hidden: list[Path]
    skipped: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    circular: list[Path] = field(default_factory=list)
    medium: Medium = VIDEO

    @property
    def notes(self) -> list[str]:
        """Lines on what was left out: one for each kind of it."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        noun = self.medium.name
        if self.hidden:
            yield (
                f"{self.folder}: left out {plural(len(self.hidden), f'hidden {noun}')}, by names that begin "
                f"with a dot or that systems give, as __MACOSX: {_some(self.hidden)}"
            )
        if self.skipped:
            yield (
                f"{self.folder}: left out {plural(len(self.skipped), 'file')} without a suffix of {noun}s "
                f"({count_suffixes(self.skipped)}): {_some(self.skipped)}"
            )
        if self.empty:
            yield (
                f"{self.folder}: {plural(len(self.empty), 'folder')} without {self.medium.one}: "
                f"{_some(self.empty)}"
            )
        if self.circular:
            yield (
                f"{self.folder}: left out {plural(len(self.circular), 'link')} back to a folder around: "
                f"{_some(self.circular)}"
            )


def is_video(path: str | os.PathLike) -> bool:
    """Whether a file is a video by its name."""
    return VIDEO.fits(path)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name never counts: `._a.mp4`, `.Trash`, `__MACOSX`, `Thumbs.db`."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def count_suffixes(paths: Iterable[Path]) -> str:
    """How many files there are of each suffix, the most frequent first: "3 .jpg, 1 without any"."""
    counts = Counter(path.suffix.lower() or "without any" for path in paths)
    return name_some([f"{count} {suffix}" for suffix, count in counts.most_common()], 5)


def find_videos(folder: str | os.PathLike, medium: Medium = VIDEO) -> FoundVideos:
    """The videos, or the files of another `medium`, in `folder` and below, sorted; links are followed.

    A folder of numbered pictures is a video, and may be `folder` itself, `Path(".")`, unless a video lies in
    it or below, or beside it under its name. Raises `DataError` where there is no such folder, and where one
    in it cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        kind = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {kind}; give a folder of {medium.name}s")
    videos: list[Path] = []
    hidden: list[Path] = []
    skipped, folders, circular, with_pictures = [], [], [], []
    for part, names, hidden_folders, links in _visit(folder):
        folders.append(part)
        if medium.of_frames and holds_frames(names):
            with_pictures.append(part)  # only names of other folders are kept: frames are many
        else:
            skipped += _skipped(part, names, medium)
        for name in filter(medium.fits, names):
            (hidden if is_hidden(name) else videos).append(part / name)
        for name in hidden_folders:
            if name != INDEX_FOLDER:  # of as many files as there are videos, and none is one
                hidden += _files_below(folder, part / name, medium)
        circular += [part / name for name in links]
    frames = _frames_alone(with_pictures, videos)
    videos += frames
    for part in set(with_pictures) - set(frames):
        files = [entry.name for entry in os.scandir(folder / part) if not entry.is_dir()]
        skipped += _skipped(part, files, medium)
    filled = {parent for video in videos for parent in video.parents} | {Path(), *frames}
    empty = [part for part in folders if part not in filled and part.parent in filled]
    return FoundVideos(
        folder,
        sorted(videos),
        sorted(hidden),
        sorted(skipped),
        sorted(empty),
        sorted(circular),
        medium,
    )


def _skipped(part: Path, names: Iterable[str], medium: Medium) -> list[Path]:
    """The files of a folder `part` that count as nothing and are not hidden."""
    return [part / name for name in names if not medium.fits(name) and not is_hidden(name)]


def _frames_alone(folders: Sequence[Path], videos: Sequence[Path]) -> list[Path]:
    """Those of the `folders` with pictures whose pictures are the frames of a video of their own.

    Not where a video, or another such folder, lies in one, nor where the video itself lies beside it.
    """
    taken = {parent for path in (*folders, *videos) for parent in path.parents}
    taken |= {video.with_suffix("") for video in videos}
    return [folder for folder in folders if folder not in taken]


def holds_images(found: FoundVideos) -> bool:
    """Whether the pictures of a folder without video files are images by themselves, and no frames of videos.

    Frames of a video have numbers without gaps and one size, and are called alike in two folders. The first
    few folders are looked at; a single one is of frames, maybe of a broken video.
    """
    folders = [found.folder / video for video in found.videos]
    if not folders:
        return bool(found.skipped) and all(map(IMAGE.fits, found.skipped))
    if len(folders) == 1 or not all(map(Path.is_dir, folders)):
        return False
    first, *others = (set(os.listdir(folder)) for folder in folders[:_LOOKED_AT])
    if others and not any(first & names for names in others):
        return True
    return not any(map(_is_of_frames, folders[:_LOOKED_AT]))


def _is_of_frames(folder: Path) -> bool:
    """Whether the pictures of a folder are numbered without gaps, and the first few of one size."""
    try:
        with open_video(folder) as frames:
            frames.frames(range(min(frames.num_frames, _LOOKED_AT)))
    except DecodeError:
        return False
    return True


def list_videos(folder: str | os.PathLike, medium: Medium = VIDEO) -> list[Path]:
    """The paths of `find_videos`, with lines in the log on what that left out.

    Raises `DataError` as that does, and where no video, or file of another `medium`, is left.
    """
    found = find_videos(folder, medium)
    if not found.videos:
        raise DataError(
            f"{folder} holds no {medium.name}s{_but(found)}; names of {medium.name}s end in "
            f"{medium.usual_suffixes}"
        )
    for note in found.notes:
        log.warning(note)
    return found.videos


def walk(folder: str | os.PathLike[str]) -> Iterator[tuple[Path, list[str]]]:
    """(path relative to `folder`, names of its files) of it and all folders below, links followed.

    What is hidden is left out, and so is a link back to a folder that it lies in. Raises `DataError`
    where a folder cannot be read.
    """
    for part, names, *_ in _visit(folder):
        yield part, [name for name in names if not is_hidden(name)]


def _visit(
    folder: str | os.PathLike[str],
) -> Iterator[tuple[Path, list[str], list[str], list[str]]]:
    """As `walk` with all files, and with the names of hidden folders and of links that lead back."""

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}")

    top = os.fspath(folder)
    # Real paths on the way to a folder, links counted.
    above: dict[str, tuple[str, ...]] = {top: ()}
    for place, folders, names in os.walk(top, followlinks=True, onerror=refuse):
        way = (*above.pop(place), os.path.realpath(place))
        hidden = sorted(filter(is_hidden, folders))
        seen = sorted(name for name in folders if not is_hidden(name))
        circular = [name for name in seen if _leads_back(os.path.join(place, name), way)]
        folders[:] = [name for name in seen if name not in circular]
        above |= {os.path.join(place, name): way for name in folders}
        yield Path(os.path.relpath(place, top)), names, hidden, circular


def _leads_back(place: str, way: Iterable[str]) -> bool:
    """Whether a folder is, or holds, one of those on the way to it: it would go round for ever."""
    real = os.path.join(os.path.realpath(place), "")
    return any(os.path.join(passed, "").startswith(real) for passed in way)


def _some(paths: Iterable[Path]) -> str:
    return name_some([path.as_posix() for path in paths])


def _but(found: FoundVideos) -> str:
    """What a folder without a video holds."""
    parts = [f"{count_suffixes(found.skipped)}"] if found.skipped else []
    parts += [plural(len(found.hidden), f"hidden {found.medium.name}")] if found.hidden else []
    return f" (but {', '.join(parts)})" if parts else ""


def _files_below(folder: Path, part: Path, medium: Medium) -> list[Path]:
    """The videos in a hidden folder; what cannot be read there matters to nobody, and links neither."""
    return [
        Path(os.path.relpath(place, folder)) / name
        for place, _, names in os.walk(os.path.join(folder, part))
        for name in filter(medium.fits, names)
    ]
