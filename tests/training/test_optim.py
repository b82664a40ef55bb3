import json
import math

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.runs import build_training
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.training.optim import (
    SGD,
    CosineSchedule,
    StepSchedule,
    adamw,
    parameter_groups,
)
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


@pytest.mark.parametrize("after_warmup", [True, False])
def test_the_warmup_ends_where_the_cosine_is(after_warmup):
    lr = CosineSchedule(0.1, 0.0, 0.01, 34, 196, after_warmup)
    peak = 0.1 if after_warmup else 0.05 * (1 + math.cos(math.pi * 34 / 196))
    assert lr(17) == pytest.approx((0.01 + peak) / 2) and lr(34) == pytest.approx(peak)
    share = (98 - 34) / (196 - 34) if after_warmup else 98 / 196
    assert lr(98) == pytest.approx(0.05 * (1 + math.cos(math.pi * share)))


def by_steps(epoch, base, steps, factors, last, start, warmup):
    """PySlowFast's rule, in its own words."""

    def rate(epoch):
        later = [index for index, step in enumerate([*steps, last]) if epoch < step]
        return factors[later[0] - 1] * base

    if epoch < warmup:
        return epoch * (rate(warmup) - start) / warmup + start
    return rate(epoch)


def test_rates_in_steps_are_pyslowfasts():
    steps, factors = (0, 94, 154, 196), (1, 0.1, 0.01, 0.001)
    lr = StepSchedule(0.1, steps, factors, 0.01, 34)
    for tenth in range(2390):
        expected = by_steps(tenth / 10, 0.1, steps, factors, 239, 0.01, 34)
        assert lr(tenth / 10) == pytest.approx(expected, rel=1e-12)
    assert (lr(0), lr(94), lr(153.99), lr(238.9)) == (0.01, 0.1 * 0.1, 0.1 * 0.1, 0.001 * 0.1)
    assert StepSchedule(0.1, (0, 2), (1, 0.5), 0.0, 3)(3) == 0.05  # a warm-up over the first step


def test_the_schedule_and_the_optimiser_are_those_of_the_settings():
    given = {
        "SOLVER.BASE_LR": 0.2,
        "SOLVER.LR_POLICY": "steps_with_relative_lrs",
        "SOLVER.STEPS": "0,5",
        "SOLVER.LRS": "1,0.5",
        "SOLVER.WARMUP_EPOCHS": 2,
        "SOLVER.WARMUP_START_LR": 0.01,
        "SOLVER.OPTIMIZING_METHOD": "sgd",
        "SOLVER.MOMENTUM": 0.7,
        "SOLVER.DAMPENING": 0.1,
        "SOLVER.NESTEROV": False,
        "NUM_SHARDS": 2,
        "SOLVER.BASE_LR_SCALE_NUM_SHARDS": True,
    }
    cfg = load_config(overrides=[str(word) for pair in given.items() for word in pair])
    assert build_training.build_schedule(cfg) == StepSchedule(
        0.4, (0.0, 5.0), (1.0, 0.5), 0.02, 2.0
    )
    optimizer = build_training.build_optimizer(cfg, torch.nn.Linear(2, 2))
    found = [optimizer.defaults[key] for key in ("momentum", "dampening", "nesterov", "fused")]
    assert isinstance(optimizer, SGD) and found == [0.7, 0.1, False, True]
    betas = load_config(overrides=["SOLVER.BETAS", "0.9,0.95"])
    optimizer = build_training.build_optimizer(betas, torch.nn.Linear(2, 2))
    assert isinstance(optimizer, torch.optim.AdamW) and optimizer.defaults["betas"] == (0.9, 0.95)
    cosine = load_config(overrides=["SOLVER.COSINE_AFTER_WARMUP", "False"])
    assert not build_training.build_schedule(cosine).after_warmup


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"STEPS": "[]", "LRS": "[]"}, r"STEPS is \[\]; .* needs rising epochs from 0 on"),
        ({"STEPS": "[5,9]", "LRS": "[1,1]"}, "needs rising epochs from 0 on"),
        ({"STEPS": "[0,9,9]", "LRS": "[1,1,1]"}, "needs rising epochs from 0 on"),
        ({"STEPS": "[0,9]", "LRS": "[1]"}, "does not have a factor of SOLVER.BASE_LR for each"),
        ({"LR_POLICY": "exp"}, "LR_POLICY 'exp' is not known|LR_POLICY.*'exp'"),
        ({"OPTIMIZING_METHOD": "lamb"}, "OPTIMIZING_METHOD.*'lamb'"),
        ({"OPTIMIZING_METHOD": "sgd", "MOMENTUM": "0"}, "NESTEROV True needs a momentum"),
        ({"OPTIMIZING_METHOD": "sgd", "DAMPENING": "0.1"}, "set SOLVER.NESTEROV False"),
        ({"BETAS": "[0.9, 1]"}, "SOLVER.BETAS is .*below 1"),
    ],
)
def test_a_schedule_or_an_optimiser_that_cannot_be(given, message):
    if "STEPS" in given:
        given = {"LR_POLICY": "steps_with_relative_lrs", **given}
    overrides = [word for key, value in given.items() for word in (f"SOLVER.{key}", value)]
    with pytest.raises(ConfigError, match=message):
        load_config(overrides=overrides)
    if "LR_POLICY" not in given and "BETAS" not in given and "sgd" in given.values():
        load_config(overrides=[*overrides, "TRAIN.ENABLE", "False"])


