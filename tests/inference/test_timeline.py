"""A model over a long video: the logits of a test of each segment, whatever the video; and what is left of
videos that are short, broken, or without times.
"""

import av
import numpy as np
import pytest
from PIL import Image
from videos import encode, numbered_frames, turn

from uniformer_video.data.decoding import frame_times
from uniformer_video.data.decoding.packets import VideoPackets
from uniformer_video.data.loading.dataset import decode_test_clips
from uniformer_video.errors import DataError, DecodeError, UserError
from uniformer_video.inference import timeline
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.timeline import predict_timeline
from uniformer_video.weights.checkpoint import CALIBRATION

FRAMES = numbered_frames(70, (48, 64))
UNEVEN = np.cumsum(np.tile([20, 45, 90, 33], 18))[:70]

VIDEOS = {
    "even": lambda f: encode(f / "a.mp4", FRAMES),
    "variable rate": lambda f: encode(f / "a.mp4", FRAMES, times=UNEVEN),
    "turned": lambda f: turn(encode(f / "a.mp4", FRAMES), 1) or f / "a.mp4",
    "counted": lambda f: encode(f / "a.avi", FRAMES, codec="mpeg4"),
    "bare": lambda f: encode(f / "a.h264", FRAMES),
}
PROTOCOLS = {
    "dense": {},
    "three crops": {"num_crops": 3, "short_side": 40},
    "segments": {"rule": "segment"},
    "a rate": {"target_fps": 12.5},
    "small": {"decode_short_side": 36, "short_side": 36},
}


def logits_of_segment(predictor, path, start, end):
    """The logits of each view by a test of the segment, `[view, K]`."""
    protocol = predictor.protocol
    clips, _ = decode_test_clips(
        str(path),
        protocol.sampling,
        protocol.num_clips,
        start=start,
        end=end,
        decode_short_side=protocol.decode_short_side,
    )
    return predictor.view_logits(protocol.views(clips))


@pytest.mark.parametrize(
    ("video", "protocol"),
    [*((video, "dense") for video in VIDEOS), *(("variable rate", p) for p in PROTOCOLS)],
)
def test_the_logits_of_a_window_are_those_of_a_test_of_the_segment(
    untrained, tmp_path, video, protocol
):
    path = VIDEOS[video](tmp_path)
    predictor = Predictor.from_checkpoint(untrained(protocol=PROTOCOLS[protocol]), batch_size=5)
    found = predict_timeline(predictor, path, 0.73, 0.31, start=0.2, end=2.6, keep_logits=True)
    windows = found.windows
    assert len(windows) == 6 and not found.failed
    for number in range(len(windows)):
        expected = logits_of_segment(predictor, path, windows.starts[number], windows.ends[number])
        assert np.allclose(found.logits[number], expected, atol=1e-5)
        answer = predictor.answer(str(path), expected)
        assert np.allclose(found.probabilities[number], answer.probabilities, atol=1e-6)
    assert np.ptp(found.logits, axis=0).max() > 1e-3  # windows differ


def test_a_calibration_is_applied_as_the_predictor_does(untrained, make_video):
    path = make_video()
    plain = Predictor.from_checkpoint(untrained())
    protocol = {**plain.protocol.to_dict(), "precision": "fp32"}
    calibration = {"temperature": 2.5, "threshold": 0.7, "protocol": protocol}
    calibrated = Predictor.from_checkpoint(
        untrained(protocol={"precision": "fp32"}, **{CALIBRATION: calibration})
    )
    before = predict_timeline(plain, path, keep_logits=True)
    after = predict_timeline(calibrated, path)
    assert (after.temperature, after.threshold) == (2.5, 0.7)
    assert before.temperature is before.threshold is None
    scaled = before.logits.mean(axis=1) / 2.5
    expected = np.exp(scaled) / np.exp(scaled).sum(axis=1, keepdims=True)
    assert np.allclose(after.probabilities, expected, atol=1e-5)


def test_without_seconds_the_window_is_two_clips_of_the_model(untrained, make_video):
    predictor = Predictor.from_checkpoint(untrained())
    found = predict_timeline(predictor, make_video(frames=50))
    # 4 frames, stride 2, 25 fps
    assert (found.windows.window, found.windows.stride) == (0.64, 0.16)
    one = Predictor.from_checkpoint(untrained(), num_clips=1)
    assert predict_timeline(one, make_video(frames=50)).windows.window == 0.32
    assert (found.windows.start, found.windows.end) == (0, 2)
    assert len(found.frame_times) == 50
    edges = found.windows.edges()
    assert edges[0] == 0 and edges[-1] == 2 and (np.diff(edges) > 0).all()


def test_few_frames_are_kept_and_equal_clips_are_predicted_once(untrained, make_video, monkeypatch):
    predictor = Predictor.from_checkpoint(untrained())
    most, views = [], []
    original = timeline._Run._forget_before

    def counted(self, frame):
        original(self, frame)
        most.append(len(self._frames))

    monkeypatch.setattr(timeline._Run, "_forget_before", counted)
    seen = predictor.view_logits
    predictor.view_logits = lambda batch: (views.append(len(batch)), seen(batch))[1]
    found = predict_timeline(predictor, make_video(frames=200), 0.32, 0.16)
    assert max(most) <= 8
    assert sum(views) == len(found.windows)  # both clips of a window are of the same frames
    assert max(views) <= predictor.batch_size


