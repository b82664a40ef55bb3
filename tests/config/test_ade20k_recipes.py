"""The recipes for ADE20K hold the values of the published runs, which stand here once more."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch

from uniformer_video.config.settings import flat_config, load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError
from uniformer_video.models.dense.windows import WindowBlock
from uniformer_video.models.shapes import shapes_only
from uniformer_video.runs import build_model, build_training
from uniformer_video.runs.build_masks import build_mask_reader
from uniformer_video.runs.build_measures import recomputation_lines
from uniformer_video.runs.check import check_settings
from uniformer_video.zoo.published import PUBLISHED

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "ade20k"
GLOBAL, H14 = (-1, False), (14, True)

# A column a setting, for the groups of runs below.
COLUMNS = (
    "TRAIN.BATCH_SIZE",
    "NUM_GPUS",
    "SOLVER.MAX_ITER",
    "SOLVER.WARMUP_ITERS",
    "SOLVER.WARMUP_RATIO",
    "SOLVER.BASE_LR",
    "SOLVER.LR_POLICY",
    "SOLVER.WEIGHT_DECAY",
    "TRAIN.EVAL_ITERS",
    "SEGMENTATION.ALIGN",
)
# fmt: off
GROUPS = {
    "fpn": (32, 8, 80_000, 1_000, 0.1, 2e-4, "cosine", 1e-4, 4_000, 32),
    "upernet": (16, 8, 160_000, 1_500, 1e-6, 6e-5, "poly", 0.01, 16_000, 1),
    "community": (12, 6, 160_000, 500, 0.01, 1e-5, "cosine", 1e-4, 16_000, 1),
}
# group, window and hybrid (light models have neither), drop path, parameters, start
RECIPES = {
    "semantic_fpn_uniformer_xxs": ("fpn", None, 0.0, 13_536_710, "uniformer_xxs_224_in1k"),
    "semantic_fpn_uniformer_xs": ("fpn", None, 0.1, 19_733_398, "uniformer_xs_224_in1k"),
    "semantic_fpn_uniformer_s_h14": ("fpn", H14, 0.1, 25_299_926, "uniformer_small_in1k"),
    "semantic_fpn_uniformer_s": ("fpn", GLOBAL, 0.1, 25_299_926, "uniformer_small_in1k"),
    "semantic_fpn_uniformer_b_h14": ("fpn", H14, 0.2, 53_531_222, "uniformer_base_in1k"),
    "semantic_fpn_uniformer_b": ("fpn", GLOBAL, 0.2, 53_531_222, "uniformer_base_in1k"),
    "upernet_uniformer_s_h14": ("upernet", H14, 0.25, 51_521_132, "uniformer_small_in1k"),
    "upernet_uniformer_s": ("upernet", GLOBAL, 0.25, 51_521_132, "uniformer_small_in1k"),
    "upernet_uniformer_b_h14": ("upernet", H14, 0.4, 79_752_428, "uniformer_base_in1k"),
    "upernet_uniformer_b": ("upernet", GLOBAL, 0.4, 79_752_428, "uniformer_base_in1k"),
    "semantic_fpn_uniformer_xxs_160k": (
        "community", None, 0.0, 13_536_710, "runs/semantic_fpn_uniformer_xxs/last.pt",
    ),
}
# The mIoU of the published weights: one figure a mode (global, windows of 32, hybrid of 32; or that of the
# recipe); behind |, at several sizes.
FIGURES = {
    "semantic_fpn_uniformer_xxs": "42.3", "semantic_fpn_uniformer_xs": "44.4",
    "semantic_fpn_uniformer_s_h14": "46.3", "semantic_fpn_uniformer_s": "46.6 45.6 46.2",
    "semantic_fpn_uniformer_b_h14": "47.0", "semantic_fpn_uniformer_b": "48.0 47.0 47.7",
    "upernet_uniformer_s_h14": "46.9 | 48.0",
    "upernet_uniformer_s": "47.6 46.6 47.0 | 48.5 48.4 48.5",
    "upernet_uniformer_b_h14": "48.9 | 50.0",
    "upernet_uniformer_b": "50.0 49.1 49.5 | 50.8 50.6 50.7",
}
# fmt: on
SHARED = {
    "MODEL.NUM_CLASSES": 0,  # of the format, below
    "BN.NORM_TYPE": "sync_batchnorm",
    "TRAIN.TASK": "segmentation",
    "TRAIN.DATASET": "ade20k",
    "DATA.PATH_TO_DATA_DIR": "datasets/ade20k",
    "DATA.MEAN": [0.485, 0.456, 0.406],
    "DATA.STD": [0.229, 0.224, 0.225],
    "DATA.CHANNEL_ORDER": "RGB",
    "DATA.TRAIN_CROP_SIZE": 512,
    "DATA.RANDOM_FLIP": True,
    "DATA.FLIP": "auto",
    "SEGMENTATION.REDUCE_ZERO_LABEL": False,  # likewise
    "SEGMENTATION.IGNORE_LABEL": 255,
    "SEGMENTATION.SCALE": [2048, 512],
    "SEGMENTATION.RATIO_RANGE": [0.5, 2.0],
    "SEGMENTATION.MAX_CLASS_SHARE": 0.75,
    "SEGMENTATION.PHOTOMETRIC": True,
    "SEGMENTATION.RATIOS": [1.0],
    "SEGMENTATION.FLIP": False,
    "SEGMENTATION.CROP_SIZE": 0,
    "AUG.ENABLE": False,
    "MIXUP.LABEL_SMOOTH_VALUE": 0.0,
    "EMA.ENABLE": False,
    "TRAIN.PRECISION": "fp32",
    "TEST.WEIGHTS": "last",
    "SOLVER.OPTIMIZING_METHOD": "adamw",
    "SOLVER.BETAS": [0.9, 0.999],
    "SOLVER.LAYER_DECAY": 1.0,
    "SOLVER.CLIP_GRADIENT": 0.0,
    "SOLVER.ACCUMULATION_STEPS": 1,
    "NUM_SHARDS": 1,
}


@cache
def recipe(name, *overrides):
    return load_config(f"ade20k/{name}", list(overrides))


def model_of(cfg):
    """Without memory, and without the weights to start from, which only a user has."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.UNIFORMER.PRETRAIN_NAME = ""
    with shapes_only():
        model, _ = build_model.build_model(cfg, 150)
    return model


