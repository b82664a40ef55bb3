"""Which stream of a file is its video, bare streams, and side data: the same for all that reads files."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image
from shard_files import pack
from videos import (
    all_frames,
    encode,
    numbered_frames,
    other_backends,
    put_cover_first,
    write_streams,
)

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.streams import best_index
from uniformer_video.errors import DecodeError
from uniformer_video.prepare.check import check_video
from uniformer_video.prepare.frames import Pictures, extract_video
from uniformer_video.prepare.resize import Encoding, resize_video
from uniformer_video.prepare.stream import decode_all, open_stream

SMALL, LARGE = numbered_frames(20, (48, 64)), numbered_frames(30, (96, 128))
NONE, DEFAULT = Disposition(0), Disposition.default
FILES = {
    "a cover stands first": ("a.mp4", [(LARGE, DEFAULT)], (300, 300)),
    "a cover stands first, nothing is marked": ("a.mp4", [(LARGE, NONE)], (300, 300)),
    "a cover stands last": ("last.mp4", [(LARGE, DEFAULT)], (300, 300)),
    "a cover is a track": ("a.mkv", [(LARGE, DEFAULT)], (300, 300)),
    "a cover and two tracks": ("a.mp4", [(SMALL, NONE), (LARGE, DEFAULT)], (300, 300)),
    "the second is marked": ("b.mp4", [(SMALL, NONE), (LARGE, DEFAULT)], None),
    "the second is marked, mkv": ("b.mkv", [(SMALL, NONE), (LARGE, DEFAULT)], None),
    "the first is for the impaired": (
        "c.mp4",
        [(SMALL, Disposition.visual_impaired), (LARGE, NONE)],
        None,
    ),
    "the first is marked": ("d.mp4", [(LARGE, DEFAULT), (SMALL, NONE)], None),
    "nothing is marked, more bits": ("e.ts", [(SMALL, NONE), (LARGE, NONE)], None),
}


@pytest.fixture
def write(tmp_path):
    """A function: the file of a kind."""

    def make(kind):
        name, videos, cover = FILES[kind]
        path = write_streams(tmp_path / name, videos, cover)
        return put_cover_first(path) if name == "a.mp4" else path

    return make


@pytest.mark.parametrize("kind", FILES)
def test_every_reader_takes_the_best_stream(write, tmp_path, kind):
    video = write(kind)
    expected = all_frames(video)
    assert expected.shape == LARGE.shape
    assert np.abs(expected.astype(int) - LARGE).mean() < 30  # others are 60 off
    with open_video(video) as reader:
        np.testing.assert_array_equal(reader.frames(range(30)), expected)
    with open_stream(video) as (container, stream):
        sizes = {(frame.height, frame.width) for frame in decode_all(container, stream)}
    assert sizes == {(96, 128)}
    (member,) = pack(tmp_path / "a.tar", {video.name: video.read_bytes()})
    with open_video(member) as reader:
        np.testing.assert_array_equal(reader.frames([29, 3]), expected[[29, 3]])
    for backend in other_backends():
        try:
            with open_video(video, backend) as reader:
                np.testing.assert_array_equal(reader.frames(range(30)), expected)
        except DecodeError as error:
            assert "would not give the right frames, as" in str(error)


@pytest.mark.parametrize("kind", ["a cover stands first", "the second is marked"])
def test_preparation_takes_the_best_stream(write, tmp_path, kind):
    video = write(kind)
    assert check_video((str(video), 0)).found == 30
    assert extract_video((video, tmp_path / "out"), Pictures("{:05d}.png")) == 30
    with Image.open(tmp_path / "out" / "00030.png") as picture:
        assert picture.size == (128, 96)
    target = tmp_path / "small.mp4"
    assert resize_video((video, target), Encoding(short_side=32)) == "resized"
    with open_video(target) as reader:
        assert (reader.num_frames, reader.size) == (30, (32, 42))


def test_decord_refuses_several_videos(tmp_path):
    if "decord" not in other_backends():
        pytest.skip("decord has no wheel for this platform")
    path = write_streams(tmp_path / "a.mp4", FILES["the second is marked"][1])
    with pytest.raises(DecodeError, match=r"holds several video streams.*use DATA.*auto"):
        open_video(path, "decord")


@pytest.mark.parametrize("name", ["song.m4a", "song.mp4"])
def test_a_song_with_a_cover_is_no_video(tmp_path, name):
    path = write_streams(tmp_path / name, [], (60, 80), sound=True)
    for backend in ("auto", *other_backends()):
        with pytest.raises(
            DecodeError, match=f"^{tmp_path}/{name} holds no video stream, but a cover picture"
        ):
            open_video(path, backend)
    assert check_video((str(path), 0)).reason.endswith("but a cover picture")


def test_a_cover_that_is_marked_as_what_to_show_first():
    """FFmpeg's own choice is the cover then; its rule says which of the others."""
    cover = Disposition.attached_pic | DEFAULT
    marks = [(NONE, 9), (cover, 99), (Disposition.hearing_impaired, 999), (NONE, 90), (NONE, 90)]
    streams = [
        SimpleNamespace(index=index, disposition=disposition, bit_rate=rate)
        for index, (disposition, rate) in enumerate(marks)
    ]

    class Streams:
        video = streams

        def best(self, kind):
            return streams[1]

    assert best_index(SimpleNamespace(streams=Streams())) == 3


