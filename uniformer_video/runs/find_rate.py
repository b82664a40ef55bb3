"""Look for a learning rate: a copy of the model trains with a rate that rises, until the loss does too.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3, the range test.
That the rate rises exponentially and the loss is smoothed: Howard & Gugger, "fastai" (2020).
"""

import logging
import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import simplejson
from fvcore.common.config import CfgNode

from uniformer_video.config.setting import TRAINING
from uniformer_video.config.settings import with_settings
from uniformer_video.distributed.ranks import Ranks, join_ranks
from uniformer_video.errors import ConfigError, MissingLibraryError, TrainingError
from uniformer_video.files import write_text
from uniformer_video.pages.plots import rate_chart
from uniformer_video.runs.build_data import Data, build_data
from uniformer_video.runs.build_model import name_model
from uniformer_video.runs.build_training import build_schedule
from uniformer_video.runs.check import check_phases, check_settings
from uniformer_video.runs.folder import RunFolder, run_folder
from uniformer_video.runs.rehearsal import rehearse
from uniformer_video.training.monitor import Monitor
from uniformer_video.training.trainer import Trainer
from uniformer_video.words import plural

log = logging.getLogger(__name__)

CURVE_FILE, NUMBERS_FILE = "find_lr.svg", "find_lr.json"
LEAST_STEPS = 20
_HIGHEST = 1_000  # that SOLVER.BASE_LR may be
_SMOOTHING = 0.9  # how much of the fading mean of the losses stays from step to step
_DIVERGED = 4.0  # times the lowest loss
_FIRST = 5  # steps at least whose mean loss is what a fall is measured from
_LEAST_FALL = 0.005  # share of that
_RULE = "a tenth of the rate where the smoothed loss is lowest"
# Nothing is validated or tested, and a loss that is not finite is a finding. Compiling would take longer than
# the steps, and changes losses by rounding alone.
_ON_TRIAL = {
    "TEST.ENABLE": False,
    "TRAIN.EVAL_PERIOD": 0,
    "TRAIN.EVAL_ITERS": 0,
    "TRAIN.PATIENCE": 0,
    "TRAIN.MINUTES": 0.0,
    "MODEL.COMPILE": False,
    "TRAIN.MAX_NONFINITE": 1_000_000_000,
}


