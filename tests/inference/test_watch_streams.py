"""Streams as they come: a server that stalls, drops and comes back, and pipes that are written live."""

import gc
import io
import itertools
import os
import threading
import time
import weakref

import av
import numpy as np
import pytest
from file_server import Answer, serve
from live_server import LONGEST, Written, drop_after, serve_live, serve_rtsp, stall_after
from PIL import Image
from videos import encode, numbered_frames

from uniformer_video.data.decoding.live import LiveVideo
from uniformer_video.data.decoding.live_places import find_place
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError
from uniformer_video.inference.watch_feed import LiveFeed, Patience
from uniformer_video.inference.watch_window import ClipWindow, FrameRing

FRAMES = numbered_frames(40, (48, 64))
QUICK = Patience(timeout=0.6, first_delay=0.05, longest_delay=0.1, give_up=1.5)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """20 frames of mpegts, a key frame every ten."""
    return encode(
        tmp_path_factory.mktemp("film") / "a.ts", FRAMES[:20], g="10", bf="0"
    ).read_bytes()


def watch_until(feed, enough):
    """Wait for the stream until `enough()`; False where it ended before."""
    begin = time.monotonic()
    while not enough():
        assert time.monotonic() - begin < LONGEST
        if not feed.wait(0.05):
            return False
    return True


def feed_of(source, patience=QUICK, ring=None, **words):
    ring = ring or FrameRing(ClipWindow.of(ClipSampling(4, 2)))
    return LiveFeed(find_place(source), ring, 32, patience=patience, **words)


@pytest.mark.parametrize("fault", [drop_after, stall_after])
def test_a_server_that_breaks_off_and_comes_back(film, fault, caplog):
    with serve_live(fault(film), 503, fault(film), stall_after(film)) as (address, asked):
        with feed_of(f"http://user:secret@{address}?token=hidden") as feed:
            assert watch_until(feed, lambda: feed.reconnects == 2 and feed.ring.is_full)
        assert len(asked) == 4
        assert feed.ring.part == 2 and not feed.fault
        assert feed.ring.newest.time > 2 * 0.7  # goes on, and does not begin again
    assert "connecting again in 0.05 s" in caplog.text
    assert "5XX" in caplog.text and "connected again" in caplog.text
    assert "secret" not in caplog.text and "hidden" not in caplog.text


def test_a_server_that_does_not_come_back_is_given_up(film):
    with serve_live(drop_after(film), 404) as (address, _), feed_of(f"http://{address}") as feed:
        assert not watch_until(feed, lambda: False)
    assert "404" in feed.fault and "given up after" in feed.fault and feed.reconnects == 0


def test_a_film_on_a_server_ends(film, tmp_path):
    path = encode(tmp_path / "a.mkv", FRAMES[:10])
    with (
        serve_live(drop_after(path.read_bytes())) as (address, asked),
        feed_of(f"http://{address}") as feed,
    ):
        assert not watch_until(feed, lambda: False)
    assert (feed.ring.seen, feed.fault, len(asked)) == (10, "", 1)


@pytest.mark.parametrize("missing", [0, 1000])
def test_a_file_whose_length_the_server_tells(film, missing):
    """Its end is the end; where the connection closes before, it broke off."""
    with (
        serve({"/a.ts": Answer(film, promised=len(film) + missing)}) as (address, asked),
        feed_of(f"{address}/a.ts") as feed,
    ):
        assert watch_until(feed, lambda: feed.reconnects == 1) == bool(missing)
    assert (feed.ring.seen == 20) == (not missing) and len(asked) == (2 if missing else 1)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (404, "404"),
        (401, "401.*UNIFORMER_WATCH_LOGIN"),
        (drop_after(b""), "broke off before it brought a video"),
        (stall_after(b""), "no answer"),
        (None, "closed the connection without an answer"),
    ],
)
def test_a_server_without_a_stream(answer, message):
    with (
        serve_live(answer) as (address, _),
        feed_of(f"http://u:secret@{address}") as feed,
        pytest.raises(DecodeError, match=message) as raised,
    ):
        watch_until(feed, lambda: False)
    assert "secret" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_playlist_of_a_server_reads_no_file_here(film, tmp_path):
    own = tmp_path / "own.ts"
    own.write_bytes(film)
    listed = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.6,\nfile://{own}\n#EXT-X-ENDLIST\n"
    with (
        serve_live(drop_after(listed.encode())) as (address, _),
        feed_of(f"http://{address}") as feed,
        pytest.raises(DecodeError),
    ):
        watch_until(feed, lambda: False)
    assert feed.ring.seen == 0