def jpegs(path, count, orientation=None, size=(48, 64)):
    """Write JPEGs one after the other, as a camera does."""
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    with open(path, "wb") as file:
        for image in numbered_frames(count, size):
            Image.fromarray(image).save(file, "JPEG", exif=exif)
    return path


@pytest.mark.parametrize(
    ("name", "size", "orientation"),
    [
        ("a.mjpeg", (48, 64), None),
        ("a.MJPG", (240, 320), None),
        ("a.mjpeg", (240, 320), 1),
        ("a.mjpeg", (48, 64), 2),
        ("a.mjpg", (240, 320), 6),
    ],
)
def test_bare_jpegs(tmp_path, name, size, orientation):
    path = jpegs(tmp_path / name, 9, orientation, size)
    expected = numbered_frames(9, size).astype(int)
    if orientation == 2:
        expected = expected[:, :, ::-1]  # TIFF 6.0: mirrored; 6: turned to the right
    if orientation == 6:
        expected = np.rot90(expected, -1, (1, 2))
    with open_video(path) as video:
        assert (video.num_frames, video.size) == (9, expected.shape[1:3])
        assert np.abs(video.frames(range(9)) - expected).mean() < 12
        last = video.frames([8])
    (member,) = pack(tmp_path / "a.tar", {name: path.read_bytes()})
    with open_video(member) as video:
        np.testing.assert_array_equal(video.frames([8]), last)
    assert not check_video((str(path), 0)).reason
    assert extract_video((path, tmp_path / "out"), Pictures()) == 9


@pytest.mark.parametrize("orientations", [(3, 3, 3, 3), (1, 3, 1, 3)])
def test_other_decoders_do_not_read_exif(tmp_path, orientations):
    """They would show a picture upside down, whose size tells nothing."""
    parts = [jpegs(tmp_path / f"{n}.mjpeg", 1, turn) for n, turn in enumerate(orientations)]
    bare = tmp_path / "bare.mjpeg"
    bare.write_bytes(b"".join(part.read_bytes() for part in parts))
    path = tmp_path / "a.mkv"
    with av.open(str(bare), format="mjpeg") as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    with open_video(path) as video:
        assert video.index
        found = video.frames(range(4)).astype(int)
    for frame, turn in zip(found, orientations, strict=True):
        shown = numbered_frames(1, (48, 64))[0][
            :: 1 if turn == 1 else -1, :: 1 if turn == 1 else -1
        ]
        assert np.abs(frame - shown).mean() < 12
    for backend in other_backends():
        with pytest.raises(DecodeError, match=r"orientation|turned or coloured"):
            open_video(path, backend)


def test_one_jpeg_is_a_picture(tmp_path):
    path = jpegs(tmp_path / "a.mp4", 1)
    with pytest.raises(DecodeError, match=r"a\.mp4 cannot be opened as a video"):
        open_video(path)


def test_an_animation_whose_first_picture_alone_says_how_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = numbered_frames(6, (48, 64))
    first, *others = map(Image.fromarray, stored)
    path = tmp_path / "a.apng"
    first.save(path, "PNG", save_all=True, append_images=others, exif=exif)
    with open_video(path) as video:
        np.testing.assert_array_equal(video.frames(range(6)), np.rot90(stored, -1, (1, 2)))
        np.testing.assert_array_equal(video.frames([4]), np.rot90(stored[[4]], -1, (1, 2)))
    assert extract_video((path, tmp_path / "out"), Pictures("{:d}.png")) == 6
    resize_video((path, tmp_path / "small.mp4"), Encoding(short_side=32))
    with open_video(tmp_path / "small.mp4") as video:
        assert (video.num_frames, video.size) == (6, (42, 32))