class Layers(torch.nn.Module):
    """One of each kind of parameters."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(3, 4, 1)
        self.batch_norm = torch.nn.BatchNorm3d(4)
        self.layer_norm = torch.nn.LayerNorm(4)


@pytest.mark.parametrize(
    ("options", "decays"),
    [
        ({}, [0.1, 0, 0, 0]),
        ({"spare_vectors": False}, [0.1, 0.1, 0.1, 0.1]),
        ({"spare_vectors": False, "batch_norm_decay": 0.0}, [0.1, 0.1, 0, 0.1]),
        ({"spare_vectors": False, "spared_names": ["_norm"]}, [0.1, 0.1, 0, 0]),
        ({"batch_norm_decay": 0.3, "spared_names": ["layer_", "batch"]}, [0.1, 0, 0, 0]),
        ({"batch_norm_decay": 0.3}, [0.1, 0, 0.3, 0]),
        ({"spare_vectors": False, "batch_norm_decay": 0.3}, [0.1, 0.1, 0.3, 0.1]),
    ],
)
def test_what_decays(options, decays):
    """The weights of a convolution, its biases, those of BatchNorm and of LayerNorm."""
    model = Layers()
    decay = {
        id(parameter): group["weight_decay"]
        for group in parameter_groups(model, 0.1, **options)
        for parameter in group["params"]
    }
    assert [decay[id(part)] for part in (model.conv.weight, model.conv.bias)] == decays[:2]
    for layer, expected in ((model.batch_norm, decays[2]), (model.layer_norm, decays[3])):
        assert decay[id(layer.weight)] == decay[id(layer.bias)] == expected
    assert len(decay) == 6


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


def scales(model, **options):
    """{name of a parameter: (its lr_scale, its weight decay)}."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(model, 0.05, **options)
        for parameter in group["params"]
    }


def test_learning_rates_fall_from_layer_to_layer():
    model = UniFormer(3, embed_dims=[8] * 4, depths=[1, 1, 2, 1], head_dim=8)
    found = scales(model, layer_decay=0.5)
    plain = {
        id(parameter): group["weight_decay"]
        for group in parameter_groups(model, 0.05)
        for parameter in group["params"]
    }
    assert {name: decay for name, (_, decay) in found.items()} == {
        name: plain[id(parameter)] for name, parameter in model.named_parameters()
    }
    depths = {
        "head.weight": 0,
        "norm.bias": 1,
        "blocks4.0.mlp.fc1.weight": 1,
        "patch_embed4.proj.weight": 1,
        "blocks3.1.norm1.weight": 2,
        "blocks3.0.attn.qkv.bias": 3,
        "blocks2.0.norm1.weight": 4,
        "blocks1.0.conv1.weight": 5,
        "patch_embed1.proj.bias": 6,
    }
    assert {name: found[name][0] for name in depths} == {k: 0.5**v for k, v in depths.items()}


def test_a_decay_of_1_leaves_the_groups_as_they_are():
    """Also to the last bit, as a checkpoint of before knows no other groups."""
    model = UniFormer(3, **SIZES)
    once, again = parameter_groups(model, 0.05, layer_decay=1.0), parameter_groups(model, 0.05)
    assert [[*group] for group in once] == [["params", "weight_decay"]] * 2
    for one, other in zip(once, again, strict=True):
        assert [id(p) for p in one["params"]] == [id(p) for p in other["params"]]


def test_frozen_parameters_are_in_no_group():
    model = UniFormer(3, **SIZES)
    for parameter in model.blocks1.parameters():
        parameter.requires_grad_(False)
    named = {name for name in scales(model, layer_decay=0.9) if name.startswith("blocks")}
    assert named and not any(name.startswith("blocks1") for name in named)
    held = sum(len(group["params"]) for group in parameter_groups(model, 0.05))
    assert held == len([p for p in model.parameters() if p.requires_grad])


def rates(*words):
    """(peak, what is said of it) of these settings."""
    cfg = load_config(overrides=[str(word) for word in words])
    return build_training.build_schedule(cfg).base_lr, build_training.rate_line(cfg)


def test_learning_rates_that_follow_the_batch_say_so():
    step = ("TRAIN.BATCH_SIZE", 8, "NUM_SHARDS", 2, "SOLVER.ACCUMULATION_STEPS", 4)
    assert rates("SOLVER.BASE_LR", 0.5, *step) == (0.5, "")
    peak, line = rates("SOLVER.BASE_LR", 0.5, "SOLVER.BASE_LR_BATCH_SIZE", 32, *step)
    assert peak == 1.0 and "multiplied by 2 (a step has 64 videos" in line
    assert line.endswith("the peak is 1, in place of SOLVER.BASE_LR 0.5.")
    assert rates("SOLVER.BASE_LR", 0.5, "SOLVER.BASE_LR_BATCH_SIZE", 64, *step) == (0.5, "")
    cfg = load_config(overrides=["SOLVER.BASE_LR_BATCH_SIZE", "64"])
    lr = build_training.build_schedule(cfg)
    assert (lr.warmup_start_lr, lr.end_lr) == (0.5e-6, 0.5e-6)
    peak, line = rates("SOLVER.BASE_LR", 0.5, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True, *step)
    assert peak == 1.0 and "NUM_SHARDS is 2" in line
    with pytest.raises(ConfigError, match="both scale the learning rates; set one of them"):
        rates("SOLVER.BASE_LR_BATCH_SIZE", 32, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True)


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
    rates, optimizer, original = [], build_training.build_optimizer, Trainer._update

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
    monkeypatch.setattr(build_training, "build_optimizer", scaled)
    run(cfg, "tiny")
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    logged = [line["lr"] for line in lines if line["kind"] == "train"]
    assert rates == [[lr, lr] for lr in logged[:2]] + [[lr, lr / 2] for lr in logged[2:]]
    assert len(logged) == 8
