"""Which files the other decoders are known to get wrong, found by comparing them frame by frame.

It also keeps playlists from them: PyAV, restricted to single files, has to open a file first.
"""

from uniformer_video.data.decoding.orientation import orientation
from uniformer_video.data.decoding.pyav import PyAVReader
from uniformer_video.errors import DecodeError

_UNCLEAN = "as it does not start cleanly at every key frame"
_SEEKS_BESIDE = {"mpegts": "MPEG-TS", "mpeg": "MPEG-PS"}


def true_facts(path, library, open_groups):
    """(number of frames, fps, times) as a `Reader` has them.

    Raises `DecodeError` where `library` is not exact on the file.
    open_groups: it is exact where frames shown before a key frame are decoded after it.
    """
    with PyAVReader(path) as video:
        reason = _reason(video, open_groups)
        if reason:
            raise _refusal(path, library, reason)
        return video.num_frames, video.fps, video.times


def check_count(path, library, found, true):
    """Raise `DecodeError` where `library` found another number of frames than there are."""
    if found != true:
        raise _refusal(path, library, f"as it counts {found} of {true}")


def _refusal(path, library, reason):
    return DecodeError(
        f"{path}: {library} would not give the right frames, {reason}; use "
        "DATA.DECODING_BACKEND auto"
    )


def _reason(video, open_groups):
    if video.index is None:
        return f"as {video.why_counted}"
    for name, shown in _SEEKS_BESIDE.items():
        if name in video.formats:
            return f"as it seeks beside the key frames of {shown}"
    if video.num_frames < video.num_packets:
        return "as an edit list or hidden frames leave packets out"
    if video.parameters_change:
        return "as its parameter sets change on the way"
    if not (open_groups or _groups_are_closed(video.index)):
        return _UNCLEAN
    first = None
    for picture in video.key_pictures():
        if picture is None:
            return _UNCLEAN
        first = first or picture
        if _form(picture) != _form(first):
            return "as its pictures change their size or format"
        if reason := _picture_reason(picture):
            return reason
    return ""


def _form(picture):
    return picture.format.name, picture.width, picture.height


def _picture_reason(picture):
    bits = max(component.bits for component in picture.format.components)
    if bits > 8:
        return f"as it rounds {bits}-bit pixels in another way"
    if sum(orientation(picture)) % 2:
        return "as it does not mirror pictures"
    if picture.interlaced_frame:
        return "as it converts interlaced pictures in another way"
    return ""


def _groups_are_closed(index):
    """True where no frame shown before a key frame is decoded after it."""
    return all(max(index.packets[:frame], default=-1) < packet for frame, packet in index.entries)