BARE = {
    "a.h264": ("libx264", {"bf": "2"}),
    "a.hevc": ("libx265", {"x265-params": "log-level=none"}),
    "a.m2v": ("mpeg2video", {}),
    "a.obu": ("libsvtav1", {}),
    "a.h263": ("h263", {}),
    "a.mjpeg": ("mjpeg", {"pix_fmt": "yuvj420p"}),
}
TAILS = {
    "a unit that is none": b"\0\0\1\x65ab",
    "text": b"abcdef",
    "a JPEG begins": b"\xff\xd8\xff\xe0ab",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", BARE)
def test_bare_streams_with_something_behind_them(tmp_path, kind):
    codec, options = BARE[kind]
    stored = numbered_frames(12, (144, 176))
    whole = encode(tmp_path / kind, stored, codec, **options).read_bytes()
    expected = all_frames(tmp_path / kind)
    assert len(expected) == 12
    for suffix in {kind[1:], {"a.h264": ".264", "a.hevc": ".265"}.get(kind, kind[1:])}:
        for tail in TAILS.values():
            path = tmp_path / f"b{suffix}"
            path.write_bytes(whole + tail)
            with open_video(path) as video:
                found = video.num_frames
                assert found >= 11, (suffix, tail)
                np.testing.assert_array_equal(video.frames(range(10)), expected[:10])
            with open_stream(path) as (container, stream):
                assert sum(1 for _ in decode_all(container, stream)) == found


BEHIND = {
    "zeros": bytes(4096),
    "few zeros": bytes(100),
    "text": b"<html>" * 50,
    "few words": b"<html>" * 5,
    "a line": b"\n",
    "noise": np.random.default_rng(0).bytes(3000),
}


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.obu", "libsvtav1", {}), ("a.y4m", "wrapped_avframe", {})],
)
def test_no_picture_is_lost_to_what_follows(tmp_path, name, codec, options):
    whole = encode(tmp_path / name, numbered_frames(12, (144, 176)), codec, **options).read_bytes()
    expected = all_frames(tmp_path / name)
    assert len(expected) == 12
    for what, tail in BEHIND.items():
        path = tmp_path / f"b{name[1:]}"
        path.write_bytes(whole + tail)
        (member,) = pack(tmp_path / "a.tar", {name: whole + tail})
        for source in (path, member):
            with open_video(source) as video:
                assert video.num_frames == 12, what
                np.testing.assert_array_equal(video.frames(range(12)), expected)
        with open_stream(path) as (container, stream):
            assert sum(1 for _ in decode_all(container, stream)) == 12


def test_noise_within_a_bare_av1_stream_is_damage(tmp_path):
    whole = encode(tmp_path / "a.obu", numbered_frames(12, (144, 176)), "libsvtav1").read_bytes()
    begin = whole.rindex(b"\x12\x00\x32", 0, whole.rindex(b"\x12\x00\x32"))  # the last but one
    path = tmp_path / "b.obu"
    path.write_bytes(whole[:begin] + b"\xff\xff" + whole[begin + 2 :])
    with pytest.raises(DecodeError, match=r"b\.obu breaks while decoding"):
        open_video(path)


def test_noise_within_uncompressed_pictures_is_damage(tmp_path):
    path = encode(tmp_path / "a.y4m", numbered_frames(12, (144, 176)), "wrapped_avframe")
    whole = path.read_bytes()
    for _ in range(2):  # the last picture, then the last two
        begin = whole.rindex(b"FRAME")
        whole = whole[:begin] + b"NOISE" + whole[begin + 5 :]
        path.write_bytes(whole)
        with pytest.raises(DecodeError, match=r"a\.y4m breaks while decoding"):
            open_video(path)


def test_noise_within_a_bare_stream_is_damage(tmp_path):
    path = encode(tmp_path / "a.m2v", numbered_frames(12, (144, 176)), "mpeg2video")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6] = b"\0\0\1\x65ab"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"a\.m2v breaks while decoding"):
        open_video(path)


def test_texts_that_are_not_utf8_are_no_damage(tmp_path, make_video):
    path = make_video("a.mkv", frames=5)
    content = path.read_bytes()
    assert b"Lavf" in content
    path.write_bytes(content.replace(b"Lavf", b"L\xe9vf"))
    with open_video(path) as video:
        assert video.num_frames == 5
