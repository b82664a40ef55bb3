"""The packets of a video file by PyAV: listed once without decoding, with what they say; and their decoding.

A packet is a piece of coded video, mostly one picture. Listing them tells times, key frames and pictures
that are never shown. The packets stay in memory unless the file is large, so that going to another place
in the video is emptying the decoder and feeding it from there, in any container.
"""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import dropwhile, islice

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext

from uniformer_video.data.decoding.feeding import FEW, SCANNED, in_batches, set_for
from uniformer_video.data.decoding.listing import Listing, Start
from uniformer_video.data.decoding.nal import ParameterSets, temporal_layers
from uniformer_video.data.decoding.opening import new_decoder, open_stream, reason_of
from uniformer_video.data.decoding.source import source_of
from uniformer_video.data.decoding.spans import Span
from uniformer_video.data.decoding.streams import (
    decode_packets,
    demux,
    is_bare,
    video_streams,
)
from uniformer_video.errors import DecodeError
from uniformer_video.storage.address import name_for_messages

# Containers that store no timestamps of their own, or whose seeking lands beside the key frame.
_NO_TIMESTAMPS = {"avi"}
_NO_SEEKING = {"mpegts", "mpeg"}
# Containers whose header lists every frame, so that fewer in the file mean a truncated file.
_EXACT_HEADER = {"mov", "mp4"}
# Containers whose header says how long a stream takes, and not how many frames it has.
_TIMED_HEADER = {"matroska", "webm", "avi"}
_SOUGHT = 256  # packets, for a key frame, from where seeking it went
_CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)$")  # of a tag of Matroska
# Codecs with B pictures, which may be shown before what was decoded before them; their decoders leave
# out a picture that no other refers to, with the others as they were.
_HAS_B_PICTURES = {"h264", "hevc", "mpeg1video", "mpeg2video"}


def bytes_of_picture(width: int, height: int) -> float:
    """About what a decoded frame of this size takes: the 1.5 bytes a pixel of 8-bit 4:2:0."""
    return width * height * 1.5


