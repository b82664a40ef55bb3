"""Images: the same run as of videos, with models and lists of images."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.tiny_run import tiny_image_overrides
from uniformer_video.config.settings import load_config
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import ConfigError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs.build_model import build_model
from uniformer_video.runs.run import run
from uniformer_video.zoo.create import create_model

COLORS = {"blue": (30, 30, 200), "green": (30, 200, 30), "red": (200, 30, 30)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Noise around a colour, the class: train and val, folders by class."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for name, color in COLORS.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(36, 60, 2)
                noise = rng.normal(0, 40, (height, width, 3)) + np.array(color)
                picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
                picture.save(folder / f"{number}.JPEG")
    return root


def images_config(pictures, output, **changes):
    short = {"SOLVER.MAX_EPOCH": 4, "SOLVER.BASE_LR": 3e-3, "MIXUP.ENABLE": False}
    return load_config(overrides=tiny_image_overrides(pictures, output, **{**short, **changes}))


def test_trains_tests_and_predicts_images(pictures, tmp_path):
    cfg = images_config(pictures, tmp_path / "out")
    results = json.loads((run(cfg, "images") / "results.json").read_text())
    assert results["protocol"]["medium"] == "image" and results["protocol"]["decoder"] == "pillow"
    assert results["summary"]["top1"]["value"] == 1.0
    predictor = Predictor.from_checkpoint(tmp_path / "out" / "last.pt")
    for name in COLORS:
        found = predictor(pictures / "val" / name / "0.JPEG")
        assert found.top(1)[0][0] == name


@pytest.mark.parametrize(
    ("medium", "mean", "said"),
    [
        ("image", "[0.45,0.45,0.45]", ["mean [0.485, 0.456, 0.406]", "takes mean [0.45, "]),
        ("image", "[0.485,0.456,0.406]", []),
        ("video", "[0.45,0.45,0.45]", []),
    ],
)
def test_published_weights_of_other_pixels_are_named(pictures, tmp_path, medium, mean, said):
    """Published video runs start from image weights with other pixels, and nothing is said of that."""
    path = tmp_path / "uniformer_small_in1k.pth"
    sizes = {"embed_dims": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "head_dim": 8}
    torch.save(
        {"model": create_model("image_uniformer_s", num_classes=5, **sizes).state_dict()}, path
    )
    changes = {
        "DATA.MEAN": mean,
        "DATA.STD": "[0.229,0.224,0.225]",
        "UNIFORMER.PRETRAIN_NAME": path,
    }
    if medium == "video":
        changes |= {"MODEL.MODEL_NAME": "uniformer_s", "TRAIN.DATASET": "folder"}
    _, report = build_model(images_config(pictures, tmp_path / "out", **changes), 3)
    notes = "\n".join(note for note in report.notes if "trained on pixels" in note)
    assert all(words in notes for words in said) and bool(notes) == bool(said)


@pytest.mark.parametrize(
    ("model", "dataset", "said"),
    [
        ("image_uniformer_s", "folder", "takes images, and TRAIN.DATASET folder lists videos"),
        ("uniformer_s", "imagefolder", "takes videos, and TRAIN.DATASET imagefolder lists images"),
    ],
)
def test_model_and_lists_are_of_one_medium(pictures, tmp_path, model, dataset, said):
    changes = {"MODEL.MODEL_NAME": model, "TRAIN.DATASET": dataset}
    with pytest.raises(ConfigError, match=said):
        run(images_config(pictures, tmp_path / "out", **changes), "images")


@pytest.mark.parametrize(("side", "short"), [(128, 146), (160, 182), (192, 219), (224, 256)])
def test_the_test_of_images_cuts_a_crop_of_the_published_ratio(side, short):
    cfg = load_config(overrides=["TRAIN.DATASET", "imagefolder", "DATA.TEST_CROP_SIZE", str(side)])
    protocol = Protocol.from_cfg(cfg)
    assert (protocol.views.short_side, protocol.num_views) == (short, 1)
    assert Protocol.from_dict(protocol.to_dict()) == protocol
    assert protocol.views([np.zeros((1, 300, 400, 3), np.uint8)]).shape == torch.Size(
        [1, 3, side, side]
    )
