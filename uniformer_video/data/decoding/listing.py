"""What one look through a video's packets told, and its form as a few hundred bytes that can be kept."""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_CHECKSUM_BYTES = 4
_LEVEL = 6  # of compression; times in regular steps become a few bytes


@dataclass(frozen=True)
class Listing:
    """What `VideoPackets` lists, and which frames that makes.

    times, keys, hidden, parameters_change: as `VideoPackets` has them. why_counted: why the frames were
    counted by decoding, "" where the times tell them. shown, decoded: of counted frames, as
    `CountedFrames.count` gives them.
    """

    times: Sequence[int | None]
    keys: Sequence[int]
    hidden: Sequence[int] = ()
    parameters_change: bool = False
    why_counted: str = ""
    shown: Sequence[int | None] = ()
    decoded: Sequence[int | None] = ()


def pack(listing: Listing, identity: dict[str, Any]) -> bytes:
    """A checksum and compressed JSON. identity: what the listing is of, in values that JSON knows."""
    content = {
        "of": identity,
        "times": _steps(listing.times),
        "keys": _steps(listing.keys),
        "hidden": _steps(listing.hidden),
        "parameters_change": listing.parameters_change,
        "why_counted": listing.why_counted,
        "shown": _steps(listing.shown),
        "decoded": _steps(listing.decoded),
    }
    packed = zlib.compress(json.dumps(content, separators=(",", ":")).encode(), _LEVEL)
    return zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES, "big") + packed


def unpack(data: bytes, identity: dict[str, Any]) -> Listing | None:
    """The `Listing` in `data`; None where it is damaged, or of something else than `identity`."""
    checksum, packed = data[:_CHECKSUM_BYTES], data[_CHECKSUM_BYTES:]
    if zlib.crc32(packed).to_bytes(_CHECKSUM_BYTES, "big") != checksum:
        return None
    try:
        content = json.loads(zlib.decompress(packed))
        if content.pop("of") != identity:
            return None
        for name in ("times", "keys", "hidden", "shown", "decoded"):
            content[name] = _sums(content[name])
        return Listing(**content)
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError):
        return None


def _steps(numbers: Iterable[int | None]) -> list[int | None]:
    """Each number less the last one that is known; None stays."""
    steps: list[int | None] = []
    last = 0
    for number in numbers:
        steps.append(None if number is None else number - last)
        last = last if number is None else number
    return steps


def _sums(steps: Iterable[int | None]) -> list[int | None]:
    """What `_steps` was made from."""
    numbers: list[int | None] = []
    last = 0
    for step in steps:
        last += step or 0
        numbers.append(None if step is None else last)
    return numbers
