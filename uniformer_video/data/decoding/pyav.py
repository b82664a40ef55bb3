"""PyAV behind the reader interface: exact frames, one opening, one forward pass.

`packets.py` lists the packets without decoding, `frame_times.py` makes frames of them, `spans.py` says
which packets a request needs. Where timestamps cannot be trusted, frames are counted by decoding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from math import inf

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from uniformer_video.data.decoding.colours import matrix_options
from uniformer_video.data.decoding.frame_times import (
    CountedFrames,
    counted_times,
    frame_rate,
    listed_index,
    trusted_index,
)
from uniformer_video.data.decoding.index import FrameIndex
from uniformer_video.data.decoding.index_store import DOUBTED, PLACED, UNPLACED, IndexStore
from uniformer_video.data.decoding.listing import Listing
from uniformer_video.data.decoding.orientation import UPRIGHT, Orientation, orientation
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.decoding.places import (
    DoubtfulPlace,
    FrameNotes,
    ShortWays,
    find_places,
)
from uniformer_video.data.decoding.reader import Clip, Reader, shrunk_size
from uniformer_video.data.decoding.spans import Span, spans_for
from uniformer_video.errors import DecodeError


class PyAVReader(Reader):
    """See `uniformer_video.data.decoding` for the interface.

    `index` is the `FrameIndex`, None where frames had to be counted; `why_counted` says why.
    `formats` are the names of the container's format. data: the file itself, where `path` is but its name.
    kept: where the listings of videos are kept. One that is there is not made again, and one that is not is
    put there.
    """

    def __init__(
        self,
        path: str,
        packets: VideoPackets | None = None,
        data: bytes | None = None,
        kept: IndexStore | None = None,
    ) -> None:
        self._packets = VideoPackets(path, data=data) if packets is None else packets
        self._path = self._packets.path
        self._counted = CountedFrames(self._packets)
        self._tally = kept.tally if kept else None
        self._short_ways: ShortWays | None = None
        self._forget_places: Callable[[], None] = lambda: None  # in the index
        self._to_rgb = VideoReformatter()  # kept, because it caches the conversion's set-up
        self._orientations: dict[int, Orientation] = {}
        self._first_orientation = UPRIGHT  # of an animation whose first picture alone states it
        try:
            listing = self._listing(path, data, kept)
            self.formats, self.why_counted = self._packets.formats, listing.why_counted
            shown: Sequence[int | None]
            self._ticks: Sequence[int] | np.ndarray | None
            if self.index:
                shown = self._ticks = self.index.times
            else:
                shown = listing.shown
                self._ticks = counted_times(self._packets, shown, listing.decoded)
            if self._packets.is_bare_stream:
                self._ticks = None
            self.num_frames = len(shown)
            if not self.num_frames:
                raise DecodeError(f"{self._path} holds no frames that can be decoded")
            self.fps = frame_rate(self._packets, [time for time in shown if time is not None])
        except av.FFmpegError as error:
            self.close()
            raise self._packets.failure(error) from None
        except BaseException:
            self.close()
            raise

    def _listing(self, path: str, data: bytes | None, kept: IndexStore | None) -> Listing:
        """Open the file and set `index` and `_short_ways`; what the packets tell, or told before."""
        known_by = kept.identify(path) if kept else None
        if kept and known_by:
            self._forget_places = partial(kept.forget_places, path, known_by)
        if kept and known_by and (known := kept.read(known_by)):
            self._packets.open(known)
            self.index = None if known.why_counted else listed_index(self._packets)
            self._note_places(known)
            return known
        self._packets.open()
        self.index, why_counted = trusted_index(self._packets)
        listing = self._packets.listing(why_counted)
        if self.index is None:
            is_kept = bool(kept and known_by and kept.is_kept)
            listing = self._count(listing, lambda: VideoPackets(path, data=data), is_kept)
        frames = self.index.times if self.index else listing.shown
        if kept and len(frames):  # else it is broken
            # one that is read through packets in memory would be read more slowly without them
            worth_it = why_counted or not self._packets.seeks_beside
            kept.keep(path, known_by, listing if worth_it else None)
            self._note_places(listing)
        return listing

    def _count(
        self, listing: Listing, reopen: Callable[[], VideoPackets], is_kept: bool
    ) -> Listing:
        """`listing` with what counting the frames tells; where it is kept, with places to begin at."""
        if not is_kept:
            shown, decoded = self._counted.count()
            return replace(listing, shown=shown, decoded=decoded)
        notes = FrameNotes()
        shown, decoded = self._counted.count(notes.add)
        again = reopen()
        try:
            again.open(listing)
            places = find_places(again, self._packets.starts, notes)
        finally:
            again.close()
        return replace(listing, shown=shown, decoded=decoded, places=places)

    def _note_places(self, listing: Listing) -> None:
        if listing.places:
            self._short_ways = ShortWays(self._packets, listing.places)
        if self._tally and listing.why_counted:
            self._tally.add(PLACED if listing.places else UNPLACED)

    @property
    def times(self) -> np.ndarray | None:
        """When each frame begins to show, float64 [num_frames] seconds from the first; None = unknown."""
        if self._ticks is None:
            return None
        ticks = np.asarray(self._ticks)
        return (ticks - ticks[0]) * float(self._packets.time_base)

    @property
    def num_packets(self) -> int:
        """How many pieces of coded video the file holds, those that show nothing included."""
        return len(self._packets)

    @property
    def parameters_change(self) -> bool:
        """True where the decoder gets other parameter sets on the way than at the beginning."""
        return self._packets.parameter_sets.change

    @property
    def stream_number(self) -> int:
        """Which of the file's streams is read, counted from 0."""
        return self._packets.number_in_file

    @property
    def is_alone(self) -> bool:
        """True where the file holds no other stream of moving pictures."""
        return self._packets.is_alone

    @property
    def declared_frames(self) -> int | None:
        """How many frames the header says there are; None where it does not."""
        return self._packets.declared_frames

    def key_pictures(self) -> Iterator[av.VideoFrame | None]:
        """Yield each key frame, a PyAV frame decoded by itself; None for one that does not come so.

        For videos with an `index`.
        """
        assert self.index is not None, "frames that were counted have no key frames"
        for _, packet in self.index.entries:
            alone = self._packets.decode_span(Span(packet, packet))
            time = self._packets.times[packet]
            yield next((frame for frame in alone if frame.pts == time), None)

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) as shown."""
        height, width = self.frames([0]).shape[1:3]
        return height, width

    def frames(self, indices: Sequence[int] | np.ndarray, short_side: int = 0) -> np.ndarray:
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed.

        With `short_side`, larger pictures are scaled down to it in the conversion to RGB: faster than
        to scale them later, and not the same to the bit.
        """
        return self.map_frames(indices, None, short_side)

    def map_frames(
        self,
        indices: Sequence[int] | np.ndarray,
        change: Callable[[np.ndarray], np.ndarray] | None,
        short_side: int = 0,
    ) -> np.ndarray:
        """What `change` makes of each frame, uint8 `[H, W, 3]`: `[N, ...]`, else as `frames`.

        A frame is changed as soon as it is decoded, so that one alone is in memory.
        """
        indices = self._check_indices(indices)
        if self.index is None:
            return self._frames_by_count(Clip(self._path, indices, change), short_side)
        try:
            return self._frames_by_index(self.index, Clip(self._path, indices, change), short_side)
        except OutOfOrder:
            self.index, self.why_counted = None, "its timestamps do not follow what is shown"
            return self._frames_by_count(Clip(self._path, indices, change), short_side)

    def _frames_by_index(self, index: FrameIndex, clip: Clip, short_side: int) -> np.ndarray:
        spans, skips = spans_for(index, clip.wanted), self._packets.allow_skipping
        whole = [Span(0, len(self._packets) - 1, tuple(clip.wanted))]
        try:
            complete = not self._decode(index, spans, clip, short_side, skips)
        except av.FFmpegError:
            complete = False
        try:
            # A key frame may not be what it says: once more from the start, with nothing left out.
            missing = [] if complete else self._decode(index, whole, clip, short_side, False)
        except av.FFmpegError as error:
            raise self._packets.failure(error) from None
        if missing:
            raise DecodeError(
                f"{self._path} is damaged: frame {min(missing)} of {self.num_frames} cannot be decoded"
            )
        return clip.pixels

    def _decode(
        self, index: FrameIndex, spans: list[Span], clip: Clip, short_side: int, skips: bool
    ) -> list[int]:
        """Fill `clip`; the frames that did not come, where one did not."""
        for span in spans:
            left, shown = {index.times[frame]: frame for frame in span.frames}, -inf
            needed = {index.packets[frame] for frame in span.frames}
            for frame in self._packets.decode_span(span, needed, skips):
                if frame.pts is not None:
                    if frame.pts <= shown:
                        raise OutOfOrder
                    shown = frame.pts
                # pictures before the key frame may come out of it broken
                if frame.pts in left and not (span.start and frame.is_corrupt):
                    self._put(clip, left.pop(frame.pts), frame, short_side)
                    if not left:
                        break
                del frame  # else the decoder needs memory for one more
            if left:
                return sorted(left.values())
        return []

    def _frames_by_count(self, clip: Clip, short_side: int) -> np.ndarray:
        short_ways = self._short_ways
        if not short_ways or self._counted.take_request(self.num_frames):
            self._from_start(clip, short_side)
            return clip.pixels
        try:
            for count, frame in short_ways.frames(clip.wanted):
                self._put(clip, count, frame, short_side)
        except (DoubtfulPlace, av.FFmpegError):
            self._short_ways = None
            if self._tally:
                self._tally.add(DOUBTED)
            self._from_start(clip, short_side)
            self._forget_places()  # all frames are there: it was the way that led astray
        return clip.pixels

    def _from_start(self, clip: Clip, short_side: int) -> None:
        left = set(clip.wanted)
        try:
            for count, frame in enumerate(self._counted):
                if count == 0:
                    self._note_first_orientation(frame)
                if count in left:
                    self._put(clip, count, frame, short_side)
                    left.discard(count)
                    if not left:
                        return
        except av.FFmpegError as error:
            raise self._packets.failure(error) from None
        raise DecodeError(f"{self._path} has changed: it no longer has {self.num_frames} frames")

    def _note_first_orientation(self, frame: av.VideoFrame) -> None:
        self._first_orientation = orientation(frame)

    def _put(self, clip: Clip, index: int, frame: av.VideoFrame, short_side: int) -> None:
        """Convert to RGB and turn it the way it is meant to be shown."""
        clip.put(index, *self._to_picture(frame, short_side))

    def _to_picture(self, frame: av.VideoFrame, short_side: int) -> tuple[np.ndarray, Orientation]:
        """uint8 `[H, W, 3]` RGB as it is stored, and how it is to be turned."""
        height, width = shrunk_size((frame.height, frame.width), short_side)
        options = matrix_options(frame)
        rgb = self._to_rgb.reformat(frame, width, height, "rgb24", threads=1, **options)
        # a frame that needs no conversion may be one that the decoder still refers to
        image = rgb.to_ndarray() if rgb is frame else _pixels_of(rgb)
        if frame.rotation not in self._orientations:  # to read the matrix takes longer
            self._orientations[frame.rotation] = orientation(frame, self._first_orientation)
        return image, self._orientations[frame.rotation]

    def close(self) -> None:
        self._counted.forget()
        self._packets.close()


def _pixels_of(frame: av.VideoFrame) -> np.ndarray:
    """The memory of a frame in rgb24 as uint8 `[H, W, 3]`: a copy would take 25 MB more of a 4K video.

    It lives as long as the array, whose rows may have some bytes between them.
    """
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8, plane.line_size * frame.height)
    rows = rows.reshape(frame.height, plane.line_size)[:, : 3 * frame.width]
    return rows.reshape(frame.height, frame.width, 3)


class OutOfOrder(Exception):
    """Frames came out of the decoder in another order than their times say."""
