"""Mixup and cutmix: the targets say what the pixels hold."""

import math

import numpy as np
import pytest
import torch

from uniformer_video.errors import ConfigError
from uniformer_video.tasks.classification import soft_targets
from uniformer_video.training.mixup import Mixup


def rng(seed=0):
    return np.random.default_rng(seed)


def constant_clips(batch, height=16, width=24, frames=2):
    """Clip i holds the value i everywhere: `[B, 3, T, H, W]`."""
    values = torch.arange(batch, dtype=torch.float32)
    return values[:, None, None, None, None].expand(batch, 3, frames, height, width).clone()


class Scripted:
    """A generator that gives what it is told, and records the parameters of its beta draws."""

    def __init__(self, uniforms, beta, centres=()):
        self.uniforms, self.share, self.centres = iter(uniforms), beta, iter(centres)
        self.alphas = []

    def random(self):
        return next(self.uniforms)

    def beta(self, a, b):
        self.alphas.append((a, b))
        return self.share

    def integers(self, side):
        centre = next(self.centres)
        assert 0 <= centre < side
        return centre


# Mixup


def test_mixup_blends_pixels_and_targets_by_one_share():
    clips, labels = constant_clips(4), torch.tensor([0, 1, 2, 1])
    generator = Scripted(uniforms=[0.0], beta=0.75)
    mixed, targets = Mixup(cutmix_alpha=0.0)(clips, soft_targets(labels, 3, 0.0), generator)
    assert generator.alphas == [(0.8, 0.8)]
    for row, value in enumerate([0.75 * i + 0.25 * (3 - i) for i in range(4)]):
        torch.testing.assert_close(mixed[row], torch.full_like(mixed[row], value))
    expected = [[0.75, 0.25, 0], [0, 0.75, 0.25], [0, 0.25, 0.75], [0.25, 0.75, 0]]
    torch.testing.assert_close(targets, torch.tensor(expected))


def test_mixup_smooths_both_labels():
    generator = Scripted(uniforms=[0.0], beta=0.25)
    smoothed = soft_targets(torch.tensor([0, 4]), 5, 0.1)
    _, targets = Mixup(cutmix_alpha=0.0)(constant_clips(2), smoothed, generator)
    on, off = 0.92, 0.02
    first = [0.25 * on + 0.75 * off, off, off, off, 0.25 * off + 0.75 * on]
    torch.testing.assert_close(targets, torch.tensor([first, first[::-1]]))


def test_mixup_shares_are_beta():
    generator = rng(0)
    mixup = Mixup(cutmix_alpha=0.0)
    shares = np.array([mixup.draw(8, 8, generator)[0] for _ in range(4000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.8 + 1)), abs=0.006)


@pytest.mark.parametrize("kind", [{"cutmix_alpha": 0.0}, {"mixup_alpha": 0.0}])
def test_rows_of_several_labels_are_mixed_by_the_share(kind):
    rows = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 1.0]])
    mixup = Mixup(**kind)
    share, _ = mixup.draw(16, 24, rng(5))
    mixed, targets = mixup(constant_clips(4), rows, rng(5))
    rest = 1 - share
    expected = [[share, 1, rest], [0, 0, 0], [0, 0, 0], [rest, 1, share]]
    torch.testing.assert_close(targets, torch.tensor(expected))
    one_label = mixup(constant_clips(4), torch.eye(3)[[0, 1, 2, 0]], rng(5))
    assert 0 < share < 1 and torch.equal(mixed, one_label[0])


# Cutmix


