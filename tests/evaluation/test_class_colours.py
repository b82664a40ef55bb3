"""Colours of classes: a palette's own, else generated ones that can be told apart."""

import numpy as np
import pytest

from uniformer_video.data.lists.class_names import class_names
from uniformer_video.errors import DataError
from uniformer_video.evaluation.class_colours import (
    IGNORED_COLOUR,
    class_colours,
    full_palette,
)


def test_generated_colours_are_distinct_and_none_is_dark():
    colours = class_colours([str(k) for k in range(255)])
    assert colours.shape == (255, 3) and colours.dtype == np.uint8
    assert len({tuple(colour) for colour in colours.tolist()}) == 255
    near = np.abs(colours.astype(int) - IGNORED_COLOUR).max(axis=1)
    assert near.min() > 40
    few = colours[:30].astype(int)
    apart = np.abs(few[:, None] - few).max(axis=-1) + 255 * np.eye(30, dtype=int)
    assert apart.min() >= 40


def test_a_class_keeps_its_colour_when_others_come():
    assert np.array_equal(class_colours(["a", "b", "c"]), class_colours([*"abcdefghijkl"])[:3])


def test_a_palette_is_taken_as_it_is():
    colours = class_colours(["a", "b"], [[0, 0, 0], [255, 1, 2]])
    assert colours.tolist() == [[0, 0, 0], [255, 1, 2]] and colours.dtype == np.uint8
    picture = full_palette(colours)[np.array([[1, 255, 0]], np.uint8)]
    assert picture.tolist() == [[[255, 1, 2], list(IGNORED_COLOUR), [0, 0, 0]]]


def test_ade20k_has_its_usual_colours():
    colours = class_colours(class_names("ade20k"))
    assert (colours.shape, colours[2].tolist()) == ((150, 3), [6, 230, 230])
    assert class_colours(class_names("ade20k")[:3])[2].tolist() != [6, 230, 230]


@pytest.mark.parametrize("palette", [[], [[0, 0, 0]], [[0, 0, 0], [1, 2, 256]], [[0, 0], [1, 1]]])
def test_a_palette_of_other_classes_is_refused(palette):
    with pytest.raises(DataError, match="a palette of 2 classes has as many colours"):
        class_colours(["a", "b"], palette)