def live_frames(format_name, parts, options=None):
    """A function that writes pieces of frames, of maybe other sizes, into a pipe."""

    def write(pipe):
        with av.open(pipe, "w", format=format_name, options=options or {}) as out:
            stream = out.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
            for image in itertools.chain(*parts):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode())

    return write


@pytest.mark.parametrize("format_name", ["mpegts", "matroska"])
def test_a_pipe_that_is_written_live(tmp_path, format_name):
    pipe = Written(tmp_path / "pipe", live_frames(format_name, [FRAMES]))
    ring = FrameRing(ClipWindow.of(ClipSampling(4, 2)))
    times, add = [], ring.add
    ring.add = lambda time, arrival, image: (times.append(time), add(time, arrival, image))
    with feed_of(pipe.path, ring=ring) as feed:
        assert not watch_until(feed, lambda: False)
    assert ring.seen == 40 and np.allclose(np.diff(times), 0.04, atol=2e-3)
    assert ring.newest.image.shape == (32, 42, 3) and not feed.fault


def test_a_pipe_whose_size_changes_and_whose_packets_break(tmp_path, film):
    small, large = (
        encode(tmp_path / f"{n}.ts", numbered_frames(12, size), g="4", bf="0").read_bytes()
        for n, size in enumerate([(48, 64), (96, 64)])
    )
    broken = bytearray(film)
    broken[len(film) // 2 : len(film) // 2 + 400] = os.urandom(400)
    data = small + large + bytes(broken) + os.urandom(500)
    pipe = Written(tmp_path / "pipe", lambda out: out.write(data))
    shapes, ring = [], FrameRing(ClipWindow.of(ClipSampling(4, 2)))
    add = ring.add
    ring.add = lambda time, arrival, image: (shapes.append(image.shape), add(time, arrival, image))
    with feed_of(pipe.path, ring=ring) as feed:
        assert not watch_until(feed, lambda: False)
    assert ring.seen > 35
    assert {(32, 42, 3), (48, 32, 3)} <= set(shapes)
    assert feed.times.turned_back and any("turned back" in note for note in feed.notes())


def test_a_pipe_that_stalls_is_waited_for(tmp_path, film, caplog):
    """Nothing else can be done, and it is said once."""
    go_on = threading.Event()

    def write(out):
        out.write(film)
        out.flush()
        go_on.wait(LONGEST)
        out.write(film)

    pipe = Written(tmp_path / "pipe", write)
    with feed_of(pipe.path, Patience(timeout=0.1)) as feed:
        feed.grace = 0.0
        assert watch_until(feed, lambda: "waiting" in caplog.text)
        go_on.set()
        assert not watch_until(feed, lambda: False)
    assert caplog.text.count("waiting") == 1 and feed.ring.seen > 30


def test_a_stream_without_times(tmp_path, caplog):
    path = encode(tmp_path / "a.h264", FRAMES[:20])
    with feed_of(str(path), fps=50.0) as feed:
        assert not watch_until(feed, lambda: False)
    assert feed.ring.newest.time == pytest.approx(19 / 50) and "--fps" not in caplog.text
    with feed_of(str(path)) as feed:
        assert not watch_until(feed, lambda: False)
    assert feed.ring.newest.time == pytest.approx(19 / 25)
    assert caplog.text.count("25 frames a second are taken") == 1


def test_uneven_times(tmp_path, caplog):
    shown = np.cumsum(np.tile([20, 45, 90, 33], 5))
    path = encode(tmp_path / "a.mp4", FRAMES[:20], times=shown)
    with feed_of(str(path), fps=10.0) as feed:
        assert not watch_until(feed, lambda: False)
    assert "--fps 10 was not needed, it has times" in caplog.text
    assert feed.ring.newest.time == pytest.approx((shown[-1] - shown[0]) / 1000, abs=2e-3)


def test_a_camera_that_hangs_is_connected_again(caplog):
    """FFmpeg waits for cameras without an end: another connection is made, and the first one forgotten."""
    opened = []

    class Camera:
        broken = skipped = 0
        waited, has_times, is_finite, is_at_end = 1.0, True, False, False

        def __init__(self, place, timeout, stopped):
            opened.append(place.name)
            self._stopped = stopped

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def hurry(self, on):
            pass

        def picture(self, frame, short_side):
            return frame

        def frames(self):
            for number in range(3):
                yield number / 25, FRAMES[number]
            while not self._stopped():
                time.sleep(0.01)
            yield 9.0, FRAMES[0]  # what a forgotten connection gives does not count

    place = find_place("http://127.0.0.1:9/")
    ring = FrameRing(ClipWindow.of(ClipSampling(4, 2)))
    hasty = Patience(timeout=0.1, first_delay=0.01)
    with LiveFeed(place, ring, 32, patience=hasty, open_video=Camera) as feed:
        feed.grace = 0.0
        assert watch_until(feed, lambda: feed.reconnects == 2)
        assert watch_until(feed, lambda: ring.seen == 9)
    assert len(opened) == 3 and ring.part == 2
    assert "nothing has come for 0.1 s; connecting again" in caplog.text


def test_a_camera_over_rtsp(film, caplog):
    with (
        serve_rtsp(film, plays=2) as (address, asked),
        feed_of(f"rtsp://me:secret@{address}?key=secret") as feed,
    ):
        assert not watch_until(feed, lambda: False)
    assert sum(line.startswith("PLAY") for line in asked) == 2
    assert feed.reconnects == 1 and feed.ring.seen >= 36 and "given up" in feed.fault
    assert "secret" not in caplog.text + feed.fault


def test_a_camera_of_jpegs_over_http():
    """Their times are made up by whoever reads them, so that those of their coming count."""

    def answer(write, over):
        for image in FRAMES[:12]:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "jpeg")
            head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(file.getvalue())}\r\n\r\n"
            write(head.encode() + file.getvalue() + b"\r\n")
            over.wait(0.1)

    answer.kind = "multipart/x-mixed-replace;boundary=cut"
    with serve_live(answer) as (address, _), feed_of(f"http://{address}") as feed:
        assert watch_until(feed, lambda: feed.ring.seen >= 11)
    assert feed.ring.newest.time > 0.5  # and not 10 / 25


def test_no_list_of_a_film_opens_more(tmp_path, film):
    """A file that names others, as a list of segments does, is no video."""
    (tmp_path / "own.ts").write_bytes(film)
    for name, text in (
        ("a.m3u8", "#EXTM3U\n#EXTINF:1,\nown.ts\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", "ffconcat version 1.0\nfile own.ts\n"),
        ("a.sdp", "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 33\n"),
    ):
        (tmp_path / name).write_text(text)
        with feed_of(str(tmp_path / name)) as feed, pytest.raises(DecodeError, match="no video"):
            watch_until(feed, lambda: False)


def test_a_broken_connection_leaves_no_decoder_behind(film):
    """Without waiting for Python's search for cycles: each holds threads and pictures."""
    opened = []

    def open_video(*words):
        video = LiveVideo(*words)
        opened.append(weakref.ref(video))
        return video

    gc.collect()
    gc.disable()
    try:
        with (
            serve_live(drop_after(film)) as (address, _),
            feed_of(f"http://{address}", open_video=open_video) as feed,
        ):
            assert watch_until(feed, lambda: feed.reconnects == 3)
            assert sum(video() is not None for video in opened) <= 2
    finally:
        gc.enable()
