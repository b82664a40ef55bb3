"""The same draws and the same clips, whoever does the work; pinned values of what they were."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import POLICY, augmentation, rng, textured

from uniformer_video.data.clips.packed import join
from uniformer_video.data.clips.pixels import Window
from uniformer_video.data.clips.transforms import Normalisation

ODD = Normalisation((0.45, 0.4, 0.5), (0.225, 0.2, 0.25), "BGR")
CASES = {
    "published": {"policy": POLICY, "erasing": 0.5},
    "strong": {
        "policy": "rand-m9-n6-mstd1",
        "interpolation": "bilinear",
        "normalise": ODD,
        "erasing": 1.0,
    },
    "jitter": {"color_jitter": 0.4, "flip_labels": ((0, 1), (1, 0)), "flip_skipped": (2,)},
    "plain crop": {"policy": POLICY, "area": None, "scales": (36, 44), "erasing": 0.5},
    "nothing": {"area": None, "scales": (32, 32), "flip": False},
}
# The label, and the sum of the values times fixed random weights, of the clips of six seeds, as
# they were when workers did all the work in one pass. One level more or less in one pixel shows.
PINNED = {
    "published": [
        (0, -27.558),
        (1, 19.426),
        (2, -0.256),
        (0, -72.617),
        (1, -41.248),
        (2, 122.67),
    ],
    "strong": [(0, 3.142), (1, 19.589), (2, -22.935), (0, 60.943), (1, 69.087), (2, 172.19)],
    "jitter": [(0, 100.028), (0, 127.607), (2, 45.471), (1, 3.114), (0, 154.859), (2, 20.63)],
    "plain crop": [
        (0, -31.842),
        (1, 37.2),
        (2, 23.376),
        (0, -45.513),
        (1, 181.159),
        (2, 187.772),
    ],
    "nothing": [
        (0, -93.761),
        (1, 76.284),
        (2, -140.114),
        (0, -140.114),
        (1, -142.481),
        (2, -55.096),
    ],
}


def frames():
    return textured(3, 50, 70)


@pytest.mark.parametrize("case", CASES)
def test_clips_by_workers_alone_are_what_they_were(case):
    augment = augmentation(32, **CASES[case])
    weights = rng(99).standard_normal((3, 3, 32, 32))
    for seed, (label, value) in enumerate(PINNED[case]):
        clip, new_label = augment(frames(), (seed % 3,), rng(seed))
        assert new_label == (label,)
        assert (clip.double().numpy() * weights).sum() == pytest.approx(value, abs=1.5e-3)
        assert augment.finish(clip) is clip


def both(case, on_device, seeds=24, **changes):
    """(clips by workers alone, a packed batch of the same, the augmentation that finishes it)."""
    options = CASES[case] | changes
    alone = augmentation(32, **options)
    shared = augmentation(32, **options, on_device=on_device)
    clips, batches = [], []
    for seed in range(seeds):
        clip, label = alone(frames(), (seed % 3,), rng(seed))
        batch, other_label = shared(frames(), (seed % 3,), rng(seed))
        assert label == other_label
        clips.append(clip)
        batches.append(batch)
    return torch.stack(clips), join(batches), shared


@pytest.mark.parametrize("case", CASES)
def test_all_on_the_device_is_the_same_to_the_bit(case):
    expected, batch, shared = both(case, "all", erasing=0.0)
    clips = shared.finish(batch)
    assert clips.is_contiguous() and clips.dtype == torch.float32
    assert torch.equal(clips, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_all_on_a_gpu_is_the_same_but_for_rounding(case):
    expected, batch, shared = both(case, "all", erasing=0.0)
    clips = shared.finish(batch.pin_memory().to("cuda", non_blocking=True))
    assert clips.device.type == "cuda" and clips.is_contiguous()
    assert ((clips.cpu() - expected).abs() < 0.03).float().mean() > 0.98  # a level is 0.02


@pytest.mark.parametrize("case", CASES)
def test_normalising_on_the_device_differs_by_half_a_level_at_most(case):
    expected, batch, shared = both(case, "normalise", erasing=0.0)
    assert len(batch.memory) == expected.numel()  # a quarter of the bytes
    clips = shared.finish(batch)
    levels = (clips - expected) * 255 * torch.tensor(shared.normalise.std).view(3, 1, 1, 1)
    assert clips.is_contiguous() and clips.dtype == torch.float32
    assert levels.abs().max() < 0.501
    assert levels.abs().mean() < 0.27


@pytest.mark.parametrize("on_device", ["normalise", "all"])
def test_the_same_boxes_are_erased_with_noise_of_the_clips_own(on_device):
    expected, batch, shared = both("strong", on_device)
    clips = shared.finish(batch)
    boxes = [drawn.erased for drawn in batch.draws]
    assert all(boxes) and len(set(boxes)) == len(boxes)
    noise = []
    for clip, other, (top, left, height, width) in zip(clips, expected, boxes, strict=True):
        rows, columns = slice(top, top + height), slice(left, left + width)
        noise.append(clip[..., rows, columns].flatten().clone())
        clip[..., rows, columns] = other[..., rows, columns]
    assert (clips - expected).abs().max() < (0.02 if on_device == "normalise" else 1e-9)
    noise = torch.cat(noise)
    assert noise.mean().abs() < 0.03 and noise.std() == pytest.approx(1, abs=0.03)
    assert noise.unique().numel() > 0.99 * noise.numel()
    again = both("strong", on_device)
    whole = shared.finish(again[1])
    assert torch.equal(again[2].finish(again[1]), whole)
    assert not torch.equal(whole, clips)


def test_workers_send_no_more_than_the_clip_depends_on():
    augment = augmentation(32, area=(0.1, 0.2), flip=False, on_device="all")
    batch, _ = augment(frames(), (0,), rng(1))
    ((pixels, drawn),) = batch
    rows, columns = drawn.box.slices(Window.whole((50, 70)))
    assert pixels.shape == (3, drawn.box.height, drawn.box.width, 3)
    np.testing.assert_array_equal(pixels, frames()[:, rows, columns])
    sharper = replace(drawn, ops=(("Sharpness", 1.5),), box=Window(10, 20, 8, 9))
    assert sharper.window == Window(9, 19, 10, 11)
    equalised = replace(drawn, ops=(("Equalize", None),))
    assert equalised.window == Window(0, 0, 50, 70)


def test_frames_are_neither_changed_nor_kept():
    given = frames()
    given.flags.writeable = False
    batch, _ = augmentation(32, area=(1.0, 1.0), ratio=(1.4, 1.4), on_device="all")(
        given, (0,), rng(0)
    )
    assert not np.shares_memory(batch.memory.numpy(), given)


@pytest.mark.parametrize("on_device", ["normalise", "all"])
def test_steps_are_marked(on_device):
    marks = []
    augmentation(16, POLICY, on_device=on_device)(frames(), (0,), rng(0), marks.append)
    before = ["RandAugment", "crop and resize", "flip"] if on_device == "normalise" else []
    assert marks == [*before, "pack"]
