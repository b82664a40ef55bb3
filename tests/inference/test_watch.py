"""The loop over a stream on a clock of its own: when labels are given, of which frames, what is left out."""

from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest

from uniformer_video.data.clips.transforms import EvalViews
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import DataError, UserError
from uniformer_video.inference.watch import watch
from uniformer_video.inference.watch_times import StreamTimes
from uniformer_video.inference.watch_window import ClipWindow, FrameRing
from uniformer_video.tasks.prediction import Prediction

DENSE = ClipSampling(4, 2)
SEGMENT = ClipSampling(4, rule="segment")


def picture(value, size=(8, 8)):
    return np.full((*size, 3), value, np.uint8)


class Stream:
    """A feed on a clock that only it and the model move: frames are there at their time."""

    def __init__(self, window, times, latency=0.0, parts=()):
        self.ring, self.reconnects, self.late = FrameRing(window), 0, 0
        self.clock, self._times, self._next = 0.0, times, 0
        self._latency, self._parts = latency, set(parts)

    def now(self):
        return self.clock

    def _add_what_came(self):
        while self._next < len(self._times):
            time = self._times[self._next]
            if time + self._latency > self.clock + 1e-9:
                return
            if self._next in self._parts:
                self.ring.start_part()
            self.ring.add(time, time + self._latency, picture(self._next % 256))
            self._next += 1

    def wait(self, seconds):
        self._add_what_came()
        if self._next == len(self._times):
            return False
        coming = self._times[self._next] + self._latency
        self.clock = min(max(self.clock, coming), self.clock + seconds)
        self._add_what_came()
        return True


class Model:
    """A predictor that takes `cost` seconds on the clock of the stream, and notes which frames it sees."""

    def __init__(self, stream, cost=0.0, sampling=DENSE):
        self.protocol = Protocol(sampling, EvalViews(8, 8))
        self.task = SimpleNamespace(name="a task")
        self.seen = []
        self._stream, self._cost = stream, cost

    def view_logits(self, views):
        assert views.shape == (1, 3, 4, 8, 8)
        values = views[0, 0, :, 0, 0] * 0.225 * 255 + 0.45 * 255
        self.seen.append(values.round().int().tolist())
        self._stream.clock += self._cost
        return np.zeros((1, 2), np.float32)

    def answer(self, name, logits):
        return Prediction(name, np.array([0.25, 0.75]), ("a", "b"))


def run(stream, every=1.0, cost=0.0, sampling=DENSE):
    labels, model = [], Model(stream, cost, sampling)
    watched = watch(model, stream, every, lambda label: labels.append(label), lambda: False)
    return watched, labels, model


def test_a_label_as_soon_as_there_is_a_window_and_then_every_so_often():
    times = np.arange(100) / 10
    watched, labels, model = run(Stream(ClipWindow.of(DENSE), times), every=1.0)
    assert [label.time for label in labels] == pytest.approx([0.7 + n for n in range(10)])
    # the newest 8 frames, of which the protocol takes these
    assert model.seen[0] == [0, 2, 4, 7] and model.seen[1] == [10, 12, 14, 17]
    assert (watched.seen, watched.dropped, watched.skipped) == (100, 0, 0)
    assert max(watched.lags) < 1e-6


def test_the_clip_is_the_one_of_a_test_of_the_newest_seconds():
    window = ClipWindow.of(SEGMENT, span=2.0)
    times = np.arange(60) / 10
    _, labels, model = run(Stream(window, times), sampling=SEGMENT)
    assert [label.time for label in labels] == pytest.approx([1.9, 2.9, 3.9, 4.9, 5.9])
    test_clip = SEGMENT.test_clips(20, 1)[0]
    assert model.seen == [(test_clip + start).tolist() for start in (0, 10, 20, 30, 40)]


def test_a_protocol_with_a_rate_of_its_own_takes_frames_by_time():
    sampling = ClipSampling(4, 2, target_fps=5.0)
    window = ClipWindow.of(sampling)
    assert window.seconds == 1.6
    _, _, model = run(Stream(window, np.arange(80) / 20), sampling=sampling)
    first = sampling.timeline(32, None, times=np.arange(32) / 20)
    assert model.seen[0] == first[sampling.test_clips(len(first), 1)[0]].tolist()


@pytest.mark.parametrize("cost", [0.9, 1.7, 1.99])
def test_the_lag_is_bounded_on_a_stream_that_the_model_cannot_follow(cost):
    """Ten minutes at 25 frames a second: a label is due each second and takes up to twice as long."""
    times = np.arange(15_000) / 25
    watched, labels, _ = run(
        Stream(ClipWindow.of(DENSE), times, latency=0.01), every=1.0, cost=cost
    )
    assert max(watched.lags) < 2.0
    assert max(watched.lags) == pytest.approx(cost, abs=0.041)
    assert np.mean(watched.lags[-100:]) == pytest.approx(np.mean(watched.lags[:100]), abs=0.05)
    assert labels[-1].time > 597
    if cost < 1:
        assert (watched.dropped, watched.skipped) == (0, 0)
    else:
        assert watched.skipped == pytest.approx(600 - 600 / cost, abs=5)
        assert 2000 < labels[-1].dropped <= watched.dropped < watched.seen / 2
    assert "dropped" in str(watched) and f"{median(watched.lags):.3f} s median" in str(watched)


