"""The frame index and the spans to decode, as arithmetic."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from uniformer_video.data.decoding.frame_times import trusted_index
from uniformer_video.data.decoding.index import FrameIndex, build_index
from uniformer_video.data.decoding.spans import Span, spans_for

# Two groups, the second one open: packets 5 and 6 are shown before the key frame of packet 4.
TIMES, KEYS = [0, 3, 1, 2, 6, 4, 5, 7], [0, 4]


def test_frames_are_the_ranks_of_the_times():
    index = build_index([10 * t - 5 for t in TIMES], KEYS)
    assert index.times == (-5, 5, 15, 25, 35, 45, 55, 65)
    assert index.packets == (0, 2, 3, 1, 5, 6, 4, 7)
    assert index.entries == ((0, 0), (6, 4))


def test_a_key_frame_serves_what_is_shown_after_it():
    index = build_index(TIMES, KEYS)
    assert [index.entry(frame) for frame in range(8)] == [0, 0, 0, 0, 0, 0, 4, 4]
    assert index.without_seeking().entry(7) == 0


def test_hidden_packets_are_no_frames():
    index = build_index([0, 33, 33, 67], [0], hidden=[1])
    assert (index.times, index.packets) == ((0, 33, 67), (0, 2, 3))
    # a stream cut by an edit list: its key frame is decoded and not shown
    index = build_index([-2, -1, 0, 1, 2], [0, 3], hidden=[0, 1])
    assert (index.packets, index.entries) == ((2, 3, 4), ((0, 0), (1, 3)))


def test_a_hidden_packet_may_have_no_time():
    """Such as a picture of VP8 that others refer to and that is never shown."""
    packets = SimpleNamespace(
        have_times=True,
        codec="vp8",
        parameter_sets=SimpleNamespace(fields=False),
        times=[0, None, 33],
        keys=[0],
        hidden=[1],
        allow_seeking=True,
        have_b_pictures=False,
    )
    index, why = trusted_index(packets)
    assert (index.times, index.packets, why) == ((0, 33), (0, 2), "")


@pytest.mark.parametrize(
    ("times", "keys", "hidden"),
    [
        ([], [], []),
        ([0, None, 2], [0], []),
        ([0, 1, 1], [0], []),
        ([0, 1, 2], [], []),
        ([0, 1, 2], [1], []),  # starts in mid-group
        ([2, 0, 1, 3], [0], []),  # the first group leans on one that is not there
        ([0, 1], [0], [0, 1]),
        ([None, 1], [0], [0]),
    ],
)
def test_no_index_where_it_would_not_be_exact(times, keys, hidden):
    assert build_index(times, keys, hidden) is None


def regular(count, group):
    return FrameIndex(
        tuple(range(count)), tuple(range(count)), tuple((k, k) for k in range(0, count, group))
    )


@pytest.mark.parametrize(
    ("wanted", "spans"),
    [
        ([2, 3, 17, 19], [Span(0, 3, (2, 3)), Span(12, 19, (17, 19))]),  # the docstring's picture
        ([0], [Span(0, 0, (0,))]),
        ([13], [Span(12, 13, (13,))]),
        ([5, 6], [Span(0, 6, (5, 6))]),  # the pass gets to 6 by itself
        ([4, 6], [Span(0, 4, (4,)), Span(6, 6, (6,))]),
        (range(24), [Span(0, 23, tuple(range(24)))]),
    ],
)
def test_spans(wanted, spans):
    assert spans_for(regular(24, 6), wanted) == spans


def test_a_span_reaches_the_last_packet_it_needs():
    index = build_index(TIMES, KEYS)
    assert spans_for(index, [1, 3]) == [Span(0, 2, (1, 3))]
    assert spans_for(index, [2, 4]) == [Span(0, 5, (2, 4))]
    assert spans_for(index, [1, 6]) == [Span(0, 2, (1,)), Span(4, 4, (6,))]


def test_any_spans_are_one_forward_pass_that_covers_what_is_wanted():
    rng, tried = np.random.default_rng(0), 0
    for _ in range(600):
        count = int(rng.integers(2, 60))
        times = np.arange(count)
        for start in range(1, count - 3, 3):  # B-frames: swap inside small groups
            times[start : start + 3] = times[start + rng.permutation(3)]
        keys = sorted({0, *rng.integers(0, count, 3).tolist()})
        index = build_index(times.tolist(), keys)
        if index is None:  # a key frame among those that swap
            continue
        tried += 1
        wanted = np.unique(rng.integers(0, count, rng.integers(1, 20))).tolist()
        spans = spans_for(index, wanted)
        assert [frame for span in spans for frame in span.frames] == wanted
        for span in spans:
            assert all(span.start <= index.packets[frame] <= span.stop for frame in span.frames)
            first = next(frame for frame, packet in index.entries if packet == span.start)
            assert first <= span.frames[0]
        assert all(a.stop < b.start - 1 for a, b in pairwise(spans))
    assert tried > 100
