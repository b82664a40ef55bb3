"""Memory that this process has freed, and the system has not got back."""

import ctypes
import functools
from collections.abc import Callable


def give_back_freed() -> None:
    """Hand freed memory to the system, where the C library is one that keeps it (glibc); takes milliseconds.

    What large pictures and weights leave behind would stay for the life of the process.
    """
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # of another C library, of Windows
        return lambda _padding: None
