"""Every kind of model goes through the same run: trained, resumed, tested, reported, predicted with."""

import json

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.inference.predictor import Predictor
from uniformer_video.runs.check import settings_of_other_models
from uniformer_video.runs.run import run
from uniformer_video.weights.checkpoint import read_weights

KINDS = {
    "light": {"MODEL.MODEL_NAME": "uniformer_xxs", "UNIFORMER.LAYER_SCALE": "True"},
    "divided": {"UNIFORMER.SPLIT": "True", "UNIFORMER.STD": "True"},
    "x3d": {"MODEL.MODEL_NAME": "x3d_xs"},
}
SHORT = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "SOLVER__WARMUP_START_LR": 0}


def load(overrides):
    """The config of the settings that the model has."""
    unread = settings_of_other_models(load_config(overrides=overrides))
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    return load_config(overrides=[word for pair in pairs if pair[0] not in unread for word in pair])


@pytest.mark.parametrize(
    "kind", ["light", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("divided", "x3d"))]
)
def test_one_line_in_the_config_swaps_the_model(kind, tiny, tmp_path, make_video):
    changes = {key.replace(".", "__"): value for key, value in KINDS[kind].items()}
    cfg = load(tiny(**changes, **SHORT))
    folder = run(cfg, kind)
    results = json.loads((folder / "results.json").read_text())
    assert results["model"]["name"] == cfg.MODEL.MODEL_NAME
    assert results["summary"]["decoded"] == 8
    assert (folder / "report.html").exists()

    weights = read_weights(folder / "last.pt")
    heads = [key for key in weights.state if key.startswith("head")]
    assert ("head_cls.weight" in heads) == (kind == "light")
    predictor = Predictor.from_checkpoint(folder / "last.pt")
    before = predictor(make_video(frames=12)).probabilities
    assert before.shape == (8,) and abs(before.sum() - 1) < 1e-5

    # Another run starts from these weights: the classifier stays, as the classes are the same.
    changes["UNIFORMER__PRETRAIN_NAME"] = folder / "last.pt"
    again = tiny(**changes, OUTPUT_DIR=tmp_path / "again", SOLVER__BASE_LR=1e-9, **SHORT)
    folder = run(load(again), kind)
    state = read_weights(folder / "last.pt").state
    for key, value in weights.state.items():
        if "running" not in key and "num_batches" not in key:
            assert torch.allclose(state[key], value, atol=1e-4), key
