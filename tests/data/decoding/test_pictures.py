"""Pictures of every kind become the RGB that FFmpeg shows for them, or are refused with what to do."""

import io
import re
import warnings
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms
from videos import encode, numbered_frames

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.pictures import read_frame
from uniformer_video.errors import DecodeError
from uniformer_video.prepare.check import check_videos, videos_to_check

COLOURS = numbered_frames(1, (16, 24))[0]
RED, GREEN = COLOURS[..., 0], COLOURS[..., 1]
DEEP = np.linspace(0, 65535, 16 * 24).round().astype(np.uint16).reshape(16, 24)
DEEP_COLOURS = np.stack([DEEP, DEEP[::-1], DEEP[:, ::-1]], -1)


def colours():
    return Image.fromarray(COLOURS)


def layers(mode, *bands):
    return Image.merge(mode, [Image.fromarray(band) for band in bands])


def shown_by_ffmpeg(path):
    """uint8 `[H, W, 3]`."""
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


# name of the file -> (picture, options of saving it)
PILLOW_FILES = {
    "bits.png": lambda: (colours().convert("1"), {}),
    "grey.png": lambda: (colours().convert("L"), {}),
    "grey with one clear shade.png": lambda: (colours().convert("L"), {"transparency": 7}),
    "grey and alpha.png": lambda: (layers("LA", RED, GREEN), {}),
    "grey and alpha.tif": lambda: (layers("LA", RED, GREEN), {}),
    "palette.png": lambda: (colours().quantize(64), {}),
    "palette of 2 bits.png": lambda: (colours().quantize(4), {"bits": 2}),
    "clear palette.png": lambda: (colours().quantize(64), {"transparency": bytes(range(64))}),
    "palette.bmp": lambda: (colours().quantize(64), {}),
    "colours.bmp": lambda: (colours(), {}),
    "colours.ppm": lambda: (colours(), {}),
    "colours.webp": lambda: (colours(), {"lossless": True}),
    "colours with one clear.png": lambda: (
        colours(),
        {"transparency": tuple(COLOURS[0, 0].tolist())},
    ),
    "colours and alpha.png": lambda: (layers("RGBA", *COLOURS.transpose(2, 0, 1), RED), {}),
    "colours and alpha.webp": lambda: (
        layers("RGBA", *COLOURS.transpose(2, 0, 1), RED),
        {"lossless": True, "exact": True},
    ),
    "ink.jpg": lambda: (Image.new("CMYK", (24, 16), (20, 90, 140, 30)), {"quality": 100}),
    "ink.tif": lambda: (colours().convert("CMYK"), {}),
    "deep grey.png": lambda: (Image.fromarray(DEEP), {}),
    "deep grey.tif": lambda: (Image.fromarray(DEEP), {}),
    "deep grey, big end first.tif": lambda: (Image.fromarray(DEEP.astype(">u2")), {}),
    "deep grey, packed.tif": lambda: (Image.fromarray(DEEP), {"compression": "tiff_lzw"}),
    "deep grey, white is 0.tif": lambda: (Image.fromarray(DEEP), {"tiffinfo": {262: 0}}),
    "deep grey.ppm": lambda: (Image.fromarray(DEEP.astype(np.int32)), {}),
}


@pytest.mark.parametrize("name", PILLOW_FILES)
def test_a_picture_is_what_ffmpeg_shows(tmp_path, name):
    image, options = PILLOW_FILES[name]()
    image.save(tmp_path / name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read_frame(tmp_path / name)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (16, 24, 3))
    assert np.abs(pixels.astype(int) - shown_by_ffmpeg(tmp_path / name)).max() <= 1


@pytest.mark.parametrize(
    ("codec", "layout", "values"),
    [
        ("png", "rgb48be", DEEP_COLOURS),
        ("png", "rgba64be", np.concatenate([DEEP_COLOURS, DEEP[..., None]], -1)),
        ("tiff", "rgb48le", DEEP_COLOURS),
        ("tiff", "gray16le", DEEP),
        ("ppm", "rgb48be", DEEP_COLOURS),
    ],
)
def test_deep_pictures_of_ffmpeg(tmp_path, codec, layout, values):
    path = tmp_path / "deep"
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream(codec, rate=1)
        (stream.height, stream.width), stream.pix_fmt = values.shape[:2], layout
        container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format=layout)))
        container.mux(stream.encode())
    shown = av.VideoFrame.from_ndarray(values, format=layout).to_ndarray(format="rgb24")
    assert np.abs(read_frame(path).astype(int) - shown).max() <= 1


