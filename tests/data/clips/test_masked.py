"""Augmentation of pictures with their masks, against slow loops and other people's arithmetic."""

import colorsys
import math

import numpy as np
import pytest
import torch
from clips import rng, textured
from torch.nn import functional as F

from uniformer_video.data.clips.masked import MaskedAugmentation, MaskedDraws
from uniformer_video.data.clips.photometric import distort, draw_distortion, from_hsv, to_hsv
from uniformer_video.data.clips.picture_resize import fitted_size, resize_mask, resize_picture
from uniformer_video.data.clips.transforms import Normalisation

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZES = [((37, 50), (20, 27)), ((20, 31), (45, 60)), ((33, 17), (33, 40)), ((5, 7), (5, 7))]


def picture(height, width, seed=0):
    return textured(1, height, width, seed)[0]


def blocks(height, width, classes=3):
    """A mask of stripes, a fifth of it ignored."""
    mask = (np.arange(width)[None] * classes // width).repeat(height, 0).astype(np.uint8)
    mask[: height // 5] = 255
    return mask


def augmentation(**options):
    return MaskedAugmentation(
        **{"crop_size": 32, "scale": (128, 48), "normalise": IMAGENET, **options}
    )


# Resizing


def slow_bilinear(pixels, height, width):
    """Half-pixel bilinear of one channel, pixel by pixel."""
    rows, columns = pixels.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            down = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            right = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = math.floor(down), math.floor(right)
            for row, far in ((top, down - top), (min(top + 1, rows - 1), 1 - (down - top))):
                for column, off in (
                    (left, right - left),
                    (min(left + 1, columns - 1), 1 - (right - left)),
                ):
                    out[y, x] += (1 - far) * (1 - off) * pixels[row, column]
    return out


@pytest.mark.parametrize(("size", "scaled"), SIZES)
def test_pictures_are_resized_half_pixel_bilinear_to_bytes(size, scaled):
    pixels = picture(*size)
    found = resize_picture(pixels, scaled)
    slow = np.stack([slow_bilinear(pixels[..., channel], *scaled) for channel in range(3)], -1)
    assert found.dtype == np.uint8
    assert (abs(found - slow) <= 0.501).all()
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    torchs = F.interpolate(batch, scaled, mode="bilinear")[0].permute(1, 2, 0)
    assert (found != np.floor(torchs.numpy() + 0.5)).mean() < 0.01  # halves up, as OpenCV


@pytest.mark.parametrize(("size", "scaled"), SIZES)
def test_a_crop_is_that_of_the_whole_resized(size, scaled):
    pixels, mask = picture(*size), blocks(*size)
    whole, labels = resize_picture(pixels, scaled), resize_mask(mask, scaled)
    (top, left), (high, wide) = (2, 1), (3, 5)
    crop = resize_picture(pixels, scaled, (top, left), (high, wide))
    assert (crop == whole[top : top + high, left : left + wide]).all()
    crop = resize_mask(mask, scaled, (top, left), (high, wide))
    assert (crop == labels[top : top + high, left : left + wide]).all()


@pytest.mark.parametrize(("size", "scaled"), SIZES)
def test_masks_are_resized_to_the_nearest(size, scaled):
    mask = blocks(*size)
    found = resize_mask(mask, scaled)
    for y in range(scaled[0]):
        for x in range(scaled[1]):
            row, column = math.floor(y * size[0] / scaled[0]), math.floor(x * size[1] / scaled[1])
            assert found[y, x] == mask[row, column]


def test_pictures_are_scaled_to_fit_into_the_box():
    assert fitted_size(480, 640, (2048, 512)) == (512, 683)
    assert fitted_size(640, 480, (2048, 512)) == (683, 512)
    assert fitted_size(100, 1000, (2048, 512)) == (205, 2048)
    assert fitted_size(1, 10_000, (2048, 512)) == (1, 2048)


# Photometric distortion


def every_kind_of_colour():
    levels = np.array([0, 1, 2, 50, 127, 128, 200, 254, 255], np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)


def test_hsv_is_that_of_colorsys_in_whole_numbers():
    colours = every_kind_of_colour()
    for (red, green, blue), hsv in zip(colours[0], to_hsv(colours)[0], strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
        turn = abs(int(hsv[0]) - hue * 180)
        assert min(turn, 180 - turn) <= 0.6 and hsv[0] < 180  # OpenCV's tables have 12 bits
        assert abs(int(hsv[1]) - saturation * 255) <= 0.51
        assert hsv[2] == round(value * 255)


def test_hsv_becomes_rgb_as_colorsys_has_it():
    levels = np.array([0, 1, 29, 30, 31, 60, 90, 119, 120, 150, 179], np.uint8)
    bytes_ = np.array([0, 1, 128, 254, 255], np.uint8)
    hsv = np.stack(np.meshgrid(levels, bytes_, bytes_), -1).reshape(1, -1, 3)
    for (hue, saturation, value), rgb in zip(hsv[0], from_hsv(hsv)[0], strict=True):
        wanted = colorsys.hsv_to_rgb(hue / 180, saturation / 255, value / 255)
        assert (abs(rgb - 255 * np.array(wanted)) <= 0.501).all()


def test_colours_that_hsv_keeps_come_back():
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, -1)
    assert (from_hsv(to_hsv(greys)) == greys).all()
    assert (
        abs(from_hsv(to_hsv(every_kind_of_colour())).astype(int) - every_kind_of_colour()).max()
        <= 5
    )


def slow_distort(pixel, steps):
    """The published steps on one pixel, cut to a byte after each of them."""
    values = [int(value) for value in pixel]
    for name, amount in steps:
        if name == "brightness":
            values = [int(min(max(value + amount, 0), 255)) for value in values]
        elif name == "contrast":
            values = [int(min(max(value * amount, 0), 255)) for value in values]
        else:
            hue, saturation, value = map(int, to_hsv(np.array([values], np.uint8))[0])
            if name == "saturation":
                saturation = int(min(max(saturation * amount, 0), 255))
            else:
                hue = (hue + amount) % 180
            values = list(from_hsv(np.array([[hue, saturation, value]], np.uint8))[0])
    return values


def test_steps_cut_to_bytes_after_each():
    pixels = every_kind_of_colour()[:, ::7]
    for steps in (
        (("brightness", 20.25), ("contrast", 1.5), ("brightness", -31.5)),
        (("saturation", 1.375), ("hue", -18), ("contrast", 0.5)),
        (("hue", 17),),
    ):
        wanted = [slow_distort(pixel, steps) for pixel in pixels[0]]
        assert (distort(pixels, steps)[0] == wanted).all()


def test_steps_are_drawn_as_published():
    drawn = [draw_distortion(rng(seed)) for seed in range(2000)]
    counts = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0)
    limits = {
        "brightness": (-32, 32),
        "contrast": (0.5, 1.5),
        "saturation": (0.5, 1.5),
        "hue": (-18, 17),
    }
    before = both = 0
    for steps in drawn:
        names = [name for name, _ in steps]
        for name, amount in steps:
            counts[name] += 1
            assert limits[name][0] <= amount <= limits[name][1]
        assert [name for name in names if name != "contrast"] == [
            name for name in ("brightness", "saturation", "hue") if name in names
        ]
        if {"contrast", "saturation"} <= set(names):
            both += 1
            before += names.index("contrast") < names.index("saturation")
    assert all(900 < count < 1100 for count in counts.values())
    assert 0.4 * both < before < 0.6 * both
    assert any(("hue", -18) in steps for steps in drawn) and any(("hue", 17) in s for s in drawn)


# The whole


def slow_apply(pixels, mask, drawn, side, normalise):
    """Picture and mask after a draw, made whole and cut then."""
    whole = resize_picture(pixels, drawn.scaled_size)
    labels = resize_mask(mask, drawn.scaled_size)
    top, left = drawn.corner
    whole, labels = (each[top : top + side, left : left + side] for each in (whole, labels))
    if drawn.mirrored:
        whole, labels = np.fliplr(whole), np.fliplr(labels)
    whole = distort(whole, drawn.steps)
    clip = torch.zeros(3, side, side)
    height, width = labels.shape
    clip[:, :height, :width] = torch.from_numpy(
        (whole / 255 - normalise.mean) / normalise.std
    ).permute(2, 0, 1)
    filled = np.full((side, side), 255)
    filled[:height, :width] = labels
    return clip, filled


@pytest.mark.parametrize("size", [(40, 60), (90, 31), (12, 200)])
def test_picture_and_mask_go_the_same_way(size):
    pixels, mask = picture(*size), blocks(*size)
    augment = augmentation()
    seen = set()
    for seed in range(12):
        drawn, labels = augment.draw(size, mask, rng(seed))
        clip = augment.apply(pixels[None], drawn, rng(seed))
        wanted, wanted_labels = slow_apply(pixels, mask, drawn, 32, IMAGENET)
        assert clip.shape == (3, 32, 32) and clip.dtype == torch.float32
        torch.testing.assert_close(clip, wanted, atol=1e-5, rtol=0)
        assert labels.dtype == np.uint8 and (labels == wanted_labels).all()
        assert drawn == augment.draw(size, mask, rng(seed))[0]  # by the generator alone
        seen.add((drawn.mirrored, drawn.scaled_size))
    assert len(seen) > 8 and {mirrored for mirrored, _ in seen} == {False, True}
    assert augment.finish(clip[None]) is not None


def test_a_short_side_is_filled_after_the_normalisation():
    augment = augmentation(ratio_range=(0.5, 0.5), flip=False, photometric=False)
    drawn, labels = augment.draw((40, 80), blocks(40, 80), rng(0))
    assert drawn.scaled_size == (24, 48) and drawn.corner[0] == 0
    clip = augment.apply(picture(40, 80)[None], drawn, rng(0))
    assert (clip[:, 24:] == 0).all() and (labels[24:] == 255).all()
    assert (clip[:, :24] != 0).any() and (labels[:24] != 255).any()


def test_factors_are_drawn_from_the_range():
    augment = augmentation(scale=(2048, 512))
    mask = np.zeros((480, 640), np.uint8)
    sides = [augment.draw((480, 640), mask, rng(seed))[0].scaled_size for seed in range(200)]
    assert min(sides)[0] in range(256, 275) and max(sides)[0] in range(990, 1025)
    for height, width in sides:
        # the box is cut to whole pixels first, then the sides are rounded
        assert height in range(256, 1025) and width == int(640 * height / 480 + 0.5)


def test_a_crop_of_one_class_is_drawn_again():
    """A mask whose left part is of one class, and whose right part has two: crops of the former go."""
    mask = np.zeros((32, 320), np.uint8)
    mask[:, 288:] = np.arange(32)[:, None] % 2 + 1
    same = {"scale": (320, 32), "ratio_range": (1, 1), "flip": False, "photometric": False}
    for share, once in ((0.75, False), (1.0, True)):
        augment = augmentation(max_class_share=share, **same)
        corners = []
        for seed in range(60):
            drawn, labels = augment.draw((32, 320), mask, rng(seed))
            corners.append(drawn.corner[1])
            assert (labels == mask[:, corners[-1] : corners[-1] + 32]).all()
        varied = np.mean([(mask[:, left : left + 32] == 0).mean() < 0.75 for left in corners])
        assert varied < 0.2 if once else varied > 0.4


def test_the_share_of_a_class_is_of_pixels_that_count():
    augment = augmentation(max_class_share=0.75)
    cut = np.full((10, 10), 255, np.uint8)
    assert not augment._is_varied(cut)
    cut[0, :3], cut[0, 3] = 1, 2
    assert not augment._is_varied(cut)  # 3 of 4
    cut[0, 4] = 2
    assert augment._is_varied(cut)
    cut[0, 3:5] = 1
    assert not augment._is_varied(cut)


def test_tries_end():
    """A mask of one class: the crop after ten more draws is taken."""
    augment = augmentation()
    drawn, labels = augment.draw((64, 64), np.zeros((64, 64), np.uint8), rng(1))
    assert isinstance(drawn, MaskedDraws) and (labels[labels != 255] == 0).all()
