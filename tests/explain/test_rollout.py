"""Attention rollout against whole matrices by hand, and the attention against the module's own output."""

import pytest
import torch

from uniformer_video import create_model
from uniformer_video.errors import ConfigError
from uniformer_video.explain.gradcam import gradcam
from uniformer_video.explain.rollout import _entered, check_rollout, rollout
from uniformer_video.models.layer_maps import find_layer
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer

SMALL = ((8, 16, 16, 32), (1, 1, 2, 1), 8)


def small(kind=UniFormer, **options):
    torch.manual_seed(0)
    model = kind(3, *SMALL, **options).eval()
    for name, weight in model.named_parameters():
        if "qkv.weight" in name:  # else attention is next to even
            torch.nn.init.normal_(weight, std=1.0)
    return model


@pytest.fixture(scope="module")
def view():
    return torch.randn(1, 3, 4, 64, 64, generator=torch.Generator().manual_seed(1))


def test_the_attention_is_that_of_the_module(view):
    """attention @ value, projected, is what the module gives: its weights, and no others."""
    for block, flow in _entered(small(), view):
        tokens = block.norm1((flow[0] + block.pos_embed(flow[0])).flatten(1, -2))
        _, _, value = block.attn.heads(tokens)
        mixed = (block.attention_maps(*flow) @ value).transpose(1, 2).flatten(2)
        torch.testing.assert_close(block.attn.proj(mixed), block.attn(tokens), atol=1e-5, rtol=1e-4)


def half(attention):
    return 0.5 * attention.mean(1)[0] + 0.5 * torch.eye(attention.shape[-1])


def test_rollout_is_the_product_of_all_blocks(view):
    model = small()
    with torch.no_grad():
        first, second, last = (
            half(model.get_attention(view, stage, block))
            for stage, block in ((3, 0), (3, 1), (4, 0))
        )
    down = torch.zeros(2 * 2 * 2, 2 * 4 * 4)  # what each token of stage 4 is made of
    for row in range(8):
        t, h, w = row // 4, row // 2 % 2, row % 2
        for i in (0, 1):
            for j in (0, 1):
                down[row, t * 16 + (2 * h + i) * 4 + 2 * w + j] = 0.25
    expected = (last @ down @ second @ first).mean(0)
    found = rollout(model, view)
    assert found.shape == (2, 4, 4)
    torch.testing.assert_close(found.flatten(), expected)
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    assert float(found.max() / found.min()) > 1.05  # not even


def test_light_models_keep_what_merged_tokens_and_the_class_token_have(view):
    """The full attention of a light model says who draws on a merged token; its class token has no place."""
    found = rollout(small(LightUniFormer), view)
    assert found.shape == (2, 4, 4) and (found > 0).all()
    assert 0.5 < float(found.sum()) < 1


def test_odd_grids_lose_nothing():
    """Of 7 x 7 tokens the stage before the last has, its 2 x 2 patches leave out the last row and column."""
    found = rollout(small(), torch.randn(1, 3, 4, 112, 112))
    assert found.shape == (2, 7, 7) and float(found.sum()) == pytest.approx(1, abs=1e-5)
    found = rollout(small(conv_embeds=4), torch.randn(1, 3, 4, 112, 112))
    assert found.shape == (2, 7, 7) and float(found.sum()) == pytest.approx(1, abs=1e-5)


def test_models_without_joint_attention_are_refused():
    with pytest.raises(ConfigError, match="by turns"):
        check_rollout(small(split=True))
    with pytest.raises(ConfigError, match="Sequential has none; take gradcam or occlusion"):
        check_rollout(torch.nn.Sequential())


def test_mvit_has_maps_of_its_tokens():
    pytest.importorskip("pytorchvideo")
    torch.manual_seed(0)
    model = create_model("mvit_base_16x4", num_classes=3, num_frames=4, crop_size=32).eval()
    view = torch.randn(1, 3, 4, 32, 32)
    assert gradcam(model, view, 1, find_layer(model, 1)).shape == (2, 8, 8)
    heat = gradcam(model, view, 1, find_layer(model))
    assert heat.shape == (2, 1, 1)
    with pytest.raises(ConfigError, match="only the class token counts"):
        gradcam(model, view, 1, f"blocks.{len(model.blocks) - 1}")
    with pytest.raises(ConfigError, match="mvit_base_16x4 has none"):
        check_rollout(model)
