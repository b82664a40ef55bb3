"""One pass over a whole video: the frames of the readers, each once, and what is left of broken ones."""

import numpy as np
import pytest
from videos import encode, forget_reordering, numbered_frames, remux, turn

from uniformer_video.data.decoding import open_video
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.decoding.sequential import open_stream
from uniformer_video.errors import DecodeError

FRAMES = numbered_frames(60, (48, 64))
TIMES = np.cumsum(np.tile([20, 40, 90, 33], 15))  # a variable rate, in milliseconds


def write_frames(folder):
    from PIL import Image

    folder.mkdir()
    for number, frame in enumerate(FRAMES[:20]):
        Image.fromarray(frame).save(folder / f"img_{number:05d}.png")
    return folder


KINDS = {
    "mp4": lambda f: encode(f / "a.mp4", FRAMES),
    "variable rate": lambda f: encode(f / "a.mp4", FRAMES, times=TIMES),
    "open groups": lambda f: encode(f / "a.mkv", FRAMES, g="10", **{"x264-params": "open-gop=1"}),
    "turned": lambda f: turn(encode(f / "a.mp4", FRAMES), 1) or f / "a.mp4",
    "avi": lambda f: encode(f / "a.avi", FRAMES, codec="mpeg4"),
    "mpeg-ts": lambda f: encode(f / "a.ts", FRAMES, g="10"),
    "bare": lambda f: encode(f / "a.h264", FRAMES),
    "full range": lambda f: encode(f / "a.mp4", FRAMES, "mjpeg", "yuvj420p"),
    "frames": lambda f: write_frames(f / "frames"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [0, 17])
def test_the_frames_are_those_of_the_readers(tmp_path, kind, first):
    path = KINDS[kind](tmp_path)
    stream = open_stream(path)
    with open_video(path) as reader:
        assert (stream.num_frames, stream.fps) == (reader.num_frames, reader.fps)
        assert np.array_equal(stream.times, reader.times) or stream.times is reader.times is None
        wanted = np.zeros(reader.num_frames, bool)
        wanted[first::3] = True
        got = dict(stream.pictures(wanted, 32))
        assert list(got) == np.flatnonzero(wanted).tolist()
        assert np.array_equal(np.stack(list(got.values())), reader.frames(list(got), 32))
    assert not stream.faults
    stream.close()


def test_each_frame_is_decoded_once(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", FRAMES, g="10", bf="0")
    fed, original = [], VideoPackets._decode

    def counted(self, packet):
        fed.extend([packet.pts] if packet is not None else [])
        return original(self, packet)

    monkeypatch.setattr(VideoPackets, "_decode", counted)
    stream = open_stream(path)
    assert len(list(stream.pictures(np.ones(60, bool)))) == 60
    assert len(fed) == len(set(fed)) == 60
    fed.clear()
    wanted = np.zeros(60, bool)
    wanted[35:40] = True
    assert [number for number, _ in stream.pictures(wanted)] == [35, 36, 37, 38, 39]
    assert len(fed) <= 11  # from the key frame before, to the last that is wanted
    stream.close()


def test_a_video_that_ends_too_early_is_read_until_there(tmp_path):
    path = encode(tmp_path / "a.mp4", FRAMES, movflags="+faststart")
    remux(path, tmp_path / "b.mp4", movflags="+faststart")
    content = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DecodeError, match="cut off"):
        open_video(tmp_path / "b.mp4")
    stream = open_stream(tmp_path / "b.mp4")
    assert "cut off" in stream.faults[0]
    got = [number for number, _ in stream.pictures(np.ones(stream.num_frames, bool))]
    assert 20 < len(got) <= stream.num_frames < 60
    assert got == list(range(len(got)))
    stream.close()


def test_what_follows_a_break_is_read_from_the_next_key_frame(tmp_path, monkeypatch):
    """Whatever the codec makes of damaged bytes: here the decoder fails at one packet."""
    import av

    path = encode(tmp_path / "a.mp4", FRAMES, g="10", bf="0")
    original = VideoPackets._decode
    clean = open_stream(path)
    times = clean.index.times
    clean.close()

    def failing(self, packet):
        if packet is not None and packet.pts == times[24]:
            raise av.InvalidDataError(1, "Invalid data found when processing input")
        return original(self, packet)

    monkeypatch.setattr(VideoPackets, "_decode", failing)
    stream = open_stream(path)
    got = [number for number, _ in stream.pictures(np.ones(60, bool))]
    lost = set(range(60)) - set(got)
    assert 24 in lost and lost <= set(range(20, 30))
    assert "breaks while decoding" in stream.faults[0]
    stream.close()


def test_times_of_decoding_in_place_of_those_of_showing_do_not_matter(tmp_path):
    path = encode(tmp_path / "a.mp4", FRAMES, bf="2")
    forget_reordering(path)
    stream = open_stream(path)
    with open_video(path) as reader:
        frames = reader.frames(range(reader.num_frames))
    got = dict(stream.pictures(np.ones(stream.num_frames, bool)))
    assert all(np.array_equal(got[number], frame) for number, frame in enumerate(frames))
    stream.close()
