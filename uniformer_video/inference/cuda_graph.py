"""Forward passes replayed as CUDA graphs: the host launches one graph in place of some hundred kernels.

Of small batches most of the time is the host's launches. A graph holds the kernels of one shape, and the
addresses of what they read and write: its input is copied to the same place each time, and its output is
copied out before anything else may run. `benchmarks/README.md` has what that brings.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from uniformer_video.words import one_line, plural

log = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]

# Recording costs several passes, so that a shape is recorded once it has come so often.
RECORDED_AFTER = 2
MOST_GRAPHS = 3  # each keeps the memory of its intermediate results
_WARM_UPS = 3  # passes in which libraries make their plans and workspaces, and Triton compiles
_MOST_COUNTED = 64  # shapes of which it is known how often they came
_one_at_a_time = threading.Lock()  # torch records one graph at a time in a process


@dataclass(frozen=True)
class Recorded:
    """A pass that was recorded: `replay()` computes `output` from what is in `input`, both on the device."""

    input: Tensor
    output: Tensor
    replay: Callable[[], object]


def record(forward: Forward, example: Tensor) -> Recorded:
    """`forward(example)` as a CUDA graph, with a place of its own for the input; `example` is on its device.

    `forward` neither waits for the device nor looks at values. Raises what torch raises where it cannot be
    recorded, memory that is not enough among it.
    """
    with _one_at_a_time, torch.cuda.device(example.device):
        # none that inference mode has made, so that it can be written to outside of that mode too
        with torch.inference_mode(False):
            given = torch.empty_like(example)
        given.copy_(example)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                forward(given)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # thread_local: what other threads do on the device meanwhile is none of this graph's business
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = forward(given)
    return Recorded(given, output, graph.replay)


class GraphedForward:
    """Calls of `forward` that give the same numbers and go by CUDA graphs where a shape comes often.

    `graphed(views)` -> float32 on the processor. Several threads may call it: one pass at a time. Where a
    pass cannot be recorded the log says so once, and all passes are calls of `forward`. Hooks and other
    Python of a model do not run in a replay; its weights may be changed in place, and must not be replaced.

    Args:
        forward: `[B, ...]` on the device -> `[B, K]` there, with all contexts that it needs, such as
            autocast; in evaluation mode, and the same for the same input.
        device: where it computes.
        recorder: as `record`.
    """

    def __init__(
        self,
        forward: Forward,
        device: torch.device,
        recorder: Callable[[Forward, Tensor], Recorded] = record,
    ):
        self._forward, self._device, self._recorder = forward, device, recorder
        self._lock = threading.Lock()
        self._calls: Counter[Hashable] = Counter()
        self._graphs: dict[Hashable, Recorded] = {}
        self._records = True

    @torch.inference_mode()
    def __call__(self, views: Tensor) -> Tensor:
        """Views on any device -> what `forward` gives for them, float32 on the processor."""
        key = (tuple(views.shape), views.dtype)
        with self._lock:
            recorded = self._graphs.get(key)
            if recorded is None:
                sent = views.to(self._device)
                recorded = self._recorded(key, sent)
                if recorded is None:
                    output = self._forward(sent)
                    self._count(key)
                    return output.to("cpu", torch.float32)
            recorded.input.copy_(views)
            recorded.replay()
            # Waits for the replay, so that no other call meets it, on whatever stream that one is.
            return recorded.output.to("cpu", torch.float32, copy=True)

    def _count(self, key: Hashable) -> None:
        if len(self._calls) >= _MOST_COUNTED:
            self._calls.clear()
        self._calls[key] += 1

    def _recorded(self, key: Hashable, sent: Tensor) -> Recorded | None:
        """A pass of this shape, recorded now; None where it has not come often, or there is none to be."""
        if not self._records or self._calls[key] < RECORDED_AFTER:
            return None
        try:
            found = self._graphs[key] = self._recorder(self._forward, sent)
        except Exception as error:  # of the driver, a library or a model: many kinds
            self._records = False
            log.warning(
                "CUDA graphs are left out, as recording one failed: %s: %s",
                type(error).__name__,
                one_line(error)[:200],
            )
            return None
        if len(self._graphs) == MOST_GRAPHS:
            self._records = False
            log.info(
                "%s are recorded as CUDA graphs; further shapes are computed without.",
                plural(MOST_GRAPHS, "shape"),
            )
        return found
