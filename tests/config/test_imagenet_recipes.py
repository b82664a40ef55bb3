"""The recipes for ImageNet hold the values of the published runs, which stand here once more."""

from functools import cache
from pathlib import Path

import pytest
import torch

from uniformer_video.config.settings import flat_config, load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.models.shapes import shapes_only
from uniformer_video.runs import build_model, build_training
from uniformer_video.zoo.published import PUBLISHED
from uniformer_video.zoo.registry import find_model

FOLDER = Path(__file__).parents[2] / "configs" / "imagenet"
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALVES = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
RANDAUGMENT = "rand-m9-mstd0.5-inc1"

# A column a setting, for the groups of runs below.
COLUMNS = (
    "SOLVER.MAX_EPOCH",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.COOLDOWN_EPOCHS",
    "TRAIN.BATCH_SIZE",
    "EMA.DECAY",
    "AUG.AA_TYPE",
    "AUG.REPEATED",
    "SOLVER.LR_INTERVAL",
    "SOLVER.CLIP_GRADIENT",
    "TRAIN.PRECISION",
    "RNG_SEED",
)
# fmt: off
GROUPS = {  # EMA.DECAY 0: no average
    "plain": (300, 5, 0, 1024, 0.99996, RANDAUGMENT, 3, "previous-epoch", 0.0, "auto", 0),
    "openmixup": (300, 5, 0, 1024, 0.99996, RANDAUGMENT, 3, "step", 5.0, "fp32", 0),
    "xxs": (600, 30, 0, 4096, 0.9999, "v0", 1, "previous-epoch", 0.0, "fp32", 0),
    "xs": (600, 30, 0, 4096, 0.9999, RANDAUGMENT, 1, "previous-epoch", 0.0, "fp32", 0),
    "plain_384": (60, 0, 0, 512, 0, RANDAUGMENT, 1, "previous-epoch", 0.0, "auto", 0),
    "labels": (310, 5, 10, 1024, 0.99992, RANDAUGMENT, 1, "epoch", 0.0, "auto", 42),
    "labels_384": (60, 0, 10, 512, 0, RANDAUGMENT, 1, "epoch", 0.0, "auto", 42),
    "labels_384_l": (60, 0, 10, 256, 0, RANDAUGMENT, 1, "epoch", 0.0, "auto", 42),
}
# group, model, rate, decay, drop path, size, short side of the test, head channels, layer scale and its start
RECIPES = {
    "t": ("openmixup", "t", 1e-3, 0.05, 0.1, 224, 256, 32, True, 1e-6),
    "s": ("plain", "s", 1e-3, 0.05, 0.1, 224, 256, 64, False, None),
    "s_plus": ("plain", "s_plus", 1e-3, 0.05, 0.1, 224, 256, 32, False, None),
    "s_plus_dim64": ("plain", "s_plus_dim64", 1e-3, 0.05, 0.1, 224, 256, 64, False, None),
    "b": ("plain", "b", 8e-4, 0.05, 0.3, 224, 256, 64, False, None),
    "b_ls": ("plain", "b_ls", 8e-4, 0.05, 0.3, 224, 256, 64, "global", 1e-6),
    "xxs_128": ("xxs", "xxs", 3.2e-3, 0.1, 0.0, 128, 146, 28, False, None),
    "xxs_160": ("xxs", "xxs", 3.2e-3, 0.1, 0.0, 160, 182, 28, False, None),
    "xxs_192": ("xxs", "xxs", 3.2e-3, 0.1, 0.0, 192, 219, 28, False, None),
    "xxs_224": ("xxs", "xxs", 3.2e-3, 0.1, 0.0, 224, 256, 28, False, None),
    "xs_192": ("xs", "xs", 4e-3, 0.05, 0.1, 192, 219, 32, False, None),
    "xs_224": ("xs", "xs", 4e-3, 0.05, 0.1, 224, 256, 32, False, None),
    "s_384": ("plain_384", "s", 5e-6, 1e-8, 0.1, 384, 438, 64, False, None),
    "s_plus_384": ("plain_384", "s_plus", 5e-6, 1e-8, 0.1, 384, 438, 32, False, None),
    "b_384": ("plain_384", "b", 5e-6, 1e-8, 0.3, 384, 438, 64, False, None),
    "s_tl": ("labels", "s_tl", 1.6e-3, 0.05, 0.1, 224, 248, 32, False, None),
    "s_tl_dim64": ("labels", "s_tl_dim64", 1.6e-3, 0.05, 0.1, 224, 248, 64, False, None),
    "s_plus_tl": ("labels", "s_plus_tl", 1.6e-3, 0.05, 0.1, 224, 248, 32, False, None),
    "s_plus_tl_dim64": ("labels", "s_plus_tl_dim64", 1.6e-3, 0.05, 0.1, 224, 248, 64, False, None),
    "b_tl": ("labels", "b_tl", 1.6e-3, 0.05, 0.3, 224, 248, 32, False, None),
    "b_tl_dim64": ("labels", "b_tl_dim64", 1.6e-3, 0.05, 0.3, 224, 248, 64, False, None),
    "l_ls_tl": ("labels", "l_ls_tl", 1.2e-3, 0.05, 0.4, 224, 248, 64, True, 1e-6),
    "s_tl_384": ("labels_384", "s_tl", 5e-6, 1e-8, 0.1, 384, 426, 32, False, None),
    "s_plus_tl_384": ("labels_384", "s_plus_tl", 5e-6, 1e-8, 0.1, 384, 426, 32, False, None),
    "b_tl_384": ("labels_384", "b_tl", 5e-6, 1e-8, 0.3, 384, 426, 32, False, None),
    "l_ls_tl_384": ("labels_384_l", "l_ls_tl", 5e-6, 1e-8, 0.3, 384, 426, 64, True, 1e-6),
}
# Top-1 of the published weights, and multiply-adds of one picture, in billions.
FIGURES = {
    "t": ("78.0", "0.98"), "s": ("82.9", "3.6"), "s_plus": ("83.4", "4.2"),
    "s_plus_dim64": ("83.4", "4.2"), "b": ("83.8", "8.3"), "b_ls": ("83.9", "8.3"),
    "xxs_128": ("76.8", "0.43"), "xxs_160": ("79.1", "0.66"), "xxs_192": ("79.9", "0.96"),
    "xxs_224": ("80.6", "1.3"), "xs_192": ("81.5", "1.4"), "xs_224": ("82.0", "1.9"),
    "s_tl": ("83.4", "3.7"), "s_tl_dim64": ("83.4", "3.7"), "s_plus_tl": ("83.9", "4.2"),
    "s_plus_tl_dim64": ("83.6", "4.2"), "b_tl": ("85.1", "8.3"), "b_tl_dim64": ("84.8", "8.3"),
    "l_ls_tl": ("85.6", "19.8"), "s_tl_384": ("84.6", "11.9"), "s_plus_tl_384": ("84.9", "13.7"),
    "b_tl_384": ("86.0", "27.2"), "l_ls_tl_384": ("86.3", "62.9"),
}
# The weights that a fine-tuning starts from.
STARTS = {
    "s_384": "uniformer_small_in1k", "s_plus_384": "uniformer_small_plus_in1k",
    "b_384": "uniformer_base_in1k", "s_tl_384": "uniformer_small_tl_224",
    "s_plus_tl_384": "uniformer_small_plus_tl_224", "b_tl_384": "uniformer_base_tl_224",
    "l_ls_tl_384": "uniformer_large_ls_tl_224",
}
# fmt: on
SHARED = {
    "MODEL.NUM_CLASSES": 1000,
    "TRAIN.DATASET": "imagefolder",
    "DATA.PATH_TO_DATA_DIR": "datasets/imagenet",
    "DATA.CHANNEL_ORDER": "RGB",
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.08, 1.0],
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [0.75, 1.3333],
    "DATA.RANDOM_FLIP": True,
    "DATA.FLIP": "auto",
    "AUG.ENABLE": True,
    "AUG.NUM_SAMPLE": 1,
    "AUG.INTERPOLATION": "bicubic",
    "AUG.RE_PROB": 0.25,
    "MIXUP.LABEL_SMOOTH_VALUE": 0.1,
    "SOLVER.OPTIMIZING_METHOD": "adamw",
    "SOLVER.BETAS": [0.9, 0.999],
    "SOLVER.LR_POLICY": "cosine",
    "SOLVER.ZERO_WD_1D_PARAM": True,
    "SOLVER.LAYER_DECAY": 1.0,
    "SOLVER.ACCUMULATION_STEPS": 1,
    "NUM_GPUS": 8,
    "NUM_SHARDS": 1,
}
MIXED = {
    "MIXUP.ENABLE": True,
    "MIXUP.ALPHA": 0.8,
    "MIXUP.CUTMIX_ALPHA": 1.0,
    "MIXUP.PROB": 1.0,
    "MIXUP.SWITCH_PROB": 0.5,
}
LABELLED = {
    "MIXUP.ENABLE": False,
    "TOKEN_LABELS.ENABLE": True,
    "TOKEN_LABELS.CLASS_WEIGHT": 1.0,
    "TOKEN_LABELS.DENSE_WEIGHT": 1.0,
    "TOKEN_LABELS.BOX_ORDER": "published",
    "TOKEN_LABELS.GROUND_TRUTH": False,
    "TOKEN_LABELS.MIXTOKEN": True,
}
# What published accuracies are of: the better of weights and average, the average, else the weights.
TESTED = {"xxs": "best", "xs": "best", "labels": "last-ema"}


