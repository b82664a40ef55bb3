import json
import math

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.runs import build
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.training.optim import CosineSchedule, adamw, parameter_groups
from uniformer_video.training.trainer import Trainer


def test_schedule():
    lr = CosineSchedule(1e-4, 1e-6, 1e-6, warmup_epochs=10, max_epoch=110)
    assert lr(0) == 1e-6
    assert lr(5) == pytest.approx((1e-6 + 1e-4) / 2)
    assert lr(9.999999) == pytest.approx(lr(10), rel=1e-5) == pytest.approx(1e-4)
    assert lr(60) == pytest.approx(1e-6 + (1e-4 - 1e-6) / 2)
    assert lr(110) == pytest.approx(1e-6)
    assert lr(35) == pytest.approx(1e-6 + (1e-4 - 1e-6) / 2 * (1 + math.cos(math.pi / 4)))
    assert CosineSchedule(1.0, 0.0, 0.0, 0, 10)(0) == 1.0


SIZES = {"embed_dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "head_dim": 8}


def groups(family=UniFormer, spare_model_list=False, **options):
    """The names of the parameters with weight decay, and of those without."""
    model = family(3, **SIZES, **options)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = parameter_groups(model, 0.05, spare_model_list)
    assert [group["weight_decay"] for group in found] == [0.05, 0.0]
    decayed, plain = ({names[id(p)] for p in group["params"]} for group in found)
    assert len(decayed) + len(plain) == len(names)
    return decayed, plain


def test_published_decay_groups():
    decayed, plain = groups()
    assert {"blocks1.0.conv1.weight", "blocks3.0.attn.qkv.weight", "head.weight"} <= decayed
    assert "blocks1.0.pos_embed.weight" in decayed
    assert all(name.endswith("bias") or "norm" in name for name in plain)
    assert {"blocks1.0.norm1.weight", "norm.bias", "patch_embed1.norm.weight"} <= plain


def test_position_kernels_can_be_spared():
    decayed, plain = groups(spare_model_list=True)
    assert not any("pos_embed" in name for name in decayed)
    assert "blocks3.0.pos_embed.weight" in plain
    assert "blocks1.0.attn.weight" in decayed


def test_published_light_runs_decay_class_token_and_local_layer_scale():
    """Local factors are [1, C, 1, 1, 1], global ones [C], and only one dimension is exempt."""
    decayed, plain = groups(LightUniFormer, layer_scale=True)
    assert {"cls_token", "blocks1.0.gamma_1", "blocks2.0.gamma_2"} <= decayed
    assert {"cls_upsample.weight", "head_cls.weight"} <= decayed
    assert {"blocks3.0.gamma_1", "blocks4.0.gamma_2", "norm_cls.weight", "head_cls.bias"} <= plain


def test_class_token_and_layer_scale_can_be_spared():
    decayed, plain = groups(LightUniFormer, spare_model_list=True, layer_scale=True)
    assert "cls_token" in plain
    assert not any("gamma_" in name or "pos_embed" in name for name in decayed)
    assert {"cls_upsample.weight", "head_cls.weight", "patch_embed1.proj.0.weight"} <= decayed


def test_adamw_spares_what_it_is_told_to():
    model = LightUniFormer(3, **SIZES)
    for spare in (False, True):
        first, second = adamw(model, 0.1, spare_model_list=spare).param_groups
        assert (first["weight_decay"], second["weight_decay"]) == (0.1, 0.0)
        group = second if spare else first
        assert any(parameter is model.cls_token for parameter in group["params"])


def test_adamw_constants():
    optimizer = adamw(torch.nn.Linear(2, 2), 0.1)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["eps"] == 1e-8


def test_learning_rates_are_scaled_by_group_and_the_base_rate_is_logged(
    tiny, monkeypatch, tmp_path, interrupt_after
):
    """Also when a run goes on from a checkpoint of before its groups had a scale."""
    cfg = load_config(overrides=tiny(TEST__ENABLE=False))
    rates, optimizer, original = [], build.build_optimizer, Trainer._update

    def scaled(cfg, model):
        made = optimizer(cfg, model)
        made.param_groups[1]["lr_scale"] = 0.5
        return made

    def update(self, progress, rows):
        rates.append([group["lr"] for group in self.state.optimizer.param_groups])
        return original(self, progress, rows)

    monkeypatch.setattr(Trainer, "_update", update)
    with interrupt_after(2), pytest.raises(Interrupted):
        run(cfg, "tiny")
    monkeypatch.setattr(build, "build_optimizer", scaled)
    run(cfg, "tiny")
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    logged = [line["lr"] for line in lines if line["kind"] == "train"]
    assert rates == [[lr, lr] for lr in logged[:2]] + [[lr, lr / 2] for lr in logged[2:]]
    assert len(logged) == 8
