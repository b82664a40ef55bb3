"""An untrained checkpoint of a tiny model, whose answers differ from clip to clip, with any metadata."""

import torch

from uniformer_video.config.settings import load_config
from uniformer_video.runs import build_model
from uniformer_video.weights.checkpoint import write_checkpoint

NAMES = ["sit", "run", "eat"]


def write_untrained(path, overrides, protocol=(), names=NAMES, seed=0, **metadata):
    """Write `path`, of a model by the settings `overrides`, with values of its protocol and metadata.

    seed: of its weights.
    """
    cfg = load_config(overrides=overrides)
    torch.manual_seed(seed)
    model, _ = build_model.build_model(cfg, len(names))
    torch.nn.init.normal_(model.head.weight, std=3)
    known = build_model.build_metadata(cfg, model, names) | metadata
    known["protocol"] = {**known["protocol"], **dict(protocol)}
    write_checkpoint(path, model.state_dict(), known)
    return path
