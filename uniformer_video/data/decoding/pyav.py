"""PyAV behind the reader interface: exact frames, one opening, one forward pass.

Opening lists the packets without decoding; `index.py` makes frames of them, `plan.py` says which
packets a request needs. The packets stay in memory unless the file is large, so that going to another
place in the video is emptying the decoder and feeding it from there, in any container. Where timestamps
cannot be trusted, frames are counted by decoding.
"""

import errno
from itertools import dropwhile, islice, pairwise
from math import inf
from statistics import median

import av
import numpy as np
from av.stream import Discard
from av.video.reformatter import VideoReformatter

from uniformer_video.data.decoding.index import build_index
from uniformer_video.data.decoding.nal import ParameterSets, holds_b_slice, temporal_layers
from uniformer_video.data.decoding.orientation import orientation
from uniformer_video.data.decoding.plan import Span, plan
from uniformer_video.data.decoding.reader import Clip, Reader, shrunk_size
from uniformer_video.data.decoding.source import SINGLE_FILES, source_of
from uniformer_video.errors import DecodeError
from uniformer_video.storage.address import name_for_messages

# Codecs in which every packet shows exactly one frame, VP8's hidden ones apart.
_ONE_FRAME_A_PACKET = {
    *("h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg1video", "mpeg2video"),
    *("mjpeg", "ffv1", "png", "rawvideo", "prores"),
}
# Containers that store no timestamps of their own, or whose seeking lands beside the key frame.
_NO_TIMESTAMPS = {"avi", "h264", "hevc", "m4v", "mpegvideo", "obu"}
_NO_SEEKING = {"mpegts", "mpeg"}
# Containers whose header lists every frame, so that fewer in the file mean a truncated file.
_EXACT_HEADER = {"mov", "mp4"}
# Codecs with B pictures, which may be shown before what was decoded before them; their decoders leave
# out a picture that no other refers to, with the others as they were.
_HAS_B_PICTURES = {"h264", "hevc", "mpeg1video", "mpeg2video"}
_SEARCHED = 256  # packets, for the first B picture
_LOOKED_AT = 16  # packets that are decoded to see in which order they are shown
_SCANNED = 64  # packets looked at together; what one of them holds is in memory meanwhile
_KEPT_BYTES = 64 << 20  # of packets, and of frames that were decoded to count them

# The index tells the frame rate where the header does not.
_OPTIONS = {**SINGLE_FILES, "fpsprobesize": "0"}
# Opening a file reads on and decodes its first pictures to learn what is in it. Where the header tells,
# that is left out, which is most of the time. More streams than there are do no harm.
_QUICKLY = {
    "container_options": {**_OPTIONS, "analyzeduration": "1"},  # microseconds
    "stream_options": [{"skip_frame": "all"}] * 64,
}
# The decoder holds back as many pictures as the stream may reorder, where it does not say how many;
# else the first of them, shown before any later one was seen, would be lost.
_H264_OPTIONS = {"strict": "1"}


