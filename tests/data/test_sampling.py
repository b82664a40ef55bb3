from fractions import Fraction
from math import floor

import numpy as np
import pytest

from uniformer_video.data.sampling import ClipSampling
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


def test_dense_without_offset():
    indices = ClipSampling(16, 4, offset=False).test_clips(300, 4)
    assert indices.tolist() == [exact_dense(300, 16, 4, k * 59) for k in range(4)]


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
