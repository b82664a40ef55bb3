"""Which packet gives which frame: pure arithmetic on what one demuxing pass lists.

Index i is the i-th frame in presentation order, so the sorted timestamps of the packets that show a
frame are the frames. Their number is the true count, whatever the header says.

    packet          0   1   2   3   4   5   6   7        decoding order
    key frame       *               *
    timestamp       0   3   1   2   6   4   5   7
    frame           0   3   1   2   6   4   5   7        = rank of the timestamp

A group of pictures may be open: packets 5 and 6 come after the key frame of packet 4 and are shown
before it, so they lean on the group before. Decoding from packet 4 gives frames 6 and 7 exactly, but
not 4 and 5.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import inf


@dataclass(frozen=True)
class FrameIndex:
    """times: presentation time of each frame, in the stream's units. packets: number of the packet,
    in decoding order, that shows each frame. entries: (first exact frame, packet) of the key frames.
    """

    times: tuple[int, ...]
    packets: tuple[int, ...]
    entries: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        assert len(self.times) == len(self.packets) > 0
        assert self.entries[0] == (0, 0)

    def entry(self, frame: int) -> int:
        """The last packet from which decoding gives `frame`, and all shown after it, exactly."""
        return self.entries[bisect_right(self.entries, frame, key=lambda entry: entry[0]) - 1][1]

    def without_seeking(self) -> "FrameIndex":
        """The same with the first packet as the only place to start at."""
        return replace(self, entries=self.entries[:1])


def build_index(
    times: Sequence[int | None], keys: Sequence[int], hidden: Iterable[int] = ()
) -> FrameIndex | None:
    """The `FrameIndex` of packets in decoding order, or None where it would not be exact.

    times: presentation time of each packet, None where the file gives none. keys: numbers of the key
    frames, rising. hidden: numbers of packets that show no frame. There is no index without times,
    with equal ones, where the first packet is no key frame or is not the first to be shown, and where a
    key frame is shown before one that it follows, as where streams overlap.
    """
    hidden = set(hidden)
    shown = [(time, number) for number, time in enumerate(times) if number not in hidden]
    if not shown or any(time is None for time, _ in shown) or not keys or keys[0] != 0:
        return None
    shown.sort()
    ordered, packets = zip(*shown, strict=True)
    if len(set(ordered)) < len(ordered) or times[0] is None or ordered[0] < times[0]:
        return None
    latest = list(accumulate((-inf if time is None else time for time in times), max))
    starts = [(time, key) for key in keys if (time := times[key]) is not None]
    if any(key and time <= latest[key - 1] for time, key in starts):
        return None
    entries = [(bisect_left(ordered, time), key) for time, key in starts]
    return FrameIndex(ordered, packets, tuple(entries))
