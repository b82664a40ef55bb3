"""What the recorded cases of token labelling start from: maps, crops, true classes, a training pass."""

from functools import cache

import parity
import torch

from uniformer_video.zoo.create import create_model

MAP_SIDE = 18


def recorded_maps(classes):
    """The maps of the recorded cases, `[4, 2, 5, h, w]`, in float64."""
    scores = parity.clip([4, classes, MAP_SIDE, MAP_SIDE], seed=1)
    numbers = scores.argsort(dim=1, descending=True, stable=True)[:, :5]
    logits = 8 * parity.clip([4, 5, MAP_SIDE, MAP_SIDE], seed=2).abs().sort(1, True).values
    return torch.stack([logits, numbers.double()], 1)


def recorded_crops(facts):
    return torch.tensor(facts["crop_top_left_height_width"], dtype=torch.float64)


def true_targets(facts, smoothing=0.1):
    """The smoothed true classes, `[4, K]`, in float64."""
    classes = facts["classes"]
    true = torch.full((4, classes), smoothing / classes, dtype=torch.float64)
    true[range(4), facts["truth"]] = 1 - smoothing + smoothing / classes
    return true


@cache
def recorded_pass():
    """Outputs of the published model in training, its class logits and its token logits."""
    facts, _ = parity.image_facts("mixtoken_small")
    keys, _ = parity.image_facts(facts["keys_of"])
    with torch.device("meta"):
        model = create_model("image_uniformer_s_tl", num_classes=1000, drop_path_rate=0.0)
    model.load_state_dict(parity.state(keys["keys"]), assign=True)
    box = torch.tensor(facts["box_stage1_grid"])
    with torch.no_grad():
        return model.train().training_outputs(parity.clip(facts["input"]), box)
