"""Corruptions against plain NumPy, Pillow and SciPy."""

import io

import numpy as np
import pytest
import torch
from clips import rng
from PIL import Image
from scipy.ndimage import gaussian_filter

from uniformer_video.config.rows import SETTINGS
from uniformer_video.data.clips import corruptions
from uniformer_video.data.clips.variants import STILL, STRENGTHS, Variant, variants_of
from uniformer_video.randomness import generator


@pytest.fixture
def clip():
    """float32 [3, 8, 40, 56], 0..255, not in whole numbers; the corner of a frame is its number."""
    pixels = rng().uniform(0, 255, (3, 8, 40, 56)).astype(np.float32)
    pixels[:, :, 0, 0] = np.arange(8)
    return torch.from_numpy(pixels)


def test_blur_is_scipys(clip):
    for sigma in STRENGTHS["blur"]:
        own = sigma * 56 / 224
        expected = gaussian_filter(
            clip.numpy().astype(np.float64), (0, 0, own, own), mode="nearest", truncate=4.0
        )
        np.testing.assert_allclose(corruptions.blur(clip, sigma), expected, atol=2e-3)
    large = torch.from_numpy(rng().uniform(0, 255, (3, 1, 224, 224)).astype(np.float32))
    expected = gaussian_filter(large.numpy(), (0, 0, 5, 5), mode="nearest", truncate=4.0)
    np.testing.assert_allclose(corruptions.blur(large, 5), expected, atol=2e-3)


def test_jpeg_is_pillows(clip):
    for quality in STRENGTHS["jpeg"]:
        changed = corruptions.jpeg(clip, int(quality))
        assert changed.shape == clip.shape and changed.dtype == torch.float32
        for frame in (0, 7):
            pixels = np.rint(clip[:, frame].numpy()).astype(np.uint8).transpose(1, 2, 0)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=int(quality))
            expected = np.asarray(Image.open(file)).transpose(2, 0, 1)
            assert (changed[:, frame].numpy() == expected).all()


def test_noise_is_the_same_one_times_sigma_and_cut(clip):
    drawn = rng(5).standard_normal(clip.shape, np.float32)
    for sigma in STRENGTHS["noise"]:
        expected = np.clip(clip.numpy() / 255 + sigma * drawn, 0, 1) * 255
        np.testing.assert_allclose(corruptions.noise(clip, sigma, rng(5)), expected, atol=1e-3)
    grey = torch.full((3, 8, 64, 64), 127.5)
    assert float(corruptions.noise(grey, 0.08, rng()).std()) == pytest.approx(0.08 * 255, rel=0.01)


def test_lost_frames_show_the_one_before_and_more_are_lost_of_the_same(clip):
    lost_before = set()
    for share, count in zip(STRENGTHS["drop"], (1, 2, 4, 6, 7), strict=True):
        numbers = corruptions.drop_frames(clip, share, rng(3))[0, :, 0, 0].int().tolist()
        lost = {place for place, number in enumerate(numbers) if place != number}
        assert len(lost) == count and 0 not in lost and lost_before <= lost
        shown = 0
        for place, number in enumerate(numbers):
            shown = shown if place in lost else place
            assert number == shown
        lost_before = lost
    assert torch.equal(corruptions.drop_frames(clip[:, :1], 0.9, rng()), clip[:, :1])


def test_draws_depend_on_kind_seed_video_and_view_and_not_on_the_strength(clip):
    weak, strong = Variant("noise", 0.04), Variant("noise", 0.08)
    inner = torch.full_like(clip, 127.5)  # nothing is cut
    first = weak.change(inner, 7, 1, 2) - inner
    torch.testing.assert_close(strong.change(inner, 7, 1, 2) - inner, 2 * first, atol=1e-3, rtol=0)
    expected = generator("robustness noise", 7, 1, 2).standard_normal(clip.shape, np.float32)
    np.testing.assert_allclose(first, 0.04 * 255 * expected, atol=1e-3)
    for keys in ((8, 1, 2), (7, 0, 2), (7, 1, 3)):
        assert not torch.allclose(weak.change(inner, *keys) - inner, first)
    dropped = Variant("drop", 0.5).change(clip, 7, 1, 2)
    assert torch.equal(
        dropped, corruptions.drop_frames(clip, 0.5, generator("robustness drop", 7, 1, 2))
    )
    for kind in ("rate", "reversed", STILL):
        assert Variant(kind).change(clip, 7, 1, 2) is clip


def test_nothing_changes_the_clip_in_place(clip):
    before = clip.clone()
    for variant in variants_of(["all"]):
        variant.change(clip, 0, 0, 0)
        assert torch.equal(clip, before)


def test_frames_at_another_rate():
    own = np.array([[10, 12, 14, 16], [0, 2, 4, 6]])
    fast, held = Variant("rate", 2.0).frames(own, 20)
    assert fast.tolist() == [[7, 11, 15, 19], [0, 1, 5, 9]] and held == 1
    slow, held = Variant("rate", 0.5).frames(own, 20)
    assert slow.tolist() == [[12, 13, 14, 15], [2, 3, 4, 5]] and held == 0
    faster, held = Variant("rate", 3.0).frames(own, 17)
    assert faster.tolist() == [[4, 10, 16, 16], [0, 0, 6, 12]] and held == 2
    assert Variant("rate", 2.0).frames(np.array([[3]]), 9)[0].tolist() == [[3]]


def test_frames_backwards_still_and_as_they_are():
    own = np.array([[0, 2, 4], [5, 7, 9]])
    assert Variant("reversed").frames(own, 10)[0].tolist() == [[9, 7, 5], [4, 2, 0]]
    assert Variant(STILL).frames(own, 10)[0].tolist() == [[5] * 3, [5] * 3]
    for kind in ("drop", "jpeg", "blur", "noise"):
        assert Variant(kind).frames(own, 10)[0] is own


def test_the_variants_of_kinds():
    assert SETTINGS["TEST.ROBUSTNESS"].choices == (*STRENGTHS, "all")
    assert [len(STRENGTHS[kind]) for kind in STRENGTHS] == [5, 5, 5, 5, 5, 1]
    everything = variants_of(["all"])
    assert len(everything) == len(set(everything)) == 26
    assert variants_of(["reversed", "jpeg", "jpeg"]) == [
        *(Variant("jpeg", quality) for quality in (50, 30, 15, 8, 4)),
        Variant("reversed", 1),
    ]
    assert variants_of([]) == []
