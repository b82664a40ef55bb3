"""Losses against plain sums, weights of classes, hits, and the figures of a validation."""

import math

import numpy as np
import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build import build_objective
from uniformer_video.runs.build_data import Data
from uniformer_video.training.mixup import Mixup, soft_targets
from uniformer_video.training.objective import AnyLabels, OneLabel

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


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    ("kind", "plain"), [(AnyLabels, plain_bce), (OneLabel, plain_cross_entropy)]
)
def test_losses_are_the_plain_sums(kind, plain, weights):
    logits, targets = batch()
    expected = plain(logits, targets, [1.0] * 4 if weights is None else weights.tolist())
    assert float(kind(weights).loss(logits, targets)) == pytest.approx(expected, rel=1e-5)


def test_without_weights_one_label_is_plain_cross_entropy_to_the_bit():
    logits, targets = batch()
    expected = torch.nn.functional.cross_entropy(logits, targets)
    assert torch.equal(OneLabel().loss(logits, targets), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hits_are_clips_whose_best_class_is_one_of_theirs(smoothing):
    labels = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    targets = soft_targets(labels, 4, smoothing)
    logits = torch.eye(4)[[1, 3, 0, 3]]
    assert AnyLabels(smoothing=smoothing).hits(logits, targets) == 2


def test_of_a_mixed_clip_the_classes_of_its_larger_part_are_hit():
    labels = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0.0]])
    targets = soft_targets(labels, 4, 0.1)
    mixed = torch.lerp(targets.flip(0), targets, 0.6)  # classes 0 and 1, and 2 by 0.4
    objective = AnyLabels(smoothing=0.1)
    hits = [objective.hits(torch.eye(4)[[best, 3]], mixed) for best in range(4)]
    assert hits == [1, 1, 0, 0]


def test_validation_measures_average_precision():
    records = [VideoRecord("a", "a", labels) for labels in ((0, 1), (1,), (), (0,))]
    logits = np.array([[3, 2, 0], [2, 1, 0], [1, -1, 0], [0, -2, 0]], np.float32)
    score, loss = AnyLabels(WEIGHTS[:3]).validate(logits, records)
    assert score == pytest.approx(((1 + 2 / 4) / 2 + 1) / 2)
    truth = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert loss == pytest.approx(plain_bce(torch.from_numpy(logits), truth, [1] * 3), rel=1e-5)
    score, loss = AnyLabels().validate(logits[2:3], records[2:3])
    assert math.isnan(score) and loss > 0


def test_validation_of_one_label_is_top1():
    records = [VideoRecord("a", "a", (label,)) for label in (0, 1, 2)]
    logits = np.array([[2, 1, 0], [0, 2, 1], [2, 1, 0]], np.float32)
    score, loss = OneLabel(WEIGHTS[:3]).validate(logits, records)
    targets = torch.eye(3)
    assert score == pytest.approx(2 / 3)
    assert loss == pytest.approx(plain_cross_entropy(torch.from_numpy(logits), targets, [1] * 3))


DATA = Data(
    ["a", "b", "c"],
    train=[VideoRecord("v", "v", labels) for labels in ((0,), (0,), (0,), (0,), (1,))],
)


def objective(*settings, data=DATA):
    return build_objective(load_config(overrides=[str(part) for part in settings]), data, CPU)


def test_the_config_chooses_the_objective_and_its_weights():
    assert type(objective()) is OneLabel and objective().weights is None
    several = objective("DATA.MULTI_LABEL", True, "MIXUP.LABEL_SMOOTH_VALUE", 0.2)
    assert type(several) is AnyLabels and several.smoothing == 0.2
    for multi_label in (False, True):
        kind = ("DATA.MULTI_LABEL", multi_label)
        balanced = objective(*kind, "SOLVER.CLASS_BALANCE", 0.5).weights
        torch.testing.assert_close(balanced, torch.tensor([2 / 3, 4 / 3, 1]))
        given = objective(*kind, "SOLVER.CLASS_WEIGHTS", "[1, 2.5, 3]").weights
        assert given.tolist() == [1, 2.5, 3] and given.dtype == torch.float32


def test_weights_of_another_number_of_classes_are_refused():
    with pytest.raises(ConfigError, match="CLASS_WEIGHTS has 2 weights and there are 3 classes"):
        objective("SOLVER.CLASS_WEIGHTS", "[1, 2]")


def test_mixed_rows_train_by_the_share_of_both():
    """The loss of mixed targets is the mixed loss: both are linear in the targets."""
    labels = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1.0]])
    clips = torch.zeros(3, 3, 1, 8, 8)
    mixup = Mixup(4, cutmix_alpha=0.0, smoothing=0.1)
    share, _ = mixup.draw(8, 8, np.random.default_rng(3))
    _, targets = mixup(clips, labels, np.random.default_rng(3))
    logits, _ = batch(3)
    own, partner = soft_targets(labels, 4, 0.1), soft_targets(labels.flip(0), 4, 0.1)
    for kind in (AnyLabels(), OneLabel()):
        expected = share * kind.loss(logits, own) + (1 - share) * kind.loss(logits, partner)
        torch.testing.assert_close(kind.loss(logits, targets), expected)
