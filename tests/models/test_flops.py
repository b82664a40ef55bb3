"""Multiply-adds against hand counts, published figures and the figures that the zoo states."""

from functools import cache

import parity
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uniformer_video.models.flops import count_by_part, count_flops
from uniformer_video.zoo.create import build_network
from uniformer_video.zoo.peers import PEERS
from uniformer_video.zoo.registry import MODELS, find_model

pytestmark = pytest.mark.usefixtures("two_threads")
GIGA = 1e9


class Attend(nn.Module):
    """Queries of 6 tokens, keys of 4, in heads of 8 whose values have 5 channels."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        query = x.view(2, 3, 6, 8)
        return F.scaled_dot_product_attention(query, query[:, :, :4], query[:, :, :4, :5])


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Linear(5, 7), (2, 3, 5), 2 * 3 * 5 * 7),
        (nn.Conv3d(4, 6, 3, padding=1), (2, 4, 3, 5, 7), 2 * (3 * 5 * 7) * 6 * 4 * 27),
        (nn.Conv3d(4, 4, (3, 5, 5), padding=(1, 2, 2), groups=4), (1, 4, 2, 5, 7), 70 * 4 * 75),
        (Attend(), (2, 3, 6, 8), 2 * 3 * 6 * 4 * (8 + 5)),
        (nn.LayerNorm(8), (2, 3, 8), 5 * 2 * 3 * 8),
        (nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 2)), (3, 5), 3 * (35 + 14)),
    ],
    ids=["linear", "conv", "depthwise", "attention", "layer norm", "activation"],
)
def test_hand_counts(module, shape, expected):
    assert count_flops(module, shape) == expected


@cache
def counted(name, num_frames, side):
    known = find_model(name)
    options = {**known.figure_arguments, **known.family.options_for_clip(num_frames, side)}
    model = build_network(name, known.num_classes, **options)
    shape = (1, 3, num_frames, side, side) if num_frames else (1, 3, side, side)
    return count_flops(model, shape) / GIGA


@pytest.mark.parametrize(
    ("name", "num_frames", "side", "published"),
    [
        ("uniformer_s", 8, 224, 17.6),
        ("uniformer_s", 16, 224, 41.8),
        pytest.param("uniformer_s", 32, 224, 109.6, marks=pytest.mark.slow),
        pytest.param("uniformer_b", 8, 224, 40.2, marks=pytest.mark.slow),
        pytest.param("uniformer_b", 16, 224, 96.7, marks=pytest.mark.slow),
        pytest.param("uniformer_b", 32, 224, 259, marks=pytest.mark.slow),
        ("uniformer_xxs", 16, 128, 4.2),
        pytest.param("uniformer_xxs", 16, 160, 6.9, marks=pytest.mark.slow),
        pytest.param("uniformer_xxs", 32, 160, 15.4, marks=pytest.mark.slow),
        ("uniformer_xs", 32, 192, 33.9),
    ],
)
def test_published_figures(name, num_frames, side, published):
    assert counted(name, num_frames, side) == pytest.approx(published, rel=0.01)


def test_four_frames_as_far_as_the_published_digits_go():
    assert round(counted("uniformer_xxs", 4, 128), 1) == 1.0


QUICK = (
    "uniformer_xxs",
    "image_uniformer_xxs",
    "image_uniformer_s",
    "image_uniformer_s_tl",
    "x3d_xs",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MODELS],
)
def test_stated_figures(name):
    known = find_model(name)
    if known in PEERS:
        pytest.importorskip("pytorchvideo")
    figure = counted(name, known.num_frames, known.crop_size)
    assert figure == pytest.approx(known.gflops, rel=0.01)


# GFLOPs at 512x512 and 512x2048 of the published networks by the same count
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "window", "hybrid", "small", "large"),
    [
        ("semantic_fpn_uniformer_xxs", 0, False, 29.28, 132.91),
        ("semantic_fpn_uniformer_xs", 0, False, 32.89, 151.43),
        ("semantic_fpn_uniformer_s", 14, True, 44.18, 191.47),
        ("semantic_fpn_uniformer_s", 14, False, 43.89, 172.93),
        ("semantic_fpn_uniformer_s", 32, False, 45.06, 182.66),
        ("semantic_fpn_uniformer_s", 32, True, 45.06, 198.77),
        ("semantic_fpn_uniformer_s", 0, False, 45.06, 247.08),
        ("semantic_fpn_uniformer_b", 14, True, 73.77, 331.56),
        ("semantic_fpn_uniformer_b", 0, False, 75.97, 470.59),
        ("upernet_uniformer_s", 14, True, 233.49, 948.68),
        ("upernet_uniformer_s", 0, False, 234.37, 1004.29),
        ("upernet_uniformer_b", 14, True, 263.08, 1088.77),
        ("upernet_uniformer_b", 0, False, 265.29, 1227.80),
    ],
)
def test_segmentation_models(name, window, hybrid, small, large):
    attention = {"window": window, "hybrid": hybrid} if window else {}
    model = build_network(name, 150, **attention)
    for width, expected in ((512, small), (2048, large)):
        assert count_flops(model, (1, 3, 512, width)) / GIGA == pytest.approx(expected, rel=1e-3)


def test_parts_of_a_segmentation_model_as_the_published_network_has_them():
    told = parity.dense_case("fpn_xxs")[0]["flops"]["512x512"]
    found = count_by_part(build_network("semantic_fpn_uniformer_xxs", 150), (1, 3, 512, 512))
    assert found[""] == told["total"]
    assert found["backbone"] == told["by_part"]["backbone"]
    assert found["neck"] == told["by_part"]["neck"]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    sizes = {"embed_dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "head_dim": 8}
    model = build_network("uniformer_s", 3, **sizes).train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_flops(model, (1, 3, 4, 32, 32))
    assert all(module.training == training for module in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(parameter.grad is None for parameter in model.parameters())
