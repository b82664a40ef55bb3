"""Videos that show nearly the same: by their footage, by their features, or as one file in two lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from uniformer_video.audit.listed import Listed
from uniformer_video.audit.near import near_pairs
from uniformer_video.prepare.fingerprints import is_comparable
from uniformer_video.prepare.matching import close_pairs

FILE, FOOTAGE, FEATURES = "file", "footage", "features"  # how a pair is found, the surest first


@dataclass(frozen=True)
class Pair:
    """Two lines of lists, by their places, the lower first.

    how: `FILE`, one file (and segment) twice; `FOOTAGE`, the frames agree, as of a re-encode; `FEATURES`, the
    model sees nearly the same. bits: the distance of the footage, of 64; cosine: of the features; None where
    it was not found so.
    """

    first: int
    second: int
    how: str
    bits: float | None = None
    cosine: float | None = None


def find_pairs(
    videos: Sequence[Listed],
    features: np.ndarray,
    rows: np.ndarray,
    prints: Mapping[int, np.ndarray],
    alike: float | None = None,
    workers: int = 0,
) -> list[Pair]:
    """All pairs of near-duplicates among `videos`.

    features: `[M, D]`; rows: int `[N]`, the row of each video there, -1 for none. prints: {place:
    fingerprint} of the videos that were read, one place of each file is enough. alike: the least cosine of
    features that makes a pair, None = none: what a model was trained to tell apart it brings together inside
    a class, and copies stand no nearer than other videos (docs/audit.md has the numbers).
    First come pairs whose labels differ, then those between two lists, the nearest first.
    """
    places: dict[tuple[str, float, float | None], list[int]] = {}
    for place, listed in enumerate(videos):
        places.setdefault(listed.record.segment, []).append(place)
    firsts = [own[0] for own in places.values()]
    copies = {own[0]: own for own in places.values()}
    found = {
        couple: Pair(*couple, FILE, 0.0, 1.0)
        for own in places.values()
        for couple in combinations(own, 2)
    }
    bits = _by_footage(firsts, prints, workers)
    seen = [place for place in firsts if rows[place] >= 0] if alike is not None else []
    cosines = _by_features(seen, features, rows, alike or 0.0)
    for one, other in sorted({*bits, *cosines}):
        distance, cosine = bits.get((one, other)), cosines.get((one, other))
        how = FEATURES if distance is None else FOOTAGE
        for first, second in product(copies[one], copies[other]):
            couple = min(first, second), max(first, second)
            found[couple] = Pair(*couple, how, distance, cosine)
    return sorted(found.values(), key=lambda pair: _urgency(pair, videos))


def _urgency(pair: Pair, videos: Sequence[Listed]) -> tuple[object, ...]:
    first, second = videos[pair.first], videos[pair.second]
    nearness = (-(pair.cosine or 0), pair.bits or 0) if pair.how == FEATURES else (pair.bits or 0,)
    kind = (FILE, FOOTAGE, FEATURES).index(pair.how)
    return (
        first.label == second.label,
        first.part == second.part,
        kind,
        nearness,
        pair.first,
        pair.second,
    )


def _by_footage(
    places: Sequence[int], prints: Mapping[int, np.ndarray], workers: int
) -> dict[tuple[int, int], float]:
    """{pair of places: distance in bits of 64} of the same footage."""
    known = [place for place in places if place in prints and is_comparable(prints[place])]
    if len(known) < 2:
        return {}
    pairs, distances = close_pairs(np.stack([prints[place] for place in known]), workers)
    return {
        (known[first], known[second]): float(distance)
        for (first, second), distance in zip(pairs.tolist(), distances, strict=True)
    }


def _by_features(
    places: Sequence[int], features: np.ndarray, rows: np.ndarray, threshold: float
) -> dict[tuple[int, int], float]:
    """{pair of places: cosine} of features that nearly coincide."""
    if len(places) < 2:
        return {}
    pairs, cosines = near_pairs(features[rows[places]], threshold)
    return {
        (places[first], places[second]): float(cosine)
        for (first, second), cosine in zip(pairs.tolist(), cosines, strict=True)
    }
