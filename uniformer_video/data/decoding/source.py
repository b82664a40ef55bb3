"""What a video is opened from: a file, or bytes of a shard that were read at once."""

import io
import os
from collections.abc import Callable

from uniformer_video.storage.members import Member, member_of, read_member

# Files alone, and none that name others to read: a playlist can be given any video's name.
SINGLE_FILES = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,flv,live_flv,asf,"
    "ogg,nut,mxf,gif,apng,ivf,obu,dv,rm,wtv,amv,mjpeg,yuv4mpegpipe,swf,nuv,dhav,h261,h263,vc1,vvc,dirac,"
    "cavsvideo,dnxhd",
}


class _NamedBytes(io.BytesIO):
    """A file in memory. The end of its name helps FFmpeg to tell the format, as that of a file does."""

    def __init__(self, name: str, data: bytes) -> None:
        super().__init__(data)
        suffix = os.path.splitext(name)[1]
        self.name = f"member{suffix if suffix.isascii() else ''}"


def is_member(path: str | os.PathLike) -> bool:
    """True where `path` names a video in a shard, and no file has that name."""
    return _member(os.fspath(path)) is not None


def _member(path: str) -> Member | None:
    member = member_of(path)
    return None if member is None or os.path.isfile(path) else member


def source_of(path: str, data: bytes | None = None) -> Callable[[], str | io.BytesIO]:
    """A function that gives what `av.open` takes for the video at `path`, from its beginning.

    data: the file itself, of which `path` is but a name. The bytes of a member are read once, here; raises
    `DecodeError` as `read_member` does.
    """
    if data is not None:
        known = data
        return lambda: _NamedBytes(path, known)
    member = _member(path)
    if member is None:
        # a full path, or else a colon in a name would end the name of a protocol
        return lambda: os.path.abspath(path)
    name, data = read_member(member)
    return lambda: _NamedBytes(name, data)