def test_a_source_at_twice_its_speed():
    """The frames of two seconds come in one, and the model takes one second a label."""
    times = np.arange(15_000) / 25

    class Fast(Stream):
        def now(self):
            return self.clock / 2  # seconds of the wall

    stream = Fast(ClipWindow.of(DENSE), times)
    watched, _, _ = run(stream, every=1.0, cost=2.0)
    assert len(watched.lags) == pytest.approx(300, abs=5)
    assert watched.skipped == pytest.approx(300, abs=5)


def test_a_slow_stream_is_no_slow_model():
    """Fewer frames than labels are asked for, and pauses: nothing is dropped."""
    times = np.cumsum(np.tile([0.4, 0.4, 3.0, 0.4], 10))
    watched, labels, _ = run(Stream(ClipWindow.of(DENSE), times), every=0.25)
    assert len(labels) == len(times) - 7
    assert (watched.dropped, watched.skipped) == (0, 0)


def test_a_clip_is_never_of_two_parts_of_a_stream():
    times = np.arange(60) / 10
    stream = Stream(ClipWindow.of(DENSE), times, parts={25})
    _, labels, model = run(stream, every=0.5)
    assert not [label for label in labels if 2.5 <= label.time < 3.2]
    assert labels[-1].time > 5
    assert all(min(seen) >= 25 or max(seen) < 25 for seen in model.seen)


def test_less_than_a_window_gives_no_label():
    watched, labels, _ = run(Stream(ClipWindow.of(DENSE), np.arange(7) / 10))
    assert not labels and watched.seen == 7


def test_the_ring_holds_as_many_frames_as_a_clip_needs():
    ring = FrameRing(ClipWindow.of(DENSE))
    for number in range(1000):
        ring.add(number / 25, 0.0, picture(0))
    assert len(ring._frames) == 8 and ring.seen == 1000
    ring = FrameRing(ClipWindow.of(SEGMENT))  # 4 s of a camera of 240 frames a second
    for number in range(4000):
        ring.add(number / 240, 0.0, picture(0))
    assert len(ring._frames) <= 32
    frames, newest, _ = ring.newest_clip()
    assert newest.time == pytest.approx(3999 / 240) and ring.is_full
    spread = np.diff([frame.time for frame in frames])
    assert len(frames) == 4 and spread.min() > 0.8 and spread.max() < 1.2


def test_frames_of_another_size_go_into_the_same_clip():
    stream = Stream(ClipWindow.of(DENSE), np.arange(20) / 10)
    original, sizes = stream.ring.add, iter([(8, 8), (12, 30), (40, 10), (8, 16)] * 5)
    stream.ring.add = lambda time, arrival, image: original(
        time, arrival, picture(int(image[0, 0, 0]), next(sizes))
    )
    _, labels, model = run(stream)
    assert len(labels) == 2 and model.seen[0] == [0, 2, 4, 7]


def test_the_row_of_a_label():
    stream = Stream(ClipWindow.of(DENSE), np.arange(8) / 10, latency=0.5)
    _, (label,), _ = run(stream, cost=0.25)
    assert label.row(1, 1.5) == {
        "time": 0.7,
        "wall_time": "1970-01-01T00:00:01.500+00:00",
        "label": "b",
        "score": 0.75,
        "top": [{"class": "b", "score": 0.75}],
        "lag": 0.25,
        "dropped": 0,
    }


@pytest.mark.parametrize("every", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_an_every_that_cannot_be(every):
    with pytest.raises(UserError, match="--every is"):
        run(Stream(ClipWindow.of(DENSE), [0.0]), every=every)


def test_a_model_of_images_is_refused():
    stream = Stream(ClipWindow.of(DENSE), [0.0])
    model = Model(stream)
    model.protocol = SimpleNamespace(medium="image")
    with pytest.raises(DataError, match="one of images"):
        watch(model, stream, 1.0, print, lambda: False)


def test_a_span_is_for_models_of_whole_videos():
    with pytest.raises(UserError, match="8 frames on end"):
        ClipWindow.of(DENSE, 2.0)
    with pytest.raises(UserError, match="--span is 0 seconds"):
        ClipWindow.of(SEGMENT, 0.0)


def timed(own, rate=None):
    times = StreamTimes(rate)
    return times, [times.time_of(time, 100 + 0.1 * n) for n, time in enumerate(own)]


def test_times_rise_whatever_the_stream_says():
    times, shown = timed([5.0, 5.5, 6.0, 1.0, 1.5, 2.0])  # a film that begins again
    assert shown == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.5]) and times.turned_back == 1
    times, shown = timed([0.0, 0.1, 0.4, 0.2, 0.3, 0.5])  # pictures in the order of decoding
    assert shown == pytest.approx([0, 0.1, 0.4, 0.401, 0.402, 0.5]) and times.turned_back == 2
    times, shown = timed([0.0, 0.1, 5000.0, 5000.1])  # a clock that was set
    assert shown == pytest.approx([0, 0.1, 0.2, 0.3]) and times.leapt == 1
    loop = [0.0, 0.1, 0.2] * 8
    shown = timed(loop)[1]
    assert shown[-1] > 0.5 and all(np.diff(shown) > 0)


def test_times_of_a_stream_without_any():
    assert timed([None] * 4, rate=4.0)[1] == [0, 0.25, 0.5, 0.75]
    assert timed([None] * 3)[1] == pytest.approx([0, 0.1, 0.2])  # as they come


def test_times_after_a_break():
    times, _ = timed([7.0, 7.5])
    times.go_on_after(3.0)
    assert [times.time_of(0.0, 0), times.time_of(0.5, 0)] == pytest.approx([3.5, 4.0])
