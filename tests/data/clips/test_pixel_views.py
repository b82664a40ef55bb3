"""What a test of segmentation sees of a picture."""

import numpy as np
import pytest
import torch
from clips import textured
from torch.nn import functional as F

from uniformer_video.data.clips.pixel_views import PixelViews
from uniformer_video.data.clips.transforms import Normalisation

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def picture(height, width):
    return textured(1, height, width, 0)[0]


def views(short=48, long=192, **options):
    return PixelViews(short, 0, normalise=IMAGENET, long_side=long, **options)


def resized(pixels, size):
    """torch's own resizing, rounded to bytes, halves up as OpenCV does."""
    batch = torch.as_tensor(pixels).permute(2, 0, 1)[None].float()
    return F.interpolate(batch, size, mode="bilinear")[0].permute(1, 2, 0).add(0.5).floor()


def normalised(pixels):
    return ((pixels / 255 - torch.tensor(IMAGENET.mean)) / torch.tensor(IMAGENET.std)).permute(
        2, 0, 1
    )


def close(view, wanted):
    """Equal but for a few pixels whose rounding to a byte is a tie."""
    assert view.shape == (1, *wanted.shape) and view.dtype == torch.float32
    assert ((view[0] - wanted).abs() > 1e-5).float().mean() < 0.01
    assert (view[0] - wanted).abs().max() < 0.02


@pytest.mark.parametrize(
    ("size", "scaled", "aligned"),
    [
        ((60, 80), (48, 64), (64, 64)),
        ((80, 60), (64, 48), (64, 64)),
        ((40, 400), (32, 192), (32, 192)),  # the long side says
        ((96, 107), (48, 54), (64, 64)),
    ],
)
def test_the_whole_picture_is_fitted_and_then_stretched(size, scaled, aligned):
    pixels = picture(*size)
    plain, stretched = (views(align=align).inputs(pixels) for align in (1, 32))
    fitted = resized(pixels, scaled) if size != scaled else torch.from_numpy(pixels)
    (view,) = plain
    if min(scaled) >= 32 and max(size) / min(size) < 4:
        close(view, normalised(fitted))
    (view,) = stretched
    assert view.shape[2:] == aligned
    close(view, normalised(resized(resized(pixels, scaled), aligned)))


def test_ratios_and_mirroring_are_views_of_their_own():
    pixels = picture(60, 80)
    made = views(ratios=(0.75, 1.0, 1.75), flip=True).inputs(pixels)
    assert [tuple(view.shape[2:]) for view in made[::2]] == [(36, 48), (48, 64), (84, 112)]
    for plain, mirrored in zip(made[::2], made[1::2], strict=True):
        assert torch.equal(plain.flip(-1), mirrored)
    assert torch.equal(made[2], views().inputs(pixels)[0])


def test_a_thin_picture_leaves_the_last_stage_something():
    assert views().inputs(np.zeros((1, 3000, 3), np.uint8))[0].shape == (1, 3, 32, 192)


def test_the_published_sizes():
    assert PixelViews(512, 0).size(683, 512, 1.0) == ((683, 512), (683, 512))
    assert PixelViews(512, 0, align=32).size(1200, 1600, 1.0) == ((512, 683), (512, 704))
