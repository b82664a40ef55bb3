"""Which frames a video shows, and when: from the times of its packets, or by counting.

Listing the packets is fast and tells all, where their times can be trusted. Where they cannot, frames are
counted by decoding every one of them.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from statistics import median

import av

from uniformer_video.data.decoding.index import FrameIndex, build_index
from uniformer_video.data.decoding.nal import holds_b_slice
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.decoding.spans import Span

# Codecs in which every packet shows exactly one frame, VP8's hidden ones apart.
_ONE_FRAME_A_PACKET = {
    "h264",
    "hevc",
    "vp8",
    "vp9",
    "av1",
    "libdav1d",
    "mpeg1video",
    "mpeg2video",
    "mjpeg",
    "ffv1",
    "png",
    "rawvideo",
    "prores",
}
_SEARCHED = 256  # packets, for the first B picture
_LOOKED_AT = 16  # packets that are decoded to see in which order they are shown


def trusted_index(packets: VideoPackets) -> tuple[FrameIndex | None, str]:
    """(the `FrameIndex`, ""), or (None, why the frames have to be counted)."""
    if reason := _distrust(packets):
        return None, reason
    index = build_index(packets.times, packets.keys, packets.hidden)
    if index is None:
        return None, "the timestamps do not tell the frames apart"
    if not packets.allow_seeking:
        index = index.without_seeking()
    if _shows_in_another_order(packets, index):
        return None, "its times are those of decoding"
    return index, ""


def _distrust(packets):
    """Why the timestamps of such a file do not tell its frames, or ""."""
    if not packets.have_times:
        return f"{packets.container} stores no presentation times"
    if packets.codec not in _ONE_FRAME_A_PACKET:
        return f"{packets.codec} does not give one frame a packet"
    if packets.parameter_sets.fields:
        return "interlaced H.264 may give one frame in two packets"
    return ""


def _shows_in_another_order(packets, index):
    """True where times that rise from packet to packet are not those of the pictures shown.

    Files made from a bare stream may have them so. It is looked at where pictures are reordered.
    """
    rises = all(a < b for a, b in pairwise(packets.times))
    if not rises or not packets.have_b_pictures or len(packets) < 2:
        return False
    first = _first_reordered(packets)
    if first is None:
        return False
    start = max(packet for _, packet in index.entries if packet <= first)
    span = Span(start, min(first + _LOOKED_AT, len(packets) - 1))
    shown = [frame.pts for frame in packets.decode_span(span)]
    return any(b <= a for a, b in pairwise(shown))


def _first_reordered(packets):
    """The number of a packet from which on pictures may be shown in another order; None = none."""
    if packets.codec != "h264":
        return 0 if packets.may_reorder() else None
    length_size = packets.parameter_sets.size
    searched = islice(packets.from_number(0), _SEARCHED)
    held = (number for number, p in searched if holds_b_slice(memoryview(p), length_size))
    return next(held, None)


class CountedFrames:
    """Frames in the order in which they come out of the decoder; those of a small video are kept."""

    def __init__(self, packets: VideoPackets):
        self._packets, self._kept = packets, None

    def count(self) -> tuple[int, list[int]]:
        """Decode all; how many frames there are, and the times, in ticks, of those that have one."""
        count, times, self._kept = 0, [], []
        for frame in self._packets.decode_all():
            count += 1
            if frame.pts is not None:
                times.append(frame.pts)
            if self._kept is not None:
                self._kept.append(frame)
                if count * frame.width * frame.height * 1.5 > self._packets.kept_bytes:
                    self._kept = None  # 1.5 bytes a pixel are those of 8-bit 4:2:0
        return count, times

    def __iter__(self) -> Iterator[av.VideoFrame]:
        return iter(self._kept or self._packets.decode_all())

    def forget(self):
        """Keep no frames; they are decoded anew when they are asked for."""
        self._kept = None


def frame_rate(packets: VideoPackets, shown: Sequence[int]) -> float | None:
    """Frames a second: what the header says where the timestamps bear it out; None = unknown.

    shown: when the frames are shown, in ticks, as far as that is known.
    """
    declared = packets.declared_rate
    if not packets.have_times:
        return declared
    steps = [b - a for a, b in pairwise(shown)]
    if not steps or max(steps) <= 0:
        return declared
    rises = min(steps) > 0
    if declared and not rises:
        return declared
    step = sum(steps) / len(steps) if rises else median(step for step in steps if step > 0)
    measured = float(1 / (step * packets.time_base))
    return declared if declared and abs(declared / measured - 1) < 0.02 else measured
