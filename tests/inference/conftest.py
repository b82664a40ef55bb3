"""An untrained checkpoint of a tiny model, with any metadata."""

import pytest
import torch
from moving_shape import write_shape_model

from uniformer_video.config.settings import load_config
from uniformer_video.runs import build_model
from uniformer_video.weights.checkpoint import write_checkpoint

NAMES = ["sit", "run", "eat"]


@pytest.fixture(scope="session")
def shape_checkpoint(tmp_path_factory):
    """A small segmentation model that is trained for seconds on scenes of `moving_shape`."""
    return write_shape_model(tmp_path_factory.mktemp("shapes") / "shapes.pt")


@pytest.fixture
def untrained(tiny, tmp_path):
    """A function: the path of a checkpoint with settings, values of its protocol and metadata of its own."""

    def write(settings=None, protocol=(), **metadata):
        cfg = load_config(overrides=tiny(**(settings or {})))
        torch.manual_seed(0)
        model, _ = build_model.build_model(cfg, len(NAMES))
        torch.nn.init.normal_(model.head.weight, std=3)
        known = build_model.build_metadata(cfg, model, NAMES) | metadata
        known["protocol"] = {**known["protocol"], **dict(protocol)}
        path = tmp_path / "weights.pt"
        write_checkpoint(path, model.state_dict(), known)
        return path

    return write
