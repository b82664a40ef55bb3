"""A checkpoint of a tiny model of three classes, not trained."""

import pytest
import torch


@pytest.fixture
def checkpoint(tiny, tmp_path):
    from uniformer_video.config.settings import load_config
    from uniformer_video.runs import build_model
    from uniformer_video.weights.checkpoint import write_checkpoint

    cfg = load_config(overrides=tiny())
    torch.manual_seed(0)
    names = ["sit", "run", "eat"]
    model, _ = build_model.build_model(cfg, len(names))
    torch.nn.init.normal_(model.head.weight)
    path = tmp_path / "weights.pt"
    write_checkpoint(path, model.state_dict(), build_model.build_metadata(cfg, model, names))
    return path
