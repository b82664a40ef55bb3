"""One picture file -> RGB pixels, by Pillow, as FFmpeg would show it as a frame of a video.

What a file stores becomes 8-bit RGB without a look at the rest of the folder: grey and palettes become
colours, 16 bits are scaled as those of a video are, transparency is dropped (nothing lies behind a frame),
a turn in the EXIF data is applied, ICC profiles are not. A picture whose values have no known range is
refused.
"""

import os
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from uniformer_video.errors import DecodeError
from uniformer_video.words import system_reason

# What frames are extracted to. Pillow knows more formats; one of them starts another program.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
_BITS, _PHOTOMETRIC, _SUBFILE_TYPE, _SAMPLE_FORMAT = 258, 262, 254, 339  # tags of TIFF 6.0
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_MODE_WORDS = {
    "F": "floating-point numbers",
    "I": "32-bit or signed whole numbers",
}


def read_picture(file: str | os.PathLike | BinaryIO, name: str = "") -> np.ndarray:
    """`uint8 [H, W, 3]` RGB, turned the way it is meant to be shown.

    name: what messages call a `file` that is open, not a path.

    Raises `DecodeError` for a file that is absent or damaged, that holds several pictures, or whose values
    have no known range: 32-bit, signed and floating-point numbers.
    """
    name = name or str(file)
    try:
        with Image.open(file, formats=PICTURE_FORMATS) as image:
            _check_single(image, name)
            _check_range(image, name)
            if _is_deep(image):
                return _deep_pixels(image)
            image.info.pop("transparency", None)  # it is dropped, and Pillow warns of some kinds
            ImageOps.exif_transpose(
                image, in_place=True
            )  # a copy would take as long as half the decoding
            colours = image.convert("LA") if image.mode == "La" else image
            return np.asarray(colours if colours.mode == "RGB" else colours.convert("RGB"))
    except DecodeError:
        raise
    except FileNotFoundError:
        reason = "is not there"
    except Exception as error:  # what Pillow raises for damaged pictures depends on their format
        reason = f"cannot be read as a picture: {system_reason(error) or type(error).__name__}"
    raise DecodeError(f"{name} {reason}; extract the frames again") from None


def _check_single(image: Image.Image, file: str) -> None:
    """Refuse a file of several pictures, of which one would be taken and the others lost.

    Those that a JPEG or a TIFF holds beside its own, such as a smaller version of it, do not count.
    """
    if image.format not in ("PNG", "WEBP", "TIFF"):
        return
    count = getattr(image, "n_frames", 1)
    if count > 1 and isinstance(image, TiffImageFile):
        count = sum(not _is_reduced(image, page) for page in range(count))
        image.seek(0)
    if count > 1:
        kind = "pages" if image.format == "TIFF" else "pictures, an animation"
        raise DecodeError(
            f"{file} holds {count} {kind}; a frame is one picture: save each of them as a file of its own"
        )


def _is_reduced(image: TiffImageFile, page: int) -> bool:
    """True for a page that is a smaller version of another one."""
    image.seek(page)
    return page > 0 and bool(image.tag_v2.get(_SUBFILE_TYPE, 0) & 1)


def _check_range(image: Image.Image, file: str) -> None:
    """Refuse values of which nobody can tell which is black and which is white."""
    signed = _tiff_tag(image, _SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED
    if signed or image.mode == "F" or (image.mode == "I" and not _is_deep(image)):
        words = _MODE_WORDS.get(image.mode, "signed whole numbers")
        raise DecodeError(
            f"{file} holds {words} (mode {image.mode}), whose range from black to white cannot be known; "
            "scale the pictures to 8 or 16 unsigned bits and save them again"
        )


def _is_deep(image: Image.Image) -> bool:
    """True for grey of 16 bits, or 9 to 15 of them. Pillow itself reduces deep colours to 8 bits."""
    # Older versions of Pillow say I for the one, and all do for the other, scaled to 65535.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _deep_pixels(image: Image.Image) -> np.ndarray:
    """Deep grey the way a gray16 video becomes RGB: by FFmpeg's own conversion."""
    bits = _tiff_tag(image, _BITS, 16)
    inverted = _tiff_tag(image, _PHOTOMETRIC, None) == _WHITE_IS_ZERO
    values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint32)
    if bits < 16:
        values = values * 65535 // (2**bits - 1)
    if inverted:
        values = 65535 - values
    grey = av.VideoFrame.from_ndarray(values.astype(np.uint16), format="gray16le")
    return grey.reformat(format="rgb24").to_ndarray()


def _tiff_tag(image: Image.Image, number: int, default: Any) -> Any:
    """The first value of a tag of a TIFF; `default` for one that it lacks, and for other formats."""
    value = image.tag_v2.get(number, default) if isinstance(image, TiffImageFile) else default
    return value[0] if isinstance(value, tuple) else value
