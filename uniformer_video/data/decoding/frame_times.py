"""Which frames a video shows, and when: from the times of its packets, or by counting.

Listing the packets is fast and tells all, where their times can be trusted. Where they cannot, frames are
counted by decoding every one of them, and bring their times along.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, pairwise, zip_longest
from statistics import median

import av
import numpy as np

from uniformer_video.data.decoding.index import FrameIndex, build_index
from uniformer_video.data.decoding.nal import holds_b_slice
from uniformer_video.data.decoding.packets import VideoPackets, bytes_of_picture
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
    index = listed_index(packets)
    if index is None:
        return None, "the timestamps do not tell the frames apart"
    if _shows_in_another_order(packets, index):
        return None, "its times are those of decoding"
    return index, ""


def listed_index(packets: VideoPackets) -> FrameIndex | None:
    """The `FrameIndex` of packets whose times are trusted; None where it would not be exact."""
    index = build_index(packets.times, packets.keys, packets.hidden)
    return index if index is None or packets.allow_seeking else index.without_seeking()


def _distrust(packets: VideoPackets) -> str:
    """Why the timestamps of such a file do not tell its frames, or ""."""
    if not packets.have_times:
        return f"{packets.container} stores no presentation times"
    if packets.codec not in _ONE_FRAME_A_PACKET:
        return f"{packets.codec} does not give one frame a packet"
    if packets.parameter_sets.fields:
        return "interlaced H.264 may give one frame in two packets"
    return ""


def _shows_in_another_order(packets: VideoPackets, index: FrameIndex) -> bool:
    """True where times that rise from packet to packet are not those of the pictures shown.

    Files made from a bare stream may have them so. It is looked at where pictures are reordered.
    """
    rises = all(a < b for a, b in pairwise(_known(packets.times)))
    if not rises or not packets.have_b_pictures or len(packets) < 2:
        return False
    first = _first_reordered(packets)
    if first is None:
        return False
    start = max(packet for _, packet in index.entries if packet <= first)
    span = Span(start, min(first + _LOOKED_AT, len(packets) - 1))
    shown = _known([frame.pts for frame in packets.decode_span(span)])
    return any(b <= a for a, b in pairwise(shown))


def _first_reordered(packets: VideoPackets) -> int | None:
    """The number of a packet from which on pictures may be shown in another order; None = none."""
    if packets.codec != "h264":
        return 0 if packets.may_reorder() else None
    length_size = packets.parameter_sets.size
    searched = islice(packets.from_number(0), _SEARCHED)
    held = (number for number, p in searched if holds_b_slice(memoryview(p), length_size))
    return next(held, None)


class CountedFrames:
    """Frames in the order in which they come out of the decoder; those of a small video are kept."""

    def __init__(self, packets: VideoPackets) -> None:
        self._packets = packets
        self._kept: list[av.VideoFrame] | None = None
        self._was_asked = self._was_counted = False

    def take_request(self, count: int) -> bool:
        """Whether a request is answered from here, though there is a short way. count: of all frames.

        It is where all frames are in memory, and where they will be from now on, for a second request, which
        those after it gain by.
        """
        fits = count * self._packets.picture_bytes <= self._packets.kept_bytes
        if self._kept is not None or (self._was_asked and fits):
            return True
        self._was_asked = True
        return False

    def count(
        self, note: Callable[[av.VideoFrame], None] | None = None
    ) -> tuple[list[int | None], list[int | None]]:
        """Decode all; of each frame, in ticks, the time of showing and that of decoding, None without.

        note: is given each frame in its turn, tagged with its packet.
        """
        shown, decoded, self._kept, self._was_counted = [], [], [], True
        try:
            for frame in self._packets.decode_all(tagged=note is not None):
                shown.append(frame.pts)
                decoded.append(frame.dts)
                if note:
                    note(frame)
                if self._kept is not None:
                    self._kept.append(frame)
                    if self._are_too_large(self._kept):
                        self._kept = None
        except av.FFmpegError as error:
            self._packets.break_off(error)
            self._kept = None
        return shown, decoded

    def _are_too_large(self, frames: Sequence[av.VideoFrame]) -> bool:
        """Whether frames, all of the size of the last one, are more than may be kept."""
        last = frames[-1]
        of_all = len(frames) * bytes_of_picture(last.width, last.height)
        return of_all > self._packets.kept_bytes

    def _keep_all(self) -> None:
        """Decode all, to keep them; no further than to see that they are too large."""
        self._was_counted = True
        kept = []
        # an error is told to whoever asks for a frame behind it
        with suppress(av.FFmpegError):
            for frame in self._packets.decode_all():
                kept.append(frame)
                if self._are_too_large(kept):
                    return
            self._kept = kept

    def __iter__(self) -> Iterator[av.VideoFrame]:
        # else they were counted by another reader, which told their times
        if self._was_asked and not self._was_counted:
            self._keep_all()
        self._was_asked = True
        return iter(self._kept or self._packets.decode_all())

    def forget(self) -> None:
        """Keep no frames; they are decoded anew when they are asked for."""
        self._kept = None


def counted_times(
    packets: VideoPackets, shown: Sequence[int | None], decoded: Sequence[int | None]
) -> np.ndarray | None:
    """When each counted frame begins to show: float64 `[N]`, ticks from the first; None = nothing tells.

    shown, decoded: what `CountedFrames.count` gave. The times of decoding, those of what the decoder took
    when a frame came out of it, stand in where those of showing lack or turn back more often, and in AVI,
    which has no others.
    """
    candidates = (shown, decoded) if packets.have_times else (decoded,)
    rate = packets.declared_rate
    step = 1 / (rate * float(packets.time_base)) if rate else None
    return rising_times(min(candidates, key=_count_faults), step)


def _count_faults(times: Iterable[int | None]) -> int:
    """How many lack or turn back. At the end they lack where a decoder is emptied, which is no fault."""
    times = list(times)
    while len(times) > 1 and times[-1] is None:
        times.pop()
    known = _known(times)
    return len(times) - len(known) + sum(b <= a for a, b in pairwise(known))


def _known(times: Iterable[int | None]) -> list[int]:
    return [time for time in times if time is not None]


def rising_times(times: Sequence[int | None], step: float | None) -> np.ndarray | None:
    """`times` made to rise from frame to frame: float64 `[N]`, from the first; None = nothing tells.

    One that lacks, or turns back alone, is put evenly between its neighbours. From where they turn back
    for good, as where two recordings were joined, they go on one step after the last. step: how long a
    frame is shown where no two neighbours tell it; else that is the median of what they tell.
    """
    if len(times) < 2:
        return np.zeros(len(times))
    steps = [b - a for a, b in pairwise(times) if a is not None and b is not None and b > a]
    step = median(steps) if steps else step
    known = {place: time for place, time in enumerate(times) if time is not None}
    places = list(known)
    if not places or step is None:
        return None
    kept, rising = places[:1], [float(known[places[0]])]
    shift = 0.0
    for place, following in zip_longest(places[1:], places[2:]):
        time, last = known[place] + shift, rising[-1]
        if time <= last:
            if following is not None and known[following] + shift > last:
                continue
            shift += last + (place - kept[-1]) * step - time
            time = known[place] + shift
        kept.append(place)
        rising.append(time)
    before, after = np.arange(kept[0]), np.arange(kept[-1] + 1, len(times))
    found = np.interp(np.arange(len(times)), kept, rising)
    found[before] -= (kept[0] - before) * step
    found[after] += (after - kept[-1]) * step
    return found - found[0]


def frame_rate(packets: VideoPackets, shown: Sequence[int]) -> float | None:
    """Frames a second: what the header says where the timestamps bear it out; None = unknown.

    shown: when the frames are shown, in ticks, as far as that is known.
    """
    declared = packets.declared_rate
    if packets.is_bare_stream or not packets.have_times:
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
