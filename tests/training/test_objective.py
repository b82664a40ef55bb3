"""The loss beside a teacher: its formula, several labels, mixed clips, videos that it knows nothing of."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from uniformer_video.data.loading.dataset import ClipOrigin
from uniformer_video.data.loading.loader import TrainBatch
from uniformer_video.inference.teacher import StoredTeacher
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.training.mixup import Mixup
from uniformer_video.training.objective import LiveDistillation, Objective, StoredDistillation

CPU = torch.device("cpu")
WEIGHT, TEMPERATURE = 0.3, 4.0


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape) * 3)


def batch_of(labels, mirrored=None):
    mirrored = mirrored or [False] * len(labels)
    origins = tuple(ClipOrigin(index, turned) for index, turned in enumerate(mirrored))
    return TrainBatch(torch.zeros(len(labels), 3, 1, 2, 2), labels, (), (), origins)


def live(task, teacher):
    return LiveDistillation(task, WEIGHT, TEMPERATURE, lambda clips: teacher)


def stored(task, teacher, mirrored=None):
    rows = StoredTeacher(teacher.float().numpy(), mirrored or {})
    return StoredDistillation(task, WEIGHT, TEMPERATURE, rows)


def softmax(logits):
    shares = np.exp(logits.numpy() / TEMPERATURE)
    return shares / shares.sum(1, keepdims=True)


def test_one_label_follows_the_formula():
    task = SingleLabel(num_classes=4, label_smoothing=0.1)
    logits, teacher, labels = numbers(5, 4), numbers(5, 4, seed=1), torch.tensor([0, 3, 1, 1, 2])
    objective = live(task, teacher)
    batch = batch_of(labels)
    targets = objective.taught(batch.clips, objective.targets(batch, CPU))
    loss, from_teacher = objective.losses(logits, targets)
    said, own = softmax(teacher), softmax(logits)
    expected = TEMPERATURE**2 * (said * np.log(said / own)).sum(1).mean()
    assert float(from_teacher) == pytest.approx(expected, rel=1e-6)
    of_labels = float(task.loss(logits, targets[0]))
    assert float(loss) == pytest.approx((1 - WEIGHT) * of_labels + WEIGHT * expected, rel=1e-6)


def test_several_labels_are_answered_class_by_class():
    task = MultiLabel(num_classes=3)
    logits, teacher = numbers(4, 3), numbers(4, 3, seed=1)
    labels = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
    objective = live(task, teacher)
    batch = batch_of(labels)
    targets = objective.taught(batch.clips, objective.targets(batch, CPU))
    loss, from_teacher = objective.losses(logits, targets)
    said, own = (1 / (1 + np.exp(-each.numpy() / TEMPERATURE)) for each in (teacher, logits))
    divergence = said * np.log(said / own) + (1 - said) * np.log((1 - said) / (1 - own))
    expected = TEMPERATURE**2 * divergence.mean()
    assert float(from_teacher) == pytest.approx(expected, rel=1e-6)
    of_labels = float(F.binary_cross_entropy_with_logits(logits, labels.double()))
    assert float(loss) == pytest.approx((1 - WEIGHT) * of_labels + WEIGHT * expected, rel=1e-6)


@pytest.mark.parametrize("task", [SingleLabel(num_classes=3), MultiLabel(num_classes=3)])
def test_nothing_is_learnt_from_a_teacher_that_says_the_same(task):
    logits = numbers(4, 3).requires_grad_()
    softened = task.soften(logits.detach(), TEMPERATURE)
    divergence = task.divergence(logits, softened, TEMPERATURE)
    assert divergence.shape == (4,) and divergence.abs().max() < 1e-12
    divergence.sum().backward()
    assert logits.grad.abs().max() < 1e-12


def test_answers_far_apart_are_finite():
    """Softened answers of 0 and 1 to the last bit."""
    teacher = torch.tensor([[900.0, -900.0, 0.0]])
    for task in (SingleLabel(num_classes=3), MultiLabel(num_classes=3)):
        logits = (-teacher / 9).requires_grad_()
        softened = task.soften(teacher, 1.0)
        divergence = task.divergence(logits, softened, 1.0)
        divergence.sum().backward()
        assert torch.isfinite(divergence).all() and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("kind", [{"cutmix_alpha": 0.0}, {"mixup_alpha": 0.0}])
def test_stored_answers_are_mixed_by_the_share_of_the_clips(kind):
    teacher, labels = numbers(4, 3, seed=1), torch.tensor([0, 1, 2, 0])
    objective = stored(SingleLabel(num_classes=3), teacher)
    batch, mixup = batch_of(labels), Mixup(**kind)
    own, softened = objective.targets(batch, CPU)
    clips, mixed = mixup.mix(torch.rand(4, 3, 2, 40, 40), [own, softened], np.random.default_rng(1))
    share, _ = mixup.draw(40, 40, np.random.default_rng(1))
    assert 0 < share < 1
    said = torch.from_numpy(softmax(teacher)).float()
    torch.testing.assert_close(mixed[1], share * said + (1 - share) * said.flip(0))
    torch.testing.assert_close(mixed[0], share * own + (1 - share) * own.flip(0))
    _, taken, known = objective.taught(clips, mixed)
    assert torch.equal(taken, mixed[1]) and known.all()


def test_a_mirrored_clip_has_the_answers_of_the_other_side():
    teacher = torch.tensor([[5.0, 1.0, 0.0], [5.0, 1.0, 0.0], [2.0, 7.0, 3.0]])
    rows = StoredTeacher(teacher.numpy(), {0: 1, 1: 0})
    origins = [ClipOrigin(0, False), ClipOrigin(1, True), ClipOrigin(2, True), ClipOrigin(2, False)]
    assert rows(origins).tolist() == [[5, 1, 0], [1, 5, 0], [7, 2, 3], [2, 7, 3]]
    plain = StoredTeacher(teacher.numpy(), {})
    assert plain(origins).tolist() == [[5, 1, 0], [5, 1, 0], [2, 7, 3], [2, 7, 3]]


@pytest.mark.parametrize("task", [SingleLabel(num_classes=3), MultiLabel(num_classes=3)])
@pytest.mark.parametrize(("probability", "known"), [(0.0, [1, 0, 1, 1]), (1.0, [1, 0, 0, 1])])
def test_videos_without_stored_answers_learn_from_their_labels_alone(task, probability, known):
    """Also those that are mixed with one, and these alone."""
    teacher = numbers(4, 3, seed=1)
    teacher[1] = float("nan")
    labels = torch.tensor([0, 1, 2, 0])
    if isinstance(task, MultiLabel):
        labels = F.one_hot(labels, 3).float()
    objective = stored(task, teacher)
    batch = batch_of(labels)
    rng = np.random.default_rng(1)
    mixup = Mixup(cutmix_alpha=0.0, probability=probability)
    clips, targets = mixup.mix(batch.clips, objective.targets(batch, CPU), rng)
    targets = objective.taught(clips, targets)
    assert targets[2].int().tolist() == known
    logits = numbers(4, 3).requires_grad_()
    loss, from_teacher = objective.losses(logits, targets)
    each = task.divergence(logits, targets[1].double(), TEMPERATURE) * torch.tensor(known)
    assert float(from_teacher.detach()) == pytest.approx(
        TEMPERATURE**2 * float(each.sum().detach()) / 4
    )
    loss.backward()
    alone = logits.detach().clone().requires_grad_()
    ((1 - WEIGHT) * task.loss(alone, targets[0])).backward()
    assert torch.isfinite(logits.grad).all()
    torch.testing.assert_close(logits.grad[1], alone.grad[1])
    assert not torch.allclose(logits.grad[0], alone.grad[0])


def test_a_live_teacher_that_fails_is_not_passed_over():
    """It is as a loss that is not finite, and the step is left out."""
    objective = live(SingleLabel(num_classes=3), torch.full((2, 3), float("nan")))
    batch = batch_of(torch.tensor([0, 1]))
    targets = objective.taught(batch.clips, objective.targets(batch, CPU))
    assert objective.losses(numbers(2, 3), targets).isnan().all()


def test_without_a_teacher_it_is_the_loss_of_the_task():
    task, labels, logits = SingleLabel(num_classes=3), torch.tensor([0, 2]), numbers(2, 3)
    objective = Objective(task)
    batch = batch_of(labels)
    targets = objective.taught(batch.clips, objective.targets(batch, CPU))
    assert torch.equal(objective.losses(logits, targets), task.loss(logits, targets[0])[None])
    assert not objective.also_measured
