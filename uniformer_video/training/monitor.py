"""The log of a training: console lines, JSON lines, a progress bar, and what the writers get."""

import logging
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

import simplejson
import torch
from tqdm import tqdm

from uniformer_video.files import METRICS_FILE, atomic_write
from uniformer_video.program import command
from uniformer_video.training.costs import RunCosts
from uniformer_video.training.writers import Writers
from uniformer_video.words import duration

log = logging.getLogger(__name__)

DATA_SHARE_WARNING = 0.3
# What some trainings measure beside the loss: the key in metrics.jsonl, and what a line of the log calls it.
ALSO_MEASURED = {"distillation_loss": "from the teacher", "token_loss": "of the tokens"}


class Figure(Protocol):
    """What is asked of the task's figures; `evaluation.parts.Figure` has it."""

    @property
    def key(self) -> str: ...

    @property
    def short(self) -> str: ...


class Monitor:
    """Collects steps, reports intervals. Only the main process makes one that writes.

    folder: where `metrics.jsonl` goes; None keeps silent. max_epoch: None where the run counts iterations,
    which are steps. figures: the task's, `Figure`s that name what is measured beside the loss. writers: get
    the same numbers. show_bar: of progress; None = on a terminal. costs: says once what the run costs; None =
    nothing is said. noun: what the training is on, "video" or "image". validated: what is due after
    `first_step` is done.
    """

    def __init__(
        self,
        folder: Path | str | None,
        log_period: int,
        total_steps: int,
        max_epoch: int | None,
        figures: Sequence[Figure],
        first_step: int = 0,
        writers: Writers | None = None,
        show_bar: bool | None = None,
        costs: RunCosts | None = None,
        noun: str = "video",
        validated: bool = True,
    ):
        self.folder = Path(folder) if folder else None
        self.log_period, self.total_steps, self.max_epoch = log_period, total_steps, max_epoch
        self.shown = {figure.key: figure.short for figure in figures}
        self.started, self.first_step, self.warned = time.monotonic(), first_step, False
        self.pending: list[dict[str, Any]] = []  # the values of steps that no line tells yet
        self.writers, self.costs, self.noun = writers or Writers(), costs, noun
        self.bar: tqdm | None = None
        self.file: TextIO | None = None
        if not self.folder:
            return
        keep_lines_until(self.folder / METRICS_FILE, first_step, validated)
        self.file = open(self.folder / METRICS_FILE, "a", encoding="utf-8")  # noqa: SIM115
        self.writers.begin(first_step)
        if sys.stderr.isatty() if show_bar is None else show_bar:
            self.bar = tqdm(
                total=total_steps, initial=first_step, unit="step", leave=False, dynamic_ncols=True
            )

    def step(self, **values: Any) -> None:
        """Values of one step, one of the figures among them; every `log_period` steps their means are
        reported.
        """
        self.pending.append(values)
        if self.bar:
            self.bar.update()
        if self.is_due(values["step"]):
            self._report(values["step"])
        told = values["step"], values["seconds"], values["data_seconds"]
        if self.costs and (line := self.costs.step(*told)):
            self.message(line)

    def is_due(self, step: int) -> bool:
        """Whether a line is printed after this step."""
        return step % self.log_period == 0 or step == self.total_steps

    def validation(
        self,
        epoch: float,
        step: int,
        measured: Mapping[str, tuple[float, float]],
        seconds: float,
        name: str,
    ) -> None:
        """One validation.

        measured: {which weights: (score, loss)}, first those that are trained; `score` in 0..1 is the figure
        whose key is `name`.
        """
        first = next(iter(measured))
        values: dict[str, Any] = {"kind": "val", "epoch": round(epoch, 6), "step": step}
        parts = []
        for weights, (score, loss) in measured.items():
            prefix = "" if weights == first else f"{weights}_"
            values |= {f"{prefix}{name}": score, f"{prefix}loss": loss}
            which = f"{weights} " if len(measured) > 1 else ""
            parts.append(f"{which}{self.shown[name]} {score:.1%}  loss {loss:.3f}")
        self._write({**values, "seconds": round(seconds, 3)})
        place = f"epoch {epoch}/{self.max_epoch}" if self.max_epoch else self._iteration(step)
        self.message(f"{place}  validation {'  '.join(parts)}")
        if self.costs and (line := self.costs.validation(seconds)):
            self.message(line)

    def message(self, text: str) -> None:
        """A line on the console, above the progress bar."""
        if not self.folder:
            return
        if self.bar:
            with tqdm.external_write_mode():
                log.info(text)
        else:
            log.info(text)

    def close(self) -> None:
        """Flush and close everything but the writers, which the test writes to as well."""
        for part in (self.bar, self.file):
            if part is not None:
                part.close()

    def _report(self, step: int) -> None:
        steps, self.pending = self.pending, []
        mean: dict[str, Any] = {key: _mean(values[key] for values in steps) for key in steps[0]}
        share = mean["data_seconds"] / max(mean["seconds"], 1e-9)
        elapsed = time.monotonic() - self.started
        left = elapsed / max(step - self.first_step, 1) * (self.total_steps - step)
        epoch = steps[-1]["epoch"]
        score = next(name for name in self.shown if name in mean)
        beside = {key: mean[key] for key in ALSO_MEASURED if key in mean}
        more = "".join(f"  {ALSO_MEASURED[key]} {value:.3f}" for key, value in beside.items())
        values = {
            "kind": "train",
            "epoch": round(epoch, 4 if self.max_epoch else 6),
            "step": step,
            "loss": mean["loss"],
            score: mean[score],
            **beside,
            "lr": steps[-1]["lr"],
            "step_seconds": round(mean["seconds"], 4),
            "data_seconds": round(mean["data_seconds"], 4),
            "memory_bytes": memory_bytes(),
        }
        self._write(values)
        place = (
            f"epoch {epoch:.2f}/{self.max_epoch}  step {step}/{self.total_steps}"
            if self.max_epoch
            else f"{self._iteration(step)}  epoch {epoch:.2f}"
        )
        self.message(
            f"{place}  "
            f"loss {values['loss']:.3f}{more}  {self.shown[score]} {_percent(values[score])}  "
            f"lr {values['lr']:.2e}  "
            f"step {mean['seconds'] * 1000:.0f} ms ({share:.0%} waiting for data)  "
            f"memory {values['memory_bytes'] / 2**30:.1f} GB  left {duration(left)}"
        )
        if (
            share > DATA_SHARE_WARNING
            and step - self.first_step > 2 * self.log_period
            and not self.warned
        ):
            self.warned = True
            on_device = "normalise" if self.noun == "image" else "all"
            self.message(
                f"training waits {share:.0%} of its time for data; raise DATA_LOADER.NUM_WORKERS, set "
                f"AUG.ON_DEVICE {on_device}, or store the {self.noun}s at a smaller size; "
                f"`{command('bench loader')}` shows where the time goes"
            )

    def _iteration(self, step: int) -> str:
        return f"iteration {step}/{self.total_steps}"

    def _write(self, values: dict[str, Any]) -> None:
        if self.file is None:
            return
        self.file.write(simplejson.dumps(values, ignore_nan=True) + "\n")
        self.file.flush()
        shown = {key: value for key, value in values.items() if key not in ("kind", "step")}
        kind = values["kind"]
        self.writers.scalars({f"{kind}/{key}": v for key, v in shown.items()}, values["step"])


def keep_lines_until(path: Path, step: int, validated: bool = True) -> None:
    """Drop the lines of steps after `step`, and unless it is `validated` that of its validation: a resumed
    run writes them again.
    """
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            told = simplejson.loads(line)
            again = told["step"] == step and told.get("kind") == "val" and not validated
            if told["step"] <= step and not again:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue  # a line torn by a crash
    with atomic_write(path) as file:
        file.write("".join(kept).encode())


def memory_bytes() -> int:
    """Peak memory: of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of the numbers among `values`, in which None stands for a step that measured nothing."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"
