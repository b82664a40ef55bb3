"""Parsing of H.264 and HEVC headers, as far as frames and times depend on them.

Sources: ITU-T H.264, 7.3.1 to 7.3.3 and annex B; ISO/IEC 14496-15, 5.3.3 (avcC) and 8.3.3 (hvcC).
"""

from collections.abc import Iterable, Iterator

import av

_PARAMETER_SETS = {"h264": (7, 8), "hevc": (32, 33, 34)}
_H264_SPS, _H264_SLICES = 7, (1, 5)
# Profiles whose SPS tells the format of colours.
_HIGH_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 144, 244}
_CODE = b"\0\0\1"


class ParameterSets:
    """The parameter sets of H.264 and HEVC in a file's header and key frames.

    fields: pictures may be coded as two fields. change: not all are there from the beginning. size: as
    `length_size` gives it.
    """

    def __init__(self, decoder: av.CodecContext) -> None:
        self._codec = decoder.name if decoder.name in ("h264", "hevc") else ""
        self.fields = self.change = False
        self.size = 0
        self._known: set[bytes] = set()
        if self._codec:
            extradata = bytes(decoder.extradata or b"")
            self.size = length_size(extradata, self._codec)
            self._note(stored_sets(extradata, self._codec))

    def add(self, packets: Iterable[av.Packet]) -> None:
        """Look into these packets."""
        for packet in packets if self._codec else ():
            found = parameter_sets(bytes(packet), self._codec, self.size) - self._known
            self.change |= bool(found and self._known)
            self._note(found)

    def _note(self, found: set[bytes]) -> None:
        self._known |= found
        if self._codec == "h264":
            self.fields |= any(coded_in_fields(unit) for unit in found if is_sps(unit))


def length_size(extradata: bytes, codec: str) -> int:
    """Bytes of the length before each unit; 0 where start codes part them."""
    place = {"h264": 4, "hevc": 21}[codec]
    if len(extradata) <= place or extradata[0] != 1:
        return 0
    return (extradata[place] & 3) + 1


def temporal_layers(extradata: bytes) -> int:
    """How many layers of frame rates an HEVC stream has by its hvcC record; 0 = unknown."""
    return extradata[21] >> 3 & 7 if length_size(extradata, "hevc") else 0


def units(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the units of a packet, `bytes`; `size` as `length_size` gives it."""
    if not size:
        yield from (unit.rstrip(b"\0") for unit in data.split(_CODE)[1:])
        return
    place = 0
    while place + size < len(data):
        start = place + size
        place = start + int.from_bytes(data[place:start], "big")
        yield data[start:place]


def parameter_sets(data: bytes, codec: str, size: int) -> set[bytes]:
    """The parameter sets in a packet: a set of `bytes`."""
    kinds = _PARAMETER_SETS[codec]
    return {
        unit.rstrip(b"\0") for unit in units(data, size) if unit and _kind(unit, codec) in kinds
    }


def stored_sets(extradata: bytes, codec: str) -> set[bytes]:
    """The parameter sets in the header of a file: a set of `bytes`."""
    if not length_size(extradata, codec):
        return parameter_sets(extradata, codec, 0)
    held = _h264_record(extradata) if codec == "h264" else _hevc_record(extradata)
    return {unit for unit in held if unit and _kind(unit, codec) in _PARAMETER_SETS[codec]}


def coded_in_fields(sps: bytes) -> bool:
    """True where an H.264 SPS allows pictures of two fields, which may be two packets."""
    bits = _Bits(sps.replace(b"\0\0\3", b"\0\0"))
    bits.read(8)
    profile = bits.read(8)
    bits.read(16)
    bits.golomb()
    if profile in _HIGH_PROFILES:
        _skip_colours(bits)
    bits.golomb()
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.read(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    bits.read(1)
    bits.golomb()
    bits.golomb()
    return not bits.read(1)


def is_sps(unit: bytes) -> bool:
    """True for an H.264 sequence parameter set."""
    return _kind(unit, "h264") == _H264_SPS


def holds_b_slice(data: bytes | memoryview, size: int) -> bool:
    """True where the first slice of an H.264 packet, `bytes` or a view of them, is one of a B picture."""
    place, end = 0, len(data)
    while size and place + size < end:  # without a copy, for many packets are asked
        start = place + size
        if data[start] & 31 in _H264_SLICES:
            return _is_b(bytes(data[start + 1 : start + 9]))
        place = start + int.from_bytes(data[place:start], "big")
    if not size:
        for unit in units(bytes(data), 0):
            if unit and _kind(unit, "h264") in _H264_SLICES:
                return _is_b(unit[1:9])
    return False


def _is_b(header: bytes) -> bool:
    if header[:1] >= b"\x80":  # the first macroblock is number 0; then the kind of slice, 1 or 6
        return header[0] & 0x70 == 0x20 or header[0] & 0x7C == 0x1C
    bits = _Bits(header)
    bits.golomb()
    return bits.golomb() % 5 == 1


def _kind(unit: bytes, codec: str) -> int:
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _h264_record(record: bytes) -> Iterator[bytes]:
    place = 5
    for mask in (31, 255):
        count, place = record[place : place + 1], place + 1
        for _ in range(count[0] & mask if count else 0):
            unit, place = _read_unit(record, place)
            yield unit


def _hevc_record(record: bytes) -> Iterator[bytes]:
    place = 23
    for _ in range(record[22] if len(record) > 22 else 0):
        count, place = int.from_bytes(record[place + 1 : place + 3], "big"), place + 3
        for _ in range(count):
            unit, place = _read_unit(record, place)
            yield unit


def _read_unit(record: bytes, place: int) -> tuple[bytes, int]:
    end = place + 2 + int.from_bytes(record[place : place + 2], "big")
    return record[place + 2 : end].rstrip(b"\0"), end


def _skip_colours(bits: "_Bits") -> None:
    chroma = bits.golomb()
    if chroma == 3:
        bits.read(1)
    bits.golomb()
    bits.golomb()
    bits.read(1)
    if bits.read(1):
        for number in range(12 if chroma == 3 else 8):
            if bits.read(1):
                _skip_scaling_list(bits, 16 if number < 6 else 64)


def _skip_scaling_list(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = following or last


class _Bits:
    """Bits from the front of `data`; zeros after its end."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data[:512])
        self._place = 0

    def read(self, count: int) -> int:
        """The next bits as a number."""
        self._place += count
        return int(self._bits[self._place - count : self._place].ljust(count, "0"), 2)

    def golomb(self) -> int:
        """The next Exp-Golomb code (H.264, 9.1)."""
        one = self._bits.find("1", self._place)
        zeros = one - self._place if one >= 0 else 0
        self._place += zeros
        return self.read(zeros + 1) - 1
