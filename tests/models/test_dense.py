"""Models for pixels: published outputs, attention within windows by plain loops, odd sizes, and training."""

import copy
import itertools

import parity
import pytest
import torch
from plain_blocks import randomised
from torch import nn
from torch.nn import functional as F

import uniformer_video as uv
from uniformer_video.errors import ConfigError
from uniformer_video.models.dense.backbone import LightPyramid, Pyramid
from uniformer_video.models.dense.layers import bilinear
from uniformer_video.models.dense.neck import FeaturePyramid, PyramidWithNeck
from uniformer_video.models.dense.segmentation import LightSemanticFPN, SemanticFPN, UperNet
from uniformer_video.models.dense.windows import WindowBlock
from uniformer_video.models.light import HourglassBlock
from uniformer_video.models.shapes import shapes_only
from uniformer_video.zoo.registry import find_model

SIZES = {"embed_dims": [4, 8, 8, 16], "depths": [1, 1, 4, 1], "head_dim": 4}
LIGHT_SIZES = {**SIZES, "depths": [1, 1, 3, 2]}
CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def image(*sides, batch=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, *sides, dtype=torch.float64, generator=generator)


def small(family, **options):
    torch.manual_seed(0)
    return randomised(family(**options).double()).eval()


class Pose(nn.Module):
    """The published top-down head on the last map: three transposed convolutions and a linear layer."""

    def __init__(self, backbone, channels, joints):
        super().__init__()
        self.backbone, self.keypoint_head = backbone, nn.Module()
        layers = []
        for each in (channels, 256, 256):
            up = nn.ConvTranspose2d(each, 256, 4, stride=2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(256), nn.ReLU()]
        self.keypoint_head.deconv_layers = nn.Sequential(*layers)
        self.keypoint_head.final_layer = nn.Conv2d(256, joints, 1)

    def forward(self, x):
        head = self.keypoint_head
        return head.final_layer(head.deconv_layers(self.backbone(x)[-1]))


def published_model(name):
    """The model of a case, without weights."""
    facts, _ = parity.dense_case(name)
    model, attention = parity.DENSE_CASES[name]
    with shapes_only():
        if facts["task"] == "segmentation":
            return uv.create_model(model, num_classes=facts["num_classes"], **attention).eval()
        backbone = uv.create_backbone(model, **attention)
        if facts["task"] == "pose":
            return Pose(backbone, backbone.channels[-1], facts["joints"]).eval()
        return backbone.eval()


def outputs_of(model, x, task):
    """Its outputs on `x` by their names in the cases."""
    if task == "backbone":
        return {f"stage{stage}": each for stage, each in enumerate(model(x), start=1)}
    if task == "pose":
        return {"heatmaps": model(x)}
    logits, *auxiliary = model.training_outputs(x)
    found = {"logits": logits, "resized_logits": bilinear(logits, x.shape[2:])}
    if auxiliary:
        (found["auxiliary_logits"],) = auxiliary
    if hasattr(model, "neck"):
        maps = model.neck(model.backbone(x))
        found |= {f"neck{level}": each for level, each in enumerate(maps, start=1)}
    return found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.endswith("512") else [])
        for name in parity.DENSE_CASES
    ],
)
def test_published_outputs(name, two_threads):
    facts, expected = parity.dense_case(name)
    model = published_model(name)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == facts["keys"]
    assert sum(p.numel() for p in model.parameters()) == facts["params"]
    model.load_state_dict(parity.state(facts["keys"]), assign=True)  # in float64
    x = parity.clip(facts["input"])
    with torch.no_grad():
        found = outputs_of(model, x, facts["task"])
    assert set(found) == set(expected)
    for key, values in expected.items():
        told = facts["outputs"][key]
        assert list(found[key].shape) == told["shape"]
        part = found[key].flatten()[:: told["stride"]]
        error = (part - torch.from_numpy(values)).abs().max() / told["absmax"]
        assert error < 1e-11, (key, error)
        assert found[key].sum().item() == pytest.approx(told["sum"], rel=1e-9, abs=1e-8)


PARAMETERS = {
    "semantic_fpn_uniformer_xxs": 13_536_710,
    "semantic_fpn_uniformer_xs": 19_733_398,
    "semantic_fpn_uniformer_s": 25_299_926,
    "semantic_fpn_uniformer_b": 53_531_222,
    "upernet_uniformer_s": 51_521_132,
    "upernet_uniformer_b": 79_752_428,
}
BACKBONES = {"s": 21_033_280, "b": 49_264_576, "xxs": 9_317_168, "xs": 15_483_136}


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters():
    with shapes_only():
        assert {name: count(uv.create_model(name, 150)) for name in PARAMETERS} == PARAMETERS
        found = {size: count(uv.create_backbone(f"uniformer_{size}")) for size in BACKBONES}
    assert found == BACKBONES


