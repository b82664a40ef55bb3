"""Which pictures and videos a segmentation model is given, and what its files about them are called."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from uniformer_video.data.decoding import names_frames
from uniformer_video.data.lists.media import IMAGE, VIDEO, Medium
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.inference.records import records_at
from uniformer_video.words import name_some

Segment = tuple[str, float, float | None]  # path, start, end
# What folders and lists are searched for; the usual suffixes first, which stand in messages.
PICTURE_OR_VIDEO = Medium(
    "picture or video",
    tuple(dict.fromkeys((".jpg", ".png", ".mp4", ".mov", *IMAGE.suffixes, *VIDEO.suffixes))),
    "street/a.jpg",
    IMAGE.folders,
    IMAGE.lists,
)


def shows_time(record: VideoRecord) -> bool:
    """Whether a file is a video, by its name, and not one picture.

    Names that may be either, as those of GIFs, are looked into. The template of names of frames,
    `folder/img_{:05d}.jpg`, is a video.
    """
    name = record.name if "#" in record.path else record.path
    if names_frames(record.path):
        return True
    if not (VIDEO.fits(name) and IMAGE.fits(name)):
        return VIDEO.fits(name)
    try:
        with Image.open(record.path) as picture:
            return getattr(picture, "n_frames", 1) > 1
    except Exception:  # whoever decodes it says what is wrong
        return False


def pictures_and_videos_at(
    places: Sequence[str | Path], leave_out: Path | None = None
) -> tuple[list[VideoRecord], int, list[str]]:
    """(the records at all `places`, how many were repeats, the names of those that lie in `leave_out`).

    leave_out: the folder that predictions are written into, which may lie in one of the places.
    """
    records, repeats = records_at(places, PICTURE_OR_VIDEO)
    if leave_out is None or not leave_out.is_dir():
        return records, repeats, []
    own = os.path.join(os.path.realpath(leave_out), "")
    inside = [r for r in records if os.path.realpath(r.path).startswith(own)]
    given = {os.path.realpath(place) for place in places}
    inside = [record for record in inside if os.path.realpath(record.path) not in given]
    kept = [record for record in records if record not in inside]
    if not kept:
        raise DataError(
            f"all of {name_some([str(place) for place in places])} lies in --overlay {leave_out}; give other "
            "pictures, or another folder to write into"
        )
    return kept, repeats, [record.name for record in inside]


def output_names(
    records: Sequence[VideoRecord], places: Sequence[str | Path] = ()
) -> dict[Segment, str]:
    """{`segment` of a record: the name of what is written about it, without a suffix}.

    Folders below the one that all lie in are kept. Of several files that differ in their suffix alone each
    keeps it: `a_jpg`. Raises `DataError` where two would still be called the same.
    """
    files = {record.segment: _file_of(record) for record in records}
    folders = [os.path.dirname(file) for file in files.values()]
    folders += [os.path.abspath(place) for place in places if os.path.isdir(place)]
    top = os.path.commonpath(folders)
    names = {key: _stem(os.path.relpath(file, top), key) for key, file in files.items()}
    common = _repeated(names.values())
    for key, name in names.items():
        if name.lower() in common:
            names[key] = f"{name}_{os.path.splitext(files[key])[1].removeprefix('.')}"
    if again := _repeated(names.values()):
        first, second, *_ = (key[0] for key, name in names.items() if name.lower() in again)
        raise DataError(
            f"{first} and {second} would be written under one name, {sorted(again)[0]}; predict them one by "
            "one, each into a folder of its own"
        )
    return names


def _stem(path: str, segment: Segment) -> str:
    _, start, end = segment
    stem = os.path.splitext(path)[0]
    if not start and end is None:
        return stem
    return f"{stem}_{start:g}-{'' if end is None else f'{end:g}'}"


def _repeated(names: Iterable[str]) -> set[str]:
    """Those that occur more than once, in small letters: on some disks these are one name."""
    return {name for name, count in Counter(map(str.lower, names)).items() if count > 1}


def _file_of(record: VideoRecord) -> str:
    """The absolute path of the file, or of what stands for one."""
    if "#" in record.path and not os.path.exists(record.path):  # in a shard
        return os.path.abspath(record.name)
    if names_frames(record.path):  # the folder of the frames names their video
        return os.path.abspath(f"{os.path.dirname(os.path.abspath(record.path))}.frames")
    return os.path.abspath(record.path)