@cache
def recipe(name):
    return load_config(f"imagenet/uniformer_{name}")


def rate_by_rule(epoch, peak, warmup, epochs):
    """The rate of the scheduler's index `epoch`."""
    if epoch < warmup:
        return 1e-6 + epoch * (peak - 1e-6) / warmup
    share = min(1.0, epoch / epochs)
    return 1e-5 + (peak - 1e-5) / 2 * (1 + torch.tensor(torch.pi * share).cos().item())


def test_every_recipe_is_in_the_table():
    names = {path.stem.removeprefix("uniformer_") for path in FOLDER.glob("*.yaml")}
    assert names == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_settings(name):
    group, model, _, decay, drop_path, size, *_ = RECIPES[name]
    expected = dict(zip(COLUMNS, GROUPS[group], strict=True))
    average = expected.pop("EMA.DECAY")
    expected |= {"EMA.ENABLE": bool(average)}
    if average:
        expected |= {"EMA.DECAY": average, "EMA.WARMUP": False}
    expected |= {
        **SHARED,
        **(LABELLED if "labels" in group else MIXED),
        "MODEL.MODEL_NAME": f"image_uniformer_{model}",
        "UNIFORMER.PRETRAIN_NAME": STARTS.get(name, ""),
        "UNIFORMER.DROP_DEPTH_RATE": drop_path,
        "UNIFORMER.DROP_DEPTH_GLOBAL": group != "openmixup",
        "DATA.TRAIN_CROP_SIZE": size,
        "DATA.TEST_CROP_SIZE": size,
        "SOLVER.WEIGHT_DECAY": decay,
        "SOLVER.ZERO_WD_POS_EMBED": group == "openmixup",
        "SOLVER.ZERO_WD_CLASS_TOKEN": group in ("xxs", "xs"),
        "TEST.WEIGHTS": TESTED.get(group, "last"),
    }
    found = flat_config(recipe(name))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_test_sees(name):
    group, _, _, _, _, size, short_side, *_ = RECIPES[name]
    protocol = Protocol.from_cfg(recipe(name))
    mean, std = HALVES if "labels" in group else IMAGENET
    assert (protocol.views.short_side, protocol.views.crop_size) == (short_side, size)
    assert (list(protocol.views.normalise.mean), list(protocol.views.normalise.std)) == (mean, std)
    assert (protocol.medium, protocol.num_views, protocol.score) == ("image", 1, "logits")


