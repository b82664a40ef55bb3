"""From windows to segments: the mean over time, the thresholds, and the tables of known segments."""

from types import SimpleNamespace

import numpy as np
import pytest

from uniformer_video.errors import DataError, UserError
from uniformer_video.evaluation.segments import NONE, Segment
from uniformer_video.inference.timeline_segments import (
    Smoothing,
    clock,
    each_class,
    exponential_mean,
    find_segments,
    one_class_at_a_time,
)
from uniformer_video.inference.timeline_truth import read_truth
from uniformer_video.inference.timeline_windows import place_windows

NAMES = ["sit", "run", "eat, drink"]


def test_the_mean_goes_both_ways_and_stops_where_nothing_was_read():
    values = np.array([[0.0], [1.0], [0.0], [np.nan], [1.0], [1.0]])
    found = exponential_mean(values, 0.5)[:, 0]
    forward, backward = [0, 0.5, 0.25], [0.25, 0.5, 0]
    assert found[:3] == pytest.approx(np.add(forward, backward) / 2)
    assert np.isnan(found[3]) and found[4:] == pytest.approx(1)
    assert exponential_mean(values, 1)[:3] == pytest.approx(values[:3])


def rows(*first):
    """Probabilities of two classes, the second being what is left of 0.9."""
    return np.array([[value, 0.9 - value] for value in first])


def test_a_class_goes_on_while_it_has_the_lower_threshold_before_and_after():
    values = np.array([[0.1], [0.3], [0.6], [0.3], [0.1], [0.3]])
    found = one_class_at_a_time(values, 0.5, 0.2)
    assert found.tolist() == [NONE, 0, 0, 0, NONE, NONE]
    assert each_class(values, 0.5, 0.2)[:, 0].tolist() == (found == 0).tolist()


def test_no_other_class_begins_until_one_has_ended():
    assert one_class_at_a_time(rows(0.8, 0.3, 0.8), 0.5, 0.2).tolist() == [0, 0, 0]
    assert one_class_at_a_time(rows(0.8, 0.3, 0.8), 0.5, 0.4).tolist() == [0, 1, 0]


def test_where_two_classes_meet_they_are_parted_once():
    found = one_class_at_a_time(rows(0.8, 0.6, 0.4, 0.55, 0.3, 0.1, 0.1), 0.5, 0.2)
    assert found.tolist() == [0, 0, 0, 0, 1, 1, 1]  # not 0 0 1 0 1 1 1


def test_what_could_not_be_read_ends_a_class():
    values = rows(0.8, np.nan, 0.3)
    assert one_class_at_a_time(values, 0.8, 0.2).tolist() == [0, NONE, NONE]
    assert not each_class(values, 0.85, 0.2)[1:].any()


def test_segments_meet_halfway_between_windows_and_reach_the_ends():
    windows = place_windows(video_end=5.3, window=2, stride=1)
    assert windows.starts.tolist() == [0, 1, 2, 3]
    timeline = SimpleNamespace(
        windows=windows, exclusive=True, probabilities=rows(0.8, 0.8, 0.1, 0.1)
    )
    found = find_segments(timeline, Smoothing(weight=1))
    assert found == [
        Segment(0, 2.5, 0, pytest.approx(0.8)),
        Segment(2.5, 5.3, 1, pytest.approx(0.8)),
    ]


def test_several_classes_at_a_time_overlap():
    timeline = SimpleNamespace(
        windows=place_windows(3, 1, 1), exclusive=False, probabilities=np.full((3, 2), 0.9)
    )
    found = find_segments(timeline, Smoothing(1))
    assert [(s.start, s.end, s.label) for s in found] == [(0, 3, 0), (0, 3, 1)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": 0}, "--smooth"),
        ({"weight": 1.1}, "--smooth"),
        ({"enter": 1.5}, "--enter"),
        ({"enter": 0.2, "leave": 0.4}, "--leave is 0.4, above --enter"),
        ({"weight": float("nan")}, "--smooth"),
    ],
)
def test_values_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        Smoothing.of(None, **values)


def test_what_is_not_said_follows_from_the_rest():
    assert Smoothing.of(None) == Smoothing()
    assert Smoothing().to_dict() == pytest.approx({"weight": 0.5, "enter": 0.4, "leave": 0.15})
    assert Smoothing.of(0.8).enter == 0.8
    assert Smoothing.of(0.8, enter=0.3).enter == 0.3
    assert Smoothing.of(None, leave=0.7) == Smoothing(0.5, 0.7, 0.7)


def test_clock():
    assert clock(3723.5, ",") == "01:02:03,500"
    assert clock(59.9996) == "00:01:00.000"
    assert clock(75.25, hours=False) == "01:15.250"


def test_known_segments(place):
    folder = place(
        {
            "a.csv": 'start,end,label\n0,1.5,run\n1.5,,"eat, drink"\n',
            "b.csv": "Label;start;end;note\n2;0;1;x\n0;1;2;\n",
            "c.csv": "path,start,end,label\nclips/v.mp4,0,1,0\nother.mp4,0,9,1\n",
        }
    )
    assert read_truth(folder / "a.csv", NAMES, "v.mp4") == [
        Segment(0, 1.5, 1),
        Segment(1.5, float("inf"), 2),
    ]
    assert [s.label for s in read_truth(folder / "b.csv", NAMES, "v.mp4")] == [2, 0]
    assert read_truth(folder / "c.csv", NAMES, "x/v.mp4") == [Segment(0, 1, 0)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("start,end,label\n", "holds no segment"),
        ("start,end\n0,1\n", "column label stands there nowhere"),
        ("start,end,label\n0,1,rum\n", "a.csv:2: .*did you mean 'run'"),
        ("start,end,label\n0,1,3\n", "one of the 3 classes"),
        ("start,end,label\n0,1,-1\n", "one of the 3 classes"),
        ("start,end,label\n2,1,run\n", "ends at 1 s and starts at 2 s"),
        ("start,end,label\nx,1,run\n", "start is 'x'; it must be a number from 0"),
        ("start,end,label\n0,nan,run\n", "end is 'nan'; it must be a number from 0"),
        ("start,end,label\n0,1\n", "2 cells below a header of 3"),
        ("path,start,end,label\nother.mp4,0,1,run\n", "of other videos than v.mp4 it has 1 row$"),
    ],
)
def test_known_segments_that_cannot_be(place, text, message):
    with pytest.raises(DataError, match=message):
        read_truth(place({"a.csv": text}) / "a.csv", NAMES, "v.mp4")