@pytest.mark.parametrize(
    ("name", "case", "channels"),
    [
        ("uniformer_s", "backbone_s_windows14", (64, 128, 320, 512)),
        ("uniformer_xxs", "backbone_xxs", (56, 112, 224, 448)),
    ],
)
def test_keys_and_shapes_of_published_detectors(name, case, channels):
    """Mask R-CNN and Cascade Mask R-CNN: all of their backbone and neck, and nothing else."""
    facts, _ = parity.dense_case(case)
    published = {f"backbone.{key}": shape for key, shape in facts["keys"].items()}
    for level, each in enumerate(channels):
        for part, side, width in (("lateral_convs", 1, each), ("fpn_convs", 3, 256)):
            published[f"neck.{part}.{level}.conv.weight"] = [256, width, side, side]
            published[f"neck.{part}.{level}.conv.bias"] = [256]
    with shapes_only():
        model = uv.create_backbone(name, out="fpn")
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == published


def test_maps_as_detectors_ask_for_them():
    """A tuple of maps from fine to coarse, which necks of MMDetection take."""
    pyramid = uv.create_backbone("uniformer_s", out="pyramid", window=14, hybrid=True).eval()
    with torch.no_grad():
        maps = pyramid(torch.zeros(1, 3, 96, 160))
    assert isinstance(maps, tuple)
    assert [each.shape[1] for each in maps] == pyramid.channels == [64, 128, 320, 512]
    for each, stride in zip(maps, pyramid.strides, strict=True):
        assert each.shape[2:] == (96 // stride, 160 // stride)
    assert not hasattr(pyramid, "init_weights")  # MMDetection would call it behind the checkpoint


def window_block_by_loops(block, tokens):
    """One image at a time, one window at a time: `[B, H, W, C]` -> the same."""
    tokens = tokens + block.pos_embed(tokens)
    normed, window = block.norm1(tokens), block.window
    _, height, width, channels = tokens.shape
    related = torch.zeros_like(tokens)
    for number in range(len(tokens)):
        for top in range(0, height, window):
            for left in range(0, width, window):
                inside = normed[number, top : top + window, left : left + window]
                filled = tokens.new_zeros(window, window, channels)
                filled[: inside.shape[0], : inside.shape[1]] = inside
                out = block.attn(filled.view(1, -1, channels)).view(window, window, channels)
                place = related[number, top : top + window, left : left + window]
                place.copy_(out[: inside.shape[0], : inside.shape[1]])
    gamma_1, gamma_2 = (1 if g is None else g for g in (block.gamma_1, block.gamma_2))
    tokens = tokens + gamma_1 * related
    return tokens + gamma_2 * block.mlp(block.norm2(tokens))


@pytest.mark.parametrize("layer_scale", [None, 0.3])
@pytest.mark.parametrize("grid", [(6, 6), (3, 3), (2, 3), (5, 7), (1, 8), (4, 2)])
def test_window_block(grid, layer_scale):
    block = small(
        WindowBlock,
        window=3,
        channels=8,
        ndim=2,
        head_dim=4,
        mlp_ratio=2.0,
        drop_path=0.0,
        layer_scale=layer_scale,
    )
    tokens = torch.randn(2, *grid, 8, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(block(tokens), window_block_by_loops(block, tokens), **CLOSE)
        maps = block.attention_maps(tokens)
    windows = -(-grid[0] // 3) * -(-grid[1] // 3)
    assert maps.shape == (2, windows, 2, 9, 9)
    torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]), **CLOSE)


def windowed(model):
    return [isinstance(block, WindowBlock) for block in model.blocks3]


@pytest.mark.parametrize("depth", [1, 3, 4, 5, 8, 20])
def test_which_blocks_attend_within_windows(depth):
    sizes = {**SIZES, "depths": [1, 1, depth, 5]}
    with shapes_only():
        whole, windows = Pyramid(**sizes), Pyramid(**sizes, window=32)
        hybrid = Pyramid(**sizes, window=32, hybrid=True)
    assert windowed(whole) == [False] * depth
    assert windowed(windows) == [True] * depth
    assert windowed(hybrid) == [(place + 1) % 4 != 0 for place in range(depth)]
    for model in (whole, windows, hybrid):
        assert not any(isinstance(block, WindowBlock) for block in model.blocks4)
    assert {block.window for block in hybrid.blocks3 if isinstance(block, WindowBlock)} == {32}