class PyAVReader(Reader):
    """See `uniformer_video.data.decoding` for the interface.

    `index` is the `FrameIndex`, None where frames had to be counted; `why_counted` says why.
    parameters_change: the decoder gets other parameter sets on the way than at the beginning.
    """

    def __init__(self, path):
        self._path = name_for_messages(path)
        self._container = self._packets = self._decoded = None
        self._to_rgb = VideoReformatter()  # kept, because it caches the conversion's set-up
        self._size, self._orientations = None, {}
        self._source = source_of(path)
        try:
            self._open()
            self.index = self._scan()
            self.num_frames = len(self.index.times) if self.index else self._count_frames()
            if not self.num_frames:
                raise DecodeError(f"{self._path} holds no frames that can be decoded")
            self.fps = self._rate()
        except av.FFmpegError as error:
            self.close()
            raise self._broken(error) from None
        except BaseException:
            self.close()
            raise

    def _open(self):
        """Start at the first packet; opening anew is the one rewind that works for every format."""
        self._close_container()
        try:
            source = self._source()
            told = _describes_streams(source)
            options = _QUICKLY if told else {"container_options": _OPTIONS}
            self._container = av.open(source, **options)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise DecodeError(
                f"{self._path} cannot be opened as a video: {_why_unopened(error)}"
            ) from None
        if not self._container.streams.video:
            raise DecodeError(f"{self._path} holds no video stream")
        self._stream = self._container.streams.video[0]
        for other in self._container.streams:
            if other is not self._stream:
                other.discard = Discard.all
        self._stream.thread_type = "NONE"
        self._decoder = self._stream.codec_context
        if self._decoder is None:
            raise DecodeError(f"{self._path} has a video codec that this FFmpeg cannot decode")
        self._decoder.thread_count = 1
        if self._decoder.name == "h264":
            self._decoder.options = _H264_OPTIONS

    def _scan(self):
        """List all packets; the `FrameIndex`, or None with `why_counted`."""
        self._times, keys, hidden, self._packets = [], [], [], []
        is_vp8, size = self._decoder.name == "vp8", 0
        sets, broken = ParameterSets(self._decoder), 0
        packets = self._demux()
        while batch := list(islice(packets, _SCANNED)):
            start = len(self._times)
            self._times += [packet.pts for packet in batch]
            keys += [number for number, packet in enumerate(batch, start) if packet.is_keyframe]
            sets.add(packet for packet in batch if packet.is_keyframe)
            hidden += [
                number
                for number, packet in enumerate(batch, start)
                if packet.is_discard or (is_vp8 and not memoryview(packet)[0] & 0x10)  # show_frame
            ]
            size += sum(packet.size for packet in batch)
            broken += sum(packet.is_corrupt for packet in batch)
            if size > _KEPT_BYTES:
                self._packets = None
            elif self._packets is not None:
                self._packets += batch
        formats = self.formats = set(self._container.format.name.split(","))
        if formats & _EXACT_HEADER:
            self._check_complete(len(self._times) - broken)
        self._skips = self._may_skip(formats)
        self.parameters_change = sets.change
        self.why_counted = self._distrust(formats, sets)
        index = None if self.why_counted else build_index(self._times, keys, hidden)
        if index is None:
            self.why_counted = self.why_counted or "the timestamps do not tell the frames apart"
        if self.parameters_change:
            self._packets = None  # each request opens anew: a decoder keeps the last sets it met
        if index and (self.parameters_change or (self._packets is None and formats & _NO_SEEKING)):
            index = index.without_seeking()
        if index and self._shows_in_another_order(index, sets.size):
            self.why_counted, index = "its times are those of decoding", None
        return index

    def _check_complete(self, found):
        """Raise `DecodeError` where the header lists more frames than the file holds."""
        listed = len(self._stream.index_entries)  # without those that an edit list leaves out
        if found < listed:
            listed = sum(entry.size > 0 for entry in self._stream.index_entries)
        if found < listed:
            raise DecodeError(f"{self._path} is cut off: {found} of its {listed} frames are there")

    def _shows_in_another_order(self, index, length_size):
        """True where times that rise from packet to packet are not those of the pictures shown.

        Files made from a bare stream may have them so. It is looked at where pictures are reordered.
        `length_size` is that of `nal`.
        """
        rises = all(a < b for a, b in pairwise(self._times))
        if not rises or self._decoder.name not in _HAS_B_PICTURES or len(self._times) < 2:
            return False
        first = self._first_reordered(length_size)
        if first is None:
            return False
        start = max(packet for _, packet in index.entries if packet <= first)
        span = Span(start, min(first + _LOOKED_AT, len(self._times) - 1), ())
        shown = [frame.pts for frame in self._decoded_span(span, (), skips=False)]
        return any(b <= a for a, b in pairwise(shown))

    def _first_reordered(self, length_size):
        """The number of a packet from which on pictures may be shown in another order; None = none."""
        if self._decoder.name != "h264":
            self._decoder.open(strict=False)
            return 0 if self._decoder.has_b_frames else None
        packets = islice(self._packets_from(0), _SEARCHED)
        held = (number for number, p in packets if holds_b_slice(memoryview(p), length_size))
        return next(held, None)

    def _distrust(self, formats, sets):
        """Why the timestamps of such a file do not tell its frames, or ""."""
        codec = self._decoder.name
        if formats & _NO_TIMESTAMPS:
            return f"{self._container.format.long_name} stores no presentation times"
        if codec not in _ONE_FRAME_A_PACKET:
            return f"{codec} does not give one frame a packet"
        if sets.fields:
            return "interlaced H.264 may give one frame in two packets"
        return ""

    def _may_skip(self, formats):
        """True where pictures that nobody asked for and no other refers to may be left undecoded."""
        if formats & _NO_TIMESTAMPS or self._decoder.name not in _HAS_B_PICTURES:
            return False
        if self._decoder.name != "hevc":
            return True
        # With temporal layers a "non-reference" picture is one for its own layer alone.
        return temporal_layers(bytes(self._decoder.extradata or b"")) == 1

    def _rate(self):
        """Frames a second: what the header says where the timestamps bear it out; None = unknown."""
        declared = float(self._stream.average_rate or 0) or None
        if self.formats & _NO_TIMESTAMPS:
            return declared
        shown = self.index.times if self.index else self._shown
        steps = [b - a for a, b in pairwise(shown)]
        if not steps or max(steps) <= 0:
            return declared
        rises = min(steps) > 0
        if declared and not rises:
            return declared
        step = sum(steps) / len(steps) if rises else median(step for step in steps if step > 0)
        measured = float(1 / (step * self._stream.time_base))
        return declared if declared and abs(declared / measured - 1) < 0.02 else measured

    @property
    def times(self):
        """When each frame begins to show, float64 [num_frames] seconds from the first; None = unknown."""
        if self.index is None:
            return None
        ticks = np.array(self.index.times, np.int64)
        return (ticks - ticks[0]) * float(self._stream.time_base)

    @property
    def num_packets(self):
        """How many pieces of coded video the file holds, those that show nothing included."""
        return len(self._times)

    @property
    def declared_frames(self):
        """How many frames the header says there are; None where it does not."""
        return self._stream.frames or None

    def key_pictures(self):
        """Yield each key frame, a PyAV frame decoded by itself; None for one that does not come so."""
        for _, packet in self.index.entries:
            alone = self._decoded_span(Span(packet, packet, ()), (), skips=False)
            yield next((frame for frame in alone if frame.pts == self._times[packet]), None)

    @property
    def size(self):
        """(height, width) as shown."""
        if self._size is None:
            self._size = self.frames([0]).shape[1:3]
        return self._size

    def frames(self, indices, short_side=0):
        """`uint8 [N, H, W, 3]` for any indices in 0..num_frames-1, in their order, repeats allowed.

        With `short_side`, larger pictures are scaled down to it in the conversion to RGB: faster than
        to scale them later, and not the same to the bit.
        """
        indices = self._checked(indices)
        if self.index is None:
            return self._frames_by_count(Clip(self._path, indices), short_side)
        try:
            return self._frames_by_index(Clip(self._path, indices), short_side)
        except _OutOfOrder:
            self.index, self.why_counted = None, "its timestamps do not follow what is shown"
            return self._frames_by_count(Clip(self._path, indices), short_side)

    def _frames_by_index(self, clip, short_side):
        whole = [Span(0, len(self._times) - 1, tuple(clip.wanted))]
        try:
            missing = self._decode(plan(self.index, clip.wanted), clip, short_side, self._skips)
        except av.FFmpegError:
            missing = True
        try:
            # A key frame may not be what it says: once more from the start, with nothing left out.
            missing = missing and self._decode(whole, clip, short_side, skips=False)
        except av.FFmpegError as error:
            raise self._broken(error) from None
        if missing:
            raise DecodeError(
                f"{self._path} is damaged: frame {min(missing)} of {self.num_frames} cannot be decoded"
            )
        return clip.pixels

    def close(self):
        self._packets = self._decoded = None
        self._close_container()

    def _close_container(self):
        if self._container is not None:
            self._container.close()

    def _demux(self):
        """The stream's packets with data, from where the file stands to its end."""
        try:
            yield from (packet for packet in self._container.demux(self._stream) if packet.size)
        except av.EOFError:
            return

    def _packets_from(self, number):
        """(number, packet) from packet `number` on, with the decoder emptied."""
        if self._packets is not None:
            self._decoder.flush_buffers()
            yield from enumerate(islice(self._packets, number, None), number)
            return
        if number == 0:
            self._open()
        else:
            self._container.seek(self._times[number], stream=self._stream)
            self._decoder.flush_buffers()
        start = self._times[number]
        packets = dropwhile(lambda packet: packet.pts != start, self._demux())
        yield from enumerate(packets, number)

    def _decode(self, spans, clip, short_side, skips):
        """Fill `clip`; the frames that did not come, where one did not."""
        for span in spans:
            left, shown = {self.index.times[frame]: frame for frame in span.frames}, -inf
            needed = {self.index.packets[frame] for frame in span.frames}
            for frame in self._decoded_span(span, needed, skips):
                if frame.pts is not None:
                    if frame.pts <= shown:
                        raise _OutOfOrder
                    shown = frame.pts
                # pictures before the key frame may come out of it broken
                if frame.pts in left and not (span.start and frame.is_corrupt):
                    self._put(clip, left.pop(frame.pts), frame, short_side)
                    if not left:
                        break
            if left:
                return sorted(left.values())
        return []

    def _decoded_span(self, span, needed, skips):
        """Decode the packets of a span, then what the decoder holds back."""
        mode = None
        for number, packet in self._packets_from(span.start):
            wish = "NONREF" if skips and number not in needed else "DEFAULT"
            if wish != mode:
                self._decoder.skip_frame = mode = wish
            yield from self._decoder.decode(packet)
            if number == span.stop:
                break
        yield from self._decoder.decode(None)

    def _count_frames(self):
        """Decode all; the number of frames, which are kept while they are few."""
        count, self._decoded, self._shown = 0, [], []
        for frame in self._all_frames():
            count += 1
            if frame.pts is not None:
                self._shown.append(frame.pts)
            if self._decoded is not None:
                self._decoded.append(frame)
                if count * frame.width * frame.height * 1.5 > _KEPT_BYTES:  # of 8-bit 4:2:0
                    self._decoded = None
        return count

    def _all_frames(self):
        return self._decoded_span(Span(0, len(self._times) - 1, ()), (), skips=False)

    def _frames_by_count(self, clip, short_side):
        left = set(clip.wanted)
        try:
            for count, frame in enumerate(self._decoded or self._all_frames()):
                if count in left:
                    self._put(clip, count, frame, short_side)
                    left.discard(count)
                    if not left:
                        return clip.pixels
        except av.FFmpegError as error:
            raise self._broken(error) from None
        raise DecodeError(f"{self._path} has changed: it no longer has {self.num_frames} frames")

    def _put(self, clip, index, frame, short_side):
        """Convert to RGB and turn it the way it is meant to be shown."""
        height, width = shrunk_size((frame.height, frame.width), short_side)
        options = {"width": width, "height": height, "format": "rgb24", "threads": 1}
        image = self._to_rgb.reformat(frame, **options).to_ndarray()
        if frame.rotation not in self._orientations:  # to read the matrix takes longer
            self._orientations[frame.rotation] = orientation(frame)
        clip.put(index, image, self._orientations[frame.rotation])

    def _broken(self, error):
        return DecodeError(f"{self._path} breaks while decoding: {_reason(error)}")


class _OutOfOrder(Exception):
    """Frames came out of the decoder in another order than their times say."""


def _describes_streams(source):
    """True for MP4, MOV, Matroska and WebM, whose headers tell codec, size and number of streams."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            start = file.read(8)
    else:
        start = bytes(source.getbuffer()[:8])
    return start[4:] == b"ftyp" or start[:4] == b"\x1a\x45\xdf\xa3"


def _why_unopened(error):
    if getattr(error, "errno", None) == errno.EINVAL:
        return "it is of no known video format, or a playlist, which is refused"
    return _reason(error)


def _reason(error):
    return (getattr(error, "strerror", None) or str(error)).strip()
