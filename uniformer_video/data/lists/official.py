"""Videos that official annotations name, found in a folder by their names -> `VideoRecord`s."""

import os
from pathlib import Path

from uniformer_video.data.decoding.frame_names import is_frame_folder
from uniformer_video.data.lists.annotations import Annotated, each_of_part
from uniformer_video.data.lists.columns import VideoColumns
from uniformer_video.data.lists.folders import is_hidden, is_video
from uniformer_video.data.lists.media import VIDEO_SUFFIXES
from uniformer_video.data.lists.records import PathsFrom
from uniformer_video.errors import DataError

# How the videos of a dataset end when they come. A video found in another form counts too.
_SUFFIXES = {"ssv2": ".webm", "ucf101": ".avi", "hmdb51": ".avi"}


def read_official(
    dataset: str, annotations: Path | str, videos: Path | str, part: str, split: int = 1
) -> VideoColumns:
    """The records of one part ("train" or "val") of "ssv2", "ucf101" or "hmdb51".

    `annotations` is the folder of the official files; `videos` that of the videos, which lie in it or
    in its folders of classes; a folder of frames stands for a video that is not there. One that is not
    there gets the path where it was looked for. Labels count in the usual order of the dataset. Raises
    `DataError` as `read_annotations` does.
    """
    there, paths = _Videos(videos, _SUFFIXES[dataset]), PathsFrom(videos)

    def row(video: Annotated) -> tuple[str, str, tuple[int], str]:
        name = there.find(video)
        return paths(name, video.source), name, (video.label,), video.source

    records = VideoColumns.of_rows(map(row, each_of_part(dataset, annotations, part, split)))
    if not records:
        raise DataError(f"the official {part} list in {annotations} names no videos")
    return records


class _Videos:
    """What a folder holds, each of its folders listed once."""

    def __init__(self, root: Path | str, suffix: str) -> None:
        self._root, self._suffix = Path(root), suffix
        self._listed: dict[str, dict[str, str]] = {}

    def find(self, video: Annotated) -> str:
        """The path of an `Annotated` video from the root, with slashes."""
        places = [f"{folder}/{name}" for folder in video.folders for name in video.names]
        places += video.names
        for place in places:
            if name := self._files(place).get(place.rpartition("/")[2]):
                return name
        frames = (place for place in places if is_frame_folder(self._root / place))
        return next(frames, f"{places[0]}{self._suffix}")

    def _files(self, place: str) -> dict[str, str]:
        """Name without suffix -> the best file of that name, in the folder of `place`."""
        folder, slash, _ = place.rpartition("/")
        if folder not in self._listed:
            best: dict[str, str] = {}
            for name in self._names(folder):
                stem = name[: name.rfind(".")]  # names of videos have a suffix
                other = best.setdefault(stem, name)
                if other is not name and self._rank(name) < self._rank(other):
                    best[stem] = name
            start = f"{folder}{slash}"
            self._listed[folder] = {stem: start + name for stem, name in best.items()}
        return self._listed[folder]

    def _names(self, folder: str) -> list[str]:
        try:
            names = os.listdir(self._root / folder)
        except OSError:
            return []  # a folder without videos: they are counted as missing, and named
        return [name for name in names if is_video(name) and not is_hidden(name)]

    def _rank(self, name: str) -> tuple[bool, int, str]:
        suffix = os.path.splitext(name)[1]
        return suffix != self._suffix, VIDEO_SUFFIXES.index(suffix.lower()), name
