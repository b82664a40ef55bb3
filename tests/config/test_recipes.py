"""Every shipped config builds, and recipes hold the published values."""

import json
import re
from itertools import chain
from pathlib import Path

import pytest
import torch

from uniformer_video.config.settings import flat_config, load_config
from uniformer_video.data.lists.class_names import class_names
from uniformer_video.data.lists.formats import holds_masks
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError
from uniformer_video.models.shapes import shapes_only
from uniformer_video.runs import build_clips, build_model, build_training
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.check import check_settings
from uniformer_video.training.optim import CosineSchedule
from uniformer_video.zoo import published

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if p.parent.name != "_base_")
PUBLISHED = [path for path in CONFIGS if path.stem.endswith("_published")]
FOLDER_CONFIG = ROOT / "configs/finetune/folder.yaml"

# The published runs as facts: settings, sampling rule, accuracy and cost. A setting that a run lacks was
# left at its default.
RUNS = json.loads((ROOT / "tests/fixtures/recipes.json").read_text())
OWN_RECIPES = ("k400/uniformer_s_", "k400/uniformer_b_", "k600/")  # with a 3x5x5 kernel
MODELS = {"s": "uniformer_s", "b": "uniformer_b", "xxs": "uniformer_xxs", "xs": "uniformer_xs"}
LEFT_OUT = {
    "MODEL.USE_CHECKPOINT": False,
    "MODEL.CHECKPOINT_NUM": [0, 0, 0, 0],
    "UNIFORMER.LAYER_SCALE": False,
    "DATA.RANDOM_FLIP": True,
    "NUM_SHARDS": 1,
}
# What every run has beyond the table.
SHARED = {
    "UNIFORMER.LOCAL_KERNEL": [5, 5, 5],
    "UNIFORMER.SPLIT": False,
    "UNIFORMER.STD": False,
    "DATA.USE_OFFSET_SAMPLING": True,
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.08, 1.0],
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [0.75, 1.3333],
    "DATA.TEST_SCALE": 0,  # the crop's side
    "AUG.ENABLE": True,
    "MIXUP.ENABLE": True,
    "MIXUP.PROB": 1.0,
    "MIXUP.SWITCH_PROB": 0.5,
    "TEST.DATASET": "",
    "TEST.SCORE": "logits",
    "SOLVER.WARMUP_START_LR": 1e-6,
    "SOLVER.COSINE_END_LR": 1e-6,
    "SOLVER.ZERO_WD_POS_EMBED": False,
    "SOLVER.CLIP_GRADIENT": 20.0,
}
# What the published files give beside a setting that leaves it no effect.
WITHOUT_EFFECT = (
    ("DATA.SAMPLING_RATE", "DATA.SAMPLING", "segment"),
    ("DATA.TRAIN_JITTER_SCALES", "DATA.TRAIN_JITTER_SCALES_RELATIVE", [0.08, 1.0]),
)
FRAME_NAMES = {
    "ssv1": ("somesomev1_rgb_{}_split.txt", "{:05d}.jpg"),
    "ssv2": ("somesomev2_rgb_{}_split.txt", "img_{:05d}.jpg"),
    "hmdb51": ("{}.txt", "img_{:05d}.jpg"),
}
# Parameters at 400 classes with 5x5x5, as published; those of each class; and those that a 3x5x5 kernel
# lacks: two of five time steps of 25 weights, for each channel of each local block.
PARAMETERS = {
    "uniformer_s": 21_400_400,
    "uniformer_b": 49_813_200,
    "uniformer_xxs": 9_833_896,
    "uniformer_xs": 16_099_552,
}
PARAMETERS_PER_CLASS = 512 + 1
SHORT_KERNEL_LACKS = {
    "uniformer_s": 50 * (3 * 64 + 4 * 128),
    "uniformer_b": 50 * (5 * 64 + 8 * 128),
}
XXS_LAYER_SCALE = 2 * (2 * 56 + 5 * 112 + 8 * 224 + 2 * 448)


def config_name(run):
    """The config of a published run: data set, model, frames and, of the light ones, pixels."""
    if match := re.fullmatch(r"uniformer_([sb])(\d+x\d+)_(k\d+)", run):
        model, sampling, data = match.groups()
        return f"{data}/uniformer_{model}_{sampling}_published"
    if match := re.fullmatch(r"uniformer_(xxs|xs)(\d+)_(\d+)_k400", run):
        model, frames, pixels = match.groups()
        return f"k400/uniformer_{model}_{frames}x{RUNS[run]['DATA.SAMPLING_RATE']}_{pixels}"
    model, sampling, data, pretrained = re.fullmatch(
        r"uniformer_([sb])([\dx]+)_(\w+)_pre(k\d+)", run
    ).groups()
    return f"{data.replace('sthv', 'ssv')}/uniformer_{model}_{sampling}_{pretrained}"


def name_of(path):
    return path.relative_to(ROOT / "configs").with_suffix("").as_posix()


