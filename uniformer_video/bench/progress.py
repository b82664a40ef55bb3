"""What a benchmark is at, told on stderr while it runs: some take many minutes on a slow machine."""

import sys
import time

from uniformer_video.words import duration

# Between two lines at least so many seconds, and that share of the time so far: what is begun soon shows
# soon, and a long benchmark of fast pieces does not flood the screen.
_EVERY, _SHARE = 1.0, 0.05


class Progress:
    """Called with what is begun now; tells the first, and of the others some now and then."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._told = float("-inf")

    def __call__(self, what: str) -> None:
        now = time.perf_counter()
        if now - self._told >= max(_EVERY, _SHARE * (now - self._started)):
            self._told = now
            # not by the log, which a training that is tried out keeps silent
            print(f"[{duration(now - self._started)}] {what}", file=sys.stderr, flush=True)


def of_rounds(number: int, rounds: int) -> str:
    """ "round 2 of 5"; 0 is the one that does not count."""
    return f"round {number} of {rounds}" if number else "warming up"
