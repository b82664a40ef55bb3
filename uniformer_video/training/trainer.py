"""The training loop: stages of steps of slots, with exact resume, the same for one process and many."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, NamedTuple, NoReturn, cast

import torch
from torch import Tensor

from uniformer_video.data.loading.loader import TrainBatch, TrainLoader
from uniformer_video.data.loading.workers import StopAsked
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import TrainingError, UserError, WorkerError
from uniformer_video.randomness import generator, seed_torch
from uniformer_video.signals import Interrupted, stop_requests
from uniformer_video.training.batch_statistics import BatchStatistics
from uniformer_video.training.compiling import compiled_part, try_compiled
from uniformer_video.training.mixup import Mixup
from uniformer_video.training.monitor import Monitor
from uniformer_video.training.objective import Objective, TrainedTask
from uniformer_video.training.optim import set_learning_rate
from uniformer_video.training.precise_statistics import recompute_statistics
from uniformer_video.training.readings import StepReading, StepReadings
from uniformer_video.training.saver import Saver
from uniformer_video.training.settings import TrainSettings
from uniformer_video.training.state import Progress, TrainState, whole
from uniformer_video.training.timetable import Timetable
from uniformer_video.training.tracing import StepTrace
from uniformer_video.words import duration

_BEFORE_VALIDATION_SECONDS = 60.0  # whoever stops the run may not wait for the validation's end


class _News(NamedTuple):
    """What a process tells the others before a slot: requests, and what its videos were like."""

    stop: bool
    save: bool
    complete: bool  # False: some sample could not be made from any video
    broken: tuple[tuple[str, str], ...]  # (path, reason)


class Trainer:
    """Trains by the plan of `loader`; validates and saves through callbacks.

    Until its update a step changes neither weights nor BatchNorm's running statistics: it may be dropped
    at any time, by a request to stop, a broken video, a lost process or gradients that are not
    finite. Whatever drops it is agreed by all processes before the device starts, or known to all from the
    same numbers afterwards.

    Args:
        state: a `TrainState`; its network gives a tuple of logits, whose losses are averaged.
        loader: a `TrainLoader`.
        timetable: a `Timetable`: what is due when.
        schedule: maps the timetable's `rate_position` to the learning rate.
        ranks: this process among all.
        autocast: a function that returns the autocast context.
        settings: a `TrainSettings`.
        mixup: a `Mixup`, or None for the task's targets alone.
        task: a `Task`: the targets, the loss and what is counted.
        objective: an `Objective` of it, None for the task's loss alone.
        monitor: receives `step(...)` of each step once its numbers are read, and messages.
        validate: (number of finished steps) -> {name of `state.tested_models`: a score in 0..1, the more the
            better}, empty where nothing can be measured.
        write: has this process write the checkpoints, see `Saver`.
        remedy: () -> what to do when steps or weights are not finite, for messages.
        trace: of some steps, or None.

    mark: called with the name of a part of a step when that part has been done; whoever times a training puts
        a function of theirs here.
    """

    def __init__(
        self,
        *,
        state: TrainState,
        loader: TrainLoader,
        timetable: Timetable,
        schedule: Callable[[float], float],
        ranks: Ranks,
        autocast: Callable[[], AbstractContextManager],
        settings: TrainSettings,
        mixup: Mixup | None,
        task: TrainedTask,
        monitor: Monitor,
        validate: Callable[[int], dict[str, float]],
        write: Callable[[dict[str, Any], dict[str, dict[str, Any]], set[str]], None],
        remedy: Callable[[], str],
        objective: Objective | None = None,
        trace: StepTrace | None = None,
    ):
        self.state, self.model = state, state.model
        self.network: Any = state.network  # where processes share the work, it has `no_sync()` too
        self.statistics = BatchStatistics(state.model)
        self.loader, self.plan = loader, loader.plan
        self.timetable, self.schedule = timetable, schedule
        self.ranks, self.autocast, self.settings = ranks, autocast, settings
        self.mixup, self.task, self.monitor = mixup, task, monitor
        self.objective = objective or Objective(task)
        self.validate, self.trace = validate, trace or StepTrace()
        self.own_slots = ranks.own_slots(self.plan.slots)
        also_measured = self.objective.also_measured
        self.readings = StepReadings(
            monitor, ranks, settings.max_nonfinite, task.hits_key, remedy, also_measured
        )
        self.saver = Saver(
            state=state,
            settings=settings,
            timetable=timetable,
            ranks=ranks,
            write=write,
            remedy=remedy,
        )
        self.stop, self.rehearsed, self.told_unmeasured = threading.Event(), False, False
        self.started = time.monotonic()
        self.mark: Callable[[str], None] = lambda part: None

    @property
    def finished_steps(self) -> int:
        """Steps from the beginning of the training, those that were left out included."""
        return self.saver.finished_steps

    def fit(self) -> None:
        """Train from where the state's progress stands to the last step, or until patience runs out.

        Raises `Interrupted` after saving. Where the data lets it down, by a `TrainingError` or `WorkerError`,
        finished steps are saved too.
        """
        progress = self.state.progress
        self.started = time.monotonic() - progress.seconds
        self.readings.check(int(self.state.nonfinite_in_a_row), ())
        with (
            stop_requests() as self.stop,
            self.statistics.attach(),
            self.ranks.guard_training(self.saver.position, self.saver.rescue),
            self._save_without_data(),
        ):
            self.loader.give_up_on(self.stop)
            while not self.timetable.is_finished(progress, self.settings.patience):
                self._train_stage(progress)
                self.measure_statistics(progress)
                self.finish_stage(progress)
                self._stop_or_save(self.settings.checkpoint_seconds)

    def try_steps(self, most: int, goes_on: Callable[[], bool]) -> None:
        """Train up to `most` steps, epoch after epoch, for whoever tries out or times a training.

        goes_on: called after each step; the trial ends where it is false. Nothing is validated; what is
        saved, as after a request to stop, is of no use to a run. Raises what `fit` raises.
        """
        progress, batches = self.state.progress, cast(Iterator[TrainBatch], iter(()))
        epochs = -(-(self.finished_steps + most) // self.plan.steps_per_epoch)
        ahead = self._ahead(epochs * self.plan.steps_per_epoch)
        with (
            stop_requests() as self.stop,
            self.statistics.attach(),
            self.ranks.guard_training(self.saver.position, self.saver.rescue),
        ):
            self.loader.give_up_on(self.stop)
            self.network.train()
            for _ in range(most):
                if progress.step == self.plan.steps_per_epoch:
                    progress.epoch, progress.step = progress.epoch + 1, 0
                if progress.step == 0:
                    batches = self.loader.epoch(progress.epoch, ahead=ahead)
                self._train_step(progress, batches)
                if not goes_on():
                    break

    def _train_stage(self, progress: Progress) -> None:
        """Steps up to where something is due or the epoch ends; none where that is still to be done."""
        self.network.train()
        if self.timetable.has_open_end(progress):
            return
        first, done = progress.step, self.finished_steps
        end = first + self.timetable.stage_end(done) - done
        ahead = self._ahead(self.timetable.last_step)
        batches = self.loader.epoch(progress.epoch, first, end, ahead)
        while progress.step < end:
            with self.trace.step(self.finished_steps + 1):
                self._train_step(progress, batches)
        self.readings.read()

    def _ahead(self, last_step: int) -> int:
        """Up to which step batches may be made before they are asked for: the next epoch's are then there.

        Not where clips of the epoch come once more at its end, to measure BatchNorm's statistics: what was
        made for the next one would be lost.
        """
        return 0 if self.settings.precise_batches else last_step

    def _train_step(self, progress: Progress, batches: Iterator[TrainBatch]) -> None:
        """One update from all slots of a step. The learning rate follows each step."""
        steps, start = self.plan.steps_per_epoch, time.monotonic()
        epoch = progress.epoch + progress.step / steps
        rate = self.schedule(self.timetable.rate_position(progress))
        reading = StepReading(self.finished_steps + 1, epoch + 1 / steps, rate)
        set_learning_rate(self.state.optimizer, reading.lr)
        self.state.optimizer.zero_grad(set_to_none=True)
        rows = []
        for slot in self.own_slots:
            waiting = time.monotonic()
            batch = self._next_batch(batches)
            reading.data_seconds += time.monotonic() - waiting
            reading.decode_seconds += batch.took.decode
            reading.augment_seconds += batch.took.augment
            self.mark("waiting for data")
            reading.paths[slot] = batch.paths
            start += self._rehearse(batch, progress, slot)  # which is no part of the step
            last = slot == self.own_slots[-1]
            rows.append(self._backward(batch, progress, slot, last))
        reading.values = self._update(progress, torch.stack(rows))
        reading.seconds = time.monotonic() - start
        self.mark("optimiser")
        self.readings.add(reading, at_once=self.ranks.device.type == "cpu")
        self.mark("logging")

    def _next_batch(self, batches: Iterator[TrainBatch]) -> TrainBatch:
        """The batch of the next slot, when every process has its own; no one stops or gives up alone."""
        batch: TrainBatch | None = None
        error: UserError | None = None
        if not self.stop.is_set():
            try:
                batch = next(batches)
            except StopAsked:
                pass  # told below
            except UserError as failure:
                error = failure
        # A stop wins over this process' own error: Ctrl-C and SIGTERM may have reached its workers too.
        stop = self.stop.is_set()
        save = self.saver.is_due(self.settings.checkpoint_seconds)
        complete, broken = (batch.clips is not None, batch.broken) if batch else (True, ())
        news = _News(stop, save, complete, broken)
        heard = self.ranks.exchange(news, None if stop else error)
        if any(other.stop for other in heard):
            self._save_and_stop()
        if heard[0].save:  # clocks differ; the main process' decides
            self._save()
        self._note_broken(heard)
        assert batch is not None  # without one, a stop or an error was raised above
        return batch

    def _rehearse(self, batch: TrainBatch, progress: Progress, slot: int) -> float:
        """Before the first step of a process, one that comes to nothing; how many seconds that took.

        A model that is to be compiled is tried out by more of them. And DDP orders the gradients after its
        first backward pass, and with their order changes that of sums over more than two processes: a
        resumed run would differ from one that was never stopped.
        """
        start, compiled = time.monotonic(), compiled_part(self.network)
        if self.rehearsed or not (compiled or self.ranks.size > 2):
            return 0.0
        if compiled:
            rehearse = partial(self._backward, batch, progress, slot)
            try_compiled(compiled, self.statistics, rehearse, self.ranks)
            # the time that is left is told without it
            self.monitor.started += time.monotonic() - start
        if self.ranks.size > 2:
            self._backward(batch, progress, slot, last=True)
        self.state.optimizer.zero_grad(set_to_none=True)
        self.rehearsed = True
        return time.monotonic() - start

    def _backward(self, batch: TrainBatch, progress: Progress, slot: int, last: bool) -> Tensor:
        """Add a slot's gradients; what it measured, `[readings.width + notes]`: loss, hits, of how many, what
        the objective measures too, the notes of BatchNorm.
        """
        position = progress.epoch * self.plan.steps_per_epoch + progress.step
        device, settings = self.ranks.device, self.settings
        assert batch.clips is not None  # see `_note_broken`
        sent = batch.clips.to(device, non_blocking=True)
        self.mark("transfer")
        clips = self.loader.finish(sent)
        targets = self.objective.targets(batch, device)
        if self.mixup:
            rng = generator("mixup", settings.seed, position, slot)
            clips, targets = self.mixup.mix(clips, targets, rng)
        targets = self.objective.taught(clips, targets)
        asked = self.objective.asked_of_network(clips, (settings.seed, position, slot))
        seed_torch("model", settings.seed, position, slot)
        quiet = self.ranks.size > 1 and not last
        self.mark("augment and mix")
        with self.network.no_sync() if quiet else nullcontext(), self.ranks.communicating():
            with self.statistics.record_pass():
                with self.autocast():
                    outputs = [_not_halved(logits) for logits in self.network(clips, *asked)]
                dtype = outputs[0].dtype
                notes = self.statistics.row(dtype, device)
            loss, *more = self.objective.measure(outputs, targets, asked).unbind()
            self.mark("forward")
            self.state.scaler.scale(loss / len(self.own_slots)).backward()
            self.mark("backward")
        hits, count = (part.to(dtype) for part in self.task.hits(outputs[0], targets[0]))
        return torch.cat([torch.stack([loss.detach(), hits, count, *more]), notes])

    def _update(self, progress: Progress, rows: Tensor) -> Tensor:
        """Clip and step, or leave the step out without a trace if anything in it is not finite.

        rows: what the own slots measured. Decided on the device, which nobody waits for; gives the values
        of a `StepReading`.
        """
        state = self.state
        state.scaler.unscale_(state.optimizer)
        limit = self.settings.clip_gradient or float("inf")
        norm = whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit))
        rows = self.ranks.gather_rows(rows)
        seen = torch.isfinite(rows).all()
        taken = seen & torch.isfinite(norm)
        # In float16 a scale that was too large is part of the method, and lowering it the remedy.
        scaled_too_far = ~taken & seen & (state.scaler.scale(torch.ones_like(norm)) > 1)
        with self.saver.lock:
            # not by GradScaler.step, which waits for the device and sets a flag of its own
            # torch's hints do not know what its fused steps look for
            state.optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]
            state.optimizer.step()
            state.scaler.update()
            self.statistics.fold(rows[:, self.readings.width :], taken)
            state.after_step(taken)
            counted = torch.where(scaled_too_far, state.nonfinite_in_a_row, 0)
            failed = ~taken & ~scaled_too_far
            state.nonfinite_in_a_row = torch.where(failed, state.nonfinite_in_a_row + 1, counted)
            progress.step += 1
            progress.open_end = self.timetable.ends_stage(self.finished_steps)
            progress.seconds = time.monotonic() - self.started
            self.ranks.note_step(self.finished_steps)
        outcome = torch.stack([taken, scaled_too_far, state.nonfinite_in_a_row]).to(rows.dtype)
        return torch.cat([rows[:, : self.readings.width].flatten(), outcome])

    def _note_broken(self, heard: Sequence[_News]) -> None:
        """Name each broken video once, and stop when there are too many: all processes, of all videos."""
        known = dict(self.state.progress.bad_videos)
        for path, why in (item for news in heard for item in news.broken):
            if path not in known:
                known[path] = why
                noun = self.settings.noun
                self.monitor.message(f"broken {noun}, replaced by another: {why}")
        self.state.progress.bad_videos = known  # at once, since another thread may save it
        allowed = self.settings.max_bad_ratio * self.plan.videos
        if not all(news.complete for news in heard) or len(known) > allowed:
            raise TrainingError(
                f"{len(known)} of {self.plan.videos} training {self.settings.noun}s are broken, more than "
                f"DATA.MAX_BAD_RATIO {self.settings.max_bad_ratio:g} allows: "
                + "; ".join([*known.values()][:3])
            )

    def finish_stage(self, progress: Progress) -> None:
        """Validate and save, if it is time. Until then the end is open: a resume begins with this."""
        steps = self.finished_steps
        scores: dict[str, float] = {}
        if self.timetable.is_validated(steps):
            self._stop_or_save(_BEFORE_VALIDATION_SECONDS)
            scores = self._agreed_scores(steps)
        with self.saver.lock:
            if progress.step == self.plan.steps_per_epoch:
                progress.epoch, progress.step = progress.epoch + 1, 0
            progress.open_end = False
            progress.seconds = time.monotonic() - self.started
            self.saver.note_scores(scores)
        if self.saver.is_due_after(steps):
            self._save()

    def measure_statistics(self, progress: Progress) -> None:
        """Measure BatchNorm's statistics on clips of the epoch, before a validation or a checkpoint.

        They depend on the weights and these clips alone: a resumed run that does it again gets the same.
        """
        finished, started, plan = self.finished_steps, time.monotonic(), self.plan
        used = self.timetable.is_validated(finished) or self.saver.is_due_after(finished)
        if not (used and self.settings.precise_batches):
            return
        steps = min(self.settings.precise_batches, plan.steps_per_epoch)

        def clips() -> Iterator[Tensor]:
            batches = self.loader.epoch(progress.epoch, 0, steps)
            for _ in range(steps * len(self.own_slots)):
                batch = self._next_batch(batches)
                assert batch.clips is not None  # see `_note_broken`
                yield self.loader.finish(batch.clips.to(self.ranks.device, non_blocking=True))

        def forward(batch: Tensor) -> None:
            with self.autocast(), self.ranks.communicating():
                self.network(batch)

        count = recompute_statistics(
            self.network, clips(), forward, lambda sums: self.ranks.gather_rows(sums[None]).sum(0)
        )
        if count:
            took = duration(time.monotonic() - started)
            what = "clips" if self.settings.noun == "video" else f"{self.settings.noun}s"
            self.monitor.message(f"BatchNorm's statistics measured on {count} {what} in {took}")
        elif not self.told_unmeasured:
            self.told_unmeasured = True
            self.monitor.message(
                "no BatchNorm layer is trained, so BN.USE_PRECISE_STATS has nothing to measure"
            )

    def _agreed_scores(self, steps: int) -> dict[str, float]:
        """The main process' scores. A request to stop that ended the workers too is no error of theirs."""
        scores: dict[str, float] = {}
        error: WorkerError | None = None
        try:
            scores = self.validate(steps)
        except WorkerError as failure:
            error = failure
        if error and any(self.ranks.exchange(self.stop.is_set())):
            self._save_and_stop()
        if error:
            raise error
        return self.ranks.on_main(lambda: scores)

    def _stop_or_save(self, seconds: float) -> None:
        """Stop if any process is asked to; save if the last time is longer ago, by the main one's clock."""
        heard = self.ranks.exchange((self.stop.is_set(), self.saver.is_due(seconds)))
        if any(stop for stop, _ in heard):
            self._save_and_stop()
        if heard[0][1]:
            self._save()

    def _save_and_stop(self) -> NoReturn:
        self._save()
        raise Interrupted("the run was asked to stop; all is saved")

    def _save(self) -> None:
        self.readings.read()
        self.saver.save()

    @contextmanager
    def _save_without_data(self) -> Iterator[None]:
        try:
            yield
        except (TrainingError, WorkerError):
            if self.finished_steps:
                with suppress(TrainingError):  # the first error tells more
                    self._save()
            raise


def _not_halved(logits: Tensor) -> Tensor:
    """Logits in float32 at least: the loss of half precision is too coarse."""
    return logits.float() if logits.dtype.itemsize < 4 else logits
