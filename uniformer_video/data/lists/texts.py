"""Many texts in one buffer: 240,000 paths of 60 letters in 16 MB in place of 26."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import overload

import numpy as np

CHUNK = 8192  # texts that are objects at one time
# Also of names that are not UTF-8, which Python has as single surrogates.
_ENCODING = ("utf-8", "surrogatepass")


class Texts(Sequence[str]):
    """Texts, each by where it starts and ends in `data`. What repeats, or is taken out, shares the buffer."""

    def __init__(self, data: bytes, starts: np.ndarray, ends: np.ndarray) -> None:
        self.data, self.starts, self.ends = data, starts, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Texts in one buffer."""
        making = TextsInMaking()
        texts = iter(texts)
        while chunk := list(islice(texts, CHUNK)):
            making.extend(chunk)
        return making.done()

    def __reduce__(self) -> tuple:
        return _texts_again, (self.data, thin(self.starts), thin(self.ends))

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Texts": ...
    def __getitem__(self, place: int | slice) -> "str | Texts":
        if isinstance(place, slice):
            return Texts(self.data, self.starts[place], self.ends[place])
        return str(self.data[self.starts[place] : self.ends[place]], *_ENCODING)

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
        return self.ends > self.starts

    def pieces(self) -> Iterator[bytes]:
        """The bytes of each."""
        data = self.data
        return (data[a:b] for a, b in zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def take(self, places: np.ndarray) -> "Texts":
        """Those at `places`, `int64 [n]`, in this order."""
        if self.is_one_text and len(self):
            return Texts(
                self.data, *(_repeated(a[0], len(places)) for a in (self.starts, self.ends))
            )
        return Texts(self.data, self.starts[places], self.ends[places])


class TextsInMaking:
    """`Texts` that come chunk by chunk."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._places: list[np.ndarray] = []
        self._known: dict[str, tuple[int, int]] = {}  # of those that repeat

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts. Where most are repeats, such as groups, each is kept once."""
        distinct = set(texts)
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


def joined(many: Sequence[Texts]) -> Texts:
    """The texts of all, one behind the other."""
    count = sum(map(len, many))
    filled = [texts for texts in many if len(texts)]
    if filled and all(texts.is_one_text and texts[0] == filled[0][0] for texts in filled):
        return Texts(
            filled[0].data, *(_repeated(a[0], count) for a in (filled[0].starts, filled[0].ends))
        )
    ends = np.cumsum([len(texts.data) for texts in many])
    kind = np.int32 if ends[-1] < 2**31 else np.int64
    places = [
        np.stack([texts.starts.astype(kind), texts.ends.astype(kind)]) + kind(end - len(texts.data))
        for texts, end in zip(many, ends, strict=True)
    ]
    return Texts(b"".join(texts.data for texts in many), *np.concatenate(places, axis=1))


def first_places(texts: Texts) -> np.ndarray:
    """Of each text the place of the first that is the same: `int64 [n]`.

    By the hashes of the texts, which take less room than a table of them; those of one hash are compared.
    """
    hashes = np.fromiter(map(hash, texts.pieces()), np.int64, len(texts))
    _, found, places = np.unique(hashes, return_index=True, return_inverse=True)
    first = found[places]
    again = np.flatnonzero(first != np.arange(len(texts)))
    pairs = zip(texts.take(again).pieces(), texts.take(first[again]).pieces(), strict=True)
    if all(one == other for one, other in pairs):
        return first
    known: dict[bytes, int] = {}  # two texts of one hash
    return np.array([known.setdefault(piece, place) for place, piece in enumerate(texts.pieces())])


def thin(values: np.ndarray) -> tuple[np.ndarray, int]:
    """(an array to be pickled, its length): of one number in memory, the number alone."""
    return (values[:1] if values.strides == (0,) else values), len(values)


def full(values: np.ndarray, count: int) -> np.ndarray:
    """The array that `thin` was given."""
    return values if len(values) == count else np.broadcast_to(values, (count,))


def _texts_again(
    data: bytes, starts: tuple[np.ndarray, int], ends: tuple[np.ndarray, int]
) -> Texts:
    return Texts(data, full(*starts), full(*ends))


def _repeated(value: np.generic, count: int) -> np.ndarray:
    """An array of one number in memory."""
    return np.broadcast_to(value, (count,))
