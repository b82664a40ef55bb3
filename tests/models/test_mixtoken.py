"""The training pass of token labelling: MixToken against the published one, and what it leaves alone."""

import parity
import pytest
import torch
from recorded_token_labels import recorded_pass

from uniformer_video.errors import ConfigError
from uniformer_video.models.mixtoken import box_of_last_stage, inside
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.zoo.create import create_model

NOTHING = torch.zeros(4, dtype=torch.int64)
SMALL = {"embed_dims": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "head_dim": 8, "ndim": 2}


def small(**options):
    torch.manual_seed(0)
    return UniFormer(5, **{**SMALL, "aux_head": True, **options}).double().eval()


def test_published_pass(two_threads):
    facts, recorded = parity.image_facts("mixtoken_small")
    box = torch.tensor(facts["box_stage1_grid"])
    assert box_of_last_stage(box).tolist() == facts["box_tokens"]
    for name, found in zip(("class_logits", "token_logits"), recorded_pass(), strict=True):
        assert list(found.shape) == facts[name]["shape"]
        expected = torch.from_numpy(recorded[name])
        at = found.flatten()[:: facts[name]["stride"]]
        assert float((at - expected).abs().max() / expected.abs().max()) < 1e-9


@pytest.mark.parametrize("options", [{}, {"conv_embeds": 4, "head_dim": 4}, {"layer_scale": True}])
def test_without_a_box_the_outputs_are_those_of_the_heads(options):
    model, images = small(**options), parity.clip([3, 3, 64, 96])
    with torch.no_grad():
        class_logits, token_logits = model.training_outputs(images, NOTHING)
        logits, (alone,) = model(images), model.training_outputs(images)
    assert class_logits.shape == (3, 5) and token_logits.shape == (3, 6, 5)
    assert torch.equal(logits, alone)  # in training as in evaluation
    assert torch.equal(logits, class_logits + 0.5 * token_logits.amax(1))


def test_a_box_of_all_tokens_exchanges_the_images():
    """The class logits are then the partner's, and the token logits, put back, one's own."""
    model, images = small(), parity.clip([3, 3, 64, 64])
    with torch.no_grad():
        plain, tokens = model.training_outputs(images, NOTHING)
        mixed, back = model.training_outputs(images, torch.tensor([0, 0, 16, 16]))
    torch.testing.assert_close(mixed, plain.flip(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(back, tokens, rtol=0, atol=1e-12)


def test_only_what_is_inside_is_exchanged():
    box = torch.tensor([1, 0, 3, 2])
    expected = torch.zeros(4, 3, dtype=torch.bool)
    expected[1:3, :2] = True
    assert torch.equal(inside(box, 4, 3), expected)
    assert not inside(NOTHING, 4, 3).any()


def test_other_models_have_no_token_labelling():
    with pytest.raises(ConfigError, match="aux_head"):
        small(aux_head=False).training_outputs(torch.zeros(1, 3, 32, 32).double(), NOTHING)
    light = create_model("image_uniformer_xxs", num_classes=2)
    with pytest.raises(ConfigError, match="image_uniformer_s_tl"):
        light.training_outputs(torch.zeros(1, 3, 32, 32), NOTHING)


def test_every_parameter_learns_from_a_mixed_batch():
    model = small().train()
    outputs = model.training_outputs(parity.clip([4, 3, 64, 64]), torch.tensor([3, 2, 9, 12]))
    sum(each.square().sum() for each in outputs).backward()
    assert not [name for name, each in model.named_parameters() if each.grad is None]
