from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
import torch

from uniformer_video.data.sampling import (
    ClipSampling,
    float32_points,
    frame_times,
    frames_at_rate,
    frames_between,
)
from uniformer_video.errors import DataError

CASES = [(16, 4), (16, 8), (32, 4), (8, 8), (8, 2), (4, 1), (1, 5)]


def exact_dense(length, frames, stride, start):
    """The published rule in exact arithmetic."""
    span = frames * stride
    step = Fraction(span - 1, frames - 1) if frames > 1 else Fraction(0)
    points = [Fraction(start) + i * step for i in range(frames)]
    return [floor(min(max(point, 0), length - 1)) for point in points]


@pytest.mark.parametrize(("frames", "stride"), CASES)
@pytest.mark.parametrize("clips", [1, 2, 4, 5, 10])
def test_dense_test_clips(frames, stride, clips):
    sampling = ClipSampling(frames, stride)
    for length in (1, 2, 7, 31, 64, 65, 100, 250, 299, 300):
        room = max(length - frames * stride, 0)
        starts = [room // 2] if clips == 1 else [k * (room // (clips - 1)) for k in range(clips)]
        expected = [exact_dense(length, frames, stride, start) for start in starts]
        indices = sampling.test_clips(length, clips)
        assert indices.dtype == np.int64
        assert indices.tolist() == expected


ROUNDS_ONCE = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT",
    reason="without AVX2, torch.linspace rounds twice and may give other frames",
)


def published_starts(length, span, clips, offset):
    """Where test clips begin, as PySlowFast's `get_start_end_idx` has it."""
    delta = max(length - span, 0)
    if not offset:
        return [delta * k / clips for k in range(clips)]
    if clips == 1:
        return [floor(delta / 2)]
    return [k * floor(delta / (clips - 1)) for k in range(clips)]


@ROUNDS_ONCE
@pytest.mark.parametrize(("frames", "stride"), [*CASES, (4, 32), (8, 16), (64, 2)])
def test_dense_clips_are_those_of_the_published_code(frames, stride):
    """Every length to 400, with and without offset, against the code's own call of torch."""
    found, expected = [], []
    for offset in (False, True):
        sampling = ClipSampling(frames, stride, offset=offset)
        for clips in (1, 2, 4, 5, 10) if not offset else (4,):
            for length in range(1, 401):
                found.append(sampling.test_clips(length, clips))
                for start in published_starts(length, frames * stride, clips, offset):
                    points = torch.linspace(start, start + frames * stride - 1, frames)
                    expected.append(torch.clamp(points, 0, length - 1).long().numpy())
    np.testing.assert_array_equal(np.concatenate(found), np.stack(expected))


def test_the_last_bit_decides_a_frame():
    without = ClipSampling(16, 4, offset=False)
    assert without.test_clips(65, 5)[2][3] == 12  # 0.4 + 3 * 4.2 is below 13 in float32
    assert without.test_clips(70, 5)[3][7] == 33  # 3.6 + 7 * 4.2: rounded twice it is 32.999996


@ROUNDS_ONCE
def test_points_are_those_of_torch():
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 8, 16, 17, 32, 64):
        for start in [0.0, *rng.uniform(0, 400, 200)]:
            expected = torch.linspace(start, start + 4 * count - 1, count).numpy()
            assert np.array_equal(float32_points(start, start + 4 * count - 1, count), expected)


def test_known_indices():
    (indices,) = ClipSampling(16, 4).test_clips(300, 1)
    assert indices.tolist()[:6] == [118, 122, 126, 130, 134, 139]
    assert indices[-1] == 118 + 63


def test_dense_training_clips_cover_the_video():
    sampling = ClipSampling(8, 2)
    rng = np.random.default_rng(0)
    clips = np.array([sampling.train_clip(40, rng) for _ in range(3000)])
    assert clips.min() == 0
    assert clips.max() == 38  # the start is below 24 = 40 - 16, so the end is below 39
    starts = np.bincount(clips[:, 0], minlength=24)
    assert starts[:24].min() > 70  # 125 expected of each
    short = sampling.train_clip(5, rng)
    assert short.tolist() == exact_dense(5, 8, 2, 0)


def test_segment_clips_are_those_of_the_published_code():
    """`get_seq_frames` of its Something-Something; frame files count from 1 there."""
    for frames in (8, 16, 32):
        for clips in (1, 2, 3, 5):
            sampling = ClipSampling(frames, rule="segment")
            for length in range(1, 401):
                seg_size = float(length - 1) / frames
                starts = [int(np.round(seg_size * i)) for i in range(frames)]
                duration = seg_size / (clips + 1)
                expected = [[s + int(duration * (k + 1)) for s in starts] for k in range(clips)]
                assert sampling.test_clips(length, clips).tolist() == expected


def test_segment_test_clips():
    # seg = 99 / 8; place = int(seg / 3 * (k + 1))
    indices = ClipSampling(8, rule="segment").test_clips(100, 2)
    bases = [0, 12, 25, 37, 50, 62, 74, 87]
    assert indices.tolist() == [[b + 4 for b in bases], [b + 8 for b in bases]]


def test_segment_training_clips_take_one_frame_of_each_segment():
    sampling = ClipSampling(8, rule="segment")
    rng = np.random.default_rng(0)
    clips = np.array([sampling.train_clip(100, rng) for _ in range(2000)])
    bounds = [0, 12, 25, 37, 50, 62, 74, 87, 99]
    assert clips.min(0).tolist() == bounds[:-1]
    assert clips.max(0).tolist() == bounds[1:]
    assert sampling.train_clip(1, rng).tolist() == [0] * 8


