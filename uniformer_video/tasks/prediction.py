"""What a model says about one video, as probabilities of classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from uniformer_video.errors import UserError


@dataclass(frozen=True, repr=False)
class Prediction:
    """Probabilities of all classes for one video, float `[K]`, in the order of `class_names`.

    With one label a video they add up to 1. With any number of labels each stands by itself, and several
    classes, or none, may be true of the video.
    """

    path: str
    probabilities: np.ndarray
    class_names: tuple[str, ...]

    def __repr__(self) -> str:
        best = "".join(f"{name} {score:.1%}" for name, score in self.top(1))
        return f"<Prediction {self.path}: {best}>"

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
        """`top` for people, one line a class."""
        return [f"{score:6.1%}  {name}" for name, score in self.top(count)]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """`top` as plain data."""
        return {"top": [{"class": n, "score": round(score, 6)} for n, score in self.top(count)]}
