"""All backends give the same frames on the same file, or refuse it; what is skipped is never missed."""

import multiprocessing
import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import all_frames, encode, need, numbered_frames, other_backends, turn

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.index_store import IndexStore
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.errors import DecodeError, MissingLibraryError

X265 = "log-level=none:keyint=25:bframes=4"
# name, codec, pixel format, further arguments of `encode`, backends that refuse it
KINDS = {
    "B-frames that others refer to": (
        "a.mp4",
        {"bf": "3", "g": "24", "x264-params": "b-pyramid=2"},
        "",
    ),
    "long group": ("b.mkv", {"g": "999", "bf": "2"}, ""),
    "open groups": ("c.mp4", {"x264-params": "open-gop=1:keyint=17:bframes=3"}, None),
    "refresh by columns": (
        "d.mp4",
        {"x264-params": "intra-refresh=1:keyint=30"},
        "decord torchcodec",
    ),
    "interlaced": ("e.mp4", {"x264-params": "interlaced=1"}, "decord torchcodec"),
    "flv": ("f.flv", {"bf": "2", "g": "20"}, None),
    "hevc": ("g.mp4", {"codec": "libx265", "x265-params": X265}, "decord"),
    "hevc, layers": (
        "h.mp4",
        {"codec": "libx265", "x265-params": X265 + ":temporal-layers=3"},
        None,
    ),
    "10 bits": ("i.mp4", {"pix_fmt": "yuv420p10le", "bf": "2"}, "decord torchcodec"),
    "high dynamic range": (
        "j.mkv",
        {
            **{"codec": "libx265", "pix_fmt": "yuv420p10le", "x265-params": X265},
            "context": {"colorspace": 9, "color_primaries": 9, "color_trc": 16},
        },
        "decord torchcodec",
    ),
    "bt709": ("k.mp4", {"context": {"colorspace": 1}}, ""),
    "full range": ("l.mp4", {"pix_fmt": "yuvj420p", "context": {"color_range": 2}}, ""),
    "4:4:4, odd size": ("m.mp4", {"pix_fmt": "yuv444p"}, ""),
    "pixels that are not square": (
        "n.mp4",
        {"context": {"sample_aspect_ratio": Fraction(4, 3)}},
        "",
    ),
    "vp8, hidden frames": (
        "o.webm",
        {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "16"},
        None,
    ),
    "vp9": ("p.webm", {"codec": "libvpx-vp9", "cpu-used": "8", "g": "40"}, ""),
    "mpeg-2 in ts": ("q.ts", {"codec": "mpeg2video", "bf": "2", "g": "12"}, "decord torchcodec"),
    "mpeg-1 in mpg": ("r.mpg", {"codec": "mpeg1video", "bf": "2", "g": "12"}, "decord torchcodec"),
    "mpeg-4 in avi": ("s.avi", {"codec": "mpeg4", "bf": "2", "g": "12"}, "decord torchcodec"),
    "h264 in avi": ("t.avi", {"bf": "2", "g": "12"}, "decord torchcodec"),
    "mjpeg": ("u.mov", {"codec": "mjpeg", "pix_fmt": "yuvj422p"}, ""),
    "irregular times": ("v.mp4", {"times": np.cumsum([5, *[40, 90, 20, 300, 33] * 12][:60])}, ""),
    "irregular times in webm": (
        "w.webm",
        {"codec": "libvpx-vp9", "cpu-used": "8", "times": np.cumsum([40, 90, 21, 300, 33] * 12)},
        "",
    ),
}


@pytest.fixture(scope="module")
def video_of(tmp_path_factory):
    """A function: the file of a kind, made once, and its frames by plain decoding."""
    folder, made = tmp_path_factory.mktemp("kinds"), {}

    def make(kind):
        if kind not in made:
            name, options, _ = KINDS[kind]
            size = (51, 77) if "odd" in kind else (48, 64)
            path = encode(folder / name, numbered_frames(60, size), **options)
            made[kind] = path, all_frames(path)
        return made[kind]

    return make


def check(path, expected, backend, requests=8, kept=None):
    with open_video(path, backend, kept=kept) as video:
        assert (video.num_frames, video.size) == (len(expected), expected.shape[1:3])
        rng = np.random.default_rng(len(expected))
        last = len(expected) - 1
        for size in [1, 4, last, *[3] * requests]:
            indices = rng.integers(0, last + 1, size)
            np.testing.assert_array_equal(video.frames(indices), expected[indices])
        every = np.arange(last, -1, -1)
        np.testing.assert_array_equal(video.frames(every), expected[every])


