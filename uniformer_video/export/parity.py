"""Whether an exported file answers as its model does: on the same clips, side by side, in one run."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from uniformer_video.errors import DataError
from uniformer_video.words import plural

Run = Callable[[np.ndarray], np.ndarray]  # a batch of inputs -> float `[B, K]`

TOLERANCE = 1e-3  # of float32 outputs, as a share of the largest one
LEAST_AGREEMENT = 0.98  # of the views, in the most probable class
_LEAST_SCALE = 0.1  # of logits; below it, rounding is as large as they are
BATCH = 3  # that is run at once, beside one by one


@dataclass(frozen=True)
class Parity:
    """What a file and its model say of the same inputs.

    views: how many inputs. difference: the largest of any output. scale: the largest output of the model; of
    smaller ones `_LEAST_SCALE`. agreement: in the class with the largest output, a share of the views.
    batch_difference: the largest where both take several views at once; None where there was one alone.
    model_seconds, file_seconds: medians of one view. finite: whether the file gave numbers alone. tolerance:
    how large the difference may be, as a share of the scale.
    """

    views: int
    difference: float
    scale: float
    agreement: float
    batch_difference: float | None
    model_seconds: float
    file_seconds: float
    finite: bool
    tolerance: float = TOLERANCE

    def fault(self) -> str:
        """Why the file is not good enough, in words; "" where it is."""
        most = self.tolerance * self.scale
        if not self.finite:
            return "it gives values that are no numbers"
        if not self.difference <= most:  # nor where the model's own is no number
            return f"its outputs differ by {self.difference:.3g}, and {most:.3g} is allowed"
        if self.batch_difference is not None and not self.batch_difference <= most:
            return f"several clips at once differ by {self.batch_difference:.3g}, and {most:.3g} is allowed"
        if self.agreement < LEAST_AGREEMENT:
            return (
                f"it names the same class for {self.agreement:.1%} of the views, and at least "
                f"{LEAST_AGREEMENT:.0%} are asked for"
            )
        return ""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, with whether the file passed."""
        return {**asdict(self), "passed": not self.fault()}

    def lines(self, title: str, source: str) -> list[str]:
        """The table for people. title: what the file is called; source: where the views are from."""
        batch = "not tried" if self.batch_difference is None else f"{self.batch_difference:.2e}"
        ratio = self.model_seconds / self.file_seconds if self.file_seconds else float("inf")
        return [
            f"checked on {plural(self.views, 'view')} of {source}",
            f"  {'largest difference':<24}{self.difference:.2e}  (allowed "
            f"{self.tolerance * self.scale:.2e}; largest output {self.scale:.3g})",
            f"  {f'the same, {BATCH} at once':<24}{batch}",
            f"  {'same best class':<24}{self.agreement:.1%}",
            f"  {'a view, eager':<24}{1000 * self.model_seconds:.2f} ms",
            f"  {f'a view, {title}':<24}{1000 * self.file_seconds:.2f} ms  ({ratio:.2f} times as fast)",
        ]


def compare(
    inputs: Iterable[np.ndarray], model: Run, file: Run, tolerance: float = TOLERANCE
) -> Parity:
    """Run both on each of the `inputs`, a view `[...]` each, in turn.

    model, file: take batches of them, `[B, ...]`. Raises `DataError` without inputs.
    """
    expected: list[np.ndarray] = []
    found: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    times: list[tuple[float, float]] = []
    for view in inputs:
        if not expected:  # the first run of each prepares what the others find
            model(view[None])
            file(view[None])
        begin = time.perf_counter()
        expected.append(model(view[None])[0])
        middle = time.perf_counter()
        found.append(file(view[None])[0])
        times.append((middle - begin, time.perf_counter() - middle))
        if len(kept) < BATCH and (not kept or kept[0].shape == view.shape):
            kept.append(view)
    if not expected:
        raise DataError("there is no clip to check the file on")
    truth, answers = np.stack(expected).astype(np.float64), np.stack(found).astype(np.float64)
    together = None
    if len(kept) > 1:
        batch = np.stack(kept)
        together = float(np.abs(file(batch) - model(batch)).max())
    return Parity(
        len(truth),
        float(np.abs(truth - answers).max()),
        max(_LEAST_SCALE, float(np.abs(truth).max())),
        float((truth.argmax(1) == answers.argmax(1)).mean()),
        together,
        median(seconds for seconds, _ in times),
        median(seconds for _, seconds in times),
        bool(np.isfinite(answers).all()),
        tolerance,
    )