def test_deep_grey_is_that_of_a_deep_video(tmp_path):
    """A folder of 16-bit pictures shows what a 16-bit video of the same values does."""
    with av.open(str(tmp_path / "deep.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 24, 16, "gray16le"
        for number in range(1, 4):
            values = DEEP // number
            Image.fromarray(values).save(tmp_path / f"{number}.png")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray16le")))
        container.mux(stream.encode())
    with open_video(tmp_path / "deep.mkv") as video, open_video(tmp_path / "{}.png") as pictures:
        np.testing.assert_array_equal(video.frames(range(3)), pictures.frames(range(3)))


def test_colours_of_print_and_of_films(tmp_path):
    """CIE Lab, palettes with alpha, and colours stored multiplied by it, which FFmpeg does not read."""
    few = colours().quantize(64)
    few.convert("PA").save(tmp_path / "few.tif")
    np.testing.assert_array_equal(read_frame(tmp_path / "few.tif"), np.asarray(few.convert("RGB")))
    red = Image.new("RGB", (24, 16), (200, 10, 30))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    ImageCms.profileToProfile(red, *profiles, outputMode="LAB").save(tmp_path / "lab.tif")
    assert (
        np.abs(read_frame(tmp_path / "lab.tif").astype(int) - (200, 10, 30)).max() <= 4
    )  # 8-bit Lab
    Image.new("LA", (24, 16), (50, 128)).save(tmp_path / "film.tif")
    content = (tmp_path / "film.tif").read_bytes()
    entry = (338).to_bytes(
        2, "little"
    ) + b"\3\0\1\0\0\0"  # ExtraSamples: 2 = as it is, 1 = multiplied
    assert content.count(entry + b"\2") == 1
    (tmp_path / "film.tif").write_bytes(content.replace(entry + b"\2", entry + b"\1"))
    assert abs(int(read_frame(tmp_path / "film.tif")[0, 0, 0]) - 100) <= 1


def test_grey_of_12_bits_reaches_white(tmp_path):
    packed = bytes.fromhex("000fff400800") * 4  # 0, 4095, 1024, 2048 in each row of 4
    tags = {256: 4, 257: 4, 258: 12, 259: 1, 262: 1, 277: 1, 278: 4, 279: len(packed)}
    entries = sorted({**tags, 273: 8 + 2 + 12 * 9 + 4}.items())
    header = b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little")
    for tag, value in entries:
        header += tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(header + bytes(4) + packed)
    assert read_frame(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 255, 64, 128]


def test_deep_pictures_are_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(DEEP).save(tmp_path / "a.png", exif=exif)
    Image.fromarray(DEEP).save(tmp_path / "b.png")
    turned, plain = read_frame(tmp_path / "a.png"), read_frame(tmp_path / "b.png")
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


# Refused, and found beforehand


def signed_bytes():
    file = io.BytesIO()
    Image.fromarray(RED).save(file, "TIFF", tiffinfo={339: 2})
    return file.getvalue()


def several(image_format):
    file = io.BytesIO()
    colours().save(file, image_format, save_all=True, append_images=[colours().rotate(180)])
    return file.getvalue()


def saved(image, image_format):
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()


REFUSED = {
    "float.tif": (
        lambda: saved(Image.fromarray((DEEP / 65535).astype(np.float32)), "TIFF"),
        r"floating-point numbers \(mode F\), whose range .* 8 or 16",
    ),
    "float.ppm": (
        lambda: saved(Image.fromarray((DEEP / 65535).astype(np.float32)), "PPM"),
        r"floating-point numbers \(mode F\)",
    ),
    "whole.tif": (
        lambda: saved(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        r"32-bit or signed whole numbers \(mode I\), whose range",
    ),
    "signed.tif": (signed_bytes, r"signed whole numbers \(mode L\), whose range"),
    "moving.png": (lambda: several("PNG"), "holds 2 pictures, an animation; a frame is one"),
    "moving.webp": (lambda: several("WEBP"), "holds 2 pictures, an animation; a frame is one"),
    "pages.tif": (lambda: several("TIFF"), "holds 2 pages; a frame is one picture"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused_and_found_by_the_check(tmp_path, name):
    make, message = REFUSED[name]
    file = tmp_path / "clip" / f"1{Path(name).suffix}"
    file.parent.mkdir()
    file.write_bytes(make())
    with pytest.raises(DecodeError, match=f"^{re.escape(str(file))} .*{message}"):
        read_frame(file)
    (tmp_path / "train.txt").write_text("clip 1 0\n")
    videos = videos_to_check(tmp_path / "train.txt", template="{}" + file.suffix)
    checked, bad = check_videos(videos, tmp_path / "bad.csv", workers=1)
    assert checked == len(bad) == 1
    assert str(file) in bad[0][1]


def test_a_smaller_version_beside_a_picture_is_no_further_frame(tmp_path):
    small = colours().resize((12, 8))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    colours().save(tmp_path / "a.tif", save_all=True, append_images=[small])
    np.testing.assert_array_equal(read_frame(tmp_path / "a.tif"), COLOURS)


def test_a_video_is_no_picture(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered_frames(2, (16, 24)))
    with pytest.raises(DecodeError, match=r"a\.mp4 cannot be read as a picture: .*; extract"):
        read_frame(path)
