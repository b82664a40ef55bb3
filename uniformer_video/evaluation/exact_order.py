"""Means over views that rank as the exact means do: numpy, and exact arithmetic where it is close.

Rounded means may tie or change places where the exact ones differ: logits of float32 that are added in
float32, probabilities near 1, the same views in another order. Here values are compared by a key that keeps
its digits everywhere; what the key cannot tell apart is compared exactly; and rounded means that are not in
the exact order are moved by the least steps that a float64 can make. Of means of logits hardly any test has
such: whether it has is looked for first, in a few passes.
"""

from collections.abc import Callable, Iterator, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from uniformer_video.evaluation.metrics import sigmoid, softmax

_CHUNK = 2**18  # logits worked on together, few enough for a processor's cache
_KEY_ERROR = 1e-12  # of its size, far above what a mean of thousands of views may be off
# of a float64's 53: different sums of so many, over the number of views, stay different
_SUM_BITS = 51
_MOST_IN_DOUBT = 1000  # means that are compared with all others
_DIGITS, _MOST_DIGITS = 40, 10_000  # of decimals, beyond the smallest probability in play


def mean_logits(logits: ArrayLike) -> np.ndarray:
    """Logits `[..., view, K]` -> their mean over the views, float64 `[..., K]`, in the exact order."""
    logits = np.asarray(logits)
    *lead, views, classes = logits.shape
    if views == 1:
        return logits[..., 0, :].astype(np.float64)
    if logits.dtype == np.float32:
        means = _ordered_means(logits.reshape(-1, views, classes))
        if means is not None:
            return means.reshape(*lead, classes)
    return _exact_means(logits, lambda views: views, _sums, _exact_sums)


def _ordered_means(logits: np.ndarray) -> np.ndarray | None:
    """Float32 `[N, view, K]` -> their rounded means, float64 `[N, K]`; None unless these are surely in the
    exact order.

    Sums of multiples of a unit are exact up to 2^53 of it, whatever the order of the views, and every
    float32 of 2^23 units or more is such a multiple. With the unit of which no sum of a video has more than
    2^_SUM_BITS, only means with a smaller logit are in doubt: they must lie apart from all others.
    """
    videos, views, classes = logits.shape
    means, doubts = np.empty((videos, classes)), [np.empty((0, 2), np.int64)]
    for part in _parts(logits.shape):
        block = logits[part]
        sizes = np.abs(block)
        largest = sizes.max(axis=(1, 2), initial=0.0).astype(np.float64)
        if np.isinf(largest).any():
            return None
        # NaN, of a video that failed, is in no order
        _, bits = np.frexp(views * np.nan_to_num(largest))
        least = np.ldexp(1.0, bits - _SUM_BITS + 23).astype(np.float32)
        small = (sizes < least[:, None, None]) & (sizes > 0)
        means[part] = _sum_of_views(block) / views
        if small.any():
            doubts.append(np.argwhere(small.any(axis=1)) + np.array([part.start, 0]))
    video, index = np.concatenate(doubts).T
    if len(video) > _MOST_IN_DOUBT:
        return None
    rows = np.sort(logits[video, :, index], axis=1).astype(np.float64)
    means[video, index] = np.add.accumulate(rows, axis=1)[:, -1] / views
    errors = _KEY_ERROR * np.abs(rows).sum(axis=1) / views
    return means if _lie_apart(means[video, index], errors.max(initial=0.0), means) else None


def _sum_of_views(logits: np.ndarray) -> np.ndarray:
    """`[N, view, K]` -> float64 `[N, K]`, without a copy of all logits as float64."""
    total = logits[:, 0].astype(np.float64)
    for view in range(1, logits.shape[1]):
        total += logits[:, view]
    return total


def _lie_apart(some: np.ndarray, error: float, values: np.ndarray) -> bool:
    """Whether none of the `values` but itself is within the error of any of `some`, `[n]`, of them."""
    if not len(some):
        return True
    some = np.sort(some)
    if (np.diff(some) <= 2 * error).any():
        return False
    next_ones = np.searchsorted(some + error, values.ravel())
    near = values.ravel() >= np.append(some - error, np.inf)[next_ones]
    return int(near.sum()) == len(some)


def mean_sigmoids(logits: ArrayLike) -> np.ndarray:
    """Logits `[..., view, K]` -> the mean of their sigmoids, float64 `[..., K]`, in the exact order."""
    return _exact_means(logits, sigmoid, _logits_of_means, _exact_sigmoids)


