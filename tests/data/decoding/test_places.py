"""Short ways to counted frames: the frames are those of a decoding from the start, whatever the file says."""

import errno
import os
import random
import shutil
from dataclasses import replace
from itertools import count, pairwise

import av
import numpy as np
import pytest
from videos import encode, numbered_frames, pack_b_pictures, turn

from uniformer_video.data.decoding import open_video, packets, places, pyav
from uniformer_video.data.decoding.feeding import tag_of
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.decoding.listing import Listing, Places, Start, pack, unpack
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.errors import DecodeError

FRAMES = 61  # the last group of pictures of bf=2 has B pictures
# kind: (name, options, whether key frames are found to begin at, whether pictures may be left out)
KINDS = {
    "avi": ("a.avi", {"codec": "mpeg4", "g": "10"}, True, False),
    "avi with B pictures": ("b.avi", {"codec": "mpeg4", "g": "10", "bf": "2"}, True, True),
    "avi, one key frame": ("c.avi", {"codec": "mpeg4", "g": "99", "bf": "2"}, False, True),
    "msmpeg4": ("d.avi", {"codec": "msmpeg4", "g": "10"}, True, False),
    "mjpeg": ("e.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, True, False),
    "h264 in avi": ("f.avi", {"codec": "libx264", "g": "12", "bf": "2"}, True, True),
    # several packets have one position there
    "asf": ("g.wmv", {"codec": "wmv2", "g": "10"}, True, False),
    "mpeg-4 in mp4": ("h.mp4", {"codec": "mpeg4", "g": "10", "bf": "2"}, True, True),
    # each of whose packets is said to be a key frame
    "h263": ("i.avi", {"codec": "h263p", "g": "20"}, True, False),
    "mpeg-4 in ts": ("j.ts", {"codec": "mpeg4", "g": "10", "bf": "2"}, False, True),
}


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """A function: the file of a kind, made once."""
    folder, made = tmp_path_factory.mktemp("places"), {}

    def make(kind):
        if kind == "packed avi" and kind not in made:
            made[kind] = pack_b_pictures(make("avi with B pictures"), folder / "packed.avi")
        if kind not in made:
            name, options, *_ = KINDS[kind]
            made[kind] = encode(folder / name, numbered_frames(FRAMES, (48, 64)), **options)
        return made[kind]

    return make


@pytest.fixture
def store(tmp_path):
    return IndexStore(tmp_path / "index")


@pytest.fixture
def decoded(monkeypatch):
    """The number of each packet whose frame came on a short way, as far as it was looked at."""
    seen, original = [], VideoPackets.decode_tagged

    def decode(self, *args, **kwargs):
        for frame in original(self, *args, **kwargs):
            seen.append(tag_of(frame))
            yield frame

    monkeypatch.setattr(VideoPackets, "decode_tagged", decode)
    return seen


def list_it(path, store):
    """Put a video into the index; all of its frames, decoded from the start."""
    with open_video(path, kept=store) as video:
        return video.frames(range(video.num_frames))


def ask(path, store, wanted):
    with open_video(path, kept=store) as video:
        return video.frames(wanted)


def kept_places(path, store):
    return store.read(store.identify(str(path))).places


@pytest.mark.parametrize("kind", [*KINDS, "packed avi"])
def test_frames_are_those_of_a_decoding_from_the_start(encoded, store, decoded, kind):
    path = encoded(kind)
    expected = list_it(path, store)
    assert len(expected) == FRAMES
    places, draw = kept_places(path, store), random.Random(0)
    starts, skips = KINDS.get(kind, (0, 0, True, True))[2:]
    assert (bool(places.starts), places.skips) == (starts, skips)
    wishes = [[0], [FRAMES - 1], [FRAMES - 2], range(1, FRAMES, 4)]
    wishes += [draw.sample(range(FRAMES), draw.choice([1, 2, 9])) for _ in range(12)]
    for wanted in wishes:
        np.testing.assert_array_equal(ask(path, store, wanted), expected[wanted])
    assert store.tally.begun()["doubted"] == 0
    decoded.clear()
    ask(path, store, [FRAMES - 4])
    assert len(decoded) < (32 if starts else 45)
    if starts:
        assert min(decoded) > 20


def test_a_first_opening_has_the_places_too(encoded, store, decoded, monkeypatch):
    """Of a video whose frames are not kept in memory, as of a long one."""
    path = encoded("avi")
    expected = list_it(path, IndexStore(store.folder / "other"))
    monkeypatch.setattr(VideoPackets, "kept_bytes", 0)
    with open_video(path, kept=store) as video:
        decoded.clear()
        for wanted in ([40], [3, 55], [50, 7]):
            np.testing.assert_array_equal(video.frames(wanted), expected[wanted])
    assert 0 < len(decoded) < 45


def test_without_an_index_nothing_is_tried(encoded, decoded):
    ask(encoded("avi"), None, [40])
    assert not decoded


def test_nothing_is_tried_that_is_not_kept(encoded, store, decoded, monkeypatch):
    """It takes longer than counting, at each opening; a folder that is only read, or a full disk."""
    path = encoded("avi")
    ask(path, replace(store, is_writable=False), [40])
    assert not decoded

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(IndexStore, "write", fails)
        ask(path, store, [40])
        decoded.clear()
        ask(path, store, [40])
        assert not decoded
    for other in ("msmpeg4", "asf"):  # the first of them finds that there is room again
        list_it(encoded(other), store)
    assert kept_places(encoded("msmpeg4"), store) is None
    assert kept_places(encoded("asf"), store).starts


def test_what_comes_out_otherwise_is_decoded_from_the_start(encoded, store):
    path = encoded("avi with B pictures")
    expected = list_it(path, store)
    of = store.identify(str(path))
    listing = store.read(of)
    starts, sums = listing.places.starts, listing.places.checksums
    moved = [Start(start.packet, after.time, after.position) for start, after in pairwise(starts)]
    nowhere = [start._replace(position=1) for start in starts]
    wrong = {"starts": moved}, {"starts": nowhere}, {"checksums": [value ^ 1 for value in sums]}
    for change in wrong:
        store.write(of, replace(listing, places=replace(listing.places, **change)))
        before = store.tally.begun()["doubted"]
        with open_video(path, kept=store) as video:
            for wanted in ([35, 25], [35]):
                np.testing.assert_array_equal(video.frames(wanted), expected[wanted])
        # and no clip after it takes that way
        assert store.read(of) == replace(listing, places=None)
        np.testing.assert_array_equal(ask(path, store, [35]), expected[[35]])
        assert store.tally.begun()["doubted"] == before + 1


def test_places_stay_where_they_are_not_to_blame(encoded, store, tmp_path, monkeypatch):
    path = tmp_path / "a.avi"
    path.write_bytes(encoded("avi").read_bytes())
    list_it(path, store)
    of, places = store.identify(str(path)), kept_places(path, store)

    def breaks(*_, **__):
        raise av.error.OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:  # the disk is away for a while
        patch.setattr(VideoPackets, "decode_tagged", breaks)
        patch.setattr(VideoPackets, "decode_all", breaks)
        with pytest.raises(DecodeError, match="Input/output error"):
            ask(path, store, [35])
    assert kept_places(path, store) == places
    replace(store, is_writable=False).forget_places(str(path), of)
    assert kept_places(path, store) == places
    os.utime(path, ns=(1, 1))  # another process lists what lies there now
    list_it(path, store)
    store.forget_places(str(path), of)
    assert kept_places(path, store) == places
    shutil.rmtree(store.folder)
    store.forget_places(str(path), store.identify(str(path)))
    assert not store.folder.exists()


def test_key_frames_that_give_other_pictures_are_left_out(encoded, store, monkeypatch):
    """Of 61 packets with the mark of a key frame four are some, and the others are not tried."""
    tried, original = [], VideoPackets.decode_tagged

    def decode(self, start, *args, **kwargs):
        tried.append(start)
        return original(self, start, *args, **kwargs)

    path = encoded("h263")
    with monkeypatch.context() as patch:
        patch.setattr(VideoPackets, "decode_tagged", decode)
        list_it(path, store)
    assert [start.packet for start in kept_places(path, store).starts] == [20, 40, 60]
    assert len(tried) == 3


def test_looking_for_places_ends_where_none_are_good(encoded, store, monkeypatch):
    """Each key frame of a long video takes time; seeking that goes astray reads to the end of the file."""
    path, read, original = encoded("mjpeg"), [], packets.demux
    monkeypatch.setattr(packets, "_SOUGHT", 10)
    monkeypatch.setattr(places, "_IN_VAIN", 2)
    never_twice = count()
    monkeypatch.setattr(VideoPackets, "_sought_time", lambda *_: next(never_twice))

    def demux(*args):
        for packet in original(*args):
            read.append(packet.dts)
            yield packet

    monkeypatch.setattr(packets, "demux", demux)
    list_it(path, store)
    assert kept_places(path, store) is None
    assert len(read) == FRAMES + 3 * 10


FORMATS = [
    "yuv420p",
    "yuv420p10le",
    "p010le",
    "nv12",
    "bgr0",
    "yuyv422",
    "gbrp12le",
    "rgb24",
    "x2rgb10le",
]


@pytest.mark.parametrize("form", FORMATS)
def test_a_checksum_is_of_all_pixels_and_of_nothing_beside_them(form):
    frame = av.VideoFrame(34, 4, form)
    for plane in frame.planes:
        pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        pixels[:] = 0
    found = {places.checksum(frame)}
    per_pixel = {"yuv420p10le": 2, "p010le": 2, "bgr0": 4, "yuyv422": 2, "gbrp12le": 2, "rgb24": 3}
    row = 34 * {"x2rgb10le": 4, **per_pixel}.get(form, 1)
    pixels = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(4, -1)
    pixels[:, row:] = 9
    assert places.checksum(frame) in found
    pixels[-1, row - 1] = 1
    assert places.checksum(frame) not in found


def test_a_long_video_is_not_decoded_whole_to_be_kept(encoded, store, monkeypatch):
    path = encoded("avi, one key frame")
    expected, fed = list_it(path, store), []
    of, original = store.identify(str(path)), VideoPackets._decode
    store.write(of, replace(store.read(of), places=None))
    monkeypatch.setattr(VideoPackets, "_decode", lambda *a: fed.append(a) or original(*a))
    monkeypatch.setattr(VideoPackets, "kept_bytes", 0)
    with open_video(path, kept=store) as video:
        for _ in range(3):
            np.testing.assert_array_equal(video.frames([2]), expected[[2]])
    assert len(fed) < 30


def test_pictures_that_the_decoder_misses_are_not_left_out(encoded, store, tmp_path):
    """Without the times of the packets without a picture, B pictures depend on those that come before."""
    source = encoded("avi, one key frame")
    path = pack_b_pictures(source, tmp_path / "a.avi", timed=False)
    expected = list_it(path, store)
    assert kept_places(path, store) is None
    np.testing.assert_array_equal(ask(path, store, [47]), expected[[47]])
    path = pack_b_pictures(source, tmp_path / "b.avi")
    list_it(path, store)
    assert kept_places(path, store).skips


def test_a_damaged_video(encoded, store, tmp_path):
    data, path = bytearray(encoded("avi with B pictures").read_bytes()), tmp_path / "a.avi"
    draw = random.Random(1)
    for _ in range(12):
        data[draw.randrange(8000, data.rindex(b"idx1"))] ^= draw.randrange(1, 256)
    path.write_bytes(data)
    expected = list_it(path, store)
    for wanted in ([frame] for frame in range(0, len(expected), 3)):
        np.testing.assert_array_equal(ask(path, store, wanted), expected[wanted])


def test_a_turned_video_is_turned_on_short_ways_too(encoded, store, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(encoded("mpeg-4 in mp4").read_bytes())
    turn(path, 1)
    expected = list_it(path, store)
    assert expected.shape[1:3] == (64, 48)
    np.testing.assert_array_equal(ask(path, store, [45]), expected[[45]])


def test_an_interruption_leaves_nothing(encoded, store, monkeypatch):
    path, original = encoded("avi"), pyav.find_places

    def interrupted(*args):
        original(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pyav, "find_places", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_video(path, kept=store)
    assert not store.folder.exists()
    list_it(path, store)
    assert kept_places(path, store).starts


def test_places_are_kept_as_they_were():
    places = Places(
        (Start(10, 512, 4000), Start(20, 1024, 9000)), (0, 2, 1), (1, 2**32 - 1, 0), True
    )
    for given in (places, replace(places, starts=())):
        listing = Listing([0, None], [0], why_counted="counted", places=given)
        assert unpack(pack(listing, {}), {}).places == given
