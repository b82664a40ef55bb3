"""What a model says about one video, as probabilities of classes, or about the pixels of a picture."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from uniformer_video.errors import UserError
from uniformer_video.evaluation.class_colours import class_colours, full_palette
from uniformer_video.files import atomic_write

NONE_OF_THESE = "none of these"  # the answer below a threshold
OPACITY = 0.5  # of the colours over a picture


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


class PixelShares:
    """What share of all pixels each class has; what predictions for pixels have in common."""

    path: str
    class_names: tuple[str, ...]

    @property
    def shares(self) -> np.ndarray:
        """Float64 `[K]`, in the order of `class_names`."""
        raise NotImplementedError

    def __repr__(self) -> str:
        best = "".join(f"{name} {share:.1%}" for name, share in self.top(1))
        return f"<{type(self).__name__} {self.path}: {best}>"

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` classes with the most pixels: [(name, share), ...]; those without any are left out."""
        if count < 1:
            raise UserError(f"the classes to show are 1 or more, got {count}")
        shares = self.shares
        order = np.argsort(-shares, kind="stable")[:count]
        return [(self.class_names[i], float(shares[i])) for i in order if shares[i] > 0]

    def lines(self, count: int = 5) -> list[str]:
        """`top` for people, one line a class."""
        return [f"{share:6.1%}  {name}" for name, share in self.top(count)]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """`top` as plain data."""
        return {"classes": [{"class": n, "share": round(s, 6)} for n, s in self.top(count)]}


@dataclass(frozen=True, repr=False)
class PixelPrediction(PixelShares):
    """The class of each pixel of one picture.

    classes: uint8 `[H, W]` at the size of the picture, class numbers as the model was trained. palette: the
    colours in which classes are drawn, uint8 `[K, 3]` RGB; None = as pages have them.
    """

    path: str
    classes: np.ndarray
    class_names: tuple[str, ...]
    palette: np.ndarray | None = None

    @cached_property
    def counts(self) -> np.ndarray:
        """How many pixels each class has: int64 `[K]`."""
        return np.bincount(self.classes.ravel(), minlength=len(self.class_names))

    @property
    def shares(self) -> np.ndarray:
        """The share of the pixels that each class has, float64 `[K]`."""
        return self.counts / self.classes.size

    @property
    def colours(self) -> np.ndarray:
        """Those of all class numbers, uint8 `[256, 3]` RGB."""
        return full_palette(class_colours(self.class_names, self.palette))

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """`top` and the size in pixels as plain data."""
        height, width = self.classes.shape
        return {"height": height, "width": width, **super().to_dict(count)}

    def overlay(self, picture: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
        """The picture, `uint8 [H, W, 3]` RGB, with the colours of the classes over it; the same shape.

        opacity: of the colours, from 0 to 1.
        """
        if not 0 <= opacity <= 1:
            raise UserError(f"the opacity is {opacity}; it must be from 0 to 1")
        if picture.shape != (*self.classes.shape, 3):
            raise UserError(
                f"the picture is of shape {list(picture.shape)}, and the classes are those of one of "
                f"{[*self.classes.shape, 3]}; give the picture that was predicted"
            )
        drawn = Image.fromarray(self.colours[self.classes])
        return np.asarray(Image.blend(Image.fromarray(picture), drawn, opacity))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the classes as an indexed PNG: class numbers, with their colours as its palette."""
        save_classes(path, self.classes, self.colours)


def save_classes(path: str | os.PathLike[str], classes: np.ndarray, colours: np.ndarray) -> None:
    """Write class numbers, uint8 `[H, W]`, as an indexed PNG; its palette is `colours`, uint8 `[256, 3]`."""
    image = Image.fromarray(classes)
    image.putpalette(colours.tobytes())
    with atomic_write(os.fspath(path)) as file:
        image.save(file, "PNG")
