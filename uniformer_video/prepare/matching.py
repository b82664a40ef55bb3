"""Which videos show the same footage: arithmetic on their fingerprints, without comparing all pairs.

Each of 8 frames of one video is compared with the nearest of 32 of the other, in an order in which
time never goes back, and so the other way round. A pair is one where in both directions two means over
the 8 frames are at most 6 bits:

- of the bits that contradict each other: differences that are clear on both sides, and of opposite sign;
- of the differences that are further apart than coding (6 grey levels) and the time between two of the 32
  frames (three quarters of what changes there) explain.

The first is the Hamming distance of the hashes without the bits of plain places, which a re-encode turns at
random. It is quick, and blind to what tells two videos of one place apart, which the second sees.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from uniformer_video.cores import usable_cores
from uniformer_video.prepare.fingerprints import BITS, COMPARED, FRAMES, PLAIN, frames_that_count

LIMIT = 6.0  # bits of 64
_CLEAR = 2  # grey levels: a smaller difference may have either sign after a re-encode
_PIECES = 4  # of a hash, each with a bit of every row and column or nearly
_PIECE_BITS = BITS // _PIECES
# A piece as it is, or with one bit turned. Of two hashes 7 bits apart one piece at least is that near.
_PROBES = np.array([0, *(1 << np.arange(_PIECE_BITS))], np.uint16)
_MARKED_AT_ONCE = 4_000_000  # videos found in buckets
_PAIRS_AT_ONCE = 256  # what stays in a processor's cache
_ALL, _EVERY_OTHER = range(8), range(0, 8, 2)  # of the 8 frames
_BEFORE, _AFTER = ((0, 0), (1, 0), (0, 0)), ((0, 0), (0, 1), (0, 0))
_Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]


def close_pairs(
    fingerprints: np.ndarray,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of the same footage among `fingerprints`, int8 `[N, 32, 64]`, all of them comparable.

    Returns int64 `[P, 2]`, the lower number first, and their distances, float `[P]`. `threads` 0 is one a
    usable core; `progress(done, N)` is called with numbers of videos.
    """
    videos = len(fingerprints)
    hashes, buckets = _Hashes(fingerprints), _Buckets(fingerprints)
    rows = max(1, _MARKED_AT_ONCE // (FRAMES * max(videos, 1)))
    found = [(np.empty((0, 2), np.int64), np.empty(0))]
    pool = ThreadPoolExecutor(threads or usable_cores())  # NumPy lets go of the interpreter's lock
    try:
        starts = range(0, videos, rows)
        for start, part in zip(
            starts, pool.map(partial(_search, hashes, buckets, rows), starts), strict=True
        ):
            found.append(part)
            if progress:
                progress(min(start + rows, videos), videos)
    finally:
        pool.shutdown(cancel_futures=True)
    pairs, measured = zip(*found, strict=True)
    return np.concatenate(pairs), np.concatenate(measured)


def distances(fingerprints: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Distances of the pairs (first[i], second[i]) of videos, in bits of 64: float `[len(first)]`."""
    return _Hashes(fingerprints).distances(np.asarray(first), np.asarray(second))


def _search(
    hashes: "_Hashes", buckets: "_Buckets", rows: int, start: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of the videos from `start` on, so many `rows`, with later ones; and their distances."""
    first, second = buckets.candidates(start, start + rows)
    for measure in hashes.measures():  # quick ones first
        near = measure(first, second) <= LIMIT
        first, second = first[near], second[near]
    return np.stack([first, second], axis=1), hashes.distances(first, second)


class _Hashes:
    """Fingerprints of videos, and the clear bits of their hashes by sign: uint64 `[N, 32]` each."""

    def __init__(self, fingerprints: np.ndarray):
        self._levels = fingerprints.view(np.uint8) ^ 128  # without a sign: -128 becomes 0
        self._counted = frames_that_count(fingerprints[:, COMPARED])
        self._positive = _packed(fingerprints > _CLEAR)
        self._negative = _packed(fingerprints < -_CLEAR)

    def measures(self) -> list[_Measure]:
        """Functions (first, second) -> float `[P]`, all of which are at most `LIMIT` for a pair."""

        def backwards(measure: _Measure) -> _Measure:
            return lambda first, second: measure(second, first)

        found: list[_Measure] = []
        for measure in (self._contradictions, self._apart):
            some = partial(measure, frames=_EVERY_OTHER)  # at most what all frames give
            found += [some, measure, backwards(measure)]
        return found

    def distances(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """The largest of the measures: float `[P]`."""
        return np.maximum.reduce([measure(first, second) for measure in self.measures()])

    def _contradictions(
        self, first: np.ndarray, second: np.ndarray, frames: Iterable[int] = _ALL
    ) -> np.ndarray:
        """Of each of the 8 frames of the videos `first`, with the nearest of those of `second`."""

        def part(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            up, down = self._positive[second], self._negative[second]
            own_up, own_down = self._positive[first, COMPARED], self._negative[first, COMPARED]

            def bits(frame: int) -> np.ndarray:
                opposite = own_up[:, frame, None] & down
                opposite |= own_down[:, frame, None] & up
                return _bit_counts(opposite)

            return _monotone_mean(bits, self._counted[first], frames)

        return _in_parts(part, first, second, 8 * _PAIRS_AT_ONCE)

    def _apart(
        self, first: np.ndarray, second: np.ndarray, frames: Iterable[int] = _ALL
    ) -> np.ndarray:
        """As `_contradictions`, of the differences that are further apart than coding and time explain."""

        def part(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            own, theirs = self._levels[first, COMPARED], self._levels[second]
            steps = _distance(theirs[:, 1:], theirs[:, :-1])
            steps = np.maximum(np.pad(steps, _BEFORE), np.pad(steps, _AFTER))
            tolerance = PLAIN + (steps >> 1) + (steps >> 2)

            def bits(frame: int) -> np.ndarray:
                return _true_counts(_distance(own[:, frame, None], theirs) > tolerance)

            return _monotone_mean(bits, self._counted[first], frames)

        return _in_parts(part, first, second, _PAIRS_AT_ONCE)


def _monotone_mean(
    costs: Callable[[int], np.ndarray], counted: np.ndarray, frames: Iterable[int] = _ALL
) -> np.ndarray:
    """The least mean cost of giving each of the 8 frames one of the 32, never an earlier one: float `[P]`.

    `costs(i)` is that of frame i with each of the 32, `[P, 32]`; `counted`, bool `[P, 8]`, says which frames
    count. With some of the `frames` alone, it is a bound from below.
    """
    total = np.zeros((len(counted), FRAMES), np.uint16)
    for frame in frames:
        np.minimum.accumulate(total, axis=1, out=total)
        total += costs(frame) * counted[:, frame, None]
    return total.min(axis=1) / counted.sum(axis=1)


class _Buckets:
    """Where to look for videos with a frame like a given one: by pieces of the hashes of their frames."""

    def __init__(self, fingerprints: np.ndarray):
        signs = fingerprints > 0
        self._videos = len(fingerprints)
        self._counted = frames_that_count(fingerprints)
        self._pieces = [_packed(signs[..., bits]) for bits in _piece_bits()]
        self._tables = [self._table(piece) for piece in self._pieces]

    def _table(self, piece: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(videos, starts): those with a frame whose piece is v stand from `starts[v]` to `starts[v + 1]`."""
        video, _ = np.nonzero(self._counted)
        keys = np.unique(piece[self._counted].astype(np.int64) * self._videos + video)
        values, videos = np.divmod(keys, max(self._videos, 1))
        return videos, np.searchsorted(values, np.arange((1 << _PIECE_BITS) + 1))

    def candidates(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """(first, second): each video from `start` to before `stop`, and later ones with a like frame."""
        stop = min(stop, self._videos)
        marked = np.zeros((stop - start, self._videos), bool)
        counted = self._counted[start:stop, COMPARED]
        row, _ = np.nonzero(counted)
        for piece, (videos, starts) in zip(self._pieces, self._tables, strict=True):
            values = piece[start:stop, COMPARED][counted]
            keys = np.unique((row[:, None] << _PIECE_BITS) | (values[:, None] ^ _PROBES))
            rows, values = keys >> _PIECE_BITS, keys & ((1 << _PIECE_BITS) - 1)
            lengths = starts[values + 1] - starts[values]
            before = np.cumsum(lengths) - lengths
            places = np.arange(lengths.sum()) + np.repeat(starts[values] - before, lengths)
            marked[np.repeat(rows, lengths), videos[places]] = True
        rows, second = np.nonzero(marked)
        later = second > rows + start
        return rows[later] + start, second[later]


def _piece_bits() -> list[np.ndarray]:
    """Which bits of a hash make a piece: bool `[64]` each, spread over the picture: neighbours are alike."""
    row, column = np.divmod(np.arange(BITS), 8)
    return [(column + 2 * row) % _PIECES == piece for piece in range(_PIECES)]


def _packed(bits: np.ndarray) -> np.ndarray:
    """bool `[..., 8n]` -> an unsigned number of 8n bits `[...]`."""
    packed = np.ascontiguousarray(np.packbits(bits, axis=-1))
    return packed.view(f"u{packed.shape[-1]}")[..., 0]


def _in_parts(measure: _Measure, first: np.ndarray, second: np.ndarray, size: int) -> np.ndarray:
    """`measure(first, second)`, so many pairs at a time."""
    parts = [measure(first[i : i + size], second[i : i + size]) for i in range(0, len(first), size)]
    return np.concatenate(parts) if parts else np.empty(0)


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """|first - second| of uint8, which cannot hold first - second."""
    return np.maximum(first, second) - np.minimum(first, second)


def _true_counts(flags: np.ndarray) -> np.ndarray:
    """bool `[..., 64]` -> how many are True: uint16 `[...]`."""
    # eight flags to a word: their sum has the counts in its bytes, which the product adds up in the top one
    words = np.ascontiguousarray(flags).view(np.uint64).sum(axis=-1)
    return ((words * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint16)


def _bit_counts(words: np.ndarray) -> np.ndarray:
    """uint64 `[...]` -> how many bits are set: uint16 `[...]`."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(words).astype(np.uint16)
    octets = np.ascontiguousarray(words)[..., None].view(np.uint8)
    return _OCTET_COUNTS[octets].sum(axis=-1, dtype=np.uint16)


_OCTET_COUNTS = np.array([bin(octet).count("1") for octet in range(256)], np.uint8)
