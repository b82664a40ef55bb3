"""What activation checkpointing costs, in the log."""

import pytest
import torch
from torch import nn

from uniformer_video.config.settings import load_config
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs.build_measures import recomputation_lines
from uniformer_video.runs.build_model import build_model
from uniformer_video.training.recomputation import recomputed_share


class Layers(RecognitionModel):
    """Four equal layers, of which the first ones are recomputed, but for their last operation."""

    def __init__(self, recomputed):
        super().__init__(8)
        self.recomputed = recomputed
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(4))

    def forward(self, x):
        tokens = x.flatten(2).mean(2).repeat(1, 3)[:, :8]
        for number, layer in enumerate(self.layers):
            if number < self.recomputed:
                tokens = torch.utils.checkpoint.checkpoint(layer, tokens, use_reentrant=False)
            else:
                tokens = layer(tokens)
        return tokens


def test_the_share_of_a_model_that_can_be_reckoned():
    def build(recomputes):
        return Layers(2 if recomputes else 0)

    # two of four layers once more, of three times four
    assert recomputed_share(build, (1, 3, 2, 4, 4)) == pytest.approx(2 / 12)


@pytest.mark.parametrize(
    "name",
    ["uniformer_s", pytest.param("uniformer_xxs", marks=pytest.mark.slow), "image_uniformer_s"],
)
def test_a_run_says_what_it_costs(name):
    settings = ["MODEL.MODEL_NAME", name, "MODEL.USE_CHECKPOINT", "True"]
    cfg = load_config(overrides=[*settings, "MODEL.CHECKPOINT_NUM", "[0,0,4,0]"])
    before = torch.get_rng_state()
    model, _ = build_model(cfg, 5)
    middle = torch.get_rng_state()
    (line,) = recomputation_lines(cfg, model)
    assert "MODEL.CHECKPOINT_NUM [0, 0, 4, 0]" in line
    share = int(line.split()[-3].rstrip("%"))
    assert 2 < share < 33
    assert torch.equal(torch.get_rng_state(), middle) and not torch.equal(before, middle)


def test_without_recomputation_nothing_is_said():
    cfg = load_config()
    assert recomputation_lines(cfg, build_model(cfg, 5)[0]) == []
    cfg = load_config(overrides=["MODEL.USE_CHECKPOINT", "True"])
    assert recomputation_lines(cfg, build_model(cfg, 5)[0]) == []