@pytest.mark.parametrize(
    ("beta", "centres", "box"),
    [
        (0.75, (8, 12), (4, 12, 6, 18)),  # half the sides, 8 x 12, inside
        (0.75, (0, 0), (0, 4, 0, 6)),  # clipped at the top left
        (0.75, (15, 23), (11, 16, 17, 24)),  # and at the bottom right
        (0.9, (8, 12), (6, 11, 9, 16)),  # int(16 * 0.316) = 5 by int(24 * 0.316) = 7
        (1.0, (8, 12), (8, 8, 12, 12)),  # nothing
        (0.0, (8, 12), (0, 16, 0, 24)),  # everything
    ],
)
def test_cutmix_box_and_its_share(beta, centres, box):
    generator = Scripted(uniforms=[0.0], beta=beta, centres=centres)
    cutmix = Mixup(mixup_alpha=0.0)
    clips = constant_clips(2, height=16, width=24)
    mixed, targets = cutmix(clips, torch.eye(2), generator)
    assert generator.alphas == [(1.0, 1.0)]

    top, bottom, left, right = box
    expected = clips.clone()
    expected[0, ..., top:bottom, left:right] = 1
    expected[1, ..., top:bottom, left:right] = 0
    assert torch.equal(mixed, expected)

    share = 1 - (bottom - top) * (right - left) / (16 * 24)
    torch.testing.assert_close(targets, torch.tensor([[share, 1 - share], [1 - share, share]]))


def test_cutmix_targets_are_the_fraction_of_pixels():
    generator = rng(0)
    cutmix = Mixup(mixup_alpha=0.0)
    clips = constant_clips(2, height=15, width=22)
    for _ in range(50):
        mixed, targets = cutmix(clips, torch.eye(2), generator)
        torch.testing.assert_close(mixed.mean((1, 2, 3, 4)), targets[:, 1])


def test_cutmix_centres_are_uniform_and_boxes_cover_the_published_area():
    generator = rng(0)
    cutmix = Mixup(mixup_alpha=0.0)
    drawn = [cutmix.draw(100, 100, generator) for _ in range(4000)]
    inside = np.array([box for _, box in drawn if box[0] > 0 and box[1] < 100])
    assert ((inside[:, 0] + inside[:, 1]) / 2).mean() == pytest.approx(50, abs=1.5)
    # Sides sqrt(U) of the frame about a uniform centre: s - s^2 / 4 of each side is left inside.
    sides = np.sqrt(np.linspace(0, 1, 10001))
    expected = 1 - ((sides - sides**2 / 4) ** 2).mean()
    assert np.mean([share for share, _ in drawn]) == pytest.approx(expected, abs=0.02)


# Both


@pytest.mark.parametrize("kind", [{"cutmix_alpha": 0.0}, {"mixup_alpha": 0.0}])
def test_images_are_mixed_as_clips_of_one_frame(kind):
    images, targets = torch.rand(5, 3, 15, 22), torch.eye(5)
    mixed, shares = Mixup(**kind)(images, targets, rng(3))
    as_clips, same_shares = Mixup(**kind)(images[:, :, None], targets, rng(3))
    assert torch.equal(mixed, as_clips[:, :, 0]) and torch.equal(shares, same_shares)
    assert not torch.equal(mixed[0], images[0]) and torch.equal(mixed[2], images[2])


def test_a_batch_is_cutmix_half_the_time():
    generator = rng(0)
    mixup = Mixup()
    kinds = [mixup.draw(32, 32, generator)[1] is not None for _ in range(2000)]
    assert np.mean(kinds) == pytest.approx(0.5, abs=0.04)
    rare = Mixup(switch_probability=0.1)
    kinds = [rare.draw(32, 32, generator)[1] is not None for _ in range(2000)]
    assert np.mean(kinds) == pytest.approx(0.1, abs=0.03)


def test_an_alpha_of_zero_switches_its_kind_off():
    generator = rng(0)
    only_mixup, only_cutmix = Mixup(cutmix_alpha=0.0), Mixup(mixup_alpha=0.0)
    assert all(only_mixup.draw(8, 8, generator)[1] is None for _ in range(100))
    assert all(only_cutmix.draw(8, 8, generator)[1] is not None for _ in range(100))


