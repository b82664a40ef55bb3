"""What a decoder is fed with: packets that are read some at once, and how it is set for each."""

from collections.abc import Callable, Container, Iterable, Iterator
from itertools import islice
from typing import Literal

import av
from av.video.codeccontext import VideoCodecContext

SCANNED = 64  # packets looked at together; what one of them holds is in memory meanwhile
FEW = 16  # packets read together where a few may be all that is needed


def set_for(
    decoder: Callable[[], VideoCodecContext],
    numbered: Iterable[tuple[int, av.Packet]],
    needed: Container[int],
    skips: bool,
    tagged: bool,
) -> Iterator[av.Packet]:
    """The packets, each when the decoder is set for it: to leave out what nobody needs, and to hand tags on.

    decoder: gives that of the container which is open once a packet has come.
    """
    mode = ""
    for number, packet in numbered:
        wish: Literal["NONREF", "DEFAULT"]
        wish = "NONREF" if skips and number not in needed else "DEFAULT"
        if wish != mode:
            decoder().skip_frame = mode = wish
        if tagged:
            # in an object of its own: PyAV forgets one as soon as any packet that holds it is gone
            decoder().copy_opaque, packet.opaque = True, (number,)
        yield packet


def tag_of(frame: av.VideoFrame) -> int:
    """The number of the packet that a frame is of, where packets were tagged; -1 where it is lost."""
    return frame.opaque[0] if isinstance(frame.opaque, tuple) else -1


def in_batches(packets: Iterator[av.Packet], size: int = SCANNED) -> Iterator[av.Packet]:
    """The same, read some at once: one between others that are decoded takes three times as long.

    Those before an error of FFmpeg come before it.
    """
    late: av.FFmpegError | None = None
    while late is None:
        batch: list[av.Packet] = []
        try:
            for packet in islice(packets, size):
                batch.append(packet)  # one by one: what came before an error stays
        except av.FFmpegError as error:
            late = error
        if not batch:
            break
        yield from batch
    if late:
        raise late
