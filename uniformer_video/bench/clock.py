"""How long the parts of a work take, one behind the other."""

import time
from collections import defaultdict

import torch

from uniformer_video.training.turns import wait_for


class PartClock:
    """Adds up the time since the last mark under the name of the part that has been done.

    device: whose work belongs to the part that asked for it, so each mark waits for it; None = nothing is
    waited for, as on a processor there is nothing to wait for.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.start()

    def start(self) -> None:
        """Count from now on."""
        if self._device is not None:
            wait_for(self._device)
        self.last = time.perf_counter()

    def mark(self, part: str) -> None:
        """Tell that a part has been done."""
        before = self.last
        self.start()
        self.seconds[part] += self.last - before

    def lap(self) -> dict[str, float]:
        """{part: seconds} since the last lap, or the beginning; the clock begins anew."""
        taken, self.seconds = dict(self.seconds), defaultdict(float)
        self.start()
        return taken
