"""What a list holds, videos or images: how such files are named, and the words for them in messages."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any

from uniformer_video.data.decoding.frame_names import PICTURE_SUFFIXES
from uniformer_video.words import article

# Names of all that decoding takes (`data/decoding/source.py`), the usual ones first: they stand in messages.
_SUFFIXES = (
    "mp4 avi mkv mov webm m4v mpg mpeg ts flv wmv 3gp m2ts mts ogv vob "
    "3g2 f4v qt mj2 ismv psp m4s mk3d divx amv asf wtv dvr-ms rm rmvb ogg ogm nut mxf gif apng ivf obu "
    "mpe m1v m2v mp2v mpv m2p m2t trp tp tod mod evo dv dif swf nuv dav y4m mjpeg mjpg "
    "h264 264 avc h26l hevc h265 265"
)
VIDEO_SUFFIXES = tuple(f".{suffix}" for suffix in _SUFFIXES.split())


@dataclass(frozen=True)
class Medium:
    """name: "video" or "image", also the noun of messages. suffixes: of its files, in small letters.

    example: a file in a class of a folder. folders, lists: the formats of folders by class, and of csv lists.
    of_frames: whether a folder of numbered pictures is one, too.
    """

    name: str
    suffixes: tuple[str, ...]
    example: str
    folders: str
    lists: str
    of_frames: bool = False

    def fits(self, path: str | PathLike[str]) -> bool:
        """Whether a file is such a one by its name."""
        name = fspath(path).lower()
        return name[name.rfind(".") :] in self.suffixes  # no suffix holds two dots

    @property
    def one(self) -> str:
        """The noun with its article, for messages."""
        return article(self.name)

    @property
    def file(self) -> str:
        """The name of a file of it, for messages."""
        return self.example.rpartition("/")[2]

    @property
    def usual_suffixes(self) -> str:
        """How the names of its files end, for messages."""
        return f"{', '.join(self.suffixes[:5])}, ..."


# Also what frames are not extracted to, but images are kept in.
IMAGE_SUFFIXES = (*PICTURE_SUFFIXES, ".gif", ".jpe", ".jfif", ".jp2", ".avif")
VIDEO = Medium("video", VIDEO_SUFFIXES, "running/a.mp4", "folder", "kinetics", of_frames=True)
IMAGE = Medium("image", IMAGE_SUFFIXES, "n01440764/a.JPEG", "imagefolder", "image-csv")
MEDIA = {medium.name: medium for medium in (VIDEO, IMAGE)}


def other_than(medium: Medium) -> Medium:
    """What a list of `medium` does not hold."""
    return IMAGE if medium == VIDEO else VIDEO


def is_listed_file(path: str | PathLike[str]) -> bool:
    """Whether a file is a video or an image by its name."""
    return VIDEO.fits(path) or IMAGE.fits(path)


def noun_of(results: Mapping[str, Any]) -> str:
    """What the record of a test is of, "video" or "image"; earlier records do not tell, and are of videos."""
    return results["protocol"].get("medium", VIDEO.name)