def model_name(name):
    return name.removesuffix("_h14").removesuffix("_160k")


def test_every_recipe_is_in_the_table():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_settings(name, caplog):
    group, attention, drop_path, _, start = RECIPES[name]
    expected = {
        **SHARED,
        **dict(zip(COLUMNS, GROUPS[group], strict=True)),
        "TRAIN.CHECKPOINT_ITERS": GROUPS[group][COLUMNS.index("TRAIN.EVAL_ITERS")],
        "MODEL.MODEL_NAME": model_name(name),
        "MODEL.CHECKPOINT_NUM": [0, 0, 2, 0] if "upernet_uniformer_b" in name else [0, 0, 0, 0],
        "MODEL.USE_CHECKPOINT": "upernet_uniformer_b" in name,
        "UNIFORMER.DROP_DEPTH_RATE": drop_path,
        "UNIFORMER.DROP_DEPTH_GLOBAL": True,
        "UNIFORMER.PRETRAIN_NAME": start,
    }
    if attention:
        expected |= {"UNIFORMER.WINDOW": attention[0], "UNIFORMER.HYBRID": attention[1]}
    cfg = recipe(name)
    found = flat_config(cfg)
    assert {key: found[key] for key in expected} == expected
    check_settings(cfg)
    assert not caplog.records  # every setting has an effect


@pytest.mark.parametrize("name", RECIPES)
def test_what_the_format_says(name):
    """Of ADE20K 150 classes, and 0 is none; masks of one's own are read by the same recipes as they are."""
    reader = build_mask_reader(recipe(name), len(class_names("ade20k")))
    assert (reader.num_classes, reader.reduce_zero_label, reader.ignore_label) == (150, True, 255)
    own = build_mask_reader(recipe(name, "TRAIN.DATASET", "masks"), 3)
    assert (own.reduce_zero_label, own.ignore_label) == (False, 255)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_test_sees(name):
    views = Protocol.from_cfg(recipe(name)).views
    align = GROUPS[RECIPES[name][0]][-1]
    assert (views.long_side, views.short_side, views.align) == (2048, 512, align)
    assert (views.ratios, views.flip, views.crop_size) == ((1.0,), False, 0)
    assert list(views.normalise.mean) == [0.485, 0.456, 0.406]
    sizes = "[0.5,0.75,1.0,1.25,1.5,1.75]"
    several = recipe(name, "SEGMENTATION.RATIOS", sizes, "SEGMENTATION.FLIP", "True")
    views = Protocol.from_cfg(several).views
    assert (views.ratios, views.flip) == ((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), True)


@pytest.mark.parametrize("name", RECIPES)
def test_architecture(name):
    _, _, drop_path, parameters, _ = RECIPES[name]
    model = model_of(recipe(name))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    backbone = model.backbone
    stages = [backbone.blocks1, backbone.blocks2, backbone.blocks3, backbone.blocks4]
    rates = [block.drop_path.rate for stage in stages for block in stage]
    assert rates == pytest.approx(torch.linspace(0, drop_path, len(rates)).tolist())


