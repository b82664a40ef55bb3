"""Dropout of UniFormers: where it is, as published, and that a rate of 0 leaves no trace."""

import pytest
import torch
from plain_blocks import KINDS, small_input, small_model
from torch.nn import functional as F

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.models.layers import Attention, Dropout
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.runs import build_model

RATES = {"dropout_rate": 0.1, "attention_dropout_rate": 0.2, "head_dropout_rate": 0.3}
FFN = ["mlp.drop"] * 2
ATTENTION = ["attn", "attn.proj_drop"]
# The places of a block in the order in which they are passed.
BLOCKS = {
    "local": FFN,
    "joint": [*ATTENTION, *FFN],
    "divided": ["t_attn", "t_attn.proj_drop", *ATTENTION, *FFN],
}


@pytest.fixture
def places(monkeypatch):
    """A function: model, clip -> [(name of the place, rate)] of a pass, those without a rate left out."""

    def passed(model, clip):
        found = []
        current = {"block": ""}
        names = {id(module): name for name, module in model.named_modules()}
        dropout, attention = F.dropout, F.scaled_dot_product_attention
        forward, mix = Dropout.forward, Attention.mix

        def noted(self, tokens):
            before = len(found)
            out = forward(self, tokens)
            found[before:] = [(names[id(self)], rate) for _, rate in found[before:]]
            return out

        def mixing(self, *tensors):
            current["block"] = names[id(self)]
            return mix(self, *tensors)

        def drop(tokens, rate, *rest):
            found.append(("", rate))
            return dropout(tokens, rate, *rest)

        def attend(*tensors, dropout_p, scale):
            found.extend([(current["block"], dropout_p)] if dropout_p else [])
            return attention(*tensors, dropout_p=dropout_p, scale=scale)

        with monkeypatch.context() as patch:
            patch.setattr(Dropout, "forward", noted)
            patch.setattr(Attention, "mix", mixing)
            patch.setattr(F, "dropout", drop)
            patch.setattr(F, "scaled_dot_product_attention", attend)
            model(clip)
        return found

    return passed


@pytest.mark.parametrize("kind", ["joint", "divided"])
def test_dropout_stands_where_the_published_models_have_it(places, kind):
    model = small_model(kind, **RATES).train()
    expected = ["pos_drop"]
    for stage, depth in enumerate(model.arguments["depths"], start=1):
        inside = BLOCKS["local" if stage <= 2 else kind]
        expected += [f"blocks{stage}.{i}.{place}" for i in range(depth) for place in inside]
    expected += ["head_drop"]
    rates = {"attn": 0.2, "t_attn": 0.2, "head_drop": 0.3}
    found = places(model, small_input(kind))
    assert found == [(name, rates.get(name.rpartition(".")[2], 0.1)) for name in expected]
    assert places(model.eval(), small_input(kind)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_rate_changes_training_alone_and_no_weight(kind):
    plain, dropped = small_model(kind), small_model(kind, **RATES)
    assert dropped.state_dict().keys() == plain.state_dict().keys()
    assert dropped.arguments == plain.arguments
    clip = small_input(kind)
    with torch.no_grad():
        assert torch.equal(dropped.eval()(clip), plain.eval()(clip))
        outputs = dropped.train().training_outputs(clip)
        for first, second in zip(outputs, dropped.training_outputs(clip), strict=True):
            assert not torch.equal(first, second)
        for rate in RATES:  # each alone
            model = small_model(kind, **{rate: 0.5}).train()
            assert not torch.equal(model(clip), model(clip)), rate


def test_without_a_rate_nothing_is_drawn_and_no_operation_is_added():
    clip = small_input("joint")
    model = small_model("joint").train()
    before = torch.get_rng_state()
    model(clip)
    assert torch.equal(torch.get_rng_state(), before)
    exported = torch.export.export(small_model("joint", **RATES).eval(), (clip,))
    assert not [node for node in exported.graph.nodes if "dropout" in str(node.target)]


def test_the_mean_of_attention_stays_what_it_was():
    torch.manual_seed(0)
    layer = Attention(8, 4, 0.5).train()
    tokens = torch.randn(1, 6, 8)
    dropped = torch.stack([layer(tokens) for _ in range(2000)]).mean(0)
    torch.testing.assert_close(dropped, layer.eval()(tokens), atol=0.05, rtol=0)


def test_the_settings_reach_the_model(tiny):
    keys = ("UNIFORMER.DROPOUT_RATE", "UNIFORMER.ATTENTION_DROPOUT_RATE")
    given = [*tiny(), keys[0], "0.1", keys[1], "0.2", "UNIFORMER.HEAD_DROPOUT_RATE", "0.3"]
    model, _ = build_model.build_model(
        load_config(overrides=[*given, "MODEL.DROPOUT_RATE", "0.9"]), 3
    )
    assert model.pos_drop.p == model.blocks1[0].mlp.drop.p == model.blocks3[0].attn.proj_drop.p
    assert model.pos_drop.p == 0.1 and model.blocks4[0].attn.attention_dropout == 0.2
    assert model.head_drop.p == 0.3
    with pytest.raises(ConfigError, match=r"UNIFORMER.DROPOUT_RATE is 1.0; .* below 1"):
        load_config(overrides=[keys[0], "1.0"])


@pytest.mark.parametrize("rate", RATES)
def test_a_rate_is_a_share(rate):
    with pytest.raises(ConfigError, match=f"^{rate} is at least 0 and below 1, got 1$"):
        UniFormer(2, [8, 8, 8, 8], [1, 1, 1, 1], 8, **{rate: 1})