@pytest.mark.parametrize("name", RECIPES)
def test_rates(name):
    group, _, peak, *_ = RECIPES[name]
    epochs, warmup, cooldown = GROUPS[group][:3]
    lr = build_training.build_schedule(recipe(name))
    if name in STARTS:
        assert {lr(epoch) for epoch in range(epochs)} == {5e-6}
        return
    if group == "openmixup":  # by the step, from a millionth of the rate
        assert lr(0) == pytest.approx(1e-9) and lr(5) == pytest.approx(1e-3, rel=1e-3)
        assert lr(152.5) == pytest.approx(rate_by_rule(152.5, peak, warmup, epochs), rel=1e-6)
        assert lr(epochs) == pytest.approx(1e-5)
        return
    late = int(GROUPS[group][7] == "previous-epoch")
    for epoch in (0, 1, 2, 5, 6, 29, 30, 31, 150, 298, 299, epochs - 1):
        index = max(0, epoch - late)
        expected = rate_by_rule(index, peak, warmup, epochs - cooldown)
        assert lr(epoch) == lr(epoch + 0.5) == pytest.approx(expected, rel=1e-5)


def test_rates_follow_another_batch():
    cfg = load_config("imagenet/uniformer_s", ["TRAIN.BATCH_SIZE", "256"])
    assert build_training.build_schedule(cfg)(6) == pytest.approx(
        0.25 * build_training.build_schedule(recipe("s"))(6)
    )


