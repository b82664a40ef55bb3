"""Feature maps, the parts of the forward pass that timm's users expect, and attention maps."""

import pytest
import torch
from plain_blocks import (
    KINDS,
    attention,
    divided_block,
    hourglass_block,
    layer_norm,
    small_input,
    small_model,
    sub,
    with_position,
)

from uniformer_video.errors import ConfigError
from uniformer_video.models.features import FeatureExtractor
from uniformer_video.models.shapes import shapes_only
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.zoo.create import create_model

DIMS = [4, 8, 8, 16]
SOME = ["joint", "divided", "image", "light", "image_light", "stems_aux"]
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("kind", SOME)
def test_feature_maps(kind):
    model, clip = small_model(kind).eval(), small_input(kind, size=(96, 64))
    flows = model.forward_stages(clip)
    extractor = FeatureExtractor(model)
    maps = extractor(clip)
    assert extractor.channels == DIMS == [features.shape[1] for features in maps]
    for features, strides, flow in zip(maps, extractor.strides, flows, strict=True):
        sides = zip(clip.shape[2:], strides, strict=True)
        assert list(features.shape[2:]) == [side // stride for side, stride in sides]
        assert torch.equal(features.movedim(1, -1), flow[0])
    time = [] if model.ndim == 2 else [2]
    assert [list(strides) for strides in extractor.strides] == [
        [*time, side, side] for side in (4, 8, 16, 32)
    ]


def test_chosen_stages_run_no_further():
    model, clip = small_model("joint").eval(), small_input("joint")
    every = FeatureExtractor(model)(clip)
    model.blocks4 = None
    extractor = FeatureExtractor(model, out_stages=(1, 3))
    assert extractor.channels == [4, 8]
    assert extractor.strides == [(2, 4, 4), (2, 16, 16)]
    maps = extractor(clip)
    assert torch.equal(maps[0], every[0])
    assert torch.equal(maps[1], every[2])


def test_features_by_name():
    with shapes_only():
        for name in ("uniformer_s", "uniformer_xxs", "image_uniformer_s_tl"):
            extractor = create_model(name, features_only=True)
            assert extractor.strides[0][-1] == 4
            assert not any("head" in key for key in extractor.state_dict())


@pytest.mark.parametrize("kind", SOME)
def test_parts_of_the_forward_pass(kind):
    model, clip = small_model(kind).eval(), small_input(kind)
    tokens = model.forward_features(clip)
    assert tokens.shape == (2, *tokens.shape[1:-1], 16)
    assert torch.equal(model.forward_head(tokens), model(clip))
    pooled = model.forward_head(tokens, pre_logits=True)
    torch.testing.assert_close(pooled, tokens.flatten(1, -2).mean(1), **CLOSE)


@pytest.mark.parametrize("kind", SOME)
def test_a_model_without_classifier_gives_its_pooled_features(kind):
    model, clip = small_model(kind).eval(), small_input(kind)
    pooled = model.forward_head(model.forward_features(clip), pre_logits=True)
    model.reset_classifier(0)
    if not model.arguments["aux_head"]:
        torch.testing.assert_close(model(clip), pooled, **CLOSE)
    assert not any(key in model.state_dict() for key in model.head_keys)
    model.reset_classifier(3)
    assert model(clip).shape == (2, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_heads_and_of_undecayed_parameters(kind):
    model = small_model(kind)
    heads = {"head"} | ({"head_cls"} if "light" in kind else set())
    heads |= {"aux_head"} if "aux" in kind else set()
    assert set(model.classifiers()) == heads
    assert set(model.head_keys) == {f"{h}.{part}" for h in heads for part in ("weight", "bias")}
    assert model.head_keys[0] == "head.weight"
    assert set(model.head_keys) <= set(model.state_dict())
    names = dict(model.named_parameters())
    spared = model.no_weight_decay()
    assert spared <= set(names)
    assert {name for name in names if "pos_embed" in name and "weight" in name} <= spared
    assert {name for name in names if "gamma" in name} <= spared
    assert ("cls_token" in spared) == ("light" in kind)


@pytest.mark.parametrize("stage", [3, 4])
@pytest.mark.parametrize(
    "kind", ["joint", "image", "divided", "light", "light_scale", "image_light"]
)
def test_attention_maps(kind, stage):
    model, clip = small_model(kind).eval(), small_input(kind, size=(96, 64))
    heads = DIMS[stage - 1] // 4
    for number, block in enumerate(getattr(model, f"blocks{stage}")):
        seen = []
        hook = block.register_forward_pre_hook(lambda _, flow, seen=seen: seen.extend(flow))
        model(clip)
        hook.remove()
        maps = model.get_attention(clip, stage, number)
        torch.testing.assert_close(maps.sum(-1), torch.ones_like(maps[..., 0]), **CLOSE)
        _, *grid, _ = seen[0].shape
        count, space = torch.Size(grid).numel(), torch.Size(grid[-2:]).numel()
        shape = (2, heads, count, count)
        if kind == "divided":
            shape = (2, grid[0], heads, space, space)
        elif "light" in kind:
            shape = (2, heads, 1 + count, 1 + count)
        assert maps.shape == shape
        expected = [
            plain_maps(block, kind, [part[i : i + 1] for part in seen if part is not None])
            for i in range(2)
        ]
        torch.testing.assert_close(maps, torch.stack(expected), **CLOSE)


def plain_maps(block, kind, flow):
    """The maps of one sample, given what entered the block."""
    state, x = block.state_dict(), flow[0][0].movedim(-1, 0)
    if kind == "divided":
        return torch.stack([torch.stack(heads) for heads in divided_block(state, x, 4)[1]])
    if "light" in kind:
        importance = flow[2][0] if len(flow) == 3 else None
        settings = (4, block.keep_ratio, block.blend)
        return hourglass_block(state, x, flow[1][0, 0], importance, *settings)[3]
    rows = with_position(state, x).flatten(1).T
    rows = layer_norm(sub(state, "norm1"), rows, 1e-6)
    return torch.stack(attention(sub(state, "attn"), rows, 4)[1])


def test_the_last_block_is_the_usual_one():
    model, clip = small_model("light").eval(), small_input("light")
    last = model.get_attention(clip)
    assert torch.equal(last, model.get_attention(clip, stage=4, block=1))
    assert torch.equal(last, model.get_attention(clip, stage=4, block=-1))
    assert torch.equal(model.get_attention(clip, 3, -3), model.get_attention(clip, 3, 0))


@pytest.mark.parametrize(("stage", "block"), [(2, 0), (5, 0), (0, 0), (3, 2), (3, -3), (4, 1)])
def test_blocks_without_attention(stage, block):
    model = UniFormer(5, DIMS, [1, 1, 2, 1], 4)
    with pytest.raises(ConfigError, match=f"no attention in block {block} of stage {stage}"):
        model.get_attention(torch.zeros(1, 3, 4, 32, 32), stage, block)
