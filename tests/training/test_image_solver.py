"""Learning rates and weight decay of the published image runs, by their rules written out once more."""

import json
import math
from itertools import pairwise

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.models.light import LightUniFormer
from uniformer_video.models.uniformer import UniFormer
from uniformer_video.runs import build_training
from uniformer_video.runs.run import run
from uniformer_video.signals import Interrupted
from uniformer_video.weights.checkpoint import read_weights

PUBLISHED = {
    "BASE_LR": 1e-3,
    "WARMUP_START_LR": 1e-6,
    "COSINE_END_LR": 1e-5,
    "COSINE_AFTER_WARMUP": False,
    "WARMUP_TO_BASE_LR": True,
}
SIZES = {"embed_dims": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "head_dim": 8, "ndim": 2}


def schedule_of(**changes):
    given = {**PUBLISHED, **changes}
    words = [word for key, value in given.items() for word in (f"SOLVER.{key}", str(value))]
    return build_training.build_schedule(load_config(overrides=words))


def published_rate(t, peak, warmup, epochs):
    """The rate at the index `t` of the scheduler of timm that these runs have."""
    if t < warmup:
        return 1e-6 + t * (peak - 1e-6) / warmup
    if t < epochs:
        return 1e-5 + (peak - 1e-5) / 2 * (1 + math.cos(math.pi * t / epochs))
    return 1e-5


@pytest.mark.parametrize(("peak", "warmup", "epochs"), [(1e-3, 5, 300), (3.2e-3, 30, 600)])
def test_plain_and_light_runs_are_an_epoch_behind(peak, warmup, epochs):
    """Their scheduler is stepped after each epoch with that epoch's own number."""
    lr = schedule_of(
        BASE_LR=peak, WARMUP_EPOCHS=warmup, MAX_EPOCH=epochs, LR_INTERVAL="previous-epoch"
    )
    assert lr(0) == lr(0.999) == lr(1) == lr(1.999) == 1e-6 < lr(2)
    for epoch in range(epochs):
        expected = published_rate(max(0, epoch - 1), peak, warmup, epochs)
        assert lr(epoch) == lr(epoch + 0.99) == pytest.approx(expected, rel=1e-12)


def test_token_labelling_runs_end_with_epochs_at_the_last_rate():
    lr = schedule_of(
        BASE_LR=1.6e-3, WARMUP_EPOCHS=5, MAX_EPOCH=310, COOLDOWN_EPOCHS=10, LR_INTERVAL="epoch"
    )
    for epoch in range(310):
        expected = published_rate(epoch, 1.6e-3, 5, 300)
        assert lr(epoch) == lr(epoch + 0.99) == pytest.approx(expected, rel=1e-12)
    assert lr(299) > 1.00001e-5 and {lr(epoch) for epoch in range(300, 310)} == {1e-5}


def test_the_rate_of_fine_tuning_at_384_is_constant():
    lr = schedule_of(
        BASE_LR=5e-6, COSINE_END_LR=5e-6, WARMUP_EPOCHS=0, MAX_EPOCH=60, COOLDOWN_EPOCHS=10
    )
    assert {lr(epoch / 2) for epoch in range(120)} == {5e-6}


def test_by_steps_the_warmup_rises_to_the_base_rate_and_the_cosine_goes_on_lower():
    lr = schedule_of(WARMUP_EPOCHS=30, MAX_EPOCH=600)
    assert lr(29.999) == pytest.approx(1e-3, rel=1e-4)
    assert lr(30) == pytest.approx(published_rate(30, 1e-3, 30, 600)) and lr(30) < 0.995e-3
    rates = [lr(30 + epoch / 7) for epoch in range(3990)]
    assert all(a > b for a, b in pairwise(rates))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"COOLDOWN_EPOCHS": 300}, r"COOLDOWN_EPOCHS 300 are the last of SOLVER.MAX_EPOCH 300"),
        ({"COOLDOWN_EPOCHS": 295}, "with SOLVER.WARMUP_EPOCHS 5 nothing is left between"),
        ({"LR_INTERVAL": "batch"}, "LR_INTERVAL.*'batch'.*previous-epoch"),
    ],
)
def test_a_schedule_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        schedule_of(WARMUP_EPOCHS=5, MAX_EPOCH=300, **changes)


def test_a_run_keeps_the_rate_of_an_epoch_and_goes_on_with_it(tiny, tmp_path, interrupt_after):
    """Also from the middle of an epoch; with the same weights as a run that was never stopped."""
    by_epoch = {"LR_INTERVAL": "previous-epoch", "MAX_EPOCH": 4, "COOLDOWN_EPOCHS": 1}
    changes = {**PUBLISHED, **by_epoch, "WARMUP_EPOCHS": 1}
    words = tiny(TEST__ENABLE=False, **{f"SOLVER__{key}": value for key, value in changes.items()})
    weights = []
    for name, stop in (("whole", None), ("stopped", 6)):
        cfg = load_config(overrides=[*words, "OUTPUT_DIR", str(tmp_path / name)])
        if stop:
            with interrupt_after(stop), pytest.raises(Interrupted):
                run(cfg, "tiny")
        run(cfg, "tiny")
        weights.append(read_weights(tmp_path / name / "last.pt").state)
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        logged = [line["lr"] for line in lines if line["kind"] == "train"]
        of_epochs = [published_rate(t, 1e-3, 1, 3) for t in (0, 0, 1, 2)]
        assert logged == pytest.approx([rate for rate in of_epochs for _ in range(4)])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (UniFormer, {}),
        (UniFormer, {"layer_scale": True}),
        (UniFormer, {"layer_scale": "global"}),
        (UniFormer, {"conv_embeds": 4, "aux_head": True}),
        (LightUniFormer, {"layer_scale": True}),
    ],
)
def test_what_decays_in_the_published_image_runs(family, options):
    """All but what has one dimension, biases and `cls_token`; the other name on their list, `pos_embed`,
    is no parameter's, so the kernels of that name decay, and layer scales of four dimensions.
    """
    with torch.device("meta"):
        model = family(3, **SIZES, **options)
    plain = {
        name
        for name, parameter in model.named_parameters()
        if parameter.dim() == 1 or name.endswith(".bias") or name in ("pos_embed", "cls_token")
    }
    cfg = load_config(overrides=["SOLVER.ZERO_WD_CLASS_TOKEN", "True"])
    first, second = build_training.build_optimizer(cfg, model).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(parameter)] for parameter in second["params"]} == plain
    assert (first["weight_decay"], second["weight_decay"]) == (0.05, 0.0)
    decayed = {names[id(parameter)] for parameter in first["params"]}
    assert "blocks1.0.pos_embed.weight" in decayed and "blocks4.0.pos_embed.weight" in decayed
    assert ("blocks1.0.gamma_1" in decayed) == (options.get("layer_scale") is True)
