"""What one look through a video's packets told, and its form as a few hundred bytes that can be kept."""

import json
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_CHECKSUM_BYTES = 4
_LEVEL = 6  # of compression; times in regular steps become a few bytes


class Start(NamedTuple):
    """A key frame to go to. packet: its number. time: in ticks, to seek. position: its byte in the file."""

    packet: int
    time: int
    position: int


@dataclass(frozen=True)
class Places:
    """How counted frames can be decoded without all that comes before, as `places.find_places` finds it.

    starts: key frames from which decoding gives the same frames, rising. packets, checksums: of each frame,
    the number of its packet, and `places.checksum`. skips: whether pictures to which no other refers may
    be left out.
    """

    starts: Sequence[Start]
    packets: Sequence[int]
    checksums: Sequence[int]
    skips: bool


@dataclass(frozen=True)
class Listing:
    """What `VideoPackets` lists, and which frames that makes.

    times, keys, hidden, parameters_change: as `VideoPackets` has them. why_counted: why the frames were
    counted by decoding, "" where the times tell them. shown, decoded: of counted frames, as
    `CountedFrames.count` gives them; places: short ways to them, None = there are none.
    """

    times: Sequence[int | None]
    keys: Sequence[int]
    hidden: Sequence[int] = ()
    parameters_change: bool = False
    why_counted: str = ""
    shown: Sequence[int | None] = ()
    decoded: Sequence[int | None] = ()
    places: Places | None = None


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
        "places": listing.places and _packed_places(listing.places),
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
        content["places"] = content["places"] and _unpacked_places(content["places"])
        return Listing(**content)
    except (zlib.error, ValueError, KeyError, struct.error, TypeError, AttributeError):
        return None


def _packed_places(places: Places) -> dict[str, Any]:
    checksums = struct.pack(f">{len(places.checksums)}I", *places.checksums)
    return {
        "starts": [_steps(column) for column in zip(*places.starts, strict=True)],
        "packets": _steps(places.packets),
        "checksums": b64encode(checksums).decode(),
        "skips": places.skips,
    }


def _unpacked_places(content: dict[str, Any]) -> Places:
    columns = [_sums(column) for column in content["starts"]]
    checksums = b64decode(content["checksums"])
    return Places(
        starts=tuple(Start(*row) for row in zip(*columns, strict=True)),
        packets=tuple(number for number in _sums(content["packets"]) if number is not None),
        checksums=struct.unpack(f">{len(checksums) // 4}I", checksums),
        skips=content["skips"],
    )


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
