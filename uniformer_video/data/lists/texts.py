"""Many texts in one buffer, and once what all begin with: 240,000 paths of 80 letters in 12 MB, not 31."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np

CHUNK = 8192  # texts that are objects at one time
# Also of names that are not UTF-8, which Python has as single surrogates.
_ENCODING = ("utf-8", "surrogatepass")


class Texts(Sequence[str]):
    """Texts, each the `prefix` of all and what lies between its start and its end in `data`.

    What repeats, or is taken out, shares the buffer.
    """

    def __init__(
        self, data: bytes, starts: np.ndarray, ends: np.ndarray, prefix: bytes = b""
    ) -> None:
        self.data, self.starts, self.ends, self.prefix = data, starts, ends, prefix

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Texts in one buffer."""
        making = TextsInMaking()
        texts = iter(texts)
        while chunk := list(islice(texts, CHUNK)):
            making.extend(chunk)
        return making.done()

    def __reduce__(self) -> tuple:
        return _texts_again, (self.data, thin(self.starts), thin(self.ends), self.prefix)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Texts": ...
    def __getitem__(self, place: int | slice) -> "str | Texts":
        if isinstance(place, slice):
            return Texts(self.data, self.starts[place], self.ends[place], self.prefix)
        return str(self.prefix + self.data[self.starts[place] : self.ends[place]], *_ENCODING)

    def __iter__(self) -> Iterator[str]:
        if self.is_one_text:
            one = self[0] if len(self) else ""
            return (one for _ in range(len(self)))  # no copies of it
        return (str(piece, *_ENCODING) for piece in self.pieces())

    @property
    def is_one_text(self) -> bool:
        """Whether all of them are the same by their place."""
        return self.starts.strides == (0,) or not len(self)

    @property
    def is_filled(self) -> np.ndarray:
        """`bool [n]`: which are not empty."""
        return (self.ends > self.starts) | bool(self.prefix)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of each."""
        rests, prefix = self.rests(), self.prefix
        return (prefix + rest for rest in rests) if prefix else rests

    def rests(self) -> Iterator[bytes]:
        """The bytes of each behind the prefix."""
        data = self.data
        return (data[a:b] for a, b in zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def take(self, places: np.ndarray) -> "Texts":
        """Those at `places`, `int64 [n]`, in this order."""
        if self.is_one_text and len(self):
            starts, ends = (_repeated(a[0], len(places)) for a in (self.starts, self.ends))
        else:
            starts, ends = self.starts[places], self.ends[places]
        return Texts(self.data, starts, ends, self.prefix)

    def sharing(self, other: "Texts") -> "Texts":
        """The same texts, of the buffer and the places of `other` where these are the same.

        So are names and the paths that end with them.
        """
        is_same = self.data == other.data and np.array_equal(self.starts, other.starts)
        if is_same and np.array_equal(self.ends, other.ends):
            return Texts(other.data, other.starts, other.ends, self.prefix)
        return self


class TextsInMaking:
    """`Texts` that come chunk by chunk."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._places: list[np.ndarray] = []
        self._known: dict[str, tuple[int, int]] = {}  # of those that repeat
        self._bounds: set[str] = set()  # the first and the last of all by the alphabet

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts. Where most are repeats, such as groups, each is kept once."""
        distinct = set(texts)
        self._bounds |= distinct and {min(distinct), max(distinct)}
        if len(distinct) * 2 > len(texts) > 1:
            pieces = [text.encode(*_ENCODING) for text in texts]
            ends = len(self._data) + np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)))
            starts = np.concatenate([[len(self._data)], ends[:-1]])
            self._data += b"".join(pieces)
            self._places.append(np.stack([starts, ends]))
            return
        for text in distinct - self._known.keys():
            piece = text.encode(*_ENCODING)
            self._known[text] = (len(self._data), len(self._data) + len(piece))
            self._data += piece
        self._places.append(np.array([self._known[text] for text in texts], np.int64).T)

    def done(self) -> Texts:
        """All that was added."""
        kind = np.int32 if len(self._data) < 2**31 else np.int64
        count = sum(part.shape[1] for part in self._places)
        places = np.empty((2, count), kind)
        np.concatenate(self._places or [places], axis=1, out=places, casting="same_kind")
        starts, ends = places
        if count and (starts == starts[0]).all() and (ends == ends[0]).all():
            starts, ends = _repeated(starts[0], count), _repeated(ends[0], count)
            return Texts(bytes(self._data), starts, ends)
        prefix = _common_prefix([text.encode(*_ENCODING) for text in self._bounds])
        return _without(len(prefix), Texts(bytes(self._data), starts, ends, prefix))


def _common_prefix(pieces: Sequence[bytes]) -> bytes:
    """The bytes with which all begin, be that in the middle of a letter."""
    low, high = min(pieces, default=b""), max(pieces, default=b"")
    pairs = zip(low, high, strict=False)  # what lies between the two by the alphabet begins alike
    return low[: next((at for at, (a, b) in enumerate(pairs) if a != b), len(low))]


def _without(count: int, texts: Texts) -> Texts:
    """The texts, whose pieces in the buffer all lose their first `count` bytes."""
    if not count:
        return texts
    kind = texts.starts.dtype
    firsts = np.sort(texts.starts, kind="stable")  # they are in order but for repeats
    firsts = firsts[np.diff(firsts, prepend=-1) > 0]  # of pieces, which may stand for several texts
    steps = np.zeros(len(texts.data) + 1, np.int8)
    steps[firsts] += 1
    steps[firsts + count] -= 1  # a piece that is no longer ends where the next one begins
    is_kept = np.cumsum(steps[:-1], dtype=np.int8) == 0
    data = np.frombuffer(texts.data, np.uint8)[is_kept].tobytes()
    before = np.searchsorted(firsts, texts.starts).astype(kind) * kind.type(count)
    starts, ends = texts.starts - before, texts.ends - before - kind.type(count)
    return Texts(data, starts, ends, texts.prefix)


def joined(many: Sequence[Texts]) -> Texts:
    """The texts of all, one behind the other."""
    count = sum(map(len, many))
    filled = [texts for texts in many if len(texts)]
    if filled and all(texts.is_one_text and texts[0] == filled[0][0] for texts in filled):
        return filled[0].take(np.zeros(count, np.int64))
    prefix = _common_prefix([texts.prefix for texts in filled])
    many = [_beginning_with(prefix, texts) for texts in filled]
    buffers = {id(texts.data): texts.data for texts in many}  # parts of one list share one
    ends = np.cumsum([0, *map(len, buffers.values())])
    kind = np.int32 if ends[-1] < 2**31 else np.int64
    before = dict(zip(buffers, ends.astype(kind), strict=False))
    places = [
        np.stack([texts.starts.astype(kind), texts.ends.astype(kind)]) + before[id(texts.data)]
        for texts in many
    ]
    starts, ends = np.concatenate([np.zeros((2, 0), kind), *places], axis=1)
    return Texts(b"".join(buffers.values()), starts, ends, prefix)


def _beginning_with(prefix: bytes, texts: Texts) -> Texts:
    """The texts with a shorter prefix; what their own has behind it goes into the buffer."""
    if prefix == texts.prefix:
        return texts
    more = texts.prefix[len(prefix) :]
    pieces = [more + rest for rest in texts.rests()]
    ends = np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)))
    return Texts(b"".join(pieces), np.concatenate([[0], ends[:-1]]), ends, prefix)


def first_places(texts: Texts) -> np.ndarray:
    """Of each text the place of the first that is the same: `int64 [n]`.

    By the hashes of the texts, which take less room than a table of them; those of one hash are compared.
    """
    hashes = np.fromiter(map(hash, texts.rests()), np.int64, len(texts))
    _, found, places = np.unique(hashes, return_index=True, return_inverse=True)
    first = found[places]
    again = np.flatnonzero(first != np.arange(len(texts)))
    pairs = zip(texts.take(again).rests(), texts.take(first[again]).rests(), strict=True)
    if all(one == other for one, other in pairs):
        return first
    known: dict[bytes, int] = {}  # two texts of one hash
    return np.array([known.setdefault(piece, place) for place, piece in enumerate(texts.rests())])


def thin(values: np.ndarray) -> tuple[np.ndarray, int]:
    """(an array to be pickled, its length): of one number in memory, the number alone."""
    return (values[:1] if values.strides == (0,) else values), len(values)


def full(values: np.ndarray, count: int) -> np.ndarray:
    """The array that `thin` was given."""
    return values if len(values) == count else np.broadcast_to(values, (count,))


def _texts_again(
    data: bytes, starts: tuple[np.ndarray, int], ends: tuple[np.ndarray, int], prefix: bytes
) -> Texts:
    return Texts(data, full(*starts), full(*ends), prefix)


def _repeated(value: np.generic, count: int) -> np.ndarray:
    """An array of one number in memory."""
    return np.broadcast_to(value, (count,))
