"""What is due after which step, and the learning rates of recipes that count iterations, by hand."""

import math

import pytest
import torch

from uniformer_video.config.settings import load_config
from uniformer_video.errors import ConfigError
from uniformer_video.runs import build_training
from uniformer_video.training.monitor import keep_lines_until
from uniformer_video.training.optim import CosineSchedule, PolySchedule
from uniformer_video.training.state import Progress
from uniformer_video.training.timetable import Timetable

BY_ITERATIONS = Timetable(7, 20, eval_steps=6, checkpoint_steps=10, by_iterations=True)
BY_EPOCHS = Timetable(4, 20, eval_steps=8, checkpoint_steps=12)

FPN = {
    "SOLVER.MAX_ITER": 80_000,
    "SOLVER.BASE_LR": 2e-4,
    "SOLVER.COSINE_END_LR": 2e-12,
    "SOLVER.COSINE_AFTER_WARMUP": False,
    "SOLVER.WARMUP_ITERS": 1_000,
    "SOLVER.WARMUP_RATIO": 0.1,
    "SOLVER.WEIGHT_DECAY": 1e-4,
    "SOLVER.ZERO_WD_1D_PARAM": False,
}
UPERNET = {
    "SOLVER.MAX_ITER": 160_000,
    "SOLVER.BASE_LR": 6e-5,
    "SOLVER.LR_POLICY": "poly",
    "SOLVER.WARMUP_ITERS": 1_500,
    "SOLVER.WARMUP_RATIO": 1e-6,
    "SOLVER.WEIGHT_DECAY": 0.01,
    "SOLVER.ZERO_WD_1D_PARAM": False,
    "SOLVER.NO_DECAY_PATTERNS": ["norm"],
}
COMMUNITY = {
    "SOLVER.MAX_ITER": 160_000,
    "SOLVER.BASE_LR": 1e-5,
    "SOLVER.COSINE_END_LR": 0.0,
    "SOLVER.WARMUP_ITERS": 500,
    "SOLVER.WARMUP_RATIO": 0.01,
}


def test_stages_end_where_something_is_due():
    ends, steps = [], 0
    while steps < 20:
        steps = BY_ITERATIONS.stage_end(steps)
        ends.append(steps)
    assert ends == [6, 7, 10, 12, 14, 18, 20]
    assert [step for step in range(1, 21) if BY_ITERATIONS.ends_stage(step)] == ends
    assert [step for step in ends if BY_ITERATIONS.is_validated(step)] == [6, 12, 18, 20]
    assert [step for step in ends if BY_ITERATIONS.is_saved(step)] == [10, 20]
    assert BY_ITERATIONS.validations() == 4 and BY_EPOCHS.validations() == 3
    assert [BY_EPOCHS.stage_end(step) for step in (0, 3, 4, 19)] == [4, 4, 8, 20]
    assert not any(Timetable(4, 20, 0, 4).is_validated(step) for step in range(1, 21))


def test_an_end_is_open_until_what_is_due_is_done():
    before = Progress(epoch=2, step=6, open_end=True)
    assert not BY_ITERATIONS.is_finished(before, 0)
    assert BY_ITERATIONS.is_finished(Progress(epoch=2, step=6), 0)
    # as versions that knew no iterations wrote it
    assert BY_EPOCHS.has_open_end(Progress.from_dict({"epoch": 4, "step": 4, "best_epoch": 2}))
    assert BY_EPOCHS.is_finished(Progress.from_dict({"epoch": 5, "step": 0, "best_epoch": 2}), 0)
    with pytest.raises(ValueError, match="end"):
        Progress.from_dict({"epoch": 1, "open_end": 1})


def schedule(settings):
    return build_training.build_schedule(load_config(**settings), 631)


# Computed apart from this program, in 40 digits.
RATES = {
    "fpn": {
        0: 2e-5,
        1: 2.017999999221998e-5,
        999: 1.997431269687821e-4,
        1_000: 1.999229036248433e-4,
        40_000: 1.00000001e-4,
        79_999: 2.077106283602539e-12,
    },
    "upernet": {
        0: 6e-11,
        1: 4.005970962525e-8,
        1_499: 5.939824978962525e-5,
        1_500: 5.94375e-5,
        80_000: 3e-5,
        159_999: 3.75e-10,
        160_000: 0.0,
    },
    "community": {
        0: 1e-7,
        1: 1.198e-7,
        499: 9.9802e-6,
        500: 1e-5,
        80_250: 5e-6,
        159_999: 9.69880838510852e-16,
        160_000: 0.0,
    },
}


@pytest.mark.parametrize(
    ("name", "settings"), [("fpn", FPN), ("upernet", UPERNET), ("community", COMMUNITY)]
)
def test_the_published_rates(name, settings):
    rate = schedule(settings)
    for iteration, expected in RATES[name].items():
        # a cosine that is nearly -1 has lost some digits
        assert rate(iteration) == pytest.approx(expected, rel=1e-6 if expected < 1e-11 else 1e-12)


