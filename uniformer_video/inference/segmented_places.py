"""Which pictures and videos a segmentation model is given."""

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from uniformer_video.data.decoding import names_frames
from uniformer_video.data.lists.media import IMAGE, VIDEO, Medium
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import DataError
from uniformer_video.inference.records import records_at
from uniformer_video.words import name_some

# What folders and lists are searched for; the usual suffixes first, which stand in messages.
PICTURE_OR_VIDEO = Medium(
    "picture or video",
    tuple(dict.fromkeys((".jpg", ".png", ".mp4", ".mov", *IMAGE.suffixes, *VIDEO.suffixes))),
    "street/a.jpg",
    IMAGE.folders,
    IMAGE.lists,
)


def is_video(record: VideoRecord) -> bool:
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