def test_no_frames():
    for rule in ("dense", "segment"):
        with pytest.raises(DataError, match="at least one frame"):
            ClipSampling(8, 2, rule).test_clips(0, 1)


NTSC = 30000 / 1001


def test_without_segments_and_rates_all_frames_count():
    assert ClipSampling(8).timeline(5, None).tolist() == [0, 1, 2, 3, 4]


def ms(seconds):
    """Whole milliseconds, in exact arithmetic."""
    return floor(Fraction(str(seconds)) * 1000 + Fraction(1, 2))


@pytest.mark.parametrize("fps", [10.0, 24000 / 1001, 25.0, NTSC, 30.0, 59.94, 120.0])
def test_a_segment_holds_the_frames_that_begin_in_it(fps):
    """Against exact arithmetic, with the ends on frames and between them."""
    rate = Fraction(fps).limit_denominator(1001)
    times = frame_times(300, fps)
    for start, end in ((0, 1), (1, 2.5), (0.7, None), (2, 60), (1.001, 2.002)):
        inside = [
            i
            for i in range(300)
            if ms(start) <= ms(i / rate) and (end is None or ms(i / rate) < ms(end))
        ]
        assert frames_between(times, start, end).tolist() == inside


def test_a_segment_without_frames_says_where_the_video_ends():
    times = frame_times(50, 25.0)
    for start, end in ((2.0, None), (2, 5), (0.01, 0.03)):
        with pytest.raises(DataError, match=r"no frame begins from .* last begins at 1\.960 s"):
            frames_between(times, start, end)
    assert frames_between(times, 1.96, None).tolist() == [49]


def test_clips_of_a_segment_stay_in_it_and_are_those_of_a_video_of_its_length():
    sampling = ClipSampling(8, 2)
    timeline = sampling.timeline(300, 25.0, 4.0, 6.0)
    assert timeline.tolist() == list(range(100, 150))
    clips = timeline[sampling.test_clips(len(timeline), 4)]
    assert np.array_equal(clips, 100 + sampling.test_clips(50, 4))
    assert timeline[sampling.train_clip(50, np.random.default_rng(0))].min() >= 100


def shown_at(time, length, fps):
    """The frame shown at a time, in exact arithmetic."""
    rate = Fraction(fps).limit_denominator(1001)
    return max(i for i in range(length) if ms(i / rate) <= ms(time))


@pytest.mark.parametrize("fps", [10.0, 15.0, 23.976, 25.0, NTSC, 30.0, 50.0, 60.0])
@pytest.mark.parametrize("target", [5, 12, 15, 25, 30, 60])
def test_a_rate_takes_the_frame_shown_at_each_tick(fps, target):
    timeline = ClipSampling(8, target_fps=target).timeline(90, fps)
    exact = Fraction(fps).limit_denominator(1001)
    assert len(timeline) == ceil((90 / exact - Fraction(1, 1000)) * target)
    expected = [shown_at(Fraction(tick, target), 90, fps) for tick in range(len(timeline))]
    assert timeline.tolist() == expected


def test_the_own_rate_changes_nothing():
    for fps in (10.0, 23.976, 25.0, NTSC, 59.94):
        assert ClipSampling(8, target_fps=fps).timeline(97, fps).tolist() == list(range(97))


def test_a_rate_inside_a_segment():
    timeline = ClipSampling(8, target_fps=5.0).timeline(300, 25.0, 2.0, 4.0)
    assert timeline.tolist() == list(range(50, 100, 5))
    short = ClipSampling(8, target_fps=1.0).timeline(300, 25.0, 2.0, 2.2)
    assert short.tolist() == [50]


def test_uneven_times():
    times = np.array([0.0, 0.1, 0.5, 0.6, 2.0])
    assert frames_between(times, 0.1, 0.6).tolist() == [1, 2]
    assert frames_at_rate(times, 2.2, 5.0).tolist() == [0, 1, 1, 3, 3, 3, 3, 3, 3, 3, 4]


@pytest.mark.parametrize("fps", [10.0, 24000 / 1001, 24.0, NTSC, 30.0, 48.0, 59.94, 60.0, 80.0])
def test_the_own_rate_changes_nothing_where_times_are_stored_in_milliseconds(fps):
    for length in (1, 2, 25, 300, 3001):
        times = np.floor(frame_times(length, fps) * 1000 + 0.5) / 1000
        own = ClipSampling(8, target_fps=fps).timeline(length, fps, times=times)
        assert own.tolist() == list(range(length))


def test_the_times_of_the_frames_go_before_the_rate():
    times = np.array([0.0, 0.1, 0.5, 0.6, 2.0])
    assert ClipSampling(8).timeline(5, 2.0, 0.1, 0.6, times).tolist() == [1, 2]
    at_5 = ClipSampling(8, target_fps=5.0)
    assert at_5.timeline(5, None, times=times).tolist() == [0, 1, 1] + [3] * 7 + [4, 4, 4]
    assert at_5.timeline(5, None, 0.5, 1.2, times).tolist() == [2, 3, 3, 3]


def test_seconds_need_a_frame_rate():
    with pytest.raises(DataError, match="frame rate is not known"):
        ClipSampling(8, target_fps=5.0).timeline(10, None)
    with pytest.raises(DataError, match="frame rate is not known"):
        ClipSampling(8).timeline(10, None, 1.0)