@dataclass
class RateCurve:
    """Losses of steps with a rising learning rate.

    rates: values of SOLVER.BASE_LR. losses: as measured; smoothed: their fading mean, without the bias of its
    beginning. diverged: the last loss was not finite, or its mean `_DIVERGED` times the lowest one.
    """

    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    diverged: bool = False
    _mean: float = 0.0

    def add(self, rate: float, loss: float) -> None:
        """Take a step. A loss that is not finite has diverged, and is not kept."""
        if not math.isfinite(loss):
            self.diverged = True
            return
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        smoothed = self._mean / (1 - _SMOOTHING ** (len(self.losses) + 1))
        self.diverged = bool(self.smoothed) and smoothed > _DIVERGED * min(self.smoothed)
        self.rates.append(rate)
        self.losses.append(loss)
        self.smoothed.append(smoothed)

    @property
    def lowest(self) -> int:
        """The step of the lowest smoothed loss; 0 where there is none."""
        return self.smoothed.index(min(self.smoothed)) if self.smoothed else 0

    @property
    def steepest(self) -> int:
        """The step up to that one at which the smoothed loss falls most; rates rise by one factor a step."""
        falls = [
            self.smoothed[step - 1] - self.smoothed[step] for step in range(1, self.lowest + 1)
        ]
        return 1 + falls.index(max(falls))

    @property
    def has_fallen(self) -> bool:
        """Whether the smoothed loss fell below that of the first quarter of the way by more than noise.

        Of noise alone the lowest mean lies about half a deviation below all, and a loss differs from the one
        before by one, in the median: a fall is more than that, and than what nobody would see.
        """
        if self.lowest < _FIRST:
            return False
        quarter = max(_FIRST, self.lowest // 4)
        jumps = [abs(b - a) for a, b in pairwise(self.losses)]
        first = sum(self.losses[:quarter]) / quarter
        noise = sorted(jumps)[len(jumps) // 2]
        return first - self.smoothed[self.lowest] > max(noise, _LEAST_FALL * abs(first))

    @property
    def suggestion(self) -> float:
        """See `_RULE`: beyond the lowest loss it rises, and what is well below is safe."""
        return self.rates[self.lowest] / 10

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain types; without a fall there is no suggestion."""
        found = self.has_fallen
        return {
            "suggestion": self.suggestion if found else None,
            "rule": _RULE,
            "lowest_loss_at": self.rates[self.lowest] if found else None,
            "steepest_fall_at": self.rates[self.steepest] if found else None,
            "diverged": self.diverged,
            "rates": self.rates,
            "losses": self.losses,
            "smoothed": self.smoothed,
        }


def find_rate(
    cfg: CfgNode, name: str, steps: int = 100, lowest: float = 1e-7, highest: float = 1.0
) -> float:
    """The SOLVER.BASE_LR that a `RateCurve` suggests, which is written into the run's folder.

    The rate rises from `lowest` to `highest` in so many `steps`, fewer where the loss diverges. `name` is the
    config's. Raises `ConfigError` for a range that is none, `TrainingError` where the loss falls at no rate.
    """
    _check_range(steps, lowest, highest)
    if not cfg.TRAIN.ENABLE:
        raise ConfigError(
            f"find-lr trains a copy of the model, and {TRAINING} is False: set it to True"
        )
    cfg = name_model(cfg)
    check_settings(cfg)
    check_phases(cfg)
    cfg = with_settings(cfg, _ON_TRIAL)
    with join_ranks(cfg.DISTRIBUTED.TIMEOUT, cfg.DATA_LOADER.TIMEOUT or math.inf) as ranks:
        data, folder = build_data(cfg), run_folder(cfg, name)
        ranks.say(
            f"{cfg.MODEL.MODEL_NAME}, {plural(len(data.train), data.medium.name)}: {steps} steps on a copy "
            f"of the model, with SOLVER.BASE_LR from {lowest:g} to {highest:g}."
        )
        growth = (highest / lowest) ** (1 / (steps - 1))
        curve = _measure(cfg, data, folder, ranks, [lowest * growth**step for step in range(steps)])
        ranks.on_main(lambda: _write(curve, folder))
        if not curve.has_fallen:
            raise TrainingError(_reason(curve, lowest, highest, folder))
        ranks.say(*_findings(curve, folder))
        return curve.suggestion


def _check_range(steps: int, lowest: float, highest: float) -> None:
    if steps < LEAST_STEPS:
        raise ConfigError(f"--steps is {steps}; a curve takes at least {LEAST_STEPS}, better 100")
    if not 0 < lowest < highest <= _HIGHEST:
        raise ConfigError(
            f"--lowest {lowest:g} and --highest {highest:g} are no range of learning rates: they are above 0 "
            f"and at most {_HIGHEST}, the first below the second, such as 1e-7 and 1"
        )


class _Losses(Monitor):
    """Keeps the loss of the last step, which is read after each."""

    loss = math.nan

    def is_due(self, step: int) -> bool:
        return True

    def step(self, **values: Any) -> None:
        self.loss = values["loss"]


def _measure(
    cfg: CfgNode, data: Data, folder: RunFolder, ranks: Ranks, rates: list[float]
) -> RateCurve:
    curve = RateCurve()
    peak = _peak_of_one(cfg)

    def use(trainer: Trainer) -> None:
        heard = _Losses(None, 1, len(rates), 1, ())
        trainer.monitor = trainer.readings.monitor = heard
        trainer.schedule = lambda _: rates[len(curve.rates)] * peak

        def goes_on() -> bool:
            trainer.readings.read()
            curve.add(rates[len(curve.rates)], heard.loss)
            return not curve.diverged

        trainer.try_steps(len(rates), goes_on)

    rehearse(cfg, data, folder, ranks, use)
    return curve


def _peak_of_one(cfg: CfgNode) -> float:
    """The highest learning rate of the schedule where SOLVER.BASE_LR is 1: what it is multiplied by."""
    at_once = ("SOLVER.WARMUP_EPOCHS", "SOLVER.WARMUP_ITERS", "SOLVER.COOLDOWN_EPOCHS")
    schedule = build_schedule(
        with_settings(cfg, {"SOLVER.BASE_LR": 1.0, **dict.fromkeys(at_once, 0)})
    )
    return max(schedule(epoch) for epoch in (0.0, *cfg.SOLVER.STEPS))


def _write(curve: RateCurve, folder: RunFolder) -> None:
    """The numbers, and the curve where the library that draws it is installed; none of an earlier search."""
    folder.make()
    (folder / CURVE_FILE).unlink(missing_ok=True)
    write_text(folder / NUMBERS_FILE, simplejson.dumps(curve.to_dict(), indent=1) + "\n")
    if not curve.rates:
        return
    marks = {}
    if curve.has_fallen:
        marks = {
            "steepest fall": curve.rates[curve.steepest],
            "lowest": curve.rates[curve.lowest],
            "suggested": curve.suggestion,
        }
    try:
        drawing = rate_chart(curve.rates, curve.losses, curve.smoothed, marks)
    except MissingLibraryError as error:
        log.warning("No curve is drawn, the numbers alone are in %s: %s", NUMBERS_FILE, error)
    else:
        write_text(folder / CURVE_FILE, drawing)


def _findings(curve: RateCurve, folder: RunFolder) -> list[str]:
    lowest, last = curve.lowest, len(curve.rates) - 1
    ending = (
        f"it diverges at {curve.rates[last]:.2g}"
        if curve.diverged
        else "up to the highest rate it does not diverge"
        if lowest < last
        else "it still falls at the end: a higher --highest would tell more"
    )
    return [
        f"The loss falls most at {curve.rates[curve.steepest]:.2g} and is lowest, "
        f"{curve.smoothed[lowest]:.3f}, at {curve.rates[lowest]:.2g}; {ending}. Suggested is {_RULE}.",
        f"Curve: {folder / (CURVE_FILE if (folder / CURVE_FILE).is_file() else NUMBERS_FILE)}",
    ]


def _reason(curve: RateCurve, lowest: float, highest: float, folder: RunFolder) -> str:
    """Why there is no suggestion, and what to do."""
    measured = f"({folder / NUMBERS_FILE} has the losses)"
    if curve.diverged:
        at = curve.rates[-1] if curve.rates else lowest
        return (
            f"the loss diverges at a learning rate of {at:.2g}, before it has fallen at a lower one "
            f"{measured}; begin lower, with --lowest, or look at the data and SOLVER.CLIP_GRADIENT"
        )
    return (
        f"the loss falls at no learning rate from {lowest:g} to {highest:g} {measured}; try a higher "
        "--highest, more --steps or a larger TRAIN.BATCH_SIZE"
    )
