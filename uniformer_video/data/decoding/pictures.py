"""One picture file -> RGB pixels, by Pillow: an image, or a frame of a video as FFmpeg would show it.

What a file stores becomes 8-bit RGB without a look at the rest of the folder: grey, palettes and ink become
colours, 16 bits are scaled as those of a video are, transparency is dropped (the colour that is stored below
it is taken, as published loaders do), a turn in the EXIF data is applied where that can be read, ICC profiles
are not. The content tells the format, not the name. A picture whose values have no known range is refused,
and so is one of more than `MOST_PIXELS`.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from uniformer_video.errors import DecodeError
from uniformer_video.words import system_reason

# Half a gigabyte of RGB. A small file can unpack to far more, by accident or to do harm. The number is where
# Pillow itself refuses as it comes.
MOST_PIXELS = 178_956_970
_LIMIT_OF_TEXTS = "MAX_TEXT_"  # in what Pillow says of texts in a PNG that unpack to too much
# What frames are extracted to. Pillow knows more formats; one of them starts another program.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF")
# Images are found in these too; older versions of Pillow lack the last.
IMAGE_FORMATS = (
    *PICTURE_FORMATS,
    "GIF",
    "JPEG2000",
    *(["AVIF"] if find_spec("PIL.AvifImagePlugin") else []),
)
_ORIENTATION = 274  # of EXIF, as in TIFF
_BITS, _PHOTOMETRIC, _SUBFILE_TYPE, _SAMPLE_FORMAT = 258, 262, 254, 339  # tags of TIFF 6.0
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_MODE_WORDS = {
    "F": "floating-point numbers",
    "I": "32-bit or signed whole numbers",
}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What lies about under names of pictures: (place of a mark in the file, the mark, what the file is).
_OTHER_KINDS = (
    (4, b"ftypheic", "a picture of the format HEIC"),
    (4, b"ftypmif1", "a picture of the format HEIF"),
    (4, b"ftypavif", "a picture of the format AVIF"),
    (4, b"ftyp", "a video"),
    (8, b"AVI ", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"<", "a text, such as a web page"),
    (0, b"%PDF", "a PDF"),
)


def read_frame(file: str | os.PathLike) -> np.ndarray:
    """A picture that is a frame of a video: as `read_image`, of the formats that frames are extracted to."""
    words = "a frame is one picture: save each of them as a file of its own"
    return _read(file, str(file), PICTURE_FORMATS, "extract the frames again", words)


def read_image(file: str | os.PathLike | BinaryIO, name: str = "") -> np.ndarray:
    """`uint8 [H, W, 3]` RGB, turned the way it is meant to be shown.

    name: what messages call a `file` that is open, not a path.

    Raises `DecodeError` for a file that is absent or damaged, that holds several pictures or too large a one,
    or whose values have no known range: 32-bit, signed and floating-point numbers.
    """
    words = "an image is one picture: save the one that counts as a file of its own"
    return _read(file, name or str(file), IMAGE_FORMATS, "get it again, or take it out", words)


def _read(
    file: str | os.PathLike | BinaryIO,
    name: str,
    formats: tuple[str, ...],
    remedy: str,
    single: str,
) -> np.ndarray:
    """See `read_image` and `open_picture`."""
    with open_picture(file, name, formats, remedy, single) as image:
        _check_range(image, name)
        if _is_deep(image):
            return _deep_pixels(image)
        colours = upright(_without_premultiplied(image))
        # RGB is taken as it is: a copy costs time with every picture
        return np.asarray(colours if colours.mode == "RGB" else colours.convert("RGB"))


@contextmanager
def open_picture(
    file: str | os.PathLike | BinaryIO,
    name: str,
    formats: tuple[str, ...],
    remedy: str,
    single: str,
) -> Iterator[Image.Image]:
    """A file of one picture, not decoded yet, for as long as the block reads it.

    Whatever is wrong, while the block decodes it too, is a `DecodeError` that begins with `name`. remedy:
    what to do about a file that is damaged; single: about several pictures.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's are of data beside the pixels; what matters is raised.
            warnings.simplefilter("ignore")
            with Image.open(file, formats=formats) as image:
                _check_size(image, name)
                _check_single(image, name, single)
                yield image
                return
    except DecodeError:
        raise
    except FileNotFoundError:
        reason = "is not there"
    except Image.DecompressionBombError as error:
        raise DecodeError(f"{name} is too large a picture: {_most(_pixels_in(error))}") from None
    except UnidentifiedImageError:
        reason = f"cannot be read as a picture: {_what_it_is(file, formats)}"
    except Exception as error:  # what Pillow raises for damaged pictures depends on their format
        if _LIMIT_OF_TEXTS in str(error):
            raise DecodeError(
                f"{name} holds packed texts, or a colour profile, that are too large once unpacked: more "
                "than 1 MB each or 64 MB together are not read; save it without them, or take it out"
            ) from None
        reason = f"cannot be read as a picture: {system_reason(error) or type(error).__name__}"
    raise DecodeError(f"{name} {reason}; {remedy}") from None


def _check_size(image: Image.Image, name: str) -> None:
    """Refuse a picture whose pixels would fill the memory, before any is read."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise DecodeError(f"{name} is too large a picture: {_most(f'{width}x{height} pixels')}")


def _pixels_in(error: Image.DecompressionBombError) -> str:
    """How many pixels Pillow says there are, where it refuses a picture itself."""
    number = re.search(r"\d+", str(error))
    return f"{int(number[0]) / 1e6:.0f} million pixels" if number else str(error)


def _most(size: str) -> str:
    return (
        f"{size}, and more than {MOST_PIXELS / 1e6:.0f} million pixels are not read; scale it down, or take "
        "it out"
    )


def _what_it_is(file: str | os.PathLike | BinaryIO, formats: tuple[str, ...]) -> str:
    """What a file is that no format recognises."""
    if isinstance(file, (str, os.PathLike)):
        with open(file, "rb") as opened:
            start = opened.read(16)
    else:
        file.seek(0)
        start = file.read(16)
    if not start:
        return "it is empty"
    for place, mark, kind in _OTHER_KINDS:
        if start[place:].startswith(mark):
            return f"it is {kind}"
    return f"it is damaged, or of none of the formats {', '.join(formats)}"


def _without_premultiplied(image: Image.Image) -> Image.Image:
    """The picture without what marks colours as transparent, and with colours as they are without that."""
    image.info.pop("transparency", None)
    plain = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    return image.convert(plain) if plain else image


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF data say; as it is where these are damaged or say nothing."""
    image.load()  # which turns a TIFF
    try:
        turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # of any kind: the data are of cameras and editors without number
        turn = None
    return image if turn is None else image.transpose(turn)


def _check_single(image: Image.Image, file: str, words: str) -> None:
    """Refuse a file of several pictures, of which one would be taken and the others lost.

    Those that a JPEG or a TIFF holds beside its own, such as a smaller version of it, do not count.
    """
    if image.format in ("JPEG", "MPO"):
        return
    count = getattr(image, "n_frames", 1)
    if count > 1 and isinstance(image, TiffImageFile):
        count = sum(not _is_reduced(image, page) for page in range(count))
        image.seek(0)
    if count > 1:
        kind = "pages" if image.format == "TIFF" else "pictures, an animation"
        raise DecodeError(f"{file} holds {count} {kind}; {words}")


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
    values = np.asarray(upright(image)).astype(np.uint32)
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