def mean_softmaxes(logits: ArrayLike) -> np.ndarray:
    """Logits `[..., view, K]` -> the mean of their softmax, float64 `[..., K]`, each video's in order."""
    logits = np.asarray(logits)
    *lead, views, classes = logits.shape
    flat = logits.reshape(-1, views, classes)
    means = np.empty((len(flat), classes))
    for part in _parts(flat.shape):
        means[part] = softmax(flat[part]).mean(axis=1)
        ordered = np.sort(means[part], axis=1)
        close = (np.diff(ordered) <= _KEY_ERROR * ordered[:, 1:]).any(axis=1)
        for video in part.start + np.flatnonzero(close & (views > 1)):
            if _is_close(flat[video], means[video]):
                values = _exact_softmaxes(flat[video].tolist())
                ranked = {value: rank for rank, value in enumerate(sorted(set(values)))}
                ranks = np.array([ranked[value] for value in values])
                means[video] = _parted(means[video], ranks)
    return means.reshape(*lead, classes)


def _is_close(logits: np.ndarray, means: np.ndarray) -> bool:
    """Whether rounding may tell the order of a video's mean probabilities `[K]` wrong; logits `[view, K]`."""
    order = np.argsort(means)
    sorted_means, columns = means[order], logits[:, order]
    close = np.diff(sorted_means) <= _KEY_ERROR * sorted_means[1:]
    differ = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    return bool((close & differ).any() and np.isfinite(logits).all())


