"""When frames are shown: segments and rates by these times, whether frames are indexed or counted."""

import numpy as np
import pytest
from shard_files import pack
from videos import encode, need, numbered_frames, remux

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.frame_times import rising_times
from uniformer_video.data.loading.dataset import decode_test_clips, timeline_of
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DecodeError

# 30 frames at 25 a second, a pause of 20 seconds, 30 frames; milliseconds
PAUSE = np.concatenate([np.arange(30), 530 + np.arange(30)]) * 40
FIELDS = {"x264-params": "interlaced=1:bframes=2"}
INDEXED = {
    "h264 in mp4": ("a.mp4", {"bf": "2"}),
    "h264 in mkv": ("b.mkv", {"bf": "2"}),
    "h264 in ts": ("c.ts", {"bf": "2"}),
}
COUNTED = {
    "mpeg-4 in mp4": ("d.mp4", {"codec": "mpeg4", "bf": "2"}),
    "mpeg-4 in mkv": ("e.mkv", {"codec": "mpeg4", "bf": "2"}),
    "mpeg-4 in ts": ("f.ts", {"codec": "mpeg4", "bf": "2"}),
    "mpeg-4 in asf": ("g.asf", {"codec": "mpeg4", "bf": "2"}),
    "wmv": ("h.wmv", {"codec": "wmv2"}),
    "flv": ("i.flv", {"codec": "flv"}),
    "gif": ("j.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "apng": ("k.apng", {"codec": "apng", "pix_fmt": "rgb24"}),
    "interlaced h264 in mp4": ("l.mp4", FIELDS),
    "interlaced h264 in ts": ("m.ts", FIELDS),
    # with chunks that hold nothing for the pause
    "mpeg-4 in avi": ("n.avi", {"codec": "mpeg4"}),
    "mpeg-4 with B pictures in avi": ("o.avi", {"codec": "mpeg4", "bf": "2"}),
    "h264 in avi": ("p.avi", {"bf": "2", "g": "12"}),
    "mjpeg in avi": ("q.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
}


@pytest.fixture(scope="module")
def paused(tmp_path_factory):
    """A function: the file with the pause of a kind, made once."""
    folder, made = tmp_path_factory.mktemp("paused"), {}

    def make(kind):
        if kind not in made:
            name, options = {**INDEXED, **COUNTED}[kind]
            made[kind] = encode(
                folder / name, numbered_frames(60, (48, 64)), times=PAUSE, **options
            )
        return made[kind]

    return make


def timeline(path, start=0.0, end=None, fps=0.0, backend="auto"):
    with open_video(path, backend) as video:
        return timeline_of(video, ClipSampling(4, target_fps=fps), path, start, end).tolist()


@pytest.mark.parametrize("kind", [*INDEXED, *COUNTED])
def test_seconds_are_those_at_which_frames_are_shown(paused, kind):
    path = paused(kind)
    with open_video(path) as video:
        assert (video.index is None) == (kind in COUNTED)
        np.testing.assert_allclose(video.times, PAUSE / 1000, atol=1e-6)
    assert timeline(path, 20, 25) == list(range(30, 60))
    assert timeline(path, 0.4, 1.0) == list(range(10, 25))
    with pytest.raises(
        DecodeError, match=r"no frame begins from 2 s to 19 s; the last .* 22\.360 s"
    ):
        timeline(path, 2, 19)
    at_5 = timeline(path, fps=5.0)
    shown = [at_5[5 * second] for second in (0, 1, 2, 5, 10, 19, 21, 22)]
    assert shown == [0, 25, 29, 29, 29, 29, 29, 50]
    assert timeline(path, 1.0, 21.6, fps=5.0) == [25] + [29] * 100 + [30, 35]


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_other_decoders_know_the_times_or_refuse(paused, backend):
    need(backend)
    assert timeline(paused("h264 in mp4"), 20, 25, backend=backend) == list(range(30, 60))
    with pytest.raises(DecodeError, match=r"one frame a packet; use DATA\.DECODING_BACKEND auto"):
        timeline(paused("mpeg-4 in mp4"), 20, 25, backend=backend)


def test_a_segment_of_a_counted_video_in_a_shard(paused, tmp_path):
    path = paused("mpeg-4 in mp4")
    (member,) = pack(tmp_path / "a.tar", {"a.mp4": path.read_bytes()})
    clips, _ = decode_test_clips(member, ClipSampling(4), 1, start=20.0, end=25.0)
    with open_video(path) as video:
        expected = video.frames(30 + ClipSampling(4).test_clips(30, 1)[0])
    np.testing.assert_array_equal(clips[0], expected)


@pytest.mark.parametrize("start", [-0.4, 3.2])
@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_the_first_frame_is_second_0(paused, tmp_path, name, start):
    path = remux(paused("interlaced h264 in mp4"), tmp_path / name, earlier=-start)
    with open_video(path) as video:
        assert video.index is None
        np.testing.assert_allclose(video.times, PAUSE / 1000, atol=2e-3)


def test_recordings_that_were_joined_are_shown_one_after_the_other(make_video, tmp_path):
    parts = [make_video(f"{n}.mp4", frames=40, options={"bf": "2"}) for n in range(2)]
    both = tmp_path / "both.ts"
    joined = [remux(part, part.with_suffix(".ts"), earlier=-1.0).read_bytes() for part in parts]
    both.write_bytes(b"".join(joined))
    with open_video(both) as video:
        assert video.index is None
        np.testing.assert_allclose(video.times, np.arange(80) / 25, atol=1e-6)


def test_times_of_decoding_stand_in(make_video, tmp_path):
    whole = make_video("whole.mp4", frames=48, options={"bf": "3", "b_strategy": "0"})
    with open_video(remux(whole, tmp_path / "a.mp4", hold_pts=False, earlier=-0.4)) as video:
        assert video.why_counted == "its times are those of decoding"
        np.testing.assert_allclose(video.times, np.arange(48) / 25, atol=1e-6)


def test_a_bare_stream_has_the_rate_of_its_header(make_video):
    path = make_video("a.h264", frames=30, fps=10)
    with open_video(path) as video:
        assert (video.times, video.fps) == (None, 10)
    assert timeline(path, 1.0, 2.0) == list(range(10, 20))


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([5, 6, 8, 20], [0, 1, 3, 15]),
        ([-7, -3, 1], [0, 4, 8]),
        ([0, None, 8, 12], [0, 4, 8, 12]),  # lacks
        ([None, 4, 8, None, None], [0, 4, 8, 12, 16]),
        ([0, 4, 2, 12, 16], [0, 4, 8, 12, 16]),  # turns back alone
        ([0, 4, 4, 12], [0, 4, 8, 12]),
        ([0, 4, 8, 0, 4, 30], [0, 4, 8, 12, 16, 42]),  # for good
        ([0, 4, 8, None, 0, 4], [0, 4, 8, 12, 16, 20]),
        ([3, 3, 3], [0, 10, 20]),  # tells nothing but that there is a frame
        ([None, 3, None], [0, 10, 20]),
    ],
)
def test_times_that_lack_or_turn_back(times, expected):
    assert rising_times(times, 10).tolist() == expected


def test_times_that_tell_nothing():
    assert rising_times([None, None], 10) is None
    assert rising_times([3, 3], None) is None
    assert rising_times([None], None).tolist() == [0]
