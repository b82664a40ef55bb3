"""Small copies of pictures, truths and predictions."""

import io

import numpy as np
import pytest
from PIL import Image

from uniformer_video.evaluation.pixel_strips import LONG_SIDE, PixelStrip, pixel_strip


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((900, 1200), (180, 240)),
        ((480, 240), (240, 120)),
        ((30, 50), (30, 50)),
        ((1, 5000), (1, 240)),
    ],
)
def test_what_is_kept_is_small_and_of_the_classes_that_are_there(size, small):
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 3, 149, 255], np.uint8), size)
    predicted = rng.integers(0, 150, size).astype(np.uint8)
    picture = np.full((*size, 3), (200, 30, 90), np.uint8)
    strip = PixelStrip.read(pixel_strip(picture, truth, predicted), "a.jpg")
    assert strip.truth.shape == strip.predicted.shape == small and max(small) <= LONG_SIDE
    for row in range(small[0]):  # the middle of the block that a small pixel stands for
        for column in range(0, small[1], 7):
            y = int((row + 0.5) * size[0] / small[0])
            x = int((column + 0.5) * size[1] / small[1])
            assert strip.truth[row, column] == truth[y, x]
            assert strip.predicted[row, column] == predicted[y, x]
    shown = np.asarray(Image.open(io.BytesIO(strip.jpeg)))
    assert shown.shape == (*small, 3)
    assert np.abs(shown.astype(int) - (200, 30, 90)).max() <= 6


def test_the_same_test_keeps_the_same_bytes():
    picture, mask = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)
    assert pixel_strip(picture, mask, mask) == pixel_strip(picture, mask, mask)


def test_a_damaged_one_is_named_and_not_shown(caplog):
    picture, mask = np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)
    whole = pixel_strip(picture, mask, mask)
    assert PixelStrip.read(b"", "a.jpg") is None and not caplog.text
    for damaged in (
        whole[:50],
        b"\xff\xd8 a JPEG file of another task",
        whole.replace(b"IDAT", b"XDAT"),
    ):
        caplog.clear()
        assert PixelStrip.read(damaged, "val/a.jpg") is None
        assert "val/a.jpg is shown without its small pictures" in caplog.text
