"""Which of a test's views stand for a test of fewer."""

import numpy as np


def spread_clips(count: int, total: int) -> list[int]:
    """`count` of `total` clips, evenly spread: those at the middles of `count` equal parts of them.

    Clip `floor((2 i + 1) total / (2 count))` for i from 0: of 10 clips 1 is clip 5, 2 are 2 and 7, 3 are 1, 5
    and 8.
    """
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def central_crops(count: int, total: int) -> list[int]:
    """`count` of `total` crops, which lie side by side: 1 is the centre one."""
    first = (total - count) // 2
    return list(range(first, first + count))


def numbers_of_clips(total: int, most: int = 10) -> list[int]:
    """The numbers of clips, up to `total`, that a table shows: all, or about `most`, even in proportion."""
    if total <= most:
        return list(range(1, total + 1))
    return sorted({round(number) for number in np.geomspace(1, total, most).tolist()})
