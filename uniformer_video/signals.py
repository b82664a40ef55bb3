"""Ctrl-C, SIGTERM and SIGHUP: a request to stop where nothing is lost, or an end at once that is told."""

import signal
import threading
import time
from contextlib import contextmanager

SAME_REQUEST_SECONDS = 5.0  # torchrun passes a Ctrl-C on that the terminal has sent already


class Interrupted(Exception):
    """A run was asked to stop; it has been saved and can be resumed."""


@contextmanager
def stop_requests():
    """An event that the signals set.

    One that comes more than `SAME_REQUEST_SECONDS` after the first raises `KeyboardInterrupt`, which ends at
    once.
    """
    stop, first = threading.Event(), []

    def request(_signum, _frame):
        if first and time.monotonic() - first[0] > SAME_REQUEST_SECONDS:
            raise KeyboardInterrupt
        first.append(time.monotonic())
        stop.set()

    with _handling(request, "SIGINT", "SIGTERM", "SIGHUP"):
        yield stop


@contextmanager
def told_ends():
    """SIGTERM and SIGHUP raise `KeyboardInterrupt` in the block, as Ctrl-C does, in place of a silent end."""

    def end(_signum, _frame):
        raise KeyboardInterrupt

    with _handling(end, "SIGTERM", "SIGHUP"):
        yield


def restore_defaults():
    """For a process that another one has forked: what it inherits of the above was not meant for it."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number and callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _handling(handler, *names):
    """Handle these signals so. Outside the main thread Python allows no handlers, and nothing changes."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    previous = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if number == getattr(signal, "SIGHUP", None) and previous[number] is signal.SIG_IGN:
            continue  # started under nohup, to outlive its terminal
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            # None: a handler that was not installed from Python cannot be put back
            signal.signal(number, previous[number] or signal.SIG_DFL)