def num_classes_of(cfg):
    return cfg.MODEL.NUM_CLASSES or 8


def meta_model(cfg):
    """The model without memory, weights or the pre-training file, which only a user has."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.UNIFORMER.PRETRAIN_NAME = ""
    with shapes_only():
        model, report = build_model.build_model(cfg, num_classes_of(cfg))
    assert report is None
    return model


def test_every_run_has_a_config_and_every_config_a_run():
    assert len(RUNS) == 39
    names = {config_name(run) for run in RUNS}
    assert len(names) == 39
    own = {name.removesuffix("_published") for name in names if name.startswith(OWN_RECIPES)}
    assert len(own) == 13
    others = ("ade20k", "demo", "finetune", "images", "imagenet", "masks", "scratch")
    assert {name_of(p) for p in CONFIGS if p.parent.name not in others} == names | own


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.parent.name != "ade20k"], ids=name_of)
def test_config_builds(path, caplog):
    # of token labelling, a user gives the folder of label maps
    cfg = load_config(path, ["TOKEN_LABELS.PATH", "maps"] if "_tl" in path.stem else [])
    check_settings(cfg)
    assert not caplog.records  # every setting has an effect
    model = meta_model(cfg)
    optimizer = build_training.build_optimizer(cfg, model)
    grouped = sum(len(group["params"]) for group in optimizer.param_groups)
    assert grouped == len(list(model.parameters()))

    schedule = build_training.build_schedule(cfg)
    if path.parent.name != "imagenet":  # by other rules, see test_imagenet_recipes.py
        warmup = cfg.SOLVER.WARMUP_ITERS or cfg.SOLVER.WARMUP_EPOCHS
        assert schedule(warmup) == pytest.approx(schedule.base_lr)
        assert (
            schedule(0) < schedule.base_lr > schedule(cfg.SOLVER.MAX_ITER or cfg.SOLVER.MAX_EPOCH)
        )

    protocol = Protocol.from_cfg(cfg)
    views, frames = (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS), cfg.DATA.NUM_FRAMES
    if protocol.medium == "image":
        views, frames = (1, 1), 1
    assert protocol.sampling.test_clips(300, views[0]).shape == (views[0], frames)

    classes = list(dict.fromkeys(chain(*cfg.DATA.FLIP_CLASS_PAIRS, *cfg.DATA.OPPOSITE_CLASS_PAIRS)))
    assert build_clips.build_augmentation(cfg, classes).crop_size == cfg.DATA.TRAIN_CROP_SIZE
    mixes = cfg.MIXUP.ENABLE and not holds_masks(cfg.TRAIN.DATASET)
    assert (build_training.build_mixup(cfg) is not None) == mixes
    assert build_training.build_train_settings(cfg).seed == cfg.RNG_SEED
    assert build_training.build_timetable(cfg, 7).last_step == (
        cfg.SOLVER.MAX_ITER or 7 * cfg.SOLVER.MAX_EPOCH
    )
    tested = build_clips.build_test_dataset(cfg, [VideoRecord("a.mp4", "a", (0,))], protocol)
    assert (len(tested), tested.num_clips, tested.views.num_crops) == (1, *views)


@pytest.mark.parametrize("run", RUNS)
def test_run_has_the_published_values(run):
    facts = {**LEFT_OUT, **RUNS[run]}
    del facts["published"]
    name = config_name(run)
    data, model = name.split("/")[0], name.split("_")[1]
    light = facts.pop("MODEL.MODEL_NAME")
    expected = {
        **SHARED,
        **facts,
        "MODEL.MODEL_NAME": MODELS[model],
        "DATA.SAMPLING": {"dense": "dense"}.get(facts["sampling"], "segment"),
        "DATA.PATH_TO_DATA_DIR": f"datasets/{data}",
        "TRAIN.DATASET": "frames" if data in FRAME_NAMES else "kinetics",
        "TRAIN.PRECISION": "fp32" if light.endswith("_fp32") else "auto",
    }
    del expected["sampling"]
    for key, switch, without_effect in WITHOUT_EFFECT:
        if expected[switch] == without_effect:
            del expected[key]
    if data == "hmdb51":
        assert expected["MODEL.NUM_CLASSES"] == 101  # a slip of the published config
        expected["MODEL.NUM_CLASSES"] = 51
    if data in FRAME_NAMES:
        labels, images = FRAME_NAMES[data]
        expected |= {"DATA.LABEL_PATH_TEMPLATE": labels, "DATA.IMAGE_TEMPLATE": images}
    assert light.startswith("Uniformer_light") == (model in ("xxs", "xs"))
    found = flat_config(load_config(ROOT / "configs" / f"{name}.yaml"))
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("data", ["k400", "k600", "ssv1", "ssv2", "ucf101", "hmdb51"])
def test_class_counts_are_those_of_the_names(data):
    counts = {load_config(p).MODEL.NUM_CLASSES for p in (ROOT / "configs" / data).glob("*.yaml")}
    assert counts == {len(class_names(data))}


def test_runs_start_from_published_weights():
    assert {run["UNIFORMER.PRETRAIN_NAME"] for run in RUNS.values()} <= set(published.PUBLISHED)


def test_four_machines_quadruple_the_learning_rate():
    cfg = load_config(ROOT / "configs/k600/uniformer_b_32x4.yaml")
    assert build_training.build_schedule(cfg) == CosineSchedule(4e-4, 4e-6, 4e-6, 10.0, 110)


@pytest.mark.parametrize("path", PUBLISHED, ids=name_of)
def test_published_differs_in_the_kernel_alone(path):
    parent = path.with_name(path.name.replace("_published", ""))
    own, parents = flat_config(load_config(path)), flat_config(load_config(parent))
    differing = {key: own[key] for key in own if own[key] != parents[key]}
    assert differing == {"UNIFORMER.LOCAL_KERNEL": [5, 5, 5]}


@pytest.mark.parametrize("run", RUNS)
def test_parameter_counts(run):
    name = config_name(run)
    cfg = load_config(ROOT / "configs" / f"{name}.yaml")
    model = cfg.MODEL.MODEL_NAME
    expected = PARAMETERS[model] + (cfg.MODEL.NUM_CLASSES - 400) * PARAMETERS_PER_CLASS
    if cfg.UNIFORMER.LAYER_SCALE:
        assert model == "uniformer_xxs"
        expected += XXS_LAYER_SCALE
    assert sum(p.numel() for p in meta_model(cfg).parameters()) == expected
    if name.startswith(OWN_RECIPES):
        own = load_config(ROOT / "configs" / f"{name.removesuffix('_published')}.yaml")
        lacks = SHORT_KERNEL_LACKS[model]
        assert sum(p.numel() for p in meta_model(own).parameters()) == expected - lacks


@pytest.mark.parametrize("run", RUNS)
def test_figures_stand_with_the_published_weights_alone(run):
    facts, name = RUNS[run], config_name(run)
    figures = facts["published"]
    clips, crops = facts["TEST.NUM_ENSEMBLE_VIEWS"], facts["TEST.NUM_SPATIAL_CROPS"]
    text = (ROOT / "configs" / f"{name}.yaml").read_text()
    cost = f"top-1 {figures['top1']} %, {figures['gflops_all_views']} GFLOPs (multiply-adds)"
    views = f"for all views ({clips} clip{'s'[: clips - 1]} x {crops} crop{'s'[: crops - 1]})"
    assert f"# Published: {cost} {views}.\n" in text
    assert "for those weights alone" in text
    if name.startswith(OWN_RECIPES):
        own = (ROOT / "configs" / f"{name.removesuffix('_published')}.yaml").read_text()
        assert "top-1" not in own


def test_a_recipe_without_its_file_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path))
    cfg = load_config(ROOT / "configs/k400/uniformer_xxs_16x8_128.yaml")
    with pytest.raises(CheckpointError, match=r"uniformer_xxs_128_in1k are not in .*download"):
        build_model.build_model(cfg, 400)


@pytest.mark.parametrize("kernel", [(3, 5, 5), (5, 5, 5)])
def test_fine_tuning_takes_the_kernel_of_the_weights(tmp_path, kernel):
    small = ["UNIFORMER.EMBED_DIM", "[8, 8, 16, 16]", "UNIFORMER.DEPTH", "[1, 1, 1, 1]"]
    small += ["UNIFORMER.HEAD_DIM", "8"]
    source = load_config(FOLDER_CONFIG, [*small, "UNIFORMER.LOCAL_KERNEL", str(list(kernel))])
    pretrained, _ = build_model.build_model(source, 400)
    weights = tmp_path / "weights.pth"
    torch.save({"model_state": pretrained.state_dict()}, weights)

    cfg = load_config(FOLDER_CONFIG, [*small, "UNIFORMER.PRETRAIN_NAME", str(weights)])
    model, report = build_model.build_model(cfg, 3)
    assert model.blocks1[0].attn.weight.shape[2:] == kernel
    assert model.num_classes == 3
    assert len(report.replaced) == 2 and not report.skipped and not report.missing
    assert torch.equal(model.patch_embed1.proj.weight, pretrained.patch_embed1.proj.weight)


def test_fine_tuning_reads_a_folder_of_videos(tmp_path):
    for video in ("run/a.mp4", "run/b.mp4", "run/c.mp4", "jump/deep/d.avi", "jump/e.mp4"):
        (tmp_path / video).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / video).touch()
    data = build_data(load_config(FOLDER_CONFIG, ["DATA.PATH_TO_DATA_DIR", str(tmp_path)]))
    assert data.class_names == ["jump", "run"]
    assert {record.label for record in data.train} == {0, 1}
    assert {record.label for record in data.val} == {0, 1}
    assert len(data.train) + len(data.val) == 5
    assert data.test == data.val
