"""Runs on images with each kind of augmentation: what works, and what is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_image_overrides

from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.images import ImageAugmentation, ImageViews
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_clips import build_augmentation
from uniformer_video.runs.check import check_settings
from uniformer_video.runs.run import run


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 2)):
        for name, level in (("dark", 60), ("light", 190)):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.normal(level, 30, (*rng.integers(20, 60, 2), 3))
                picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
                picture.save(folder / f"{number}.JPEG")
    return root


def config(pictures, output, **changes):
    return load_config(overrides=tiny_image_overrides(pictures, output, **changes))


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line).get("loss") for line in lines]
    return [loss for loss in found if loss is not None]


EVERYTHING = {
    "AUG.AA_TYPE": "v0",
    "AUG.NUM_SAMPLE": 2,
    "AUG.REPEATED": 3,
    "MIXUP.ENABLE": True,
    "NUM_GPUS": 2,
}
RUNS = {
    "all of it": EVERYTHING,
    "on the device": {**EVERYTHING, "AUG.ON_DEVICE": "normalise"},
    "nothing": {"AUG.ENABLE": False, "MIXUP.ENABLE": False},
    "a plain crop and colour jitter": {
        "DATA.TRAIN_JITTER_SCALES_RELATIVE": "[]",
        "DATA.TRAIN_JITTER_SCALES": "[36, 40]",
        "AUG.AA_TYPE": "",
    },
}


def test_runs_with_every_kind_of_augmentation(pictures, tmp_path):
    found = {}
    for name, changes in RUNS.items():
        cfg = config(
            pictures, tmp_path / name, **{"TEST.ENABLE": False, "AUG.RE_PROB": 0, **changes}
        )
        run(cfg, name)
        found[name] = losses(tmp_path / name)
        assert len(found[name]) >= 6 and np.isfinite(found[name]).all()
    np.testing.assert_allclose(found["on the device"], found["all of it"], rtol=1e-4)


@pytest.mark.parametrize(
    ("crop", "ratio", "short"),
    [
        (128, 0.875, 146),
        (160, 0.875, 182),
        (192, 0.875, 219),
        (224, 0.875, 256),
        (224, 0.9, 248),
        (384, 0.9, 426),
    ],
)
def test_a_test_scales_to_the_published_short_side(pictures, tmp_path, crop, ratio, short):
    given = {"DATA.TEST_CROP_SIZE": crop, "DATA.TEST_CROP_RATIO": ratio}
    views = Protocol.from_cfg(config(pictures, tmp_path, **given)).views
    assert isinstance(views, ImageViews) and (views.short_side, views.crop_size) == (short, crop)


def test_the_config_asks_for_the_published_augmentation(pictures, tmp_path):
    given = {"AUG.AA_TYPE": "rand-m9-mstd0.5-inc1", "DATA.MEAN": "[0.485, 0.456, 0.406]"}
    augment = build_augmentation(config(pictures, tmp_path, **given), ["dark", "light"])
    assert isinstance(augment, ImageAugmentation)
    assert augment.fill == (124, 116, 104) and augment.colors.policy.num_ops == 2
    assert augment.erasing == 0.25 and augment.area == (0.08, 1.0)


def test_augmentation_of_images_on_the_device_is_refused(pictures, tmp_path):
    cfg = config(pictures, tmp_path, **{"AUG.ON_DEVICE": "all"})
    with pytest.raises(
        ConfigError, match=r"AUG\.ON_DEVICE all is for videos.* set it to normalise"
    ):
        run(cfg, "images")
    check_settings(config(pictures, tmp_path, **{"AUG.ON_DEVICE": "all", "TRAIN.ENABLE": False}))
