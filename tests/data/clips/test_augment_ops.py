"""Augmentation of whole clips against Pillow, frame by frame, and windows against whole frames."""

import warnings

import numpy as np
import pytest
import torch
from clips import POLICY, augmentation, rng, settings, textured, window_of

from uniformer_video.bench.published_loader import PublishedAugmentation, apply_with_pillow
from uniformer_video.data.clips.augment import (
    INTERPOLATIONS,
    OPS,
    ColorJitter,
    RandAugment,
    apply_ops,
)
from uniformer_video.data.clips.ops import CHANGES, change_pixels
from uniformer_video.data.clips.pixels import Window
from uniformer_video.data.clips.transforms import Normalisation

GEOMETRIC = ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY")
ON_VALUES = tuple(name for name in OPS if name not in GEOMETRIC)


def both(frames, drawn, interpolation="bicubic"):
    ours = apply_ops(frames, drawn, INTERPOLATIONS[interpolation])
    return ours, apply_with_pillow(frames, drawn, interpolation)


@pytest.mark.parametrize("name", ON_VALUES)
def test_operations_on_values_are_pillows_to_the_bit(name):
    extremes = np.zeros((2, 48, 64, 3), np.uint8)
    extremes[0, :24], extremes[1] = 255, 77
    for frames in (textured(), textured(seed=5), extremes):
        for setting in settings(name):
            ours, pillow = both(frames, [(name, setting)])
            np.testing.assert_array_equal(ours, pillow, err_msg=str(setting))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometric_operations_are_pillows_within_a_level(name, interpolation):
    same = 0
    for setting in settings(name):
        ours, pillow = both(textured(), [(name, setting)], interpolation)
        difference = np.abs(ours.astype(int) - pillow)
        assert difference.max() <= 1, setting
        same += (difference == 0).mean() / len(settings(name))
    # Pillow rounds down: sums that are whole by chance, at a neighbour's exact share, may fall short.
    assert same > 0.999 if interpolation == "bicubic" else same > 0.98


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 1), (2, 9), (3, 3)])
@pytest.mark.parametrize("name", OPS)
def test_tiny_frames(name, size):
    frames = textured(3, *size)
    ours, pillow = both(frames, [(name, OPS[name].level(7.0, -1, True))])
    assert np.abs(ours.astype(int) - pillow).max() <= (name in GEOMETRIC)


def test_lookups_in_a_row_and_between_frame_statistics():
    frames = textured()
    names = (
        "Brightness",
        "AutoContrast",
        "Solarize",
        "Equalize",
        "Contrast",
        "Posterize",
        "Invert",
    )
    drawn = [(name, OPS[name].level(6.0, 1, True)) for name in names]
    for start in range(len(drawn)):
        ours, pillow = both(frames, drawn[start:] + drawn[:start])
        np.testing.assert_array_equal(ours, pillow)


def test_policies_agree_with_pillow_frame_by_frame():
    """An equalised difference of a level can grow, so only the bulk is compared."""
    augment = RandAugment(POLICY)
    frames = textured(3)
    agreeing = []
    for seed in range(60):
        drawn = augment.draw(rng(seed))
        ours = augment(frames, rng(seed))
        pillow = apply_with_pillow(frames, drawn)
        agreeing.append((np.abs(ours.astype(int) - pillow) <= 1).mean())
        if not {name for name, _ in drawn} & set(GEOMETRIC):
            np.testing.assert_array_equal(ours, pillow)
    assert np.mean(agreeing) > 0.999


@pytest.mark.parametrize("name", OPS)
def test_a_window_is_cut_from_the_whole(name):
    frames, generator = textured(), rng(2)
    for setting in settings(name, 6):
        whole = change_pixels(frames, [(name, setting)], INTERPOLATIONS["bicubic"]).frames()
        window = window_of((48, 64), generator)
        part = change_pixels(frames, [(name, setting)], INTERPOLATIONS["bicubic"], window).frames()
        rows, columns = window.slices(Window(0, 0, 48, 64))
        np.testing.assert_array_equal(part, whole[:, rows, columns])