@pytest.mark.parametrize("name", RECIPES)
def test_architecture(name):
    group, *_, head_dim, layer_scale, start = RECIPES[name]
    cfg = recipe(name).clone()
    cfg.defrost()
    cfg.UNIFORMER.PRETRAIN_NAME = ""
    with shapes_only():
        model, _ = build_model.build_model(cfg, 1000)
    arguments = model.arguments
    stages = [model.blocks1, model.blocks2, model.blocks3, model.blocks4]
    rates = [block.drop_path.rate for stage in stages for block in stage]
    ramp = torch.linspace(0, RECIPES[name][4], len(rates)).tolist()
    if group == "openmixup":  # of 18 blocks, the 11 with attention have none
        ramp[7:] = [0.0] * 11
    assert rates == pytest.approx(ramp)
    assert (arguments["head_dim"], arguments["layer_scale"]) == (head_dim, layer_scale)
    assert start is None or arguments["init_value"] == start
    known = find_model(cfg.MODEL.MODEL_NAME)
    assert {key: arguments[key] for key in known.arguments} == dict(known.arguments)


@pytest.mark.parametrize("name", RECIPES)
def test_figures_are_those_of_published_weights(name):
    text = (FOLDER / f"uniformer_{name}.yaml").read_text()
    if name not in FIGURES:
        assert "# Published:" not in text and "Not a published run" in text
        return
    top1, cost = FIGURES[name]
    told = f"# Published: top-1 {top1} %, {cost} GFLOPs (multiply-adds) for one picture"
    assert told in text and "alone; weights that you train have their own" in text
    model, size = f"image_uniformer_{RECIPES[name][1]}", RECIPES[name][5]
    of_files = {
        f"{weights.top1:.1f}"
        for weights in PUBLISHED.values()
        if (weights.model, weights.crop_size) == (model, size)
    }
    assert top1 in of_files


def test_fine_tuning_starts_from_weights_of_the_same_model():
    for name, start in STARTS.items():
        assert PUBLISHED[start].model == f"image_uniformer_{RECIPES[name][1]}"
        assert PUBLISHED[start].crop_size == 224