def test_the_window_of_a_hybrid_is_14_by_default():
    with shapes_only():
        assert Pyramid(**SIZES, hybrid=True).window == 14


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "over the whole map"),
        ({"window": 32}, "within windows of 32 tokens"),
        (
            {"window": 14, "hybrid": True},
            "within windows of 14 tokens, over the whole map in every fourth block",
        ),
    ],
)
def test_attention_in_words(options, told):
    with shapes_only():
        for name in ("semantic_fpn_uniformer_s", "upernet_uniformer_s"):
            model = uv.create_model(name, num_classes=3, **options)
            assert find_model(name).family.facts(model) == {"attention": told}
        light = uv.create_model("semantic_fpn_uniformer_xxs", num_classes=3)
    assert find_model("semantic_fpn_uniformer_xxs").family.facts(light) == {}


def test_one_checkpoint_serves_all_attention():
    whole, x = small(Pyramid, **SIZES), image(96, 160)
    state, found = whole.state_dict(), {"whole": whole(x)}
    for window in (2, 4, 10, 32):
        for hybrid in (False, True):
            model = small(Pyramid, **SIZES, window=window, hybrid=hybrid)
            model.load_state_dict(state)
            found[window, hybrid] = model(x)
    for maps in found.values():
        assert torch.equal(maps[0], found["whole"][0]) and torch.equal(maps[1], found["whole"][1])
    thirds = [maps[2] for maps in found.values()]
    for place, one in enumerate(thirds):
        assert all((one - other).abs().max() > 1e-6 for other in thirds[place + 1 :])


def test_a_map_of_the_size_of_the_window_is_global():
    whole, x = small(Pyramid, **SIZES), image(96, 96)  # stage 3: 6x6
    windows = small(Pyramid, **SIZES, window=6)
    windows.load_state_dict(whole.state_dict())
    for ours, expected in zip(windows(x), whole(x), strict=True):
        torch.testing.assert_close(ours, expected, **CLOSE)


@pytest.mark.parametrize("family", [SemanticFPN, UperNet, LightSemanticFPN])
@pytest.mark.parametrize("sides", [(64, 64), (33, 75), (100, 130), (127, 61)])
def test_odd_sizes_and_batches(family, sides):
    sizes = LIGHT_SIZES if family is LightSemanticFPN else {**SIZES, "window": 3, "hybrid": True}
    model = small(family, num_classes=5, **sizes, head_channels=8)
    x = image(*sides, batch=3)
    with torch.no_grad():
        logits = model(x)
        alone = torch.cat([model(each[None]) for each in x])
        maps = model.backbone(x)
    assert logits.shape == (3, 5, *maps[0].shape[2:])
    torch.testing.assert_close(logits, alone, **CLOSE)
    if family is not LightSemanticFPN:  # whose stem rounds up
        assert logits.shape[2:] == tuple(side // 4 for side in sides)
        for fine, coarse in itertools.pairwise(maps):
            assert coarse.shape[2:] == tuple(side // 2 for side in fine.shape[2:])


def test_maps_are_the_stages_behind_their_norms():
    model, x = small(Pyramid, **SIZES), image(64, 96)
    tokens = [each for (each,) in model.forward_stages(x)]
    for stage, (ours, each) in enumerate(zip(model(x), tokens, strict=True), start=1):
        norm = getattr(model, f"norm{stage}")
        expected = F.layer_norm(each, each.shape[-1:], norm.weight, norm.bias, 1e-6)
        torch.testing.assert_close(ours, expected.movedim(-1, 1), **CLOSE)
    assert model.channels == SIZES["embed_dims"]
    assert model.strides == [4, 8, 16, 32]
    assert not [key for key in model.state_dict() if key.startswith(("norm.", "head"))]


def test_neck_with_its_fifth_map():
    torch.manual_seed(0)
    model = PyramidWithNeck(Pyramid(**SIZES), 6).double().eval()
    maps = model(image(100, 140))
    assert list(maps) == ["0", "1", "2", "3", "pool"]
    assert [tuple(each.shape[1:]) for each in maps.values()] == [
        (6, 25, 35),
        (6, 12, 17),
        (6, 6, 8),
        (6, 3, 4),
        (6, 2, 2),
    ]
    assert torch.equal(maps["pool"], maps["3"][:, :, ::2, ::2])
    assert (model.out_channels, model.channels, model.strides) == (6, [6] * 5, [4, 8, 16, 32, 64])


def test_neck_by_hand():
    """Nearest positions: map of 5 columns from one of 2."""
    neck = FeaturePyramid([1, 1], 1)
    for conv in (*neck.lateral_convs, *neck.fpn_convs):
        nn.init.zeros_(conv.conv.weight)
        side = conv.conv.weight.shape[-1] // 2
        conv.conv.weight.data[..., side, side] = 1
    fine, coarse = torch.zeros(1, 1, 1, 5), torch.tensor([[[[10.0, 20.0]]]])
    found = neck([fine, coarse])
    assert found[0].flatten().tolist() == [10, 10, 10, 20, 20]
    assert found[1].flatten().tolist() == [10, 20]


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (Pyramid, {"window": 3, "hybrid": True}),
        (Pyramid, {}),
        (LightPyramid, {"depths": [1, 1, 3, 2]}),
    ],
    ids=["hybrid", "global", "light"],
)
def test_recomputed_activations_change_no_gradient(family, options):
    options = {**SIZES, **options, "drop_path_rate": 0.3}
    found = []
    for blocks in ((0, 0, 0, 0), (0, 0, 2, 1)):
        model = small(family, **options, checkpoint_blocks=blocks).train()
        torch.manual_seed(2)
        loss = sum(each.square().sum() for each in model(image(64, 96, batch=2)))
        loss.backward()
        found.append((loss, [parameter.grad for parameter in model.parameters()]))
    (loss, gradients), (other_loss, other_gradients) = found
    torch.testing.assert_close(loss, other_loss, **CLOSE)
    for ours, other in zip(gradients, other_gradients, strict=True):
        torch.testing.assert_close(ours, other, **CLOSE)


