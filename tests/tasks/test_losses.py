"""Targets, losses against plain sums, weights of classes, hits, and the figures of a validation."""

import math

import numpy as np
import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_task import build_training_task
from uniformer_video.tasks.classification import soft_targets
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.mixup import Mixup

CPU = torch.device("cpu")
WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.25])


def batch(rows=6, classes=4):
    rng = np.random.default_rng(1)
    logits = torch.tensor(rng.normal(0, 3, (rows, classes)), dtype=torch.float32)
    return logits, torch.tensor(rng.random((rows, classes)), dtype=torch.float32)


def plain_bce(logits, targets, weights):
    total = 0.0
    for scores, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        for score, target, weight in zip(scores, wanted, weights, strict=True):
            chance = 1 / (1 + math.exp(-score))
            total -= weight * (target * math.log(chance) + (1 - target) * math.log(1 - chance))
    return total / targets.numel()


def plain_cross_entropy(logits, targets, weights):
    total = 0.0
    for scores, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        norm = math.log(sum(math.exp(score) for score in scores))
        for score, target, weight in zip(scores, wanted, weights, strict=True):
            total -= weight * target * (score - norm)
    return total / len(logits)


def test_soft_targets():
    targets = soft_targets(torch.tensor([2, 0]), 5, 0.1)
    expected = [[0.02, 0.02, 0.92, 0.02, 0.02], [0.92, 0.02, 0.02, 0.02, 0.02]]
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, torch.tensor(expected))


def test_soft_targets_without_smoothing_are_one_hot():
    targets = soft_targets(torch.tensor([1, 3, 1]), 4, 0.0)
    assert targets.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0]]


def test_soft_targets_of_any_number_of_labels():
    """Off and on are those of one label; a row without labels is off everywhere."""
    labels = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0.0]])
    targets = soft_targets(labels, 5, 0.1)
    on, off = 0.92, 0.02
    expected = [[on, off, off, on, off], [off] * 5, [off, off, on, off, off]]
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets, torch.tensor(expected))
    assert torch.equal(targets[2:], soft_targets(torch.tensor([2]), 5, 0.1))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    ("kind", "plain"), [(MultiLabel, plain_bce), (SingleLabel, plain_cross_entropy)]
)
def test_losses_are_the_plain_sums(kind, plain, weights):
    logits, targets = batch()
    expected = plain(logits, targets, [1.0] * 4 if weights is None else weights.tolist())
    assert float(kind(class_weights=weights).loss(logits, targets)) == pytest.approx(
        expected, rel=1e-5
    )


def test_without_weights_one_label_is_plain_cross_entropy_to_the_bit():
    logits, targets = batch()
    expected = torch.nn.functional.cross_entropy(logits, targets)
    assert torch.equal(SingleLabel().loss(logits, targets), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hits_are_clips_whose_best_class_is_one_of_theirs(smoothing):
    labels = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    targets = soft_targets(labels, 4, smoothing)
    logits = torch.eye(4)[[1, 3, 0, 3]]
    assert MultiLabel(label_smoothing=smoothing).hits(logits, targets) == (2, 4)


def test_of_a_mixed_clip_the_classes_of_its_larger_part_are_hit():
    labels = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0.0]])
    targets = soft_targets(labels, 4, 0.1)
    mixed = torch.lerp(targets.flip(0), targets, 0.6)  # classes 0 and 1, and 2 by 0.4
    task = MultiLabel(label_smoothing=0.1)
    hits = [task.hits(torch.eye(4)[[best, 3]], mixed)[0] for best in range(4)]
    assert hits == [1, 1, 0, 0]


def test_validation_measures_average_precision():
    records = [VideoRecord("a", "a", labels) for labels in ((0, 1), (1,), (), (0,))]
    logits = np.array([[3, 2, 0], [2, 1, 0], [1, -1, 0], [0, -2, 0]], np.float32)
    score, loss = MultiLabel(class_weights=WEIGHTS[:3]).validate(logits, records)
    assert score == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)
    truth = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert loss == pytest.approx(plain_bce(torch.from_numpy(logits), truth, [1] * 3), rel=1e-5)
    score, loss = MultiLabel().validate(logits[2:3], records[2:3])
    assert math.isnan(score) and loss > 0


def test_validation_of_one_label_is_top1():
    records = [VideoRecord("a", "a", (label,)) for label in (0, 1, 2)]
    logits = np.array([[2, 1, 0], [0, 2, 1], [2, 1, 0]], np.float32)
    score, loss = SingleLabel(class_weights=WEIGHTS[:3]).validate(logits, records)
    targets = torch.eye(3)
    assert score == pytest.approx(2 / 3)
    assert loss == pytest.approx(plain_cross_entropy(torch.from_numpy(logits), targets, [1] * 3))


DATA = Data(
    ["a", "b", "c"],
    train=[VideoRecord("v", "v", labels) for labels in ((0,), (0,), (0,), (0,), (1,))],
)


def trained(*settings, data=DATA):
    return build_training_task(load_config(overrides=[str(part) for part in settings]), data, CPU)


def test_the_config_chooses_the_task_and_its_weights():
    assert type(trained()) is SingleLabel and trained().class_weights is None
    several = trained("TRAIN.TASK", "multi-label", "MIXUP.LABEL_SMOOTH_VALUE", 0.2)
    assert type(several) is MultiLabel
    assert (several.label_smoothing, several.num_classes) == (0.2, 3)
    for name in ("single-label", "multi-label"):
        kind = ("TRAIN.TASK", name)
        balanced = trained(*kind, "SOLVER.CLASS_BALANCE", 0.5).class_weights
        torch.testing.assert_close(balanced, torch.tensor([2 / 3, 4 / 3, 1]))
        given = trained(*kind, "SOLVER.CLASS_WEIGHTS", "[1, 2.5, 3]").class_weights
        assert given.tolist() == [1, 2.5, 3] and given.dtype == torch.float32


def test_weights_of_another_number_of_classes_are_refused():
    with pytest.raises(ConfigError, match="CLASS_WEIGHTS has 2 weights and there are 3 classes"):
        trained("SOLVER.CLASS_WEIGHTS", "[1, 2]")


def test_mixed_rows_train_by_the_share_of_both():
    """The loss of mixed targets is the mixed loss: both are linear in the targets."""
    labels = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1.0]])
    clips = torch.zeros(3, 3, 1, 8, 8)
    mixup = Mixup(cutmix_alpha=0.0)
    share, _ = mixup.draw(8, 8, np.random.default_rng(3))
    _, targets = mixup(clips, soft_targets(labels, 4, 0.1), np.random.default_rng(3))
    logits, _ = batch(3)
    own, partner = soft_targets(labels, 4, 0.1), soft_targets(labels.flip(0), 4, 0.1)
    for kind in (MultiLabel(), SingleLabel()):
        expected = share * kind.loss(logits, own) + (1 - share) * kind.loss(logits, partner)
        torch.testing.assert_close(kind.loss(logits, targets), expected)