def test_the_warm_up_ratio_is_the_published_formula_at_every_step():
    """Written here once more, from the facts, with the schedules beside it in plain formulas."""
    fpn, upernet = schedule(FPN), schedule(UPERNET)
    for it in range(0, 80_000, 97):
        cosine = 2e-12 + (2e-4 - 2e-12) * 0.5 * (1 + math.cos(math.pi * it / 80_000))
        line = 6e-5 * (1 - it / 160_000)
        for rate, scheduled, n, r in ((fpn, cosine, 1_000, 0.1), (upernet, line, 1_500, 1e-6)):
            factor = 1 - (1 - it / n) * (1 - r) if it < n else 1
            assert rate(it) == pytest.approx(scheduled * factor, rel=1e-12)


def test_the_power_bends_the_fall():
    rate = PolySchedule(1.0, 0.0, 0, 100, power=0.9)
    assert rate(50) == pytest.approx(0.5**0.9) and rate(100) == rate(101) == 0
    risen = PolySchedule(1.0, 0.25, 20, 100)
    assert (risen(0), risen(10)) == (0.25, pytest.approx(0.525)) and risen(20) == 0.8


def test_epochs_and_iterations_may_stand_side_by_side():
    """What is set in epochs counts in iterations where the run does, and the other way round."""
    cfg = load_config(**{"SOLVER.MAX_ITER": 1_000, "SOLVER.COOLDOWN_EPOCHS": 2})
    found = build_training.build_schedule(cfg, 20)
    assert found == CosineSchedule(1e-4, 1e-6, 1e-6, 200.0, 960.0)
    cfg = load_config(**{"SOLVER.WARMUP_ITERS": 30, "SOLVER.MAX_EPOCH": 9})
    assert build_training.build_schedule(cfg, 20).warmup_epochs == 1.5
    cfg = load_config(**{**FPN, "SOLVER.LR_INTERVAL": "epoch"})
    rate = build_training.build_schedule(cfg, 4_000)
    assert rate(7_999) == rate(4_000) == schedule(FPN)(4_000) != rate(8_000)
    cfg = load_config(**{"SOLVER.MAX_ITER": 1_000})  # and a warm-up of 10 epochs
    said = "10 leaves nothing of SOLVER[.]MAX_ITER 1000, as an epoch has 500 iterations"
    with pytest.raises(ConfigError, match=said):
        build_training.build_schedule(cfg, 500)
    settings = {"SOLVER.MAX_EPOCH": 2, "SOLVER.WARMUP_ITERS": 7, "SOLVER.COOLDOWN_EPOCHS": 1}
    said = "WARMUP_ITERS 7 and SOLVER.COOLDOWN_EPOCHS 1 leave nothing of SOLVER.MAX_EPOCH 2"
    with pytest.raises(ConfigError, match=said):
        build_training.build_schedule(load_config(**settings), 4)


class Head(torch.nn.Module):
    """As a head of segmentation: convolution, BatchNorm, and a norm by name."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn = torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)
        self.norm1, self.norm_bn = torch.nn.LayerNorm(4), torch.nn.BatchNorm2d(4)


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        (FPN, set()),
        (UPERNET, {"norm1.weight", "norm1.bias", "norm_bn.weight", "norm_bn.bias"}),
        ({"SOLVER.OPTIMIZING_METHOD": "sgd", **FPN, "BN.WEIGHT_DECAY": 0.0}, {"bn", "norm_bn"}),
    ],
)
def test_what_recipes_decay(settings, plain):
    model, cfg = Head(), load_config(**settings)
    optimizer = build_training.build_optimizer(cfg, model)
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    for name, parameter in model.named_parameters():
        spared = name in plain or name.partition(".")[0] in plain
        assert decay[id(parameter)] == (0 if spared else cfg.SOLVER.WEIGHT_DECAY), name


def test_a_pattern_that_names_nothing_is_refused():
    cfg = load_config(**{**UPERNET, "SOLVER.NO_DECAY_PATTERNS": ["norm", "nrm"]})
    with pytest.raises(ConfigError, match="has 'nrm', which is in the name of no parameter of"):
        build_training.build_optimizer(cfg, Head())
    with pytest.raises(ConfigError, match="every name contains the empty text"):
        load_config(**{"SOLVER.NO_DECAY_PATTERNS": [""]})


def test_a_validation_that_is_still_to_be_done_is_dropped_from_the_log(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"kind": "train", "step": 3}\n', '{"kind": "val", "step": 3}\n']
    path.write_text("".join(lines))
    keep_lines_until(path, 3)
    assert path.read_text() == "".join(lines)
    keep_lines_until(path, 3, validated=False)
    assert path.read_text() == lines[0]