@pytest.mark.parametrize("frames", [1, 5])
def test_a_video_shorter_than_a_window_is_one_window(untrained, make_video, frames):
    predictor = Predictor.from_checkpoint(untrained())
    path = make_video(frames=frames)
    found = predict_timeline(predictor, path)
    assert len(found.windows) == 1 and found.windows.short
    assert "less than a window" in found.notes[0]
    assert np.allclose(found.probabilities[0], predictor(path).probabilities, atol=1e-6)
    assert found.windows.end == pytest.approx(frames / 25)


def test_times_that_jump_back_are_those_of_a_test(untrained, tmp_path):
    """Two recordings in one file, of which the second begins at 0 again."""
    path = encode(tmp_path / "a.ts", FRAMES[:40])
    path.write_bytes(path.read_bytes() * 2)
    predictor = Predictor.from_checkpoint(untrained())
    found = predict_timeline(predictor, path, keep_logits=True)
    assert len(found.frame_times) == 80 and (np.diff(found.frame_times) > 0).all()
    for number in (0, 9, len(found.windows) - 1):
        own = found.windows.starts[number], found.windows.ends[number]
        expected = logits_of_segment(predictor, path, *own)
        assert np.allclose(found.logits[number], expected, atol=1e-5)


def test_a_folder_of_frames_has_no_times_and_takes_a_rate(untrained, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(FRAMES[:30]):
        Image.fromarray(frame).save(folder / f"img_{number:05d}.png")
    predictor = Predictor.from_checkpoint(untrained())
    with pytest.raises(DataError, match="--fps"):
        predict_timeline(predictor, folder)
    found = predict_timeline(predictor, folder, fps=10)
    assert (found.windows.window, found.windows.end) == (1.6, 3)
    assert not np.isnan(found.probabilities).any()


def test_a_break_in_the_middle_costs_the_windows_that_it_meets(untrained, tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", FRAMES, g="10", bf="0", sc_threshold="0")
    packets, original = VideoPackets(str(path)), VideoPackets._decode
    packets.open()
    bad = packets.times[36]
    packets.close()

    def failing(self, packet):
        if packet is not None and packet.pts == bad:
            raise av.InvalidDataError(1, "Invalid data found when processing input")
        return original(self, packet)

    predictor = Predictor.from_checkpoint(untrained())
    whole = predict_timeline(predictor, path, 0.32, 0.16)
    monkeypatch.setattr(VideoPackets, "_decode", failing)
    found = predict_timeline(predictor, path, 0.32, 0.16)
    lost = [
        n for n in range(len(whole.windows)) if {36, 38} & {4 * n, 4 * n + 2, 4 * n + 4, 4 * n + 6}
    ]
    assert list(found.failed) == lost and found.broken and not whole.broken
    assert all("cannot be decoded" in reason for reason in found.failed.values())
    read = [n for n in range(len(found.windows)) if n not in found.failed]
    assert np.allclose(found.probabilities[read], whole.probabilities[read], atol=1e-6)
    assert np.isnan(found.probabilities[lost]).all()
    assert any("breaks while decoding" in note for note in found.notes)


def test_where_nothing_can_be_read_there_is_no_timeline(untrained, make_video, monkeypatch):
    def failing(self, packet):
        raise av.InvalidDataError(1, "Invalid data found when processing input")

    path = make_video()
    predictor = Predictor.from_checkpoint(untrained())
    monkeypatch.setattr(frame_times, "_shows_in_another_order", lambda *_: False)
    monkeypatch.setattr(VideoPackets, "_decode", failing)
    with pytest.raises(DecodeError, match="no window of it could be read"):
        predict_timeline(predictor, path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"start": 2}, "--start is 2 seconds, and the video ends at 2.000"),
        ({"start": -1}, "0 or more"),
        ({"start": 1, "end": 1}, "not after --start"),
        ({"window": 0.0001}, "--window"),
        ({"window": 0}, "--window"),
        ({"fps": 0}, "--fps"),
        ({"fps": float("nan")}, "--fps"),
        ({"window": float("inf")}, "--window"),
        ({"stride": 0}, "--stride"),
        ({"stride": -3}, "--stride"),
    ],
)
def test_seconds_that_cannot_be(untrained, make_video, where, message):
    predictor = Predictor.from_checkpoint(untrained())
    with pytest.raises(UserError, match=message):
        predict_timeline(predictor, make_video(), **where)


def test_an_end_behind_the_video_is_said(untrained, make_video):
    predictor = Predictor.from_checkpoint(untrained())
    found = predict_timeline(predictor, make_video(), end=99)
    assert "ends at 2.000 s, before --end 99" in found.notes[0]
    assert found.windows.end == 2


def test_a_pause_makes_no_other_window_and_is_no_break(untrained, tmp_path):
    times = [*range(0, 1400, 40), *range(4000, 5400, 40)]
    path = encode(tmp_path / "a.mp4", FRAMES, times=times)
    found = predict_timeline(Predictor.from_checkpoint(untrained()), path)
    assert found.windows.window == 0.64
    assert found.failed and not found.broken
    assert all("no frame begins" in reason for reason in found.failed.values())
    paused = found.windows.starts[list(found.failed)]
    assert paused.min() > 1.2 and paused.max() < 4
    assert "nothing is said of them" in found.notes[0]


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.avi", "mpeg4")])
def test_a_file_that_ends_before_its_header_says_is_named(untrained, tmp_path, name, codec):
    path = encode(tmp_path / name, FRAMES, codec=codec, g="10")
    predictor = Predictor.from_checkpoint(untrained())
    assert not predict_timeline(predictor, path, 0.4).notes
    content = path.read_bytes()
    path.write_bytes(content[: 7 * len(content) // 10])
    found = predict_timeline(predictor, path, 0.4)
    assert found.windows.end < 2.3
    assert any("takes 2.800 s, and its frames end at" in note for note in found.notes)
