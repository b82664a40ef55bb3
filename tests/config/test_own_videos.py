"""The recipes for one's own videos and pictures: each value has its source, and any weights train by them."""

import re
from pathlib import Path

import pytest
import torch

from uniformer_video.config.settings import flat_config, load_config
from uniformer_video.config.values import parse_value
from uniformer_video.runs import build_clips, build_model, build_training
from uniformer_video.runs.check import check_settings
from uniformer_video.zoo.create import build_network

CONFIGS = Path(__file__).parents[2] / "configs"
BASE = CONFIGS / "_base_" / "small_data.yaml"
RECIPES = ("tiny", "small", "medium", "linear_probe")
FILES = [BASE, CONFIGS / "scratch" / "small.yaml"]
FILES += [CONFIGS / "finetune" / f"{name}.yaml" for name in RECIPES]
FILES += [CONFIGS / "images" / f"{name}.yaml" for name in ("small", "scratch")]
SOURCES = re.compile(r"\b(published|ours|probe)\b", re.I)
LINE = re.compile(r"  (?P<key>\w+): (?P<value>.*?)(?:  # (?P<comment>.*))?")


def name_of(path):
    return path.relative_to(CONFIGS).with_suffix("").as_posix()


def values_with_sources(path):
    """(key, value, the first word of its comment that names a source or "") of each line of a recipe.

    A comment on lines of its own is that of all values below it in its section.
    """
    section, above = "", ""
    for line in path.read_text().splitlines():
        if line.startswith("  #"):
            above += line
        elif match := LINE.fullmatch(line):
            found = SOURCES.search(match["comment"] or above)
            key = f"{section}.{match['key']}"
            yield key, parse_value(key, match["value"].strip('"')), found and found[1].lower()
        elif line.endswith(":") and not line.startswith("#"):
            section, above = line[:-1], ""


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_each_value_says_where_it_is_from(path):
    found = list(values_with_sources(path))
    assert len(found) > 3 and not [key for key, _, source in found if not source]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_called_published_is(path):
    source = (
        "imagenet/uniformer_s" if path.parent.name == "images" else "ucf101/uniformer_s_16x4_k400"
    )
    published = flat_config(load_config(source))
    called = {
        key: value for key, value, source in values_with_sources(path) if source == "published"
    }
    assert called == {key: published[key] for key in called}
    assert called or name_of(path) not in ("_base_/small_data", "finetune/medium")


def test_the_dropout_of_the_published_files_is_left_out():
    assert not any("DROPOUT" in key for path in FILES for key, *_ in values_with_sources(path))


def test_fewer_videos_are_seen_more_often():
    tiny, small, medium = (load_config(f"finetune/{name}") for name in RECIPES[:3])
    assert tiny.SOLVER.MAX_EPOCH > small.SOLVER.MAX_EPOCH > medium.SOLVER.MAX_EPOCH == 25
    views = {
        (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS) for cfg in (tiny, small, medium)
    }
    assert views == {(5, 3)}


def test_without_weights_a_small_model_trains_for_ten_minutes():
    cfg = load_config("scratch/small")
    assert cfg.TRAIN.MINUTES == 10 and not cfg.UNIFORMER.PRETRAIN_NAME
    model, report = build_model.build_model(cfg, 6)
    assert model.num_classes == 6 and report is None
    assert sum(weights.numel() for weights in model.parameters()) < 2e6


def test_a_linear_probe_augments_nothing():
    cfg = load_config("finetune/linear_probe")
    change = build_clips.build_augmentation(cfg, ["run", "walk"])
    assert not change.policy and not change.color_jitter and not change.erasing
    assert build_training.build_mixup(cfg) is None and cfg.UNIFORMER.DROP_DEPTH_RATE == 0


SMALL = {"embed_dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "head_dim": 8}
SIZES = ["UNIFORMER.EMBED_DIM", "[8,8,16,16]", "UNIFORMER.DEPTH", "[1,1,1,1]"]
SIZES += ["UNIFORMER.HEAD_DIM", "8"]
ZOO = {
    "own kernel": ("uniformer_s", {**SMALL, "local_kernel": (3, 5, 5)}, SIZES),
    "published": ("uniformer_s", {**SMALL, "local_kernel": (5, 5, 5)}, SIZES),
    "light": (
        "uniformer_xxs",
        {**SMALL, "layer_scale": True},
        [*SIZES, "UNIFORMER.LAYER_SCALE", "True"],
    ),
    "images": ("image_uniformer_s", SMALL, SIZES),
    "peer": ("x3d_xs", {}, []),
}


def test_pictures_from_scratch_train_a_small_model_for_minutes():
    cfg = load_config("images/scratch")
    assert cfg.TRAIN.MINUTES == 5 and not cfg.UNIFORMER.PRETRAIN_NAME
    model, report = build_model.build_model(cfg, 6)
    assert model.ndim == 2 and model.num_classes == 6 and report is None
    assert sum(weights.numel() for weights in model.parameters()) < 1e6


@pytest.mark.parametrize("size", ["s", "xxs"])
def test_pictures_start_from_image_weights(size, tmp_path):
    """And another size of model has no setting that the recipe's would not fit."""
    name = f"image_uniformer_{size}"
    torch.save(build_network(name, 1000, **SMALL).state_dict(), tmp_path / "w.pth")
    words = [*SIZES, "MODEL.MODEL_NAME", name, "UNIFORMER.PRETRAIN_NAME", str(tmp_path / "w.pth")]
    cfg = load_config("images/small", words)
    check_settings(cfg)
    model, report = build_model.build_model(cfg, 3)
    assert model.num_classes == 3 and not report.missing and not report.skipped
    assert {key.rpartition(".")[0] for key in report.replaced} == set(model.classifiers())


@pytest.mark.parametrize("kind", ZOO)
@pytest.mark.parametrize("recipe", ["finetune/tiny", "finetune/linear_probe"])
def test_any_weights_of_the_zoo_are_loaded(recipe, kind, tmp_path):
    name, options, words = ZOO[kind]
    torch.save(build_network(name, 7, **options).state_dict(), tmp_path / "w.pth")
    words = [*words, "MODEL.MODEL_NAME", name.removeprefix("image_")]
    cfg = load_config(recipe, [*words, "UNIFORMER.PRETRAIN_NAME", str(tmp_path / "w.pth")])
    model, report = build_model.build_model(cfg, 3)
    assert model.num_classes == 3 and report.replaced
    assert not report.missing and not report.skipped
