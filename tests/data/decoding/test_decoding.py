import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from videos import all_frames, forget_reordering, need, numbered_frames, other_backends, remux

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.pyav import PyAVReader
from uniformer_video.errors import DecodeError

BACKENDS = ["pyav", "decord"]


ENCODINGS = {
    "h264 with B-frames": ("a.mp4", "libx264", {"bf": "3", "g": "12"}),
    "h264 without B-frames": ("b.mp4", "libx264", {"bf": "0", "g": "30"}),
    "h264, one key frame": ("c.mkv", "libx264", {"g": "999"}),
    "h264, open groups": ("d.mp4", "libx264", {"x264-params": "open-gop=1:keyint=20:bframes=3"}),
    "hevc": ("e.mp4", "libx265", {"x265-params": "log-level=none:keyint=25"}),
    "vp8": ("f.webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "10"}),
    "vp9": ("g.webm", "libvpx-vp9", {"cpu-used": "8", "g": "40"}),
    "mpeg-4 in avi with B-frames": ("h.avi", "mpeg4", {"bf": "2", "g": "12"}),
    "h264 in mpeg-ts": ("i.ts", "libx264", {"bf": "2", "g": "15"}),
    "mpeg-1 in mpg": ("j.mpg", "mpeg1video", {"g": "12"}),
}


@pytest.mark.parametrize("kind", ENCODINGS)
def test_index_i_is_the_ith_frame(make_video, kind):
    name, codec, options = ENCODINGS[kind]
    path = make_video(name, frames=120, codec=codec, options=options)
    expected = all_frames(path)
    with open_video(path) as video:
        assert video.num_frames == len(expected)
        assert video.size == expected.shape[1:3]
        rng = np.random.default_rng(0)
        requests = [[0], [video.num_frames - 1], [119, 0, 60, 60], range(120)]
        requests += [rng.integers(0, 120, 4) for _ in range(6)]
        for indices in requests:
            np.testing.assert_array_equal(video.frames(indices), expected[list(indices)])


def test_a_stream_that_does_not_say_how_far_it_reorders(make_video, tmp_path, monkeypatch):
    """A decoder that learns it from the first late frames drops those; none is decoded twice here."""
    options = {"bf": "8", "b_strategy": "0", "g": "20", "x264-params": "ref=4"}
    video = make_video(
        frames=40, options=options
    )  # once: x264's threads may differ between two runs
    expected = all_frames(video)
    path = remux(forget_reordering(video), tmp_path / "a.mkv")
    with av.open(str(path), stream_options=[{"skip_frame": "all"}]) as container:
        assert sum(1 for _ in container.decode(video=0)) < 40, "it learns from opening alone"
    passes, decode = [], PyAVReader._decode
    monkeypatch.setattr(PyAVReader, "_decode", lambda *a, **k: passes.append(a) or decode(*a, **k))
    with open_video(path) as video:
        np.testing.assert_array_equal(video.frames(range(40)), expected)
    assert len(passes) == 1
    with open_video(path) as video:
        np.testing.assert_array_equal(video.frames([3, 30]), expected[[3, 30]])


@pytest.mark.parametrize("cut", [10, 35])
def test_frames_that_an_edit_list_cuts_off_do_not_count(make_video, tmp_path, cut):
    """As a cut without encoding makes them: the key frame before the cut is decoded and not shown."""
    whole = make_video(frames=60, options={"g": "30", "bf": "2", "b_strategy": "0"})
    path = remux(whole, tmp_path / "cut.mp4", earlier=cut / 25)
    expected = all_frames(whole)[cut:]
    np.testing.assert_array_equal(all_frames(path), expected)
    with open_video(path) as video:
        assert video.num_frames == 60 - cut
        np.testing.assert_array_equal(video.frames(range(60 - cut)), expected)
        np.testing.assert_array_equal(video.frames([20, 3, 0]), expected[[20, 3, 0]])


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg2video"])
def test_times_of_decoding_in_place_of_those_of_showing(make_video, tmp_path, codec):
    options = {"bf": "3", "g": "20", "b_strategy": "0", "x265-params": "log-level=none:bframes=3"}
    whole = make_video("whole.mp4", frames=48, codec=codec, options=options)
    path = remux(whole, tmp_path / "a.mp4", hold_pts=False, earlier=-0.4)
    expected = all_frames(whole)
    with open_video(path) as video:
        assert video.why_counted == "its times are those of decoding"
        np.testing.assert_array_equal(video.frames([1]), expected[[1]])
        np.testing.assert_array_equal(video.frames([47, 30, 2]), expected[[47, 30, 2]])
    with open_video(remux(whole, tmp_path / "b.mp4")) as video:
        assert video.index


def test_streams_that_overlap_are_shown_one_after_the_other(make_video, tmp_path):
    parts = [make_video(f"{n}.mp4", frames=40, options={"g": "15", "bf": "2"}) for n in range(2)]
    first, second = (
        remux(part, part.with_suffix(".ts"), earlier=-shift)
        for part, shift in zip(parts, (0.1, 1.413), strict=True)
    )
    path = tmp_path / "both.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    expected = all_frames(path)
    assert len(expected) == 80
    with open_video(path) as video:
        assert video.num_frames == 80
        assert video.fps == pytest.approx(25, rel=0.05)
        np.testing.assert_array_equal(video.frames([70, 34, 36, 0]), expected[[70, 34, 36, 0]])


def test_parameter_sets_that_change_on_the_way(make_video, tmp_path):
    """The header tells the first ones; a decoder keeps the last it met."""
    parts = [
        make_video(f"{n}.h264", frames=30, options={"bf": "0", "g": "10", "x264-params": params})
        for n, params in enumerate(("qp=18", "qp=36:chroma-qp-offset=6"))
    ]
    both = tmp_path / "both.h264"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    path = tmp_path / "both.mp4"
    with av.open(str(both)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.time_base = Fraction(1, 25)
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.time_base, packet.stream = Fraction(1, 25), stream
            packet.pts = packet.dts = number
            packet.duration = 1
            target.mux(packet)
    expected = all_frames(path)
    with open_video(path) as video:
        for indices in ([3], [50], [3, 12], [59, 0], range(60)):
            np.testing.assert_array_equal(video.frames(indices), expected[list(indices)])
    for backend in other_backends():
        with pytest.raises(DecodeError, match="parameter sets change"):
            open_video(path, backend)


def test_backends_agree(make_video):
    need("decord")
    path = make_video(frames=100, options={"bf": "3", "g": "24"})
    indices = [3, 99, 50, 50, 0]
    with open_video(path, "pyav") as ours, open_video(path, "decord") as theirs:
        assert ours.num_frames == theirs.num_frames == 100
        assert ours.size == theirs.size == (48, 64)
        assert ours.fps == pytest.approx(theirs.fps) == 25
        np.testing.assert_array_equal(ours.frames(indices), theirs.frames(indices))


def test_variable_frame_rate(tmp_path):
    path, times = tmp_path / "vfr.mp4", np.cumsum([0, *([40, 90, 20, 300] * 10)])
    frames = numbered_frames(len(times), (48, 64))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for image, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = int(time), stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with open_video(path) as video:
        assert video.num_frames == len(times)
        np.testing.assert_array_equal(video.frames([0, 17, 40]), all_frames(path)[[0, 17, 40]])


def damaged(path, keep):
    """The file cut to a share of its bytes, its index moved to the front first."""
    whole = remux(path, path.with_name("front.mp4"), movflags="faststart")
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


@pytest.mark.parametrize("backend", BACKENDS)
def test_truncated_video_never_gives_other_frames(make_video, backend):
    need(backend)
    path = damaged(make_video(frames=200, size=(96, 96)), keep=0.6)
    with pytest.raises(DecodeError, match=r"video\.mp4"), open_video(path, backend) as video:
        video.frames([0, 199])
    if backend == "pyav":
        with pytest.raises(DecodeError, match=r"is cut off: \d+ of its 200 frames are there"):
            open_video(path)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("content", [b"", b"this is no video" * 100], ids=["empty", "garbage"])
def test_files_that_are_no_videos(tmp_path, backend, content):
    need(backend)
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=r"a\.mp4 cannot be opened as a video"):
        open_video(path, backend)


def test_sound_only(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for _ in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 16000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DecodeError, match="no video stream"):
        open_video(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DecodeError, match="does not exist"):
        open_video(tmp_path / "absent.mp4")
    with pytest.raises(DecodeError, match="is a folder"):
        open_video(tmp_path)


def test_a_playlist_cannot_reach_the_network(tmp_path):
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DecodeError):
        open_video(path)


