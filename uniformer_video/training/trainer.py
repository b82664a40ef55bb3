"""The training loop: epochs of steps of slots, with exact resume."""

import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import nn

from uniformer_video.data.mixup import soft_targets
from uniformer_video.errors import TrainingError, WorkerError
from uniformer_video.randomness import generator, seed_torch


@dataclass
class Progress:
    """Where a run stands: all that resuming needs beside weights and optimiser."""

    epoch: int = 0
    step: int = 0  # steps done in this epoch
    best_score: float = -1.0  # top-1 or mAP, in 0..1
    best_epoch: int = 0
    seconds: float = 0.0
    bad_videos: dict = field(default_factory=dict)  # path -> reason

    @classmethod
    def restored(cls, values):
        """From what a checkpoint records. Raises `TypeError` for other values."""
        values = dict(values)
        if "best_top1" in values:  # its name when top-1 was the only score
            values["best_score"] = values.pop("best_top1")
        return cls(**values)


class Interrupted(Exception):
    """Ctrl-C, or a request to end: the run has been saved and can be resumed."""


class TrainingOutputs(nn.Module):
    """A model whose forward pass is its `training_outputs`, so that a parallel wrapper sees it all."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, clips):
        """`[B, 3, T, H, W]` -> a tuple of logits `[B, K]`, the model's own first."""
        return self.model.training_outputs(clips)