def test_stochastic_depth_is_drawn_per_image_not_per_window():
    block = small(
        WindowBlock, window=2, channels=8, ndim=2, head_dim=4, mlp_ratio=2.0, drop_path=0.5
    ).train()
    tokens = torch.randn(1, 4, 6, 8, dtype=torch.float64).expand(64, -1, -1, -1)
    torch.manual_seed(0)
    kinds = {tuple(each.flatten().tolist()) for each in block(tokens).detach()}
    assert len(kinds) == 4  # either branch dropped or kept


def test_heads_start_as_published():
    torch.manual_seed(0)
    model = UperNet(200, **SIZES, head_channels=32, auxiliary_channels=32)
    for head in (model.decode_head, model.auxiliary_head):
        assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not head.conv_seg.bias.any()
    kernel = model.decode_head.fpn_bottleneck.conv.weight
    assert kernel.std().item() == pytest.approx((2 / (kernel.shape[0] * 9)) ** 0.5, rel=0.05)
    neck = SemanticFPN(3, **SIZES).neck
    assert not any(conv.conv.bias.any() for conv in neck.lateral_convs)
    weights = neck.fpn_convs[0].conv.weight
    assert weights.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.05)


def test_only_upernet_has_an_auxiliary_loss():
    upernet = small(UperNet, num_classes=3, **SIZES, head_channels=8, auxiliary_channels=8)
    fpn = small(SemanticFPN, num_classes=3, **SIZES, head_channels=8)
    x = image(64, 64)
    assert [tuple(each.shape) for each in upernet.training_outputs(x)] == [
        (1, 3, 16, 16),
        (1, 3, 4, 4),
    ]
    assert len(fpn.training_outputs(x)) == 1
    assert (fpn.output_weights, upernet.output_weights) == ((1.0,), (1.0, 0.4))
    before = upernet(x)
    other = copy.deepcopy(upernet)
    nn.init.zeros_(other.auxiliary_head.conv_seg.weight)
    assert torch.equal(other(x), before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pyramid(**SIZES, window=-1), "window is the side of attention's windows"),
        (lambda: Pyramid(**SIZES, window=7.5), "window is the side of attention's windows"),
        (lambda: LightPyramid(**LIGHT_SIZES, window=14), "leave window and hybrid out"),
        (lambda: LightPyramid(**LIGHT_SIZES, hybrid=True), "leave window and hybrid out"),
        (lambda: SemanticFPN(0, **SIZES), "num_classes is a whole number of at least 1"),
        (lambda: SemanticFPN(2, **SIZES, head_channels=0), "head_channels is a whole number"),
    ],
)
def test_refused_arguments(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("ndim", [2, 3])
def test_dropped_tokens_of_images_have_a_factor_of_their_own(ndim):
    """In images alone, and in blocks that drop tokens alone."""
    for keep, expected in ((1.0, False), (0.5, ndim == 2)):
        block = HourglassBlock(8, ndim, 4, 2.0, 0.0, 0.1, keep, 0.5)
        assert (block.gamma_3 is not None) == expected
    assert HourglassBlock(8, 2, 4, 2.0, 0.0, None, 0.5, 0.5).gamma_3 is None
    light = LightPyramid(**LIGHT_SIZES, layer_scale=True, init_value=0.25)
    assert [block.gamma_3 is None for block in light.blocks3] == [True, False, False]
    assert light.blocks4[0].gamma_3.unique().item() == 0.25
