"""`strips.npz`: what is written is read, and what cannot be read is said."""

import numpy as np
import pytest

from uniformer_video.evaluation.strips import STRIPS_FILE, Strips, join_strips


def listed(strips):
    return [strips[place] for place in range(len(strips))]


def test_strips_are_read_as_they_were_written(tmp_path):
    Strips.of({2: b"two", 0: b"zero"}, 4).save(tmp_path)
    strips = Strips.load(tmp_path, 4)
    assert listed(strips) == [b"zero", b"", b"two", b""]
    assert strips.uri(2) == "data:image/jpeg;base64,dHdv" and strips.uri(1) == ""
    with np.load(tmp_path / STRIPS_FILE, allow_pickle=False) as file:
        assert (file["jpegs"].dtype, file["offsets"].tolist()) == (np.uint8, [0, 4, 4, 7, 7])


def test_none_leave_no_file_behind(tmp_path):
    Strips.of({0: b"of an earlier test"}, 1).save(tmp_path)
    Strips.of({}, 1).save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert listed(Strips.load(tmp_path, 3)) == [b""] * 3


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (b"PK damaged", "cannot be read"),
        ({"jpegs": np.zeros(3, np.uint8)}, "offsets is not a file"),
        (
            {"jpegs": np.zeros(3, np.uint8), "offsets": np.array([0, 3])},
            "of 1 videos, the test of 2",
        ),
        ({"jpegs": np.zeros(3, np.uint8), "offsets": np.array([0, 5, 3])}, "do not fit"),
        ({"jpegs": np.zeros(3, np.uint8), "offsets": np.array([0, 1, 2])}, "do not fit"),
        ({"jpegs": np.zeros(3), "offsets": np.array([0, 1, 3])}, "do not fit"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_not_used(tmp_path, caplog, arrays, words):
    if isinstance(arrays, bytes):
        (tmp_path / STRIPS_FILE).write_bytes(arrays)
    else:
        np.savez(tmp_path / STRIPS_FILE, **arrays)
    assert listed(Strips.load(tmp_path, 2)) == [b"", b""]
    assert words in caplog.text and str(tmp_path / STRIPS_FILE) in caplog.text


def test_strips_of_folds_are_joined_in_the_order_of_all_videos():
    folds = [Strips.of({0: b"a", 1: b"c"}, 2), Strips.of({1: b"d"}, 2)]
    assert listed(join_strips(folds, [[0, 2], [1, 3]])) == [b"a", b"", b"c", b"d"]
