"""Memory that this process has freed: kept for what comes next, or handed back to the system.

Both where the C library is glibc; with another one nothing here does anything.
"""

import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


def give_back_freed() -> None:
    """Hand freed memory to the system, where the C library is one that keeps it (glibc); takes milliseconds.

    What large pictures and weights leave behind would stay for the life of the process.
    """
    _of_the_c_library("malloc_trim")(0)


@contextmanager
def kept_for_the_next_step(when: bool) -> Iterator[None]:
    """Inside, freed memory stays with this process, `when` this is so; afterwards it is handed back.

    Else glibc hands back each large tensor that is freed, and the next step gets it page by page again,
    filled with zeros: 6 % of a training step on a CPU. What the process takes at most hardly changes.
    Of several uses, one in another or side by side, the last that ends hands it back. Processes that are
    forked inside, as to decode videos, do not keep theirs, which differs from video to video.
    """
    if not when:
        yield
        return
    own = object()
    _uses.add(own)
    _set_allocator(_KEEPING)
    _watch_forks()
    try:
        yield
    finally:
        _uses.discard(own)
        if not _uses:
            _set_allocator(_GIVING_BACK)
            give_back_freed()


class _Allocator(NamedTuple):
    """Settings of glibc's `mallopt`.

    most_mapped: how many blocks may come from the system one by one, and go back when freed. mapped_from:
    bytes from which a block does. spare: freed bytes at the end of the heap above which these go back.
    """

    most_mapped: int
    mapped_from: int
    spare: int


_MIB = 1 << 20
_KEEPING = _Allocator(most_mapped=0, mapped_from=32 * _MIB, spare=-1)
# what glibc's own settings grow to, once such blocks are freed; set by hand, they grow no more
_GIVING_BACK = _Allocator(most_mapped=65536, mapped_from=32 * _MIB, spare=64 * _MIB)
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # of malloc.h


def _set_allocator(to: _Allocator) -> None:
    mallopt = _of_the_c_library("mallopt")
    mallopt(_M_MMAP_MAX, to.most_mapped)
    mallopt(_M_MMAP_THRESHOLD, to.mapped_from)
    mallopt(_M_TRIM_THRESHOLD, to.spare)


_uses: set[object] = set()  # of `kept_for_the_next_step`, those that have not ended


@functools.cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_keep_nothing)


def _keep_nothing() -> None:
    if _uses:
        _uses.clear()
        _set_allocator(_GIVING_BACK)


@functools.cache  # a child that was just forked must not load a library: another thread may have been at it
def _of_the_c_library(name: str) -> Callable[..., object]:
    """Its function of that name; one that does nothing where it has none."""
    try:
        function: Callable[..., object] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # of another C library, of Windows
        return lambda *_values: None
    return function
