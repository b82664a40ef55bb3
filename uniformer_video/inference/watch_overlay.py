"""A window on the screen: the newest frame of a stream, and over it what the model says."""

import os
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from uniformer_video.errors import MissingLibraryError, UserError
from uniformer_video.inference.watch import Label
from uniformer_video.inference.watch_window import FrameRing

_SIDE = 480  # pixels of the short side on the screen, at least
_LINES = 3  # classes
_BAND = (0, 0, 0, 150)


class Overlay:
    """The window; `closed` once somebody closed it. Raises `UserError` where no screen is."""

    def __init__(self, title: str, ring: FrameRing) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise MissingLibraryError(
                f"--window needs tkinter, which this Python lacks ({error}); install it (python3-tk on "
                "Debian and Ubuntu), or leave --window out"
            ) from None
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError:
            hint = ""
            if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
                hint = " (DISPLAY is not set)"
            raise UserError(
                f"--window needs a display, and there is none{hint}; leave it out"
            ) from None
        self._to_photo, self._ring = ImageTk.PhotoImage, ring
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", self._close)
        self._picture = tkinter.Label(self._root)
        self._picture.pack()
        self._label: Label | None = None
        self.closed = False

    def show(self, label: Label) -> None:
        """The label that is shown from now on."""
        self._label = label

    def look(self) -> None:
        """Draw the newest frame, and answer the mouse."""
        if self.closed:
            return
        newest = self._ring.newest
        if newest is not None:
            # kept, or else tkinter shows nothing
            self._photo = self._to_photo(draw(newest.image, self._label))
            self._picture.configure(image=self._photo)
        self._root.update()

    def _close(self) -> None:
        self.closed = True

    def close(self) -> None:
        """Take the window away."""
        self._root.destroy()


def draw(image: np.ndarray, label: Label | None) -> Image.Image:
    """uint8 `[H, W, 3]` enlarged for a screen, with the label and its lag in a band below."""
    height, width = image.shape[:2]
    scale = max(_SIDE / min(height, width), 1.0)
    picture = Image.fromarray(image).resize((round(width * scale), round(height * scale)))
    if label is None:
        return picture
    lines = [*label.prediction.lines(_LINES), f"{label.time:.1f} s, lag {label.lag:.2f} s"]
    font = ImageFont.load_default(18)
    band = Image.new("RGBA", (picture.width, 24 * len(lines) + 8), _BAND)
    drawing = ImageDraw.Draw(band)
    for number, line in enumerate(lines):
        drawing.text((8, 4 + 24 * number), line, "white", font)
    picture.paste(band, (0, picture.height - band.height), band)
    return picture
