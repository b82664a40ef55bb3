"""What a segmentation model says: the class of each pixel of a picture, and the shares of the classes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from uniformer_video.errors import UserError
from uniformer_video.files import atomic_write
from uniformer_video.words import plural

OPACITY = 0.5  # of the colours in an overlay


@dataclass(frozen=True, repr=False)
class Shares:
    """The share of the pixels that each class has, float64 `[K]`, in the order of `class_names`."""

    path: str
    shares: np.ndarray
    class_names: tuple[str, ...]

    def __repr__(self) -> str:
        (best, share), *_ = self.top(1)
        return f"<{type(self).__name__} {self.path}: {best} {share:.1%}>"

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The `count` classes with the most pixels: [(name, share), ...]; those without any are left out."""
        if count < 1:
            raise UserError(f"the classes to show are 1 or more, got {count}")
        order = np.argsort(-self.shares, kind="stable")[:count]
        return [
            (self.class_names[i], float(self.shares[i])) for i in order if self.shares[i] > 0
        ]

    def lines(self, count: int = 5) -> list[str]:
        """`top` for people, one line a class."""
        return [f"{share:6.1%}  {name}" for name, share in self.top(count)]

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """`top` as plain data."""
        return {"classes": [{"class": n, "share": round(s, 6)} for n, s in self.top(count)]}


@dataclass(frozen=True, repr=False)
class Segmentation(Shares):
    """The classes of the pixels of one picture.

    classes: uint8 `[H, W]` at the size of the picture, class numbers as the model was trained. colours: uint8
    `[K, 3]` RGB, those in which the classes are drawn.
    """

    classes: np.ndarray
    colours: np.ndarray

    @classmethod
    def of(
        cls, path: str, classes: np.ndarray, class_names: Sequence[str], colours: np.ndarray
    ) -> "Segmentation":
        """The prediction for `path` from the class of each pixel."""
        shares = count_pixels(classes, len(class_names)) / classes.size
        return cls(path, shares, tuple(class_names), classes, colours)

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
        """Write the classes as an indexed PNG: class numbers with the colours as its palette."""
        image = Image.fromarray(self.classes)
        image.putpalette(self.colours.tobytes())
        with atomic_write(Path(path)) as file:
            image.save(file, "PNG")


@dataclass(frozen=True, repr=False)
class SegmentedVideo(Shares):
    """The shares of the classes in all frames of a video together.

    num_frames: those that were read. seconds: how long it takes. cuts: where the steady mean began anew, None
    without one. notes: what was lost or is to be known. broken: whether something could not be decoded.
    """

    num_frames: int
    seconds: float
    cuts: int | None = None
    notes: tuple[str, ...] = ()
    broken: bool = False

    def to_dict(self, count: int = 5) -> dict[str, Any]:
        """`top` and the facts of the video as plain data."""
        facts: dict[str, Any] = {"frames": self.num_frames, "seconds": round(self.seconds, 3)}
        if self.cuts is not None:
            facts["cuts"] = self.cuts
        if self.notes:
            facts["notes"] = list(self.notes)
        return {**facts, **super().to_dict(count)}

    def lines(self, count: int = 5) -> list[str]:
        """`top` for people, below the number of frames."""
        return [f"{plural(self.num_frames, 'frame')}:", *super().lines(count)]


def count_pixels(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """How many pixels of `uint8 [H, W]` each class has: int64 `[num_classes]`."""
    return np.bincount(classes.ravel(), minlength=num_classes)