class Trainer:
    """Trains `model` by the plan of `loader`; validates and saves through callbacks.

    Args:
        model: has `training_outputs`, a tuple of logits whose losses are averaged; wrapped for several
            processes here.
        loader: a `TrainLoader`.
        optimizer, schedule: the schedule maps the epoch (a real number) to the learning rate.
        ranks: this process among all.
        autocast: a function that returns the autocast context.
        scaler: a `torch.amp.GradScaler`, disabled unless the run is in fp16.
        settings: a `TrainSettings`.
        mixup: a `Mixup`, or None for smoothed targets alone.
        objective: the loss and what is counted, see `training.objective`.
        monitor: receives `step(...)` after each step, and messages.
        validate: (progress) -> a score in 0..1, the more the better, or None.
        save: (progress, is_best) -> None, writes checkpoints.
    """

    def __init__(
        self,
        *,
        model,
        loader,
        optimizer,
        schedule,
        ranks,
        autocast,
        scaler,
        settings,
        mixup,
        objective,
        monitor,
        validate,
        save,
    ):
        self.model, self.parallel = model, ranks.wrap(TrainingOutputs(model))
        self.loader, self.plan = loader, loader.plan
        self.optimizer, self.schedule, self.scaler = optimizer, schedule, scaler
        self.ranks, self.autocast, self.settings = ranks, autocast, settings
        self.mixup, self.objective, self.monitor = mixup, objective, monitor
        self.validate, self.save = validate, save
        self.own_slots = ranks.own_slots(self.plan.slots)
        self.nonfinite_in_a_row = 0
        self.between_updates = True  # the model is as the last update, or the resume, left it
        self.last_save = time.monotonic()

    def fit(self, progress):
        """Train from where `progress` stands to the last epoch. Raises `Interrupted` after saving.

        Where the data lets it down, by a `TrainingError` or `WorkerError`, finished steps are saved too.
        """
        started = time.monotonic() - progress.seconds
        with _stop_requests() as stop, self._saved_without_data(progress):
            while progress.epoch < self.settings.max_epoch:
                self._train_epoch(progress, stop, started)
                progress.epoch, progress.step = progress.epoch + 1, 0
                progress.seconds = time.monotonic() - started
                self._finish_epoch(progress)
                self._stop_if_asked(stop, progress)  # asked for during the validation

    @contextmanager
    def _saved_without_data(self, progress):
        try:
            yield
        except (TrainingError, WorkerError):
            if self.between_updates and (progress.epoch or progress.step):
                self._save(progress)
            raise

    def _train_epoch(self, progress, stop, started):
        self.parallel.train()
        batches = self.loader.epoch(progress.epoch, progress.step)
        while progress.step < self.plan.steps_per_epoch:
            self._train_step(progress, batches)
            progress.step += 1
            progress.seconds = time.monotonic() - started
            self._stop_if_asked(stop, progress)
            if time.monotonic() - self.last_save > self.settings.checkpoint_seconds:
                self._save(progress)

    def _stop_if_asked(self, stop, progress):
        if stop.is_set():
            self.save(progress, is_best=False)
            raise Interrupted

    def _train_step(self, progress, batches):
        """One update from all slots of a step. The learning rate follows the exact epoch."""
        steps = self.plan.steps_per_epoch
        epoch = progress.epoch + progress.step / steps
        lr = self.schedule(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum = hit = clips = 0
        data_seconds, start, paths = 0.0, time.monotonic(), []
        for slot in self.own_slots:
            waiting = time.monotonic()
            batch = next(batches)
            data_seconds += time.monotonic() - waiting
            self._note_broken(batch, progress)
            self.between_updates = False
            paths += batch.paths
            last = slot == self.own_slots[-1]
            loss, hits = self._backward(batch, progress, slot, last)
            loss_sum, hit, clips = loss_sum + loss, hit + hits, clips + len(batch.labels)
        self._update(paths)
        self.between_updates = True
        self.monitor.step(
            epoch=epoch + 1 / steps,
            step=progress.epoch * steps + progress.step + 1,
            loss=loss_sum / len(self.own_slots),
            lr=lr,
            data_seconds=data_seconds,
            seconds=time.monotonic() - start,
            **{self.objective.share: hit / clips},
        )

    def _backward(self, batch, progress, slot, last):
        """Add a slot's gradients; returns its loss and how many clips were hit."""
        position = progress.epoch * self.plan.steps_per_epoch + progress.step
        device = self.ranks.device
        clips = self.loader.finish(batch.clips.to(device, non_blocking=True))
        labels = batch.labels.to(device)
        settings = self.settings
        if self.mixup:
            clips, targets = self.mixup(
                clips, labels, generator("mixup", settings.seed, position, slot)
            )
        else:
            targets = soft_targets(labels, settings.num_classes, settings.label_smoothing)
        seed_torch("model", settings.seed, position, slot)
        quiet = self.ranks.size > 1 and not last
        with self.parallel.no_sync() if quiet else nullcontext():
            with self.autocast():
                outputs = [logits.float() for logits in self.parallel(clips)]
            loss = sum(self.objective.loss(logits, targets) for logits in outputs) / len(outputs)
            self.scaler.scale(loss / len(self.own_slots)).backward()
        hits = self.objective.hits(outputs[0], targets)
        return float(loss.detach()), hits

    def _update(self, paths):
        """Clip and step; a step with non-finite gradients is left out and counted."""
        self.scaler.unscale_(self.optimizer)
        limit = self.settings.clip_gradient or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        if torch.isfinite(norm):
            self.nonfinite_in_a_row = 0
            self.scaler.step(self.optimizer)
        else:
            self._count_nonfinite(paths)
        self.scaler.update()

    def _count_nonfinite(self, paths):
        self.nonfinite_in_a_row += 1
        self.monitor.message(
            f"non-finite gradients ({self.nonfinite_in_a_row} in a row), step left out: {paths[0]} ..."
        )
        if self.nonfinite_in_a_row >= self.settings.max_nonfinite:
            raise TrainingError(
                f"the loss was not finite for {self.nonfinite_in_a_row} steps in a row, the last with "
                f"{', '.join(paths[:4])}; lower SOLVER.BASE_LR, set SOLVER.CLIP_GRADIENT, or use "
                "TRAIN.PRECISION fp32"
            )

    def _note_broken(self, batch, progress):
        """Name each broken video once, and stop when there are too many."""
        new = {path: why for path, why in batch.broken if path not in progress.bad_videos}
        for why in new.values():
            self.monitor.message(f"broken video, replaced by another: {why}")
        progress.bad_videos |= new
        allowed = self.settings.max_bad_ratio * self.plan.videos
        if batch.clips is None or len(progress.bad_videos) > allowed:
            first = "; ".join(list(progress.bad_videos.values())[:3])
            raise TrainingError(
                f"{len(progress.bad_videos)} of {self.plan.videos} training videos are broken, more "
                f"than DATA.MAX_BAD_RATIO {self.settings.max_bad_ratio:g} allows: {first}"
            )

    def _finish_epoch(self, progress):
        settings = self.settings
        done = progress.epoch == settings.max_epoch
        is_best = False
        if settings.eval_period and (done or progress.epoch % settings.eval_period == 0):
            score = self._validated(progress)
            is_best = score is not None and score >= progress.best_score
            if is_best:
                progress.best_score, progress.best_epoch = score, progress.epoch
        if done or is_best or progress.epoch % settings.checkpoint_period == 0:
            self._save(progress, is_best)

    def _validated(self, progress):
        try:
            return self.validate(progress)
        except WorkerError:  # a resume begins with this validation
            progress.epoch, progress.step = progress.epoch - 1, self.plan.steps_per_epoch
            raise

    def _save(self, progress, is_best=False):
        self.save(progress, is_best=is_best)
        self.last_save = time.monotonic()


@dataclass(frozen=True)
class TrainSettings:
    """Numbers of the loop; see the settings of the same names in `config.py`."""

    num_classes: int
    max_epoch: int
    seed: int = 0
    label_smoothing: float = 0.1
    clip_gradient: float = 20.0
    eval_period: int = 1
    checkpoint_period: int = 1
    checkpoint_seconds: float = 600.0
    max_bad_ratio: float = 0.1
    max_nonfinite: int = 10


@contextmanager
def _stop_requests():
    """An event that Ctrl-C or SIGTERM sets; a second Ctrl-C ends at once."""
    stop = threading.Event()

    def request(signum, _frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
