"""What a benchmark is at, told on stderr while it runs: some take many minutes on a slow machine."""

import sys
import time

from uniformer_video.words import duration

EVERY = 5.0  # seconds between two lines, so that fast pieces do not flood the screen


class Progress:
    """Called with what is begun now; tells the first, and then one every `EVERY` seconds at most."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._told = float("-inf")

    def __call__(self, what: str) -> None:
        now = time.perf_counter()
        if now - self._told >= EVERY:
            self._told = now
            # not by the log, which a training that is tried out keeps silent
            print(f"[{duration(now - self._started)}] {what}", file=sys.stderr, flush=True)


def of_rounds(number: int, rounds: int) -> str:
    """ "round 2 of 5"; 0 is the one that does not count."""
    return f"round {number} of {rounds}" if number else "warming up"
