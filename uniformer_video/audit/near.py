"""Pairs of videos whose features nearly coincide."""

import numpy as np

MOST_PARTNERS = 20  # of a video: of a set where all are alike, not every pair is of use
_ROWS = 1024  # compared at once with all


def near_pairs(
    features: np.ndarray, threshold: float, most: int = MOST_PARTNERS
) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of rows of `features` `[N, D]` with a cosine of at least `threshold`, the nearest first.

    Returns int64 `[P, 2]`, the lower number first, and the cosines, float `[P]`. Of each row the `most`
    nearest partners alone. Each feature is brought to mean 0 and deviation 1 before: what all videos have in
    common would make any two of them alike.
    """
    units = _units(features)
    found: dict[tuple[int, int], float] = {}
    most = min(most, len(units) - 1)
    for start in range(0, len(units) if most > 0 else 0, _ROWS):
        cosines = units[start : start + _ROWS] @ units.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        partners = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        for row in np.flatnonzero((cosines[rows[:, None], partners] >= threshold).any(axis=1)):
            for other in partners[row]:
                if cosines[row, other] >= threshold:
                    pair = min(start + row, int(other)), max(start + row, int(other))
                    found[pair] = float(cosines[row, other])
    order = sorted(found, key=lambda pair: (-found[pair], pair))
    pairs = np.array(order, np.int64).reshape(-1, 2)
    return pairs, np.array([found[pair] for pair in order])


def _units(features: np.ndarray) -> np.ndarray:
    """float `[N, D]` -> standardised, and of length 1: float32 `[N, D]`; one that says nothing stays 0."""
    centred = features - features.mean(axis=0)
    deviation = centred.std(axis=0)
    standard = centred / np.where(deviation > 0, deviation, 1)
    length = np.linalg.norm(standard, axis=1, keepdims=True)
    return (standard / np.where(length > 0, length, 1)).astype(np.float32)
