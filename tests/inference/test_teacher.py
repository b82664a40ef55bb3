"""A teacher's input made of the learner's clips, and a frozen model's answers to it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uniformer_video.data.clips.transforms import Normalisation
from uniformer_video.inference.teacher import ClipView, LiveTeacher, nearest_frames
from uniformer_video.training.precision import autocast_for

OURS = Normalisation()
THEIRS = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "BGR")


def pixels(frames=4, size=8):
    values = np.random.default_rng(0).integers(0, 256, (2, 3, frames, size, size))
    return torch.from_numpy(values).float()


def test_a_clip_that_suits_is_handed_on_as_it_is():
    clips = OURS(pixels())
    assert ClipView(4, 8, OURS, 4, 8, OURS)(clips) is clips


@pytest.mark.parametrize(
    ("have", "want", "places"),
    [
        (4, 4, [0, 1, 2, 3]),
        (8, 4, [0, 2, 5, 7]),
        (4, 8, [0, 0, 1, 1, 2, 2, 3, 3]),
        (16, 13, [0, 1, 3, 4, 5, 6, 8, 9, 10, 11, 13, 14, 15]),
        (5, 2, [0, 4]),
        (1, 3, [0, 0, 0]),
        (5, 1, [2]),
    ],
)
def test_frames_are_picked_evenly_from_the_first_to_the_last(have, want, places):
    assert nearest_frames(have, want) == places
    if want > 1:
        even = np.linspace(0, have - 1, want)
        assert np.abs(np.array(places) - even).max() <= 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("ours", "theirs"), [(OURS, THEIRS), (THEIRS, OURS)])
def test_pixels_are_normalised_as_the_teachers_were(ours, theirs, dtype):
    seen = ClipView(4, 8, ours, 4, 8, theirs)(ours(pixels()).to(dtype))
    assert seen.dtype == dtype
    torch.testing.assert_close(seen, theirs(pixels()).to(dtype), rtol=0, atol=1e-5)


def test_frames_size_and_pixels_together():
    seen = ClipView(4, 8, OURS, 2, 12, THEIRS)(OURS(pixels()))
    frames = pixels()[:, :, [0, 3]].transpose(1, 2).flatten(0, 1)
    resized = F.interpolate(frames, (12, 12), mode="bilinear", align_corners=False)
    expected = THEIRS(resized.unflatten(0, (2, 2)).transpose(1, 2))
    torch.testing.assert_close(seen, expected, rtol=0, atol=1e-4)


class Counting(nn.Module):
    """A model with what changes in training, whose logits are the mean of each channel and frame number 0."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm3d(3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 4)

    def forward(self, clips):
        return self.head(self.drop(self.norm(clips).mean((2, 3, 4))))


def test_it_is_frozen_and_as_in_a_test():
    model = Counting().train()
    teacher = LiveTeacher(
        model, lambda clips: clips, None, autocast_for("fp32", torch.device("cpu"))
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    clips = OURS(pixels()).requires_grad_()
    first, second = teacher(clips), teacher(clips)
    assert torch.equal(first, second) and not first.requires_grad
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_outputs_in_the_order_of_the_learner_and_never_halved():
    model = Counting()
    clips = OURS(pixels())
    plain = LiveTeacher(model, lambda clips: clips, None, autocast_for("bf16", clips.device))
    turned = LiveTeacher(
        model, lambda clips: clips, [2, 0, 3, 1], autocast_for("bf16", clips.device)
    )
    assert plain(clips).dtype == torch.float32
    assert torch.equal(turned(clips), plain(clips)[:, [2, 0, 3, 1]])
