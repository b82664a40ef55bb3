"""What a model says about one video, as probabilities of classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from uniformer_video.errors import UserError

NONE_OF_THESE = "none of these"  # the answer below a threshold


@dataclass(frozen=True, repr=False)
class FailedPrediction:
    """In place of the prediction for a video that has none; false, where a `Prediction` is true."""

    path: str
    reason: str

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<FailedPrediction {self.path}: {self.reason[:120]}>"

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """The reason as plain data; `count` is that of `Prediction.to_dict`."""
        return {"error": self.reason}


@dataclass(frozen=True, repr=False)
class Prediction:
    """Probabilities of all classes for one video, float `[K]`, in the order of `class_names`.

    With one label a video they add up to 1. With any number of labels each stands by itself, and several
    classes, or none, may be true of the video.

    threshold: the highest probability below which the answer is "none of these"; None without one.
    """

    path: str
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    threshold: float | None = None

    @property
    def none_of_these(self) -> bool:
        """Whether no class is probable enough to be an answer."""
        return self.threshold is not None and float(self.probabilities.max()) < self.threshold

    def __repr__(self) -> str:
        best = "".join(f"{name} {score:.1%}" for name, score in self.top(1))
        return (
            f"<Prediction {self.path}: {f'{NONE_OF_THESE}; ' if self.none_of_these else ''}{best}>"
        )

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` most probable classes: [(name, probability), ...], best first."""
        if count < 0:
            raise UserError(f"the classes to show are 0 or more, got {count}")
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[i], float(self.probabilities[i])) for i in order]

    def above(self, threshold: float = 0.5) -> list[tuple[str, float]]:
        """The classes of at least this probability: [(name, probability), ...], best first."""
        return self.top(int((self.probabilities >= threshold).sum()))

    def lines(self, count: int = 5) -> list[str]:
        """`top` for people, one line a class; before them "none of these", where that is the answer."""
        lines = [f"{score:6.1%}  {name}" for name, score in self.top(count)]
        if self.none_of_these:
            lines.insert(0, f"{NONE_OF_THESE}: no class reaches {self.threshold:.1%}")
        return lines

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """`top` as plain data; with a threshold, that and whether the answer is "none of these"."""
        top = [{"class": n, "score": round(score, 6)} for n, score in self.top(count)]
        if self.threshold is None:
            return {"top": top}
        return {"none_of_these": self.none_of_these, "threshold": self.threshold, "top": top}