def test_probability_of_mixing():
    generator = rng(0)
    mixup = Mixup(probability=0.3)
    mixed = [mixup.draw(32, 32, generator) != (1.0, None) for _ in range(3000)]
    assert np.mean(mixed) == pytest.approx(0.3, abs=0.03)


def test_an_unmixed_batch_stays_as_it_is():
    clips, given = constant_clips(3), soft_targets(torch.tensor([1, 0, 2]), 4, 0.1)
    same, targets = Mixup(probability=0.0)(clips, given, rng(0))
    assert torch.equal(same, clips) and torch.equal(targets, given)


@pytest.mark.parametrize("kind", [{"cutmix_alpha": 0.0}, {"mixup_alpha": 0.0}])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_targets_sum_to_one_and_a_middle_sample_is_left_alone(kind, batch):
    generator = rng(1)
    clips = torch.randn(batch, 3, 2, 16, 20, generator=torch.Generator().manual_seed(0))
    given = soft_targets(torch.arange(batch), 7, 0.1)
    before, before_targets = clips.clone(), given.clone()
    for _ in range(20):
        mixed, targets = Mixup(**kind)(clips, given, generator)
        assert mixed.shape == clips.shape and mixed.dtype == clips.dtype
        assert targets.shape == (batch, 7) and targets.dtype == torch.float32
        torch.testing.assert_close(targets.sum(1), torch.ones(batch))
        if batch % 2:
            middle = batch // 2
            assert torch.equal(mixed[middle], clips[middle])
            assert torch.equal(targets[middle], given[middle])
    assert torch.equal(clips, before)
    assert torch.equal(given, before_targets)


def test_the_same_generator_gives_the_same_batch():
    clips, given = torch.randn(4, 3, 2, 16, 16), torch.eye(4)
    shares = set()
    for seed in range(8):
        first, second = (Mixup()(clips, given, rng(seed)) for _ in range(2))
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
        shares.add(first[1].numpy().tobytes())
    assert len(shares) == 8


@pytest.mark.parametrize("kind", [{"cutmix_alpha": 0.0}, {"mixup_alpha": 0.0}])
def test_results_are_on_the_device_of_the_clips(kind):
    """The meta device refuses to meet a tensor of the CPU, as a GPU would."""
    clips = torch.empty(4, 3, 2, 8, 8, device="meta")
    given = soft_targets(torch.tensor([0, 1, 2, 0], device="meta"), 3, 0.1)
    mixed, targets = Mixup(**kind)(clips, given, rng(0))
    assert mixed.device.type == "meta" and mixed.shape == clips.shape
    assert targets.device.type == "meta" and targets.shape == (4, 3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_clips_keep_their_dtype(dtype):
    for seed in range(4):
        mixed, targets = Mixup()(constant_clips(2).to(dtype), torch.eye(2), rng(seed))
        assert mixed.dtype == dtype and targets.dtype == torch.float32


@pytest.mark.parametrize(
    "arguments",
    [
        {"mixup_alpha": 0.0, "cutmix_alpha": 0.0},
        {"mixup_alpha": -1.0},
        {"cutmix_alpha": -0.5},
        {"probability": 1.2},
        {"switch_probability": -0.1},
    ],
)
def test_impossible_settings(arguments):
    with pytest.raises(ConfigError, match="got"):
        Mixup(**arguments)


def test_share_arithmetic_of_a_full_size_box():
    """A 224 pixel clip with lambda 0.3: int(224 * sqrt(0.7)) = 187 pixels a side."""
    generator = Scripted(uniforms=[0.0], beta=0.3, centres=(112, 112))
    share, (top, bottom, left, right) = Mixup(mixup_alpha=0.0).draw(224, 224, generator)
    side = int(224 * math.sqrt(0.7))
    assert side == 187 and bottom - top == right - left == side
    assert share == pytest.approx(1 - side**2 / 224**2)