def test_windows_of_policies_are_cut_from_the_whole():
    frames, generator = textured(), rng(3)
    augment = RandAugment("rand-m9-n6-mstd1-inc1")
    for seed in range(60):
        drawn = augment.draw(rng(seed))
        window = window_of((48, 64), generator)
        part = change_pixels(frames, drawn, augment.weights, window).frames()
        rows, columns = window.slices(Window(0, 0, 48, 64))
        whole = apply_ops(frames, drawn, augment.weights)
        np.testing.assert_array_equal(part, whole[:, rows, columns], err_msg=str(drawn))


def test_only_what_the_window_shows_is_read():
    window = Window(10, 20, 8, 9)
    assert CHANGES["Invert"].needs(None, window, (48, 64)) == window
    assert CHANGES["Equalize"].needs(None, window, (48, 64)) == Window(0, 0, 48, 64)
    assert CHANGES["Sharpness"].needs(1.5, window, (48, 64)) == Window(9, 19, 10, 11)
    assert CHANGES["Sharpness"].needs(1.5, Window(0, 0, 48, 9), (48, 64)) == Window(0, 0, 48, 10)
    moved = CHANGES["TranslateX"].needs(0.25, window, (48, 64))  # 16 pixels
    assert (moved.left, moved.right) == (35, 47)
    beyond = CHANGES["TranslateX"].needs(0.9, window, (48, 64))
    assert beyond.width == 1  # nothing of it lies in the frame


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("channel_order", ["RGB", "BGR"])
def test_a_clip_is_what_the_straightforward_order_makes(interpolation, channel_order):
    """RandAugment at full size, float, normalise, crop, flip, erase: the same up to rounding."""
    normalise = Normalisation((0.45, 0.4, 0.5), (0.225, 0.2, 0.25), channel_order)
    ours = augmentation(
        32, POLICY, interpolation, flip_skipped=(2,), erasing=0.5, normalise=normalise
    )
    straight = PublishedAugmentation(ours)
    frames, compared = textured(3, 50, 70), 0
    for seed in range(40):
        names = {name for name, _ in RandAugment(POLICY).draw(rng(seed))}
        clip, (label,) = ours(frames, (seed % 3,), rng(seed))
        expected, (expected_label,) = straight(frames, (seed % 3,), rng(seed))
        assert label == expected_label and clip.shape == (3, 3, 32, 32)
        assert clip.is_contiguous() and clip.dtype == torch.float32
        if names & set(GEOMETRIC):  # a level is 0.02, and what follows may raise it
            assert ((clip - expected).abs() < 0.03).float().mean() > 0.98
        else:
            torch.testing.assert_close(clip, expected, atol=1e-5, rtol=0)
            compared += 1
    assert compared > 8


def test_plain_crops_keep_their_draws():
    frames = textured(2, 40, 50)
    plain = augmentation(32, area=None, scales=(36, 36), flip=False)
    clip, _ = plain(frames, (0,), rng(4))
    resized = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(resized, (36, 45), mode="bilinear")
    generator = rng(4)
    generator.integers(36, 37)
    top, left = int(generator.integers(0, 5)), int(generator.integers(0, 14))
    expected = (resized[..., top : top + 32, left : left + 32] / 255 - 0.45) / 0.225
    torch.testing.assert_close(clip, expected.transpose(0, 1), atol=1e-5, rtol=0)


def test_steps_are_marked_in_their_order():
    marks = []
    augmentation(16, POLICY, erasing=0.5)(textured(), (0,), rng(0), marks.append)
    assert marks == ["RandAugment", "crop and resize", "flip", "normalise", "erasing"]


def test_color_jitter_is_pillows():
    frames, jitter = textured(), ColorJitter(0.4)
    for seed in range(6):
        drawn = jitter.draw(rng(seed))
        assert sorted(name for name, _ in drawn) == ["Brightness", "Color", "Contrast"]
        assert all(0.6 <= factor <= 1.4 for _, factor in drawn)
        np.testing.assert_array_equal(jitter(frames, rng(seed)), apply_with_pillow(frames, drawn))


def test_no_warning_reaches_the_user():
    frames = textured()
    frames.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(20):
            augmentation(16, POLICY, erasing=0.5)(frames, (0,), rng(seed))
