"""A file of features that grows: killed anywhere it goes on, and takes no features of another kind."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.features.growing import GrowingFeatures, _write_all
from uniformer_video.features.table import read_features

MADE_BY = {"checkpoint": "abc", "layer": "head", "protocol": {"crop": (1, 2)}}


def records(*names):
    return [VideoRecord(f"{name}.mp4", name, ()) for name in names]


def features(record, views=2):
    first = ord(record.name[0])
    return np.arange(views * 3, dtype=np.float32).reshape(views, 3) + first


def fill(path, wanted, stop_after=None, **options):
    """Add what is lacking; as if killed after so many videos."""
    with GrowingFeatures(path, wanted, MADE_BY, **options) as file:
        for number, record in enumerate(file.left):
            if number == stop_after:
                return None
            file.add(record, "it breaks" if record.name == "x" else features(record))
        return file.finish()


def test_rows_stand_in_the_order_asked_for_and_failures_are_named(tmp_path):
    path = tmp_path / "f.npz"
    found = fill(path, records("a", "x", "b"))
    assert found.paths == ["a.mp4", "b.mp4"] and found.failed == {"x": "it breaks"}
    np.testing.assert_array_equal(found.vectors, [[98.5, 99.5, 100.5], [99.5, 100.5, 101.5]])
    assert isinstance(found.vectors, np.memmap)  # of maps they would fill the memory
    assert np.isnan(found.starts).all() and (found.views == -1).all()
    assert [place.name for place in tmp_path.iterdir()] == ["f.npz"]


@pytest.mark.parametrize(
    "odd", ["\udcff", "\u2028", "\x85"], ids=["no UTF-8", "separator", "next line"]
)
def test_an_odd_name_is_kept_and_a_killed_run_goes_on(tmp_path, odd):
    path, wanted = tmp_path / "f.npz", records(f"a{odd}", "b")
    fill(path, wanted, stop_after=1)
    assert fill(path, wanted).paths == [f"a{odd}.mp4", "b.mp4"]


def test_a_row_a_view(tmp_path):
    found = fill(tmp_path / "f.npz", records("a", "b"), one_a_view=True)
    assert found.paths == ["a.mp4"] * 2 + ["b.mp4"] * 2 and found.views.tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(found.vectors[2:], features(records("b")[0]))


@pytest.mark.parametrize("stop", range(4))
@pytest.mark.parametrize("harm", ["none", "half a line", "numbers without a line"])
def test_a_killed_run_goes_on(tmp_path, stop, harm):
    whole, path, wanted = tmp_path / "whole.npz", tmp_path / "f.npz", records("a", "x", "b", "c")
    expected = fill(whole, wanted)
    fill(path, wanted, stop_after=stop)
    assert not path.exists()
    if harm == "half a line":
        with open(f"{path}.rows.jsonl", "ab") as file:
            file.write(b'{"path": "c.m')
    if harm != "none":
        with open(f"{path}.vectors", "ab") as file:
            file.write(bytes(7))
    found = fill(path, wanted)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert (found.paths, found.failed) == (expected.paths, expected.failed)


def test_a_finished_file_takes_more_videos_and_tries_broken_ones_again(tmp_path):
    path = tmp_path / "f.npz"
    fill(path, records("b", "x"))
    with GrowingFeatures(path, records("a", "b", "x"), MADE_BY) as file:
        assert [record.name for record in file.left] == ["a", "x"]
        for record in file.left:
            file.add(record, features(record))
        found = file.finish()
    assert found.paths == ["a.mp4", "b.mp4", "x.mp4"] and not found.failed
    np.testing.assert_array_equal(found.vectors[:, 0], [98.5, 99.5, 121.5])
    assert fill(path, records("a")).paths == ["a.mp4", "b.mp4", "x.mp4"]  # others stay


def test_failures_of_earlier_runs_stay_until_their_videos_are_tried_again(tmp_path):
    path = tmp_path / "f.npz"
    fill(path, records("a", "x"))
    assert fill(path, records("b")).failed == {"x": "it breaks"}
    fill(path, records("c", "d"), stop_after=1)  # killed
    assert fill(path, records("c", "d")).failed == {"x": "it breaks"}
    fill(path, records("e", "f"), stop_after=1)  # killed, and then another is asked for
    with GrowingFeatures(path, records("g", "x"), MADE_BY) as file:
        assert [record.name for record in file.left] == ["g", "x"]
        for record in reversed(file.left):
            file.add(record, features(record))
        found = file.finish()
    assert not found.failed
    firsts = {name: row[0] for name, row in zip(found.paths, found.vectors, strict=True)}
    assert firsts == {f"{name}.mp4": ord(name) + 1.5 for name in "abcdegx"}


@pytest.mark.parametrize("finished", [True, False])
def test_features_of_two_kinds_never_meet(tmp_path, finished):
    path = tmp_path / "f.npz"
    fill(path, records("a", "b"), stop_after=None if finished else 1)
    before = {place.name: place.read_bytes() for place in tmp_path.iterdir()}
    for changes, told in (
        ({"checkpoint": "other"}, "another checkpoint"),
        ({"layer": "blocks4.0"}, "another layer"),
    ):
        with pytest.raises(ConfigError, match=told):
            GrowingFeatures(path, records("c"), {**MADE_BY, **changes})
    with pytest.raises(ConfigError, match="another rows"):
        GrowingFeatures(path, records("c"), MADE_BY, one_a_view=True)
    assert {place.name: place.read_bytes() for place in tmp_path.iterdir()} == before


def test_maps_of_two_sizes_and_nothing_at_all_are_said(tmp_path):
    with GrowingFeatures(tmp_path / "f.npz", records("a", "b"), MADE_BY) as file:
        file.add(records("a")[0], np.zeros((1, 2, 2, 3), np.float32))
        with pytest.raises(DataError, match="b gives features of the shape"):
            file.add(records("b")[0], np.zeros((1, 4, 2, 3), np.float32))
    with pytest.raises(DataError, match="no video has features: it breaks"):
        fill(tmp_path / "g.npz", records("x"))
    with GrowingFeatures(tmp_path / "g.npz", records("x"), MADE_BY) as file:
        assert file.left  # another call tries it again


def test_a_disk_that_takes_a_part_alone_is_given_the_rest():
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(data[:3])

    with Slow() as file:
        _write_all(file, b"0123456789")
        assert file.getvalue() == b"0123456789"


def test_a_video_is_one_however_its_path_is_spelt(tmp_path):
    path = tmp_path / "f.npz"
    fill(path, records("a", "b"))
    spelt = [VideoRecord(os.path.abspath("b.mp4"), "b", ()), VideoRecord("./c.mp4", "c", ())]
    with GrowingFeatures(path, spelt, MADE_BY) as file:
        assert [record.name for record in file.left] == ["c"]
        file.add(spelt[1], features(spelt[1]))
        found = file.finish()
    assert found.paths == ["b.mp4", "./c.mp4", "a.mp4"]
    np.testing.assert_array_equal(found.vectors[:, 0], [99.5, 100.5, 98.5])


def test_two_broken_videos_of_one_name_are_two(tmp_path):
    wanted = [VideoRecord(f"{folder}/x.mp4", "x", ()) for folder in "ab"]
    with GrowingFeatures(tmp_path / "f.npz", [*wanted, *records("c")], MADE_BY) as file:
        for record in file.left:
            file.add(record, "it breaks" if record.name == "x" else features(record))
        assert len(file.failed) == 2
        assert file.finish().failed == {"x": "it breaks", "b/x.mp4": "it breaks"}


def test_only_one_run_writes_at_a_time(tmp_path):
    path = tmp_path / "f.npz"
    code = (
        "import sys; from pathlib import Path; from uniformer_video.features.growing import GrowingFeatures\n"
        "GrowingFeatures(Path(sys.argv[1]), [], {})"
    )
    with GrowingFeatures(path, records("a"), MADE_BY):
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
        assert (tmp_path / "f.npz.vectors").exists()  # empty as yet, and not the other's to remove
    assert "is being written by another process" in done.stderr


def test_a_damaged_file_beside_it_is_said(tmp_path):
    path = tmp_path / "f.npz"
    fill(path, records("a", "b"), stop_after=1)
    (tmp_path / "f.npz.vectors").write_bytes(b"")
    with pytest.raises(DataError, match=r"f\.npz\.vectors is damaged"):
        GrowingFeatures(path, records("a"), MADE_BY)
    (tmp_path / "f.npz.rows.jsonl").write_text("no json\n")
    with pytest.raises(DataError, match=r"rows\.jsonl is damaged"):
        GrowingFeatures(path, records("a"), MADE_BY)
    assert read_features(fill(tmp_path / "g.npz", records("a")) and tmp_path / "g.npz")