@pytest.mark.parametrize("kept", ["packets in memory", "packets read again"])
@pytest.mark.parametrize("kind", KINDS)
def test_exact_on_every_kind(video_of, monkeypatch, kind, kept):
    if kept == "packets read again":
        monkeypatch.setattr(VideoPackets, "kept_bytes", 0)
    check(*video_of(kind), "auto")


@pytest.mark.parametrize("kind", KINDS)
def test_exact_where_the_packets_are_known(video_of, tmp_path, kind):
    path, expected = video_of(kind)
    store = IndexStore(tmp_path)
    with open_video(path, kept=store) as plain, open_video(path, kept=store) as again:
        for fact in ("fps", "formats", "why_counted", "index"):
            assert getattr(again, fact) == getattr(plain, fact)
        np.testing.assert_array_equal(again.times, plain.times)
        is_known = plain.index is None or not plain.formats & {"mpeg", "mpegts"}
    assert store.tally.total()["found"] == is_known
    check(path, expected, "auto", kept=store)
    for first in ([59], [30, 31, 58], [0, 59]):  # each is all that a reader is asked for
        with open_video(path, kept=store) as video:
            np.testing.assert_array_equal(video.frames(first), expected[first])


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_others_are_the_same_or_refuse(video_of, kind, backend):
    need(backend)
    path, expected = video_of(kind)
    refusals = KINDS[kind][2]
    if refusals is not None and backend in refusals:
        with pytest.raises(
            DecodeError, match=rf"{backend} would not give the right frames, as.*auto"
        ):
            open_video(path, backend)
        return
    try:
        check(path, expected, backend)
    except DecodeError as error:  # depends on how the encoder laid the file out
        assert refusals is None, error


def skipped(path, monkeypatch):
    """How many packets of a video were decoded as "not if nobody refers to it" for one frame."""
    modes, spanned = [], VideoPackets.decode_span

    def spy(self, span, needed=(), skips=False, tagged=False):
        modes.append((skips, span.stop - span.start + 1 - len(needed)))
        return spanned(self, span, needed, skips, tagged)

    monkeypatch.setattr(VideoPackets, "decode_span", spy)
    with open_video(path) as video:
        video.frames([20])
    return sum(count for skips, count in modes if skips)


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("B-frames that others refer to", True),
        ("hevc", True),
        ("hevc, layers", False),  # another layer may refer to them
        ("mpeg-1 in mpg", None),
        ("vp9", False),
        ("h264 in avi", False),
    ],
)
def test_pictures_are_left_out_where_that_is_exact(video_of, monkeypatch, kind, allowed):
    count = skipped(video_of(kind)[0], monkeypatch)
    assert allowed is None or (count > 0) == allowed


def test_a_jump_leaves_packets_out(make_video, monkeypatch):
    path = make_video(frames=200, options={"g": "20", "keyint_min": "20", "sc_threshold": "0"})
    with open_video(path) as video:
        decoded, real = [], video._packets.from_number
        monkeypatch.setattr(
            video._packets, "from_number", lambda *n: (decoded.append(p[0]) or p for p in real(*n))
        )
        frames = video.frames([1, 150, 151, 2])
    assert len(decoded) < 30 and min(decoded) == 0 and max(decoded) < 160
    np.testing.assert_array_equal(frames, all_frames(path)[[1, 150, 151, 2]])


def test_counted_frames_that_were_too_many_to_keep(video_of):
    path, expected = video_of("mpeg-4 in avi")
    with open_video(path) as video:
        video._counted.forget()
        for indices in ([59, 0, 7], [3], [58]):
            np.testing.assert_array_equal(video.frames(indices), expected[indices])


