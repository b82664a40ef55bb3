"""A small copy of a tested picture, its truth and its prediction: what the page shows without the originals.

They are kept in `strips.npz` as the frames of videos are, see `evaluation/strips.py`.
"""

import io
import logging
import zipfile
from dataclasses import dataclass

import numpy as np
from PIL import Image

from uniformer_video.evaluation.strips import jpeg_uri
from uniformer_video.words import one_line

log = logging.getLogger(__name__)

LONG_SIDE = 240
_PICTURE, _TRUTH, _PREDICTED = "picture.jpg", "truth.png", "predicted.png"
_QUALITY = 75
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # of zip files: the bytes do not depend on the time of the test


def pixel_strip(picture: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> bytes:
    """A zip file of three small pictures, their long side at most 240 pixels, all of one size.

    `picture.jpg` is the picture, uint8 `[H, W, 3]` RGB. `truth.png` and `predicted.png` hold class numbers as
    grey values, 255 = ignored, of uint8 `[H, W]` each: a small pixel is the one in the middle of those that
    it stands for.
    """
    height, width = truth.shape
    scale = min(1.0, LONG_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # of large pictures averages of blocks first, which is a lot faster
    small = Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    rows, columns = _middles(size[1], height)[:, None], _middles(size[0], width)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, _PICTURE, small, "jpeg", quality=_QUALITY)
        _add(archive, _TRUTH, Image.fromarray(truth[rows, columns]), "png")
        _add(archive, _PREDICTED, Image.fromarray(predicted[rows, columns]), "png")
    return file.getvalue()


@dataclass(frozen=True)
class PixelStrip:
    """What `pixel_strip` keeps: a picture as a JPEG file, and class numbers uint8 `[h, w]`, 255 = ignored."""

    jpeg: bytes
    truth: np.ndarray
    predicted: np.ndarray

    @classmethod
    def read(cls, strip: bytes, name: str) -> "PixelStrip | None":
        """From its bytes; None where there are none, or, with a warning, where they are damaged.

        name: of the picture, for the warning.
        """
        if not strip:
            return None
        try:
            with zipfile.ZipFile(io.BytesIO(strip)) as archive:
                masks = [_mask(archive.read(member)) for member in (_TRUTH, _PREDICTED)]
                found = cls(archive.read(_PICTURE), *masks)
            if found.truth.shape != found.predicted.shape:
                raise ValueError("its masks differ in size")
            return found
        except Exception as error:  # of a damaged file: zipfile and Pillow raise whatever they meet
            log.warning(
                "%s is shown without its small pictures, which cannot be read: %s; test again for new ones",
                name,
                one_line(error),
            )
            return None

    def picture_uri(self) -> str:
        """The picture as a data URI."""
        return jpeg_uri(self.jpeg)


def _add(
    archive: zipfile.ZipFile, name: str, image: Image.Image, kind: str, **options: int
) -> None:
    file = io.BytesIO()
    image.save(file, kind, **options)
    archive.writestr(zipfile.ZipInfo(name, _FIRST_DATE), file.getvalue())


def _middles(count: int, length: int) -> np.ndarray:
    """The middles of `count` equal parts of `length` pixels, int `[count]`."""
    return ((np.arange(count) + 0.5) * length / count).astype(int)


def _mask(file: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(file), formats=("PNG",)) as image:
        if image.mode != "L":
            raise ValueError(f"a mask is of mode {image.mode}")
        return np.asarray(image)
