"""Logits of whole pictures: against torch's own resizing of all of them, and slow loops over windows."""

import contextlib

import numpy as np
import pytest
import torch
from clips import textured
from torch import nn
from torch.nn import functional as F

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.clips.pixels import Window
from uniformer_video.evaluation import pixel_logits
from uniformer_video.evaluation.pixel_logits import whole_logits, windows_of

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Conv2d(3, 5, 7, 4, 3).eval()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(pixel_logits, "_BLOCK_VALUES", 5 * 70 * 3)


def picture(height=53, width=70):
    return textured(1, height, width, 0)[0]


def whole(found):
    """All rows of `PixelLogits`, float32 `[K, H, W]`, as they are made block by block."""
    return torch.cat([found.rows(*block) for block in found.blocks()], 1)


def logits_of(model, views, pixels):
    return whole_logits(model, views, pixels, CPU, contextlib.nullcontext)


def bilinear(logits, size):
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)


@torch.inference_mode()
def test_logits_go_to_the_inputs_size_and_then_to_the_pictures(model, small_blocks):
    views = PixelViews(40, 0, long_side=160, align=32)
    pixels = picture()
    (view,) = views.inputs(pixels)
    wanted = bilinear(bilinear(model(view), view.shape[2:]), (53, 70))[0]
    found = logits_of(model, views, pixels)
    assert len(list(found.blocks())) > 10
    torch.testing.assert_close(whole(found), wanted, atol=1e-5, rtol=1e-5)
    assert (found.classes() == wanted.argmax(0).numpy()).mean() > 0.999
    assert found.classes().dtype == np.uint8 and found.classes().shape == (53, 70)


@torch.inference_mode()
@pytest.mark.parametrize("crop", [0, 32])
def test_blocks_of_rows_are_those_of_the_whole_to_the_bit(model, monkeypatch, crop):
    views = PixelViews(40, crop, long_side=160, ratios=(1.25,), window_stride=20)
    pixels = picture()
    found = logits_of(model, views, pixels)
    at_once = found.rows(0, 53)
    monkeypatch.setattr(pixel_logits, "_BLOCK_VALUES", 5 * 70 * 4)
    assert torch.equal(whole(found), at_once)
    assert (found.classes() == at_once.argmax(0).numpy()).all()
    assert torch.equal(found.rows(17, 18)[:, 0], at_once[:, 17])


@torch.inference_mode()
def test_several_views_are_a_mean_of_probabilities(model, small_blocks):
    views = PixelViews(40, 0, long_side=160, ratios=(0.5, 1.0, 1.5), flip=True)
    pixels = picture()
    total = torch.zeros(5, 53, 70)
    for number, view in enumerate(views.inputs(pixels)):
        own = bilinear(bilinear(model(view), view.shape[2:]), (53, 70))[0].softmax(0)
        total += own.flip(-1) if number % 2 else own
    found = whole(logits_of(model, views, pixels))
    torch.testing.assert_close(found, total / 6, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.sum(0), torch.ones(53, 70))


@torch.inference_mode()
@pytest.mark.parametrize(("side", "stride"), [(32, 20), (32, 0), (48, 48), (500, 10)])
def test_windows_slide_and_their_logits_are_averaged(model, small_blocks, side, stride):
    views = PixelViews(60, side, long_side=200, window_stride=stride)
    pixels = picture()
    (view,) = views.inputs(pixels)
    height, width = view.shape[2:]
    step = stride or side * 2 // 3
    total, count = torch.zeros(5, height, width), torch.zeros(height, width)
    top = -step
    while top + side < height or top < 0:
        top += step
        left = -step
        while left + side < width or left < 0:
            left += step
            y, x = max(min(top, height - side), 0), max(min(left, width - side), 0)
            part = view[..., y : y + side, x : x + side]
            total[:, y : y + side, x : x + side] += bilinear(model(part), part.shape[2:])[0]
            count[y : y + side, x : x + side] += 1
    wanted = bilinear((total / count)[None], (53, 70))[0]
    torch.testing.assert_close(whole(logits_of(model, views, pixels)), wanted, atol=1e-5, rtol=1e-5)


def test_windows_cover_everything_and_stay_inside():
    assert windows_of((100, 100), 0, 7) == [Window(0, 0, 100, 100)]
    assert windows_of((512, 683), 512, 341) == [Window(0, 0, 512, 512), Window(0, 171, 512, 512)]
    assert windows_of((512, 512), 512, 341) == [Window(0, 0, 512, 512)]
    assert windows_of((20, 50), 32, 10) == [Window(0, left, 20, 32) for left in (0, 10, 18)]
    lefts = [window.left for window in windows_of((64, 200), 64, 50)]
    assert lefts == [0, 50, 100, 136]


@torch.inference_mode()
def test_a_large_picture_is_not_made_whole(model, monkeypatch):
    """What is made at once is bounded, whatever the picture has."""
    monkeypatch.setattr(pixel_logits, "_BLOCK_VALUES", 5 * 900 * 10)
    pixels = np.zeros((600, 900, 3), np.uint8)
    found = logits_of(model, PixelViews(32, 0, long_side=128), pixels)
    asked, real = [], type(found.views[0]).rows_of_picture

    def counted(view, size, start, stop):
        asked.append(stop - start)
        return real(view, size, start, stop)

    monkeypatch.setattr(type(found.views[0]), "rows_of_picture", counted)
    assert found.classes().shape == (600, 900)
    assert asked == [10] * 60