def test_one_opening_serves_all_clips(make_video, monkeypatch):
    path, opened, real = make_video(frames=120), [], av.open
    monkeypatch.setattr(
        av, "open", lambda *args, **more: opened.append(args) or real(*args, **more)
    )
    with open_video(path) as video:
        video.frames([100, 3, 60])
        video.frames([2])
        assert video.size == (48, 64)
    assert len(opened) == 1


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rotation_is_applied_once(make_video, quarters):
    path = turn(make_video(frames=8, size=(64, 96)), quarters)
    stored = numbered_frames(8, (64, 96))
    with open_video(path) as video:
        frames = video.frames([7, 0, 0])
        assert video.size == frames.shape[1:3] == ((96, 64) if quarters % 2 else (64, 96))
        small = video.frames([7], short_side=32)
        assert small.shape[1:3] == ((48, 32) if quarters % 2 else (32, 48))
    expected = np.rot90(stored[[7, 0, 0]], quarters, axes=(1, 2))
    assert np.abs(frames.astype(int) - expected).mean() < 30  # a wrong turn is 60 off
    check(path, all_frames(path), "auto")
    for backend in other_backends():
        check(path, all_frames(path), backend)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_mirrored_pictures(make_video, quarters):
    path = make_video(frames=8, size=(64, 96), options={"bf": "2"})
    turned = np.rot90(all_frames(path), quarters, axes=(1, 2))
    expected = turned[:, :, ::-1]
    turn(path, quarters, mirrored=True)
    with open_video(path) as video:
        assert video.size == expected.shape[1:3]
        np.testing.assert_array_equal(video.frames(range(8)), expected)
    for backend in other_backends():
        with pytest.raises(DecodeError, match="does not mirror pictures"):
            open_video(path, backend)


def test_scaling_only_shrinks(tmp_path):
    path = encode(tmp_path / "a.mp4", np.full((4, 54, 97 + 1, 3), 90, np.uint8))
    with open_video(path) as video:
        for short_side in (0, 54, 80):
            np.testing.assert_array_equal(video.frames([0], short_side), video.frames([0]))
        small = video.frames([0, 3], short_side=20)
    assert small.shape == (2, 20, int(98 / 54 * 20), 3)
    assert np.abs(small.astype(int) - 90).max() < 4


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_scaling_is_there_for_every_backend(make_video, backend):
    need(backend)
    path = make_video(frames=4)
    with open_video(path, backend) as video, open_video(path) as ours:
        small, same = video.frames([0, 3], short_side=24), ours.frames([0, 3], short_side=24)
    assert small.shape == same.shape == (2, 24, 32, 3)
    assert np.abs(small.astype(int) - same).mean() < 8


def test_a_missing_torchcodec_says_what_to_install(make_video, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    with pytest.raises(MissingLibraryError, match=r'pip install "uniformer-video\[torchcodec\]"'):
        open_video(make_video(), "torchcodec")


def _mean_of(path):
    with open_video(path) as video:
        return video.frames([0, 9, 30]).mean()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_do_not_hang(make_video, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this platform")
    path = make_video()
    expected = _mean_of(path)
    with open_video(path) as video:  # one open in the parent, as a careless caller would have it
        video.frames([3])
        with multiprocessing.get_context(start).Pool(2) as pool:
            assert pool.map_async(_mean_of, [path] * 4).get(timeout=60) == [expected] * 4


@pytest.mark.slow
def test_memory_stays_flat_over_2000_openings(make_video):
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc")
    paths = [make_video(), make_video("b.avi", codec="mpeg4", options={"bf": "2"})]
    resident = []
    for number in range(2000):
        with open_video(paths[number % 2]) as video:
            video.frames([0, 25, 49])
        if number % 500 == 499:
            resident.append(int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    assert resident[-1] - resident[0] < 8 << 20, [size >> 20 for size in resident]


REAL = os.environ.get("UNIFORMER_TEST_VIDEOS", "")


@pytest.mark.skipif(not REAL, reason="UNIFORMER_TEST_VIDEOS names no folder of real videos")
@pytest.mark.parametrize("backend", ["auto", "decord", "torchcodec"])
def test_real_videos_are_the_same_everywhere(backend):
    need(backend)
    read = 0
    for path in sorted(Path(REAL).iterdir()):
        try:
            expected = all_frames(path)
        except (av.FFmpegError, AttributeError):  # the latter where there is no video in it
            with pytest.raises(DecodeError), open_video(path, backend) as video:
                video.frames([video.num_frames - 1])
            continue
        try:
            check(path, expected, backend, requests=2)
            read += 1
        except DecodeError:
            assert backend != "auto"
    assert read


def test_a_colon_in_a_name_is_no_protocol(make_video, monkeypatch):
    path = make_video("http:a,b %03d.mp4")
    monkeypatch.chdir(path.parent)
    shutil.copy(path, "concat:c.mp4")
    for name in (path.name, "concat:c.mp4"):
        with open_video(name) as video:
            assert video.num_frames == 50
