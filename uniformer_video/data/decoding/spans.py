"""Which packets to decode for a set of frames: pure arithmetic on a `FrameIndex`."""

from collections.abc import Sequence
from dataclasses import dataclass

from uniformer_video.data.decoding.index import FrameIndex


@dataclass(frozen=True)
class Span:
    """Decode the packets start..stop, both included; that gives the wanted frames `frames`."""

    start: int
    stop: int
    frames: tuple[int, ...] = ()


def spans_for(index: FrameIndex, wanted: Sequence[int]) -> list[Span]:
    """The `Span`s that give the frames `wanted` (sorted, no repeats): one forward pass.

    Decoding starts at the key frame before a wanted frame, unless the pass gets there by itself: a
    jump is made exactly where it leaves packets out.

        key frames    *           *           *           *
        packets       . . . . . . . . . . . . . . . . . . . . .
        wanted            x x                           x   x
        spans         [-----]                 [-------------]

    A span stops at the last packet it needs, not at the next key frame; the decoder is emptied there.
    """
    spans: list[Span] = []
    for frame in wanted:
        start, packet = index.entry(frame), index.packets[frame]
        last = spans[-1] if spans else None
        if last and start <= last.stop + 1:
            spans[-1] = Span(last.start, max(last.stop, packet), (*last.frames, frame))
        else:
            spans.append(Span(start, packet, (frame,)))
    return spans