def test_one_frame_and_odd_names(make_video):
    path = make_video("with space, comma/ünï ☃.mp4", frames=1)
    with open_video(path) as video:
        assert video.num_frames == 1
        assert video.frames([0, 0]).shape == (2, 48, 64, 3)


@pytest.mark.parametrize("indices", [[], [-1], [50]])
def test_indices_outside_the_video(make_video, indices):
    with open_video(make_video(frames=50)) as video, pytest.raises(ValueError, match=r"0\.\.49"):
        video.frames(indices)


def test_readers_close_their_file(make_video):
    path = make_video()
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    if before is None:
        pytest.skip("needs /proc")
    for _ in range(20):
        with open_video(path) as video:
            video.frames([0, 49, 3])
    assert len(os.listdir("/proc/self/fd")) <= before + 1


REAL = os.environ.get("UNIFORMER_TEST_VIDEOS", "")
SHOWN = {  # frames and shown size, counted by decoding
    "real_k400_uniformer.mp4": (300, (320, 426)),
    "real_pancake.mkv": (310, (240, 426)),
    "vfr_quicktime.mov": (123, (480, 640)),
    "rot90_iphone_ios9.mov": (14, (1280, 720)),
    "avi_packed_pts.avi": (164, (240, 320)),
    "no_duration.webm": (74, (720, 1280)),
    "vp8.webm": (90, (360, 640)),
    "mpeg1.mpg": (36, (288, 352)),
    "av1.mkv": (125, (360, 640)),
}


@pytest.mark.skipif(not REAL, reason="UNIFORMER_TEST_VIDEOS names no folder of real videos")
@pytest.mark.parametrize("name", SHOWN)
def test_real_videos(name):
    with open_video(Path(REAL) / name) as video:
        assert (video.num_frames, video.size) == SHOWN[name]
        expected = all_frames(Path(REAL) / name)
        indices = np.linspace(0, video.num_frames - 1, 7).astype(int)
        if expected.shape[1:3] == video.size:
            np.testing.assert_array_equal(video.frames(indices), expected[indices])


def test_the_times_of_frames(make_video):
    with open_video(make_video(frames=20, fps=10), "pyav") as video:
        np.testing.assert_allclose(video.times, np.arange(20) / 10, atol=1e-6)