@pytest.mark.parametrize("name", RECIPES)
def test_recomputed_activations(name):
    """Of UperNet-B alone: the first two blocks of stage 3."""
    cfg = recipe(name)
    model = model_of(cfg)
    lines = recomputation_lines(cfg, model)
    if not name.startswith("upernet_uniformer_b"):
        assert model.backbone.checkpoint_blocks == (0, 0, 0, 0) and not lines
        return
    assert model.backbone.checkpoint_blocks == (0, 0, 2, 0)
    (line,) = lines
    assert "saves memory, and makes a step" in line


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name][1]])
def test_one_model_in_all_modes(name):
    """What a test may ask of any weights: the recipe's own mode first."""

    def attention(*overrides):
        blocks = model_of(recipe(name, *overrides)).backbone.blocks3
        return [block.window if isinstance(block, WindowBlock) else 0 for block in blocks]

    depth = len(attention())

    def hybrid(side):
        return [0 if block % 4 == 0 else side for block in range(1, depth + 1)]

    whole = [0] * depth
    assert attention() == (hybrid(14) if RECIPES[name][1] == H14 else whole)
    windows, mixed = ("UNIFORMER.HYBRID", "False"), ("UNIFORMER.HYBRID", "True")
    assert attention("UNIFORMER.WINDOW", "32", *windows) == [32] * depth
    assert attention("UNIFORMER.WINDOW", "32", *mixed) == hybrid(32)
    assert attention("UNIFORMER.WINDOW", "-1", *windows) == whole


def test_upernet_takes_two_images_a_slot():
    with pytest.raises(
        ConfigError, match=r"TRAIN\.BATCH_SIZE 8 in 8 parts .* set TRAIN\.BATCH_SIZE 16"
    ):
        check_settings(recipe("upernet_uniformer_s_h14", "TRAIN.BATCH_SIZE", "8"))
    check_settings(recipe("semantic_fpn_uniformer_s_h14", "TRAIN.BATCH_SIZE", "8"))


def test_no_window_and_a_hybrid_contradict_each_other():
    with pytest.raises(ConfigError, match=r"UNIFORMER\.WINDOW -1 is attention without windows"):
        recipe("semantic_fpn_uniformer_s_h14", "UNIFORMER.WINDOW", "-1")


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_decayed(name):
    """By semantic FPN all, by UperNet all but what is called `norm`, which the heads' BatchNorm is not."""
    cfg = recipe(name)
    model, decay = model_of(cfg), cfg.SOLVER.WEIGHT_DECAY
    groups = build_training.build_optimizer(cfg, model).param_groups
    found = {id(each): group["weight_decay"] for group in groups for each in group["params"]}
    for key, parameter in model.named_parameters():
        spared = name.startswith("upernet") and "norm" in key
        assert found[id(parameter)] == (0 if spared else decay), key


def scheduled(iteration, group):
    """The published rate: the schedule's, times what the warm-up leaves of it."""
    _, _, length, warmup, ratio, peak, policy, *_ = GROUPS[group]
    start, end = (warmup, 0.0) if group == "community" else (0, peak * 1e-8)
    if group == "community" and iteration < warmup:
        rate = peak
    elif policy == "poly":
        rate = peak * (1 - iteration / length)
    else:
        share = torch.tensor(torch.pi * (iteration - start) / (length - start), dtype=torch.float64)
        rate = end + (peak - end) / 2 * (1 + share.cos().item())
    if iteration < warmup:
        rate *= 1 - (1 - iteration / warmup) * (1 - ratio)
    return rate


@pytest.mark.parametrize("name", RECIPES)
def test_rates(name):
    group = RECIPES[name][0]
    _, _, length, warmup, *_ = GROUPS[group]
    lr = build_training.build_schedule(recipe(name))
    for iteration in (0, 1, warmup - 1, warmup, warmup + 1, length // 2, length - 1, length):
        expected = scheduled(iteration, group)
        assert lr(iteration) == pytest.approx(expected, rel=1e-9, abs=1e-20)


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_those_of_published_weights(name):
    text = (FOLDER / f"{name}.yaml").read_text()
    single, _, several = FIGURES[name].partition(" | ")
    own, *others = single.split()
    told = f"# Published: mIoU {own} %"
    if others:
        told += f", {others[0]} % (windows of 32), {others[1]} % (hybrid of 32)"
    if several:
        told += ("; at" if others else ", at") + f" several sizes {', '.join(several.split())} %"
    assert f"{told}.\n" in text
    assert "alone; weights that you train have their own" in text


def test_the_guide_tells_the_same():
    text = (ROOT / "datasets" / "ade20k" / "README.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if "_uniformer_" in line]
    told = {row[0].strip("`"): row[1:] for row in rows if len(row) == 4}
    assert set(told) == set(RECIPES)
    for name, (start, length, figures) in told.items():
        group = GROUPS[RECIPES[name][0]]
        assert length == f"{group[2]:,} x {group[0]}"
        if name in FIGURES:
            assert start == f"`{RECIPES[name][-1]}`"
            single, _, several = FIGURES[name].partition(" | ")
            assert re.findall(r"\d+\.\d(?!\d|\))", figures) == single.split()
            assert re.findall(r"\((\d+\.\d)\)", figures) == several.split()


def test_what_the_run_of_others_reports():
    text = (FOLDER / "semantic_fpn_uniformer_xxs_160k.yaml").read_text()
    assert "reports an mIoU of 40.33 %" in text and "published with 42.3 %" in text


def test_trainings_start_from_weights_of_images():
    for name, (group, *_, start) in RECIPES.items():
        if group == "community":
            continue
        weights = PUBLISHED[start]
        assert weights.model == f"image_uniformer_{model_name(name).rpartition('_')[2]}"
        assert weights.crop_size == 224
