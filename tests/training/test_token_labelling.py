"""What is learnt by token labelling: the recorded losses, the box of MixToken, a batch of the loader."""

import numpy as np
import parity
import pytest
import torch
from recorded_token_labels import recorded_crops, recorded_maps, recorded_pass, true_targets

from uniformer_video.data.clips.label_maps import TokenLabels
from uniformer_video.data.loading.loader import TrainBatch
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.token_labelling import TokenLabelling, TokenLosses, draw_box

CPU = torch.device("cpu")
# The name of a recorded loss, how it is made, and how far it is known.
LOSSES = {
    "total": (TokenLosses(), 1e-9),
    "with_ground_truth": (TokenLosses(ground_truth=True), 1e-8),  # single precision there
    "class_only": (TokenLosses(dense_weight=0.0), 1e-9),
    "dense_half": (TokenLosses(dense_weight=0.5), 1e-9),
}


def measured(facts, outputs, box, how):
    objective = TokenLabelling(SingleLabel(facts["classes"]), facts["classes"], how)
    side = 32 * facts["label_size"]
    targets = [true_targets(facts), recorded_maps(facts["classes"]), recorded_crops(facts)]
    taught = objective.taught(torch.empty(4, 3, side, side, device="meta"), targets)
    return objective.measure(outputs, taught, (torch.tensor(box) * 8,))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("mixed", [True, False])
def test_published_losses(name, mixed):
    facts, _ = parity.image_facts("token_label_targets_7")
    classes, tokens = facts["classes"], facts["label_size"] ** 2
    outputs = parity.clip([4, classes], seed=3), parity.clip([4, tokens, classes], seed=4)
    how, known = LOSSES[name]
    loss, _ = measured(facts, outputs, facts["token_box"] if mixed else [0] * 4, how)
    expected = facts["losses" if mixed else "losses_without_mix"][name]
    assert float(loss) == pytest.approx(expected, rel=known)


@pytest.mark.parametrize("name", LOSSES)
def test_published_losses_of_a_whole_step(name, two_threads):
    facts, _ = parity.image_facts("mixtoken_small")
    how, known = LOSSES[name]
    loss, _ = measured(facts, recorded_pass(), facts["box_tokens"], how)
    assert float(loss) == pytest.approx(facts["losses"][name], rel=known)


def test_boxes_are_drawn_as_published():
    """Sides of int(side * sqrt(1 - share)) around a whole centre, the share uniform; clipped to the grid."""
    areas = []
    for seed in range(300):
        top, left, bottom, right = draw_box(56, 40, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        cut = np.sqrt(rng.random())
        row, column = rng.integers(56), rng.integers(40)
        half_height, half_width = int(56 * cut) // 2, int(40 * cut) // 2
        assert (top, bottom) == (max(row - half_height, 0), min(row + half_height, 56))
        assert (left, right) == (max(column - half_width, 0), min(column + half_width, 40))
        areas.append((bottom - top) * (right - left) / (56 * 40))
    assert 0 <= min(areas) < 0.01 and 0.5 < max(areas) <= 1


def test_a_step_asks_the_network_for_a_box_of_its_own():
    objective = TokenLabelling(SingleLabel(3), 3, TokenLosses())
    clips = torch.empty(2, 3, 224, 160)
    boxes = [objective.asked_of_network(clips, (0, step, 0))[0].tolist() for step in range(4)]
    again = [objective.asked_of_network(clips, (0, step, 0))[0].tolist() for step in range(4)]
    assert boxes == again and len(set(map(tuple, boxes))) > 2
    assert all(bottom <= 56 and right <= 40 for _, _, bottom, right in boxes)
    without = TokenLabelling(SingleLabel(3), 3, TokenLosses(mix=False))
    assert without.asked_of_network(clips, (0, 0, 0))[0].tolist() == [0] * 4


def test_targets_come_from_the_maps_of_a_batch():
    maps = recorded_maps(40).half()
    crops = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 4, dtype=torch.float64)
    labels = torch.tensor([3, 7, 11, 39])
    batch = TrainBatch(torch.zeros(4, 3, 64, 64), labels, (), (), (), TokenLabels(maps, crops))
    objective = TokenLabelling(SingleLabel(40, label_smoothing=0.1), 40, TokenLosses())
    own, of_crop, of_tokens = objective.taught(batch.clips, objective.targets(batch, CPU))
    assert own.argmax(1).tolist() == labels.tolist()
    assert of_crop.shape == (4, 40) and of_tokens.shape == (4, 4, 40)
    torch.testing.assert_close(of_tokens.sum(-1), torch.full((4, 4), 1 + 0.1 / 40))
