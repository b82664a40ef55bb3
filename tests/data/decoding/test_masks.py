"""Masks: every kind of file that holds class numbers, and every way in which one can be wrong."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from uniformer_video.data.decoding.masks import MaskReader
from uniformer_video.errors import ConfigError, DecodeError

CLASSES = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
COLOURS = np.array([RED, GREEN, BLUE], np.uint8)


@pytest.fixture
def saved(tmp_path):
    """A function that saves an array or a picture as a mask and gives its record."""

    def save(pixels, name="a.png", **options):
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(tmp_path / name, **options)
        return SimpleNamespace(
            path=str(tmp_path / "a.jpg"), mask=str(tmp_path / name), name="a.jpg"
        )

    return save


def indexed(pixels=CLASSES, colours=COLOURS):
    image = Image.fromarray(pixels, "P")
    image.putpalette(np.asarray(colours, np.uint8).tobytes())
    return image


def read(record, **options):
    return MaskReader(3, **options).read(record, (3, 4))


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_indices_of_a_palette_are_the_classes_whatever_its_colours(saved, bits):
    assert (read(saved(indexed(), bits=bits)) == CLASSES).all()
    assert (read(saved(indexed(), bits=bits), palette=[BLUE, RED, GREEN]) == CLASSES).all()


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif", "a.pgm"])
def test_grey_values_are_the_classes(saved, name):
    mask = read(saved(CLASSES, name))
    assert mask.dtype == np.uint8 and (mask == CLASSES).all()


@pytest.mark.parametrize(("bits", "depth"), [(2, 2), (4, 4)])
def test_grey_of_few_bits_is_not_spread(tmp_path, saved, bits, depth):
    """PNG of 2 or 4 bits, which Pillow reads as 0, 85, 170, ... but does not write."""
    import struct
    import zlib

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b""
    for row in CLASSES:
        number = 0
        for value in row:
            number = number << bits | int(value)
        rows += b"\0" + number.to_bytes(bits * 4 // 8, "big")
    header = struct.pack(">IIBBBBB", 4, 3, depth, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    (tmp_path / "few.png").write_bytes(data + chunk(b"IEND", b""))
    record = SimpleNamespace(path="a.jpg", mask=str(tmp_path / "few.png"), name="a.jpg")
    assert (read(record) == CLASSES).all()


@pytest.mark.parametrize(
    "data",
    [
        b"P5 4 3 2\n" + CLASSES.tobytes(),
        b"P2 4 3 7\n" + " ".join(map(str, CLASSES.ravel())).encode(),
        b"P5 4 3 1000\n" + CLASSES.astype(">u2").tobytes(),
    ],
)
def test_grey_of_a_pgm_with_a_largest_value_is_not_spread(tmp_path, data):
    (tmp_path / "a.pgm").write_bytes(data)
    record = SimpleNamespace(path="a.jpg", mask=str(tmp_path / "a.pgm"), name="a.jpg")
    assert (read(record) == CLASSES).all()


def test_one_bit_and_transparency_and_16_bits(saved):
    one = CLASSES > 0
    assert (MaskReader(2).read(saved(Image.fromarray(one))) == one).all()
    both = np.stack([CLASSES, np.full_like(CLASSES, 255)], -1)
    assert (read(saved(Image.fromarray(both, "LA"))) == CLASSES).all()
    deep = CLASSES.astype(np.uint16)
    deep[0, 0] = 60_000
    assert (read(saved(deep), ignore_label=60_000)[0] == [255, 1, 2, 0]).all()
    with pytest.raises(DecodeError, match=r"1 pixel of the value 60000 \(the first in row 0, col"):
        read(saved(deep))


@pytest.mark.parametrize("opaque", [False, True])
def test_colours_by_the_palette(saved, opaque):
    pixels = COLOURS[CLASSES]
    if opaque:
        pixels = np.concatenate([pixels, np.full((3, 4, 1), 255, np.uint8)], -1)
    palette = [RED, GREEN, BLUE]
    assert (read(saved(pixels), palette=palette) == CLASSES).all()
    pixels[0, 1, :3] = (9, 8, 7)
    with pytest.raises(
        DecodeError, match=r"a.png has 1 pixel of the value 9,8,7 .*row 0, column 1"
    ):
        read(saved(pixels), palette=palette)
    mask = read(saved(pixels), palette=palette, ignored_colour=(9, 8, 7))
    assert (mask[0] == [0, 255, 2, 0]).all()
    with pytest.raises(DecodeError, match=r"mask of colours \(the first pixel is 255,0,0\).*class"):
        read(saved(pixels))


def test_greys_go_by_a_palette_of_greys(saved):
    two = np.where(CLASSES > 0, 255, 0).astype(np.uint8)
    reader = MaskReader(2, palette=[(0, 0, 0), (255, 255, 255)])
    assert (reader.read(saved(two)) == (CLASSES > 0)).all()
    assert (reader.read(saved(Image.fromarray(CLASSES > 0))) == (CLASSES > 0)).all()
    with pytest.raises(DecodeError, match="4 pixels of the value 1,1,1"):
        reader.read(saved(np.where(CLASSES == 1, 1, 0).astype(np.uint8)))


def test_ignored_values_and_a_zero_that_is_no_class(saved):
    values = np.array([[0, 1, 2, 3], [255, 3, 2, 1], [0, 0, 1, 1]], np.uint8)
    mask = read(saved(values), reduce_zero_label=True)
    assert (mask == [[255, 0, 1, 2], [255, 2, 1, 0], [255, 255, 0, 0]]).all()
    assert (
        read(saved(values), reduce_zero_label=True, ignore_label=3)[0] == [255, 0, 1, 255]
    ).all()
    values[0, 3] = 4
    with pytest.raises(DecodeError, match=r"of the value 4 .*3 classes are 1..3, and 0 and 255"):
        read(saved(values), reduce_zero_label=True)
    with pytest.raises(DecodeError, match=r"of the value 3, 4 .*3 classes are 0..2, and 255 "):
        read(saved(values))
    with pytest.raises(DecodeError, match=r"has 1 pixel of the value 255"):
        MaskReader(5, ignore_label=0).read(saved(values))


def test_what_is_no_mask(saved, tmp_path):
    with pytest.raises(DecodeError, match=r"a.png is a JPEG, which smears the values"):
        read(saved(CLASSES, format="JPEG"))
    record = saved(np.full((3, 4), 255, np.uint8))
    with pytest.raises(DecodeError, match=r"a.png is an empty mask: all of its 12 pixels .*, 255;"):
        read(record)
    empty = saved(np.full((3, 4, 3), 9, np.uint8))
    with pytest.raises(DecodeError, match=r"a.png is an empty mask.*ignored, 9,9,9;"):
        read(empty, palette=[RED, GREEN, BLUE], ignored_colour=(9, 9, 9))
    with pytest.raises(DecodeError, match=r"a.png is a picture of the mode F"):
        read(saved(CLASSES.astype(np.float32), format="TIFF"))
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"a.png cannot be read as a picture: it is empty"):
        read(record)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DecodeError, match=r"a.png is not there; make it again"):
        read(record)
    with pytest.raises(DecodeError, match=r"a.jpg has no mask"):
        read(SimpleNamespace(path="a.jpg", mask="", name="a"))


def test_a_mask_has_the_size_of_its_picture_as_that_is_shown(saved):
    with pytest.raises(DecodeError, match=r"a.png is 4x3 pixels and its picture .*a.jpg 5x3; both"):
        MaskReader(3).read(saved(CLASSES), (3, 5))
    with pytest.raises(DecodeError, match=r"its picture .*a.jpg 3x4; its EXIF data may turn"):
        MaskReader(3).read(saved(CLASSES), (4, 3))
    turned = Image.Exif()
    turned[274] = 6
    mask = MaskReader(3).read(saved(CLASSES, exif=turned), (4, 3))
    assert (mask == np.rot90(CLASSES, -1)).all()


def test_readers_are_told_a_number_of_classes_that_they_can_tell_apart():
    with pytest.raises(ConfigError, match="at most 255 classes apart, and there are 256"):
        MaskReader(256)
    with pytest.raises(ConfigError, match="the palette has 1 colour for 3 classes"):
        MaskReader(3, palette=[RED])


def test_a_reader_goes_to_workers(saved):
    reader = MaskReader(3, palette=[RED, GREEN, BLUE])
    record = saved(COLOURS[CLASSES])
    reader.read(record)
    assert (pickle.loads(pickle.dumps(reader)).read(record) == CLASSES).all()
