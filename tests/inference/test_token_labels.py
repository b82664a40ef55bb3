"""Label maps made by a model: what they hold, for which pictures, resumed, and read back for training."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from uniformer_video.config.settings import load_config
from uniformer_video.data.clips.label_maps import map_name, read_facts, read_map
from uniformer_video.data.lists.media import IMAGE
from uniformer_video.data.protocol import Protocol
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.inference.predictor import Predictor
from uniformer_video.inference.records import records_at
from uniformer_video.inference.token_labels import label_map, make_token_labels
from uniformer_video.prepare.summary import FAILED_FILE
from uniformer_video.runs.build_token_labels import build_label_maps
from uniformer_video.weights.checkpoint import write_checkpoint
from uniformer_video.zoo.create import create_model

NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]
TINY = {"embed_dims": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "head_dim": 8}


def write_model(path, names=NAMES, model_name="image_uniformer_s", **options):
    torch.manual_seed(1)
    model = create_model(model_name, num_classes=len(names), **{**TINY, **options}).eval()
    cfg = load_config(overrides=["TRAIN.DATASET", "imagefolder", "DATA.TEST_CROP_SIZE", "64"])
    metadata = {
        "model": {"name": model_name, "arguments": dict(model.arguments)},
        "class_names": names,
        "protocol": Protocol.from_cfg(cfg).to_dict(),
    }
    write_checkpoint(path, model.state_dict(), metadata)
    return model


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for number, name in enumerate(["n01/a.x.JPEG", "n01/b.png", "n02/a.jpg"]):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (70 + number, 90, 3), np.uint8)).save(path)
    return tmp_path / "train"


def test_maps_hold_the_five_highest_classes_of_each_place(pictures, tmp_path):
    model = write_model(tmp_path / "model.pt")
    summary = make_token_labels(tmp_path / "model.pt", pictures, tmp_path / "maps", workers=0)
    assert (summary.kept, dict(summary.done), summary.failed) == (0, {"made": 3}, [])
    predictor = Predictor.from_checkpoint(tmp_path / "model.pt")
    for record in records_at([pictures], IMAGE)[0]:
        found = read_map(tmp_path / "maps" / map_name(record))
        assert found.shape == (2, 5, 2, 2) and found.dtype == torch.float16
        picture = np.asarray(Image.open(record.path).convert("RGB"))[None, None]
        with torch.no_grad():
            tokens = model.forward_features(predictor.protocol.views(picture))[0]
            logits = tokens @ model.head.weight.T + model.head.bias  # [h, w, K]
        order = logits.argsort(-1, descending=True)[..., :5]
        assert torch.equal(found[1].long(), order.permute(2, 0, 1))
        values = logits.gather(-1, order).permute(2, 0, 1)
        torch.testing.assert_close(found[0].float(), values, rtol=1e-3, atol=1e-3)
    facts = read_facts(tmp_path / "maps")
    assert facts["class_names"] == NAMES and facts["model"] == "model.pt"
    assert os.path.getsize(tmp_path / "maps" / "n01" / "a.pt") < 3000  # one map, not its batch


def test_the_mean_over_the_places_is_the_classifier(tmp_path):
    for name, options in (
        ("image_uniformer_s", {}),
        ("image_uniformer_s_plus", {"representation_size": 12}),
    ):
        model = create_model(name, num_classes=6, **{**TINY, **options}).eval()
        images = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            places = model.place_logits(images)
            assert places.shape == (2, 3, 2, 6)
            torch.testing.assert_close(places.mean((1, 2)), model(images), rtol=1e-5, atol=1e-6)


def test_a_model_of_few_classes_says_all_of_them():
    logits = torch.tensor([[1.0, 70_000.0], [3.0, 2.0]])[:, None]  # [K, h, w]
    found = label_map(logits)
    assert found.shape == (2, 2, 1, 2) and found[1].squeeze().tolist() == [[1, 0], [0, 1]]
    assert torch.isfinite(found).all()


def test_finished_maps_are_kept_and_broken_pictures_are_named(pictures, tmp_path):
    write_model(tmp_path / "model.pt")
    (pictures / "n02" / "broken.jpg").write_bytes(b"no picture")
    given = (tmp_path / "model.pt", pictures, tmp_path / "maps")
    summary = make_token_labels(*given, batch_size=3, workers=0)
    assert dict(summary.done) == {"made": 3} and len(summary.failed) == 1
    assert "broken.jpg" in (tmp_path / "maps" / FAILED_FILE).read_text()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "maps").rglob("*.pt")}
    (tmp_path / "maps" / "n01" / "a.pt").unlink()
    later = made[tmp_path / "maps" / "n01" / "b.pt"] + 10**9
    os.utime(pictures / "n01" / "b.png", ns=(later, later))  # a newer picture
    summary = make_token_labels(*given, workers=0)
    assert summary.kept == 1 and dict(summary.done) == {"made": 2} and len(summary.failed) == 1
    kept = tmp_path / "maps" / "n02" / "a.pt"
    assert kept.stat().st_mtime_ns == made[kept]


def test_other_weights_or_sizes_do_not_mix(pictures, tmp_path):
    write_model(tmp_path / "model.pt")
    make_token_labels(tmp_path / "model.pt", pictures, tmp_path / "maps", workers=0)
    with pytest.raises(DataError, match="size=64"):
        make_token_labels(tmp_path / "model.pt", pictures, tmp_path / "maps", size=96, workers=0)
    summary = make_token_labels(
        tmp_path / "model.pt", pictures, tmp_path / "large", size=96, workers=0
    )
    assert dict(summary.done) == {"made": 3}
    assert read_map(tmp_path / "large" / "n01" / "a.pt").shape == (2, 5, 3, 3)
    assert read_facts(tmp_path / "large")["protocol"]["short_side"] == 73 * 96 // 64
    with pytest.raises(ConfigError, match="multiple of 32"):
        make_token_labels(tmp_path / "model.pt", pictures, tmp_path / "odd", size=100)


def test_what_cannot_have_maps_is_refused(pictures, tmp_path):
    Image.new("RGB", (40, 40)).save(pictures / "n01" / "b.jpg")
    write_model(tmp_path / "model.pt")
    with pytest.raises(
        DataError, match=r"b\.jpg, .*n01/b\.png would both have the label map n01/b\.pt"
    ):
        make_token_labels(tmp_path / "model.pt", pictures, tmp_path / "maps")
    with pytest.raises(DataError, match="holds no images"):
        (tmp_path / "empty").mkdir()
        make_token_labels(tmp_path / "model.pt", tmp_path / "empty", tmp_path / "maps")
    (pictures / "n01" / "b.jpg").unlink()
    with pytest.raises(
        DataError, match=r"n0\d is a folder of the pictures, .* choose another --out"
    ):
        make_token_labels(tmp_path / "model.pt", pictures, pictures)
    assert not list(pictures.rglob("*.pt"))
    video = create_model("uniformer_s", num_classes=6, **TINY)
    metadata = {
        "model": {"name": "uniformer_s", "arguments": dict(video.arguments)},
        "class_names": NAMES,
        "protocol": Protocol.from_cfg(load_config()).to_dict(),
    }
    write_checkpoint(tmp_path / "video.pt", video.state_dict(), metadata)
    with pytest.raises(CheckpointError, match="holds a model of videos"):
        make_token_labels(tmp_path / "video.pt", pictures, tmp_path / "maps")


def test_the_maps_are_those_that_a_training_reads(pictures, tmp_path, call):
    write_model(tmp_path / "model.pt")
    code, printed, _ = call(
        "prepare",
        "token-labels",
        pictures,
        "--weights",
        tmp_path / "model.pt",
        "--out",
        tmp_path / "maps",
    )
    assert code == 0 and "3 made" in printed
    overrides = [
        "TRAIN.DATASET",
        "imagefolder",
        "MIXUP.ENABLE",
        "False",
        "TOKEN_LABELS.ENABLE",
        "True",
    ]
    cfg = load_config(overrides=[*overrides, "TOKEN_LABELS.PATH", str(tmp_path / "maps")])
    records, _ = records_at([pictures], IMAGE)
    maps = build_label_maps(cfg, records, NAMES)
    assert maps.shape == (2, 5, 2, 2) and maps.order is None
    turned = build_label_maps(cfg, records, NAMES[::-1])
    assert turned.order.tolist() == [5, 4, 3, 2, 1, 0]
    own, other = maps.read(records[0]), turned.read(records[0])
    assert torch.equal(own[0], other[0]) and torch.equal(own[1], 5 - other[1])
    with pytest.raises(DataError, match=r"of other classes.*only in the data: 'gnu'"):
        build_label_maps(cfg, records, [*NAMES[:5], "gnu"])
    assert json.loads((tmp_path / "maps" / "token_labels.json").read_text())["class_names"] == NAMES
