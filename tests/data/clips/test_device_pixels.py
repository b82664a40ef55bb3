"""Every operation on tensors against the one by NumPy and Pillow, to the bit."""

import numpy as np
import pytest
import torch
from clips import rng, settings, textured, window_of

from uniformer_video.data.clips.augment import INTERPOLATIONS, OPS, ColorJitter, RandAugment
from uniformer_video.data.clips.device_pixels import DevicePixels
from uniformer_video.data.clips.ops import apply_changes, change_pixels, input_window
from uniformer_video.data.clips.pixels import LEVELS, Window, blends

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
BICUBIC = INTERPOLATIONS["bicubic"]


def changed(frames, drawn, weights, window, device="cpu"):
    """As `change_pixels`, on a device, from a copy of no more than is needed."""
    size = frames.shape[1:3]
    needed = input_window(drawn, window, size)
    rows, columns = needed.slices(Window.whole(size))
    part = torch.from_numpy(frames[:, rows, columns].copy()).to(device)
    return apply_changes(DevicePixels.of_window(part, needed, size), drawn, weights, window)


def assert_same(frames, drawn, weights, window, device="cpu", geometric=False):
    ours = changed(frames, drawn, weights, window, device)
    expected = change_pixels(frames, drawn, weights, window)
    assert ours.window == expected.window == window
    if device == "cpu":
        assert torch.equal(ours.clip(), expected.clip()), drawn
        np.testing.assert_array_equal(ours.planes(), expected.planes(), err_msg=str(drawn))
    else:  # sums of products in another order may fall on the other side of a whole number
        difference = ours.clip().cpu() - expected.clip()
        assert difference.abs().max() <= geometric, drawn
        assert (difference == 0).float().mean() > 0.99, drawn


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OPS)
def test_every_operation_is_the_same(name, device):
    frames, generator = textured(3), rng(2)
    flat = np.full((2, 20, 30, 3), 77, np.uint8)
    flat[1, :10] = 255
    geometric = name[:5] in ("Rotat", "Shear", "Trans")
    for index, setting in enumerate(settings(name, 8)):
        weights = INTERPOLATIONS[("bicubic", "bilinear")[index % 2]]
        for window in (Window.whole((48, 64)), window_of((48, 64), generator)):
            assert_same(frames, [(name, setting)], weights, window, device, geometric)
        assert_same(flat, [(name, setting)], weights, Window(0, 0, 20, 30), device, geometric)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 1), (2, 9), (3, 3)])
@pytest.mark.parametrize("name", OPS)
def test_tiny_frames(name, size):
    drawn = [(name, OPS[name].level(7.0, -1, True))]
    assert_same(textured(3, *size), drawn, BICUBIC, Window.whole(size))


def test_policies_are_the_same_in_any_window():
    frames, generator = textured(), rng(3)
    policies = [RandAugment("rand-m9-n6-mstd1-inc1"), RandAugment("rand-m5-n3", "bilinear")]
    for seed in range(60):
        augment = [*policies, ColorJitter(0.4)][seed % 3]
        window = window_of((48, 64), generator)
        assert_same(frames, augment.draw(rng(seed)), augment.weights, window)


def test_what_was_there_before_is_left_alone():
    """Pixels may share memory with what they were made of, so no operation writes into it."""
    frames = textured()
    given = torch.from_numpy(frames.copy())
    for name, op in OPS.items():
        pixels = DevicePixels.of_window(given, Window(0, 0, 48, 64), (48, 64))
        before = pixels.planes().clone()
        drawn = [(name, op.level(7.0, 1, True))]
        apply_changes(pixels, drawn, BICUBIC, Window(0, 0, 48, 64)).planes()
        assert torch.equal(pixels.planes(), before), name
    np.testing.assert_array_equal(given, frames)


def test_nothing_waits_for_the_device():
    """On the meta device there are no values to wait for."""
    for name, op in OPS.items():
        for window in (Window(0, 0, 48, 64), Window(10, 20, 8, 9)):
            drawn = [(name, op.level(7.0, 1, True))]
            clip = changed(textured(), drawn, BICUBIC, window, "meta").clip()
            assert clip.shape == (3, 2, window.height, window.width), name


def test_blends_of_all_pairs_of_levels():
    table = blends(1.5)
    assert table.shape == (256, 256) and table.dtype == np.uint8
    np.testing.assert_array_equal(np.diag(table), LEVELS)
    assert table[100, 110] == 115 and table[0, 255] == 255 and table[255, 100] == 22
    np.testing.assert_array_equal(blends(0.0), np.repeat(LEVELS[:, None], 256, 1))