def in_order(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`values`, float64 of any shape, made to rise exactly where `scores` of the same shape do.

    Values rise with scores but where they are rounded, as do sigmoids of high scores. They are moved by the
    least steps, away from one half there and from 1 and 0 at the ends. NaN stays.
    """
    known = ~np.isnan(scores)
    _, ranks = np.unique(scores[known], return_inverse=True)
    out = np.array(values, np.float64)
    out[known] = _parted(out[known], ranks.ravel())
    return out


def _exact_means(
    logits: ArrayLike,
    value: Callable[[np.ndarray], np.ndarray],
    keys_of: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    exact: Callable[[np.ndarray], list[Any]],
) -> np.ndarray:
    """The means over the views of `value`. keys_of, exact: as `_ranks` takes them, of sorted views."""
    logits = np.asarray(logits)
    *lead, views, classes = logits.shape
    flat = logits.reshape(-1, views, classes)
    means = np.empty((len(flat), classes))
    keys, errors = np.empty_like(means), np.empty_like(means)
    for part in _parts(flat.shape):
        # sorted, so that the same views in another order give the same, to the bit
        ordered = np.sort(flat[part], axis=1).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means[part] = value(ordered).mean(axis=1)
            keys[part], errors[part] = keys_of(ordered)
    known = np.isfinite(flat).all(axis=1)  # no NaN, of a video that failed
    which = np.flatnonzero(known)

    def views_at(places: np.ndarray) -> np.ndarray:
        """The sorted views `[len(places), view]` of known means."""
        video, index = np.divmod(which[places], classes)
        return np.sort(flat[video, :, index], axis=1)

    ranks = _ranks(keys[known], errors[known], views_at, exact)
    means[known] = _parted(means[known], ranks)
    return means.reshape(*lead, classes)


def _parts(shape: tuple[int, int, int]) -> Iterator[slice]:
    """Slices of the videos of logits `[N, view, K]`, those to be worked on together."""
    videos, views, classes = shape
    step = max(1, _CHUNK // max(views * classes, 1))
    return (slice(start, start + step) for start in range(0, videos, step))


def _sums(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(key, its error) of means of logits: `[N, view, K]` -> two of `[N, K]`.

    A float64 holds sums of float32 exactly, as long as the largest and the smallest are not too far apart.
    """
    sizes = np.abs(views)
    total = sizes.sum(axis=1)
    least = sizes.min(axis=1)
    if not (least > 0).all():  # zeros have any number of digits
        least = np.where(sizes > 0, sizes, np.inf).min(axis=1)
    narrow = (views.astype(np.float32) == views).all(axis=1)
    is_exact = narrow & (total < np.ldexp(least, 52 - 23))
    return views.sum(axis=1), np.where(is_exact, 0.0, _KEY_ERROR * total)


def _logits_of_means(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(key, its error) of means of sigmoids: `[N, view, K]` -> two of `[N, K]`.

    The logit of the mean, log p - log (1 - p), with both from sums of positive numbers.
    """
    if views.shape[1] == 1:
        return views[:, 0], np.zeros_like(views[:, 0])
    log_p = -np.logaddexp(0.0, -views)
    key = _log_mean(log_p) - _log_mean(log_p - views)
    return key, _KEY_ERROR * np.maximum(1.0, np.abs(key))


def _log_mean(logs: np.ndarray) -> np.ndarray:
    """The logarithm of the mean over axis 1 of what `logs` are the logarithms of."""
    largest = logs.max(axis=1, keepdims=True)
    return largest[:, 0] + np.log(np.exp(logs - largest).mean(axis=1))


def _exact_sums(rows: np.ndarray) -> list[Fraction]:
    """Exact sums of rows `[n, view]` of logits."""
    different, places = np.unique(rows, return_inverse=True)
    exact = np.array([Fraction(view) for view in different.tolist()], object)
    return exact[places.reshape(rows.shape)].sum(axis=1).tolist()


def _exact_sigmoids(rows: np.ndarray) -> list[Decimal]:
    """Sums of the sigmoids of rows `[n, view]`, with digits beyond the smallest; equal ones come out so."""
    different, places = np.unique(rows, return_inverse=True)
    digits = min(_DIGITS + int(np.abs(rows).max() / np.log(10)), _MOST_DIGITS)
    with localcontext(Context(prec=digits + 10, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])) as context:
        shares = [1 / (1 + (-Decimal(view)).exp()) for view in different.tolist()]
        sums = np.array(shares, object)[places.reshape(rows.shape)].sum(axis=1)
        context.prec = digits
        return [+total for total in sums]


def _exact_softmaxes(video: Sequence[Sequence[float]]) -> list[Decimal]:
    """Sums of the softmax over the views, of lists `[view][K]`, with digits beyond the smallest."""
    span = max(max(view) - min(view) for view in video)
    digits = min(_DIGITS + int(span / np.log(10)), _MOST_DIGITS)
    with localcontext(Context(prec=digits + 10, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])) as context:
        powers = [[Decimal(logit).exp() for logit in view] for view in video]
        totals = [sum(view) for view in powers]
        shares = [
            [power / total for power in view] for view, total in zip(powers, totals, strict=True)
        ]
        sums = [sum(own) for own in zip(*shares, strict=True)]
        context.prec = digits
        return [+total for total in sums]


def _ranks(
    keys: np.ndarray,
    errors: np.ndarray,
    views_at: Callable[[np.ndarray], np.ndarray],
    exact: Callable[[np.ndarray], list[Any]],
) -> np.ndarray:
    """Ranks from 0 by exact values, equal for equal ones: int64 `[M]`.

    keys: what the values are compared by, float64 `[M]`; errors: how far off each may be. views_at: places
    -> the sorted views there, `[n, view]`. exact: such views -> values that Python compares exactly.
    """
    order = np.argsort(keys)
    key, error = keys[order], errors[order]
    apart = key[1:] - error[1:] > np.maximum.accumulate(key + error)[:-1]
    equal = (key[1:] == key[:-1]) & (error[1:] == 0) & (error[:-1] == 0)
    unclear = np.flatnonzero(~apart & ~equal)
    parts = np.split(unclear, range(_CHUNK // 64, len(unclear), _CHUNK // 64))
    differ = [(views_at(order[p]) != views_at(order[p + 1])).any(axis=1) for p in parts]
    unclear = unclear[np.concatenate(differ)]
    rises = np.concatenate([[1], apart.astype(np.int64)])[: len(order)]
    if len(unclear):
        group = np.cumsum(rises)
        close = np.flatnonzero(np.isin(group, group[unclear]))  # whole groups
        values = exact(views_at(order[close]))
        ranked = {value: rank for rank, value in enumerate(sorted(set(values)))}
        value = np.array([ranked[value] for value in values])
        by_value = np.lexsort((value, group[close]))
        order[close], value = order[close][by_value], value[by_value]
        inside = np.flatnonzero(rises[close] == 0)
        rises[close[inside]] = value[inside] > value[inside - 1]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.cumsum(rises) - 1
    return ranks


def _parted(values: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """`values` float64 `[M]` moved by least steps, so that they rise exactly where `ranks` do.

    ranks: int `[M]`, all from 0 to the highest.
    """
    if not len(values):
        return values
    first = np.empty(int(ranks.max()) + 1, np.int64)  # the place of the first of each rank
    first[ranks[::-1]] = np.arange(len(ranks))[::-1]  # of a place written twice the last stays
    bits = values[first].view(np.int64)
    bits = np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)  # rise as the numbers do
    if (np.diff(bits) > 0).all():
        return values[first][ranks]
    place, level = np.arange(len(bits)), values[first]
    # to both sides of one half, and from 0 and 1 inwards
    for low, high in ((0.25, 0.5), (0.75, np.nextafter(1.0, 2.0))):
        inside = slice(*np.searchsorted(level, (low, high)))
        falling = (bits[inside] - place[inside])[::-1]
        bits[inside] = np.minimum.accumulate(falling)[::-1] + place[inside]
    bits = np.maximum.accumulate(bits - place) + place
    bits = np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)
    return bits.view(np.float64)[ranks]
