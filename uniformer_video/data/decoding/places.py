"""Ways to a frame of a video whose frames are counted that are shorter than decoding from the start.

Where times tell no frames, nothing that a file says proves that decoding from a key frame gives the frames
of a decoding from the start: the mark may be wrong, pictures may lean on those before, and how many frames
came before is not written anywhere. So it is looked at. When a video is counted for the frame index, each
frame leaves the number of its packet and a checksum; then decoding begins at each key frame, and those are
kept that give the frames of the counting. It is looked at as well whether B pictures may be left out.

That choice is for speed alone. Each frame of a clip that came on a short way is held against its checksum,
so that the frames are those of a decoding from the start to the bit; any doubt leads back to the start.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import av
import numpy as np
from av.video.frame import PictureType

from uniformer_video.data.decoding.feeding import tag_of
from uniformer_video.data.decoding.index import FrameIndex
from uniformer_video.data.decoding.listing import Places, Start
from uniformer_video.data.decoding.orientation import UPRIGHT, orientation
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.decoding.spans import spans_for

_APART = 8  # packets at least between two key frames to begin at
_SEEN = 2  # frames that have to come as they should, a key frame and the one shown next
_LOOKED_AT = 16  # frames among which they have to come
_IN_VAIN = (
    32  # more key frames in vain than good ones, and no further ones are tried: each takes time
)
_SKIPPED_IN = 64  # packets at the start, decoded without the pictures that no other refers to
_EVERY = 7  # of the frames there, which is asked for in between: of B pictures in twos and threes each kind
_LAST = 8  # packets at the end that are decoded in any case
_REFERRING = {PictureType.P, PictureType.B, PictureType.S}  # pictures made of others


class DoubtfulPlace(Exception):
    """What came on a short way is not what was seen when the video was counted."""


def checksum(frame: av.VideoFrame) -> int | None:
    """A checksum of all that decides which picture is made of a frame; None where that is not known."""
    form = frame.format
    if form.has_palette or form.is_bit_stream:
        return None
    size = frame.width, frame.height
    shown_as = form.name, *size, frame.colorspace, frame.color_range, frame.rotation
    found = zlib.crc32(repr(shown_as).encode())
    for number, plane in enumerate(frame.planes):
        row = min(plane.line_size, _row_bytes(form, number, plane.width))
        pixels = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * plane.height)
        # behind a row lies what nobody sees, which may be anything
        rows = pixels.reshape(plane.height, plane.line_size)[:, :row]
        found = zlib.crc32(np.ascontiguousarray(rows).data, found)
    return found


def _row_bytes(form: av.VideoFormat, plane: int, width: int) -> int:
    """How many bytes of a row hold pixels. width: of the plane, in pixels."""
    parts = [part for part in form.components if part.plane == plane]
    if len(parts) == len(form.components):  # all in one, with bits between them or colours in turn
        return -(-form.padded_bits_per_pixel * width // 8)
    return sum(-(-part.bits // 8) for part in parts) * width  # 10 bits take two bytes


class FrameNotes:
    """What each frame leaves while a video is decoded from its start.

    packets: the number of its packet. checksums: its `checksum`. refers: whether the decoder says that it is
    made of other pictures. `complete` is False where a frame has no packet or checksum, or another frame its
    packet.
    """

    def __init__(self) -> None:
        self.packets: list[int] = []
        self.checksums: list[int] = []
        self.refers: list[bool] = []
        self._lack = False

    def add(self, frame: av.VideoFrame) -> None:
        """Note the next frame, which is tagged with its packet."""
        value, packet = checksum(frame), tag_of(frame)
        # a first frame that is turned turns others, which do not say so themselves
        is_turned = not self.packets and orientation(frame) != UPRIGHT
        if value is None or packet < 0 or is_turned:
            self._lack, value, packet = True, 0, -1
        self.packets.append(packet)
        self.checksums.append(value)
        self.refers.append(not frame.key_frame and frame.pict_type in _REFERRING)

    @property
    def complete(self) -> bool:
        return not self._lack and len(set(self.packets)) == len(self.packets)


def find_places(packets: VideoPackets, starts: Sequence[Start], notes: FrameNotes) -> Places | None:
    """Where decoding may begin, and whether it may leave pictures out; None where nothing is gained.

    packets: the video, opened as it will be to decode a clip. starts: its key frames, of which some files
    mark every packet as one. How much is decoded grows no faster than the video.
    """
    ends = packets.is_bare_stream or packets.parameter_sets.change
    if ends or not notes.complete or not notes.packets or notes.packets[0] != 0:
        return None
    frame_of = {packet: frame for frame, packet in enumerate(notes.packets)}
    good: list[Start] = []
    frames: list[int] = []
    reached = in_vain = 0
    for start in starts:
        frame = frame_of.get(start.packet, 0)
        if start.packet < reached + _APART or frame <= (frames[-1] if frames else 0):
            continue
        if notes.refers[frame]:
            continue
        if _gives(packets, start, frame, frame_of, notes.checksums):
            good.append(start)
            frames.append(frame)
            reached = start.packet
        else:
            in_vain += 1
            if in_vain > len(good) + _IN_VAIN:
                break
    skips = _may_skip(packets, frame_of, notes.checksums)
    if not good and not skips:
        return None
    return Places(tuple(good), tuple(notes.packets), tuple(notes.checksums), skips)


def _gives(
    packets: VideoPackets,
    start: Start,
    first: int,
    frame_of: dict[int, int],
    checksums: Sequence[int],
) -> bool:
    """Whether decoding from a key frame gives frame `first`, which is its own, and those after it."""
    following = first
    last = min(first + _SEEN, len(checksums))
    try:
        for frame in islice(packets.decode_tagged(start), _LOOKED_AT):
            if following == first and tag_of(frame) != start.packet:
                continue  # one that is shown before it
            number = frame_of.get(tag_of(frame))
            if number != following or checksum(frame) != checksums[number]:
                return False
            following += 1
            if following == last:
                return True
    except av.FFmpegError:
        pass
    return False


def _may_skip(packets: VideoPackets, frame_of: dict[int, int], checksums: Sequence[int]) -> bool:
    """Whether pictures can be left out at the start, all of them and some, with the others as they were."""
    shown = tuple(frame_of)
    b_pictures, looked_at = _b_pictures(shown), sum(packet < _SKIPPED_IN for packet in shown)
    if not b_pictures:
        return False
    none, few = (
        set(_needed_for(frames, shown, b_pictures))
        for frames in ((), range(_EVERY, looked_at, _EVERY))
    )
    came = _frames_without(packets, none, frame_of, checksums)
    return 0 < came < looked_at and _frames_without(packets, few, frame_of, checksums) > 0


def _frames_without(
    packets: VideoPackets,
    needed: set[int],
    frame_of: dict[int, int],
    checksums: Sequence[int],
) -> int:
    """How many frames come at the start without what no other refers to; 0 where one is another."""
    came = 0
    try:
        for frame in packets.decode_tagged(None, needed, skips=True):
            if tag_of(frame) >= _SKIPPED_IN:
                break
            number = frame_of.get(tag_of(frame))
            if number is None or checksum(frame) != checksums[number]:
                return 0
            came += 1
    except av.FFmpegError:
        return 0
    return came


class ShortWays:
    """Decoding frames of a video from its `places`."""

    def __init__(self, packets: VideoPackets, places: Places) -> None:
        self._packets, self._places = packets, places
        self._frame_of = {packet: frame for frame, packet in enumerate(places.packets)}
        self._starts = {start.packet: start for start in places.starts}
        entries = ((self._frame_of[packet], packet) for packet in self._starts)
        numbers = tuple(range(len(places.packets)))
        self._index = FrameIndex(numbers, tuple(places.packets), ((0, 0), *entries))
        self._b_pictures = _b_pictures(places.packets)

    def frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """(number, frame) of the frames `wanted`, sorted.

        Raises `DoubtfulPlace` where one is another than it was or lacks, `av.FFmpegError`.
        """
        for span in spans_for(self._index, wanted):
            left = set(span.frames)
            needed = set(_needed_for(left, self._places.packets, self._b_pictures))
            start = self._starts.get(span.start)
            # past the end of the span, as one decoder that is emptied too early gives other pictures
            decoded = self._packets.decode_tagged(start, needed, self._places.skips)
            for frame in decoded:
                number = self._frame_of.get(tag_of(frame))
                if number in left:
                    if checksum(frame) != self._places.checksums[number]:
                        raise DoubtfulPlace
                    yield number, frame
                    left.discard(number)
                    if not left:
                        break
                del frame  # else the decoder needs memory for one more
            if left:
                raise DoubtfulPlace


def _needed_for(
    frames: Iterable[int], packets: Sequence[int], b_pictures: set[int]
) -> Iterator[int]:
    """The packets not to be left out for some frames: with a B picture, the B pictures right before it.

    In a packed stream of MPEG-4 (DivX, XviD) a packet may hold the picture of the next one, and the decoder
    that leaves one out loses what it would have kept for the one after. At the end of the video it would show
    that in place of the last frame.
    """
    yield from range(max(packets) - _LAST, max(packets) + 1)
    for frame in frames:
        packet = packets[frame]
        yield packet
        while packet in b_pictures:
            packet -= 1
            yield packet


def _b_pictures(packets: Sequence[int]) -> set[int]:
    """Those of the packets, in the order in which they are shown, that come after one that is shown later."""
    found, earliest = set(), packets[-1]
    for packet in reversed(packets):
        if packet > earliest:
            found.add(packet)
        earliest = min(packet, earliest)
    return found
