"""Images as they lie about: read right whatever their name, kind and turn, or named with a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from videos import encode, numbered_frames

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.pictures import MOST_PIXELS
from uniformer_video.errors import DecodeError

# Four flat quarters, which survive JPEG, and show every turn.
QUARTERS = np.zeros((32, 64, 3), np.uint8)
QUARTERS[:16, :32], QUARTERS[:16, 32:] = (200, 30, 30), (30, 200, 30)
QUARTERS[16:, :32], QUARTERS[16:, 32:] = (30, 30, 200), (220, 220, 40)
DEEP = QUARTERS.astype(np.uint16) * 257


def picture():
    return Image.fromarray(QUARTERS)


def saved(image, image_format, **options):
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def read(path):
    """uint8 `[H, W, 3]`, as a run reads an image."""
    with open_video(path, "pillow") as reader:
        assert (reader.num_frames, reader.fps, reader.times) == (1, None, None)
        frames = reader.frames([0])
        assert frames.shape == (1, *reader.size, 3)
        return frames[0]


def near(pixels, wanted, most=6):
    assert pixels.shape == wanted.shape
    assert np.abs(pixels.astype(int) - wanted).max() <= most


def grey(picture):
    return np.repeat(np.asarray(picture.convert("L"))[..., None], 3, -1)


def with_alpha():
    image = picture().convert("RGBA")
    image.putalpha(0)
    return image


def png(values, color_type):
    """A PNG of 16 bits a value, which Pillow does not write in colour."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def without_adobe(jpeg):
    """A JPEG without its segment APP14, which says that ink is stored inverted."""
    start = jpeg.index(b"\xff\xee")
    return jpeg[:start] + jpeg[start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big") :]


def ink():
    return saved(picture().convert("CMYK"), "JPEG", quality=100)


# name: (bytes, the picture that it shows)
READ = {
    "plain.JPEG": lambda: (saved(picture(), "JPEG", quality=100, subsampling=0), QUARTERS),
    "progressive.jpg": lambda: (
        saved(picture(), "JPEG", quality=100, subsampling=0, progressive=True),
        QUARTERS,
    ),
    "n02105855_2933.JPEG": lambda: (saved(picture(), "PNG"), QUARTERS),  # a PNG, as ImageNet has
    "webp with a wrong suffix.png": lambda: (saved(picture(), "WEBP", lossless=True), QUARTERS),
    "bmp.png": lambda: (saved(picture(), "BMP"), QUARTERS),
    "ink of Adobe.JPEG": lambda: (ink(), QUARTERS),
    "ink without a marker.JPEG": lambda: (without_adobe(ink()), QUARTERS),
    "grey.jpg": lambda: (saved(picture().convert("L"), "JPEG", quality=100), grey(picture())),
    "grey and alpha.png": lambda: (saved(with_alpha().convert("LA"), "PNG"), grey(picture())),
    "all clear.png": lambda: (saved(with_alpha(), "PNG"), QUARTERS),
    "all clear.webp": lambda: (saved(with_alpha(), "WEBP", lossless=True, exact=True), QUARTERS),
    "all clear.tif": lambda: (saved(with_alpha(), "TIFF"), QUARTERS),
    "clear palette.png": lambda: (
        saved(picture().quantize(4), "PNG", transparency=bytes(4)),
        np.asarray(picture().quantize(4).convert("RGB")),
    ),
    "bits.png": lambda: (
        saved(picture().convert("1", dither=0), "PNG"),
        grey(picture().convert("1", dither=0)),
    ),
    "deep grey.png": lambda: (
        saved(Image.fromarray(DEEP[..., 0]), "PNG"),
        np.repeat(QUARTERS[..., :1], 3, -1),
    ),
    "deep grey.tif": lambda: (
        saved(Image.fromarray(DEEP[..., 0]), "TIFF"),
        np.repeat(QUARTERS[..., :1], 3, -1),
    ),
    "deep colours.png": lambda: (png(DEEP, 2), QUARTERS),
    "deep colours and alpha.png": lambda: (
        png(np.concatenate([DEEP, DEEP[..., :1]], -1), 6),
        QUARTERS,
    ),
    "still.gif": lambda: (saved(picture(), "GIF"), QUARTERS),
    "still.jp2": lambda: (saved(picture(), "JPEG2000"), QUARTERS),
    "two views.jpg": lambda: (
        saved(picture(), "MPO", save_all=True, append_images=[picture()], subsampling=0),
        QUARTERS,
    ),
    "ünï côdé 图.png": lambda: (saved(picture(), "PNG"), QUARTERS),
    "100%_{:05d}#1+2.png": lambda: (saved(picture(), "PNG"), QUARTERS),
    "damaged exif.jpg": lambda: (
        saved(picture(), "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0no such header"),
        QUARTERS,
    ),
    "cut off exif.jpg": lambda: (
        saved(
            picture(), "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01"
        ),
        QUARTERS,
    ),
    "no such turn.png": lambda: (saved(picture(), "PNG", exif=turned_by(99)), QUARTERS),
}


def turned_by(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("name", READ)
@pytest.mark.filterwarnings("error")
def test_an_image_of_any_kind_is_read(tmp_path, name):
    content, wanted = READ[name]()
    (tmp_path / name).write_bytes(content)
    near(read(tmp_path / name), wanted, most=8 if ".j" in name.lower() or "gif" in name else 1)


TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", TURNED)
def test_all_turns_in_exif_are_applied(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    options = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(suffix, {})
    picture().save(path, exif=turned_by(orientation), **options)
    middle = read(path)[4::8, 4::8]  # away from the edges
    near(middle, TURNED[orientation](QUARTERS)[4::8, 4::8], most=8)


def bomb(side):
    """A PNG whose header tells `side`x`side` pixels of one bit, which take few bytes in a file."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


def text_bomb():
    """A PNG beside whose picture a text stands that unpacks to a hundred megabytes."""
    texts = PngInfo()
    texts.add_text("Comment", " " * 100_000_000, zip=True)
    return saved(picture(), "PNG", pnginfo=texts)


def several(image_format):
    return saved(picture(), image_format, save_all=True, append_images=[picture().rotate(180)])


REFUSED = {
    "empty.JPEG": (lambda: b"", "cannot be read as a picture: it is empty; get it again"),
    "text.JPEG": (
        lambda: b"<html>Not found</html>",
        "cannot be read as a picture: it is a text, such as a web page",
    ),
    "noise.JPEG": (lambda: bytes(range(9)), "it is damaged, or of none of the formats JPEG, PNG"),
    "cut off.JPEG": (
        lambda: saved(picture(), "JPEG", quality=100)[:-40],
        r"cannot be read as a picture: image file is truncated .*; get it again, or take it out",
    ),
    "cut off.png": (
        lambda: saved(picture(), "PNG")[:80],
        "cannot be read as a picture: .*truncated",
    ),
    "broken.webp": (lambda: saved(picture(), "WEBP")[:40], "cannot be read as a picture"),
    "moving.gif": (
        lambda: several("GIF"),
        "holds 2 pictures, an animation; an image is one picture",
    ),
    "moving.png": (
        lambda: several("PNG"),
        "holds 2 pictures, an animation; an image is one picture",
    ),
    "moving.webp": (
        lambda: several("WEBP"),
        "holds 2 pictures, an animation; an image is one picture",
    ),
    "pages.tif": (lambda: several("TIFF"), "holds 2 pages; an image is one picture: save the one"),
    "bomb.png": (
        lambda: bomb(50_000),
        "is too large a picture: 2500 million pixels, and more than 179 million pixels are not read; scale",
    ),
    "texts.png": (
        text_bomb,
        "holds packed texts, or a colour profile, that are too large once unpacked: .* save it without",
    ),
    "float.tif": (
        lambda: saved(Image.fromarray(DEEP[..., 0].astype(np.float32)), "TIFF"),
        "floating-point numbers .* whose range from black to white cannot be known",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("error")
def test_what_is_no_single_picture_is_named_with_a_reason(tmp_path, name):
    make, said = REFUSED[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(DecodeError, match=said) as error:
        read(tmp_path / name)
    message = str(error.value)
    assert message.startswith(str(tmp_path / name)) and message.count(name) == 1
    assert "\n" not in message and "extract the frames" not in message


def test_the_limit_of_pixels_is_one_number(tmp_path):
    """Below Pillow's own error, where it only warns, and at ours."""
    (tmp_path / "a.png").write_bytes(bomb(int(MOST_PIXELS**0.5)))
    with pytest.raises(DecodeError, match="truncated"):  # not for its size
        read(tmp_path / "a.png")


def test_a_folder_of_frames_and_a_video_are_no_image(tmp_path):
    (tmp_path / "clip").mkdir()
    for number in (1, 2):
        picture().save(tmp_path / "clip" / f"{number}.png")
    with pytest.raises(
        DecodeError, match=r"clip is no file, but a folder; an image is a file of one"
    ):
        read(tmp_path / "clip")
    with pytest.raises(DecodeError, match="does not exist"):
        read(tmp_path / "clip" / "{}.png")
    video = encode(tmp_path / "a.mp4", numbered_frames(2, (16, 24)))
    with pytest.raises(DecodeError, match=r"a\.mp4 cannot be read as a picture: it is a video"):
        read(video)