class VideoPackets:
    """The packets of a file's video stream, numbered from 0 in decoding order.

    Known once they are listed: `times`, the presentation time of each packet in ticks of `time_base`, None
    where the file gives none; `keys` and `hidden`, the numbers of the key frames and of the packets that
    show no frame; `starts`, the key frames that can be sought, where this was not known; `parameter_sets`;
    `formats`, the names of the container's format; `allow_skipping`, whether pictures that nobody asked for
    and no other refers to may be left undecoded.
    """

    kept_bytes = 64 << 20  # of packets, and of frames that were decoded to count them
    broken_off = ""  # why the file ends before its end, where that was to be borne
    # From `open` on:
    parameter_sets: ParameterSets
    _stream: av.VideoStream
    _decoder: VideoCodecContext

    def __init__(
        self,
        path: str,
        kept_bytes: int | None = None,
        bears_ends: bool = False,
        data: bytes | None = None,
    ) -> None:
        """kept_bytes: another limit, 0 = nothing is kept. bears_ends: a file that is cut off, or breaks while
        it is listed, is one of the packets before that; `broken_off` says why. data: the file itself, where
        `path` is but its name.
        """
        self.path = name_for_messages(path)
        self.bears_ends = bears_ends
        if kept_bytes is not None:
            self.kept_bytes = kept_bytes
        self._source = source_of(path, data)
        self._opened: InputContainer | None = None
        self._number: int | None = None
        self._kept: list[av.Packet] | None = None
        self._at_start = False  # of an open container
        self._may_keep = False  # packets that were not listed
        self.times: list[int | None] = []
        self.keys: list[int] = []
        self.hidden: list[int] = []
        self.starts: list[Start] = []
        self.formats: set[str] = set()
        self.allow_skipping = False

    def open(self, known: Listing | None = None) -> None:
        """Open the file and list its packets. known: what that told before, in place of listing them.

        Raises `DecodeError` for what is no video or is cut off, `av.FFmpegError` where reading breaks.
        """
        self._open_container()
        self.formats = set(self._container.format.name.split(","))
        self.parameter_sets = ParameterSets(self._decoder)
        if known is None:
            broken = self._list()
            if self.formats & _EXACT_HEADER:
                self._check_complete(len(self.times) - broken)
        else:
            self.times, self.keys = [*known.times], [*known.keys]
            self.hidden = [*known.hidden]
            self.parameter_sets.change = known.parameters_change
            self._may_keep = not known.parameters_change
        self.allow_skipping = self._may_skip()
        if self.parameter_sets.change:
            self._kept = None  # each request opens anew: a decoder keeps the last sets it met

    @property
    def _container(self) -> InputContainer:
        assert self._opened is not None, "the file is opened first"
        return self._opened

    def _open_container(self) -> None:
        """Start at the first packet; opening anew is the one rewind that works for every format."""
        self._close_container()
        self._opened, self._stream = open_stream(self._source, self.path, self._number)
        self._number, self._decoder = self._stream.index, self._stream.codec_context
        self._at_start = True

    def _list(self) -> int:
        """Note what all packets say; how many of them are broken."""
        self._kept, self._at_start = [], False
        size = broken = 0
        is_vp8, packets = self.codec == "vp8", self._readable()
        while batch := list(islice(packets, SCANNED)):
            numbered = list(enumerate(batch, len(self.times)))
            self.times += [packet.pts for packet in batch]
            self.keys += [number for number, packet in numbered if packet.is_keyframe]
            self.starts += self._starts_among(numbered)
            self.parameter_sets.add(packet for packet in batch if packet.is_keyframe)
            self.hidden += [
                number
                for number, packet in numbered
                if packet.is_discard or (is_vp8 and not memoryview(packet)[0] & 0x10)  # show_frame
            ]
            size += sum(packet.size for packet in batch)
            broken += sum(packet.is_corrupt for packet in batch)
            if size > self.kept_bytes:
                self._kept = None
            elif self._kept is not None:
                self._kept += batch
        return broken

    def _starts_among(self, numbered: Iterable[tuple[int, av.Packet]]) -> Iterator[Start]:
        """The key frames to which can be gone back."""
        for number, packet in numbered:
            time = self._sought_time(packet)
            if packet.is_keyframe and time is not None and packet.pos is not None:
                yield Start(number, time, packet.pos)

    def listing(
        self,
        why_counted: str,
        shown: Sequence[int | None] = (),
        decoded: Sequence[int | None] = (),
    ) -> Listing:
        """What `open` takes to know these packets; the arguments are as in `Listing`."""
        change = self.parameter_sets.change
        return Listing(self.times, self.keys, self.hidden, change, why_counted, shown, decoded)

    def _readable(self) -> Iterator[av.Packet]:
        """All packets, or those before the file breaks, where that is borne."""
        try:
            yield from demux(self._container, self._stream)
        except av.FFmpegError as error:
            self.break_off(error)

    def break_off(self, error: av.FFmpegError) -> None:
        """Note that the file ends with this error; raise it where that is not borne."""
        if not self.bears_ends:
            raise error
        self.broken_off = self.broken_off or f"{self.path} breaks: {reason_of(error)}"

    def _check_complete(self, found: int) -> None:
        """Raise `DecodeError` where the header lists more frames than the file holds."""
        listed = len(self._stream.index_entries)  # without those that an edit list leaves out
        if found < listed:
            listed = sum(entry.size > 0 for entry in self._stream.index_entries)
        if found < listed:
            cut_off = f"{self.path} is cut off: {found} of its {listed} frames are there"
            if not self.bears_ends:
                raise DecodeError(cut_off)
            self.broken_off = cut_off

    def _may_skip(self) -> bool:
        if not (self.have_times and self.have_b_pictures):
            return False
        if self.codec != "hevc":
            return True
        # With temporal layers a "non-reference" picture is one for its own layer alone.
        return temporal_layers(bytes(self._decoder.extradata or b"")) == 1

    def __len__(self) -> int:
        return len(self.times)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the decoder, such as "h264"."""
        return self._decoder.name

    @property
    def container(self) -> str:
        """What the container is called in full, for messages."""
        return self._container.format.long_name

    @property
    def time_base(self) -> Fraction:
        """Seconds of one tick of `times`."""
        base = self._stream.time_base
        assert base is not None, "FFmpeg gives one to every stream of a file"
        return base

    @property
    def declared_rate(self) -> float | None:
        """Frames a second as the header says; None where it does not."""
        # FFmpeg's average of a bare stream is 25, whatever that says of itself
        rate = self._decoder.framerate if self.is_bare_stream else self._stream.average_rate
        return float(rate or 0) or None

    @property
    def declared_end(self) -> float | None:
        """When the stream ends on the file's clock, by the header, in seconds; None where it does not say."""
        if not self.formats & _TIMED_HEADER:
            return None
        if found := _CLOCK.match(self._stream.metadata.get("DURATION", "")):
            hours, minutes, seconds = map(float, found.groups())
            return 3600 * hours + 60 * minutes + seconds
        if self.declared_frames and self.declared_rate:  # AVI
            return self.declared_frames / self.declared_rate
        duration = self._container.duration
        if duration and len(self._container.streams) == 1:
            return duration / av.time_base
        return None

    @property
    def declared_frames(self) -> int | None:
        """How many frames the header says there are; None where it does not."""
        return self._stream.frames or None

    @property
    def number_in_file(self) -> int:
        """Which of the file's streams this is, counted from 0."""
        return self._stream.index

    @property
    def is_alone(self) -> bool:
        """True where the file holds no other stream of moving pictures."""
        return len(video_streams(self._container)) == 1

    @property
    def have_times(self) -> bool:
        """False for containers that store no presentation times; those of FFmpeg are then guesses."""
        return not (is_bare(self._container) or self.formats & _NO_TIMESTAMPS)

    @property
    def is_bare_stream(self) -> bool:
        """True for coded video without a container: all times that FFmpeg gives are guesses."""
        return is_bare(self._container)

    @property
    def have_b_pictures(self) -> bool:
        """True where a picture may be shown before what was decoded before it."""
        return self.codec in _HAS_B_PICTURES

    @property
    def allow_seeking(self) -> bool:
        """True where decoding may start at any key frame and not at the first packet alone."""
        lands_beside = self._kept is None and self.seeks_beside
        return not (self.parameter_sets.change or lands_beside)

    @property
    def seeks_beside(self) -> bool:
        """True where packets have to be kept in memory for decoding to start at a key frame."""
        return bool(self.formats & _NO_SEEKING)

    @property
    def picture_bytes(self) -> float:
        """About what a decoded frame takes, by what the file says of its size."""
        return bytes_of_picture(self._decoder.width, self._decoder.height)

    def may_reorder(self) -> bool:
        """Whether the decoder may give pictures in another order than that of the packets."""
        self._decoder.open(strict=False)
        return bool(self._decoder.has_b_frames)

    def from_number(self, number: int, stop: int | None = None) -> Iterator[tuple[int, av.Packet]]:
        """(number, packet) from packet `number` to `stop`, included, with the decoder emptied; None = all."""
        end = len(self) if stop is None else stop + 1
        if self._may_keep and number == 0 and not self._at_start:
            self._keep_all()
        if self._kept is not None:
            self._decoder.flush_buffers()
            yield from enumerate(islice(self._kept, number, end), number)
            return
        packets = islice(self._sought(number) if number else self._rewound(), end - number)
        yield from enumerate(in_batches(packets), number)

    def _sought(self, number: int) -> Iterator[av.Packet]:
        """The packets from a key frame on, read from the file."""
        start, self._at_start = self.times[number], False
        assert start is not None, "a packet to start at has a time"
        self._container.seek(start, stream=self._stream)
        self._decoder.flush_buffers()
        packets = dropwhile(
            lambda packet: packet.pts != start or not packet.is_keyframe,
            demux(self._container, self._stream),
        )
        first = next(packets, None)
        if first is None:  # it went to a place behind
            yield from islice(self._rewound(), number, None)
            return
        yield first
        yield from packets

    def _keep_all(self) -> None:
        """Read packets that were known into memory, for a second request; no more than may be kept."""
        self._may_keep = False
        kept, size = [], 0
        for packet in self._rewound():
            size += packet.size
            if size > self.kept_bytes:
                return
            kept.append(packet)
        if len(kept) == len(self):
            self._kept = kept

    def _rewound(self) -> Iterator[av.Packet]:
        """All packets, read from the file."""
        if not self._at_start:
            self._open_container()
        self._at_start = False
        yield from demux(self._container, self._stream)

    def decode_span(
        self,
        span: Span,
        needed: Container[int] = (),
        skips: bool = False,
        tagged: bool = False,
    ) -> Iterator[av.VideoFrame]:
        """Decode the packets of a span, then what the decoder holds back.

        With `skips`, packets outside `needed` are left out where no other refers to them. tagged: `tag_of`
        a frame is the number of its packet.
        """
        to_bare_end = is_bare(self._container) and span.stop == len(self) - 1
        return decode_packets(self._decode, self._fed(span, needed, skips, tagged), to_bare_end)

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        return self._decoder.decode(packet)  # of the container that is open by now

    def _fed(
        self, span: Span, needed: Container[int], skips: bool, tagged: bool
    ) -> Iterator[av.Packet]:
        numbered = self.from_number(span.start, span.stop)
        return set_for(lambda: self._decoder, numbered, needed, skips, tagged)

    def decode_tagged(
        self, start: Start | None, needed: Container[int] = (), skips: bool = False
    ) -> Iterator[av.VideoFrame]:
        """As `decode_span`, from a key frame or the first packet to the end, the frames tagged.

        A new decoder is used each time, so that what comes is the same whatever was decoded before.
        """
        decoder = new_decoder(self._decoder)
        first = start.packet if start else 0
        packets = self._gone_to(start) if start else self._rewound()
        numbered = enumerate(in_batches(packets, FEW), first)
        fed = set_for(lambda: decoder, numbered, needed, skips, True)
        return decode_packets(decoder.decode, fed, to_bare_end=False)

    def _gone_to(self, start: Start) -> Iterator[av.Packet]:
        """The packets from a key frame on, read from the file; nothing where it is not near."""
        self._at_start = False
        self._container.seek(start.time, stream=self._stream)
        packets = demux(self._container, self._stream)
        # MPEG-TS may go to a place behind, and all that follows would be read
        for packet in islice(packets, _SOUGHT):
            # of some containers several packets have one position
            if packet.pos == start.position and self._sought_time(packet) == start.time:
                yield packet
                break
        else:
            return
        yield from packets

    def _sought_time(self, packet: av.Packet) -> int | None:
        return packet.pts if self.have_times and packet.pts is not None else packet.dts

    def decode_all(self, tagged: bool = False) -> Iterator[av.VideoFrame]:
        """Decode all of them. tagged: as `decode_span` takes it."""
        return self.decode_span(Span(0, len(self) - 1), tagged=tagged)

    def failure(self, error: av.FFmpegError) -> DecodeError:
        """The `DecodeError` to raise for an error of FFmpeg."""
        return DecodeError(f"{self.path} breaks while decoding: {reason_of(error)}")

    def close(self) -> None:
        """Let go of the file, the packets and the decoder, whose pictures take 75 MB of a 4K video."""
        self._kept = None
        self._close_container()
        for name in ("_decoder", "_stream", "parameter_sets"):
            vars(self).pop(name, None)

    def _close_container(self) -> None:
        if self._opened is not None:
            self._opened.close()
