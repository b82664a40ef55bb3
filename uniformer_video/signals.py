"""Ctrl-C, SIGTERM and SIGHUP: as a request to stop that loses nothing, or as an interrupt."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SAME_REQUEST_SECONDS = 5.0  # torchrun passes a Ctrl-C on that the terminal has sent already


class Interrupted(Exception):
    """A run was asked to stop; it has been saved and can be resumed."""


_last_request = [float("-inf")]  # when a stop was asked for, on the clock of time.monotonic
# Signals that came while they were held back; None in front while they are.
_held: list[int | None] = []


def _is_same_request() -> bool:
    return time.monotonic() - _last_request[0] <= SAME_REQUEST_SECONDS


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that the signals set.

    One that comes more than `SAME_REQUEST_SECONDS` after the first raises `KeyboardInterrupt`, which ends at
    once.
    """
    stop = threading.Event()

    def request(_signum: int, _frame: FrameType | None) -> None:
        if not stop.is_set():
            _last_request[0] = time.monotonic()
        elif not _is_same_request():
            raise KeyboardInterrupt
        stop.set()

    with _handling(request, "SIGINT", "SIGTERM", "SIGHUP"):
        yield stop


@contextmanager
def raise_interrupts() -> Iterator[None]:
    """The signals raise `KeyboardInterrupt` in the block, as Ctrl-C does, in place of a silent end.

    One that repeats a request to stop, which is being answered, does nothing.
    """

    def end(signum: int, _frame: FrameType | None) -> None:
        if _held:
            _held.append(signum)
        elif not _is_same_request():
            raise KeyboardInterrupt

    with _handling(end, "SIGINT", "SIGTERM", "SIGHUP", respected=("SIGINT", "SIGHUP")):
        yield


@contextmanager
def delay_interrupts() -> Iterator[None]:
    """Inside `raise_interrupts`, around imports: libraries swallow interrupts, or stay half imported."""
    _held.append(None)
    try:
        yield
    finally:
        came = len(_held) > 1
        _held.clear()
    if came:
        raise KeyboardInterrupt


def restore_defaults() -> None:
    """For a process that another one has forked: what it inherits of the above was not meant for it."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _handling(
    handler: Callable[[int, FrameType | None], None],
    *names: str,
    respected: tuple[str, ...] = ("SIGHUP",),
) -> Iterator[None]:
    """Handle these signals so, but for those of `respected` that are ignored.

    A shell has SIGINT ignored by what runs in its background, nohup SIGHUP. Outside the main thread Python
    allows no handlers, and nothing changes.
    """
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    previous = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if signal.Signals(number).name not in respected or previous[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            # None: a handler that was not installed from Python cannot be put back
            signal.signal(number, previous[number] or signal.SIG_DFL)
