"""Training as a run does it: build, resume, train, validate, save."""

import logging
import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from fvcore.common.config import CfgNode

from uniformer_video.data.loading.loader import TrainLoader, resolve_workers
from uniformer_video.distributed.environment import torchrun
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import ConfigError, TrainingError
from uniformer_video.locks import folder_lock
from uniformer_video.memory import give_back_freed, kept_for_the_next_step
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.program import run_again
from uniformer_video.randomness import seed_torch
from uniformer_video.runs import build_clips, build_model, build_training
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_depthwise import choose_depthwise
from uniformer_video.runs.build_measures import (
    build_costs,
    build_trace,
    note_untraced,
    recomputation_lines,
)
from uniformer_video.runs.build_norms import norm_lines
from uniformer_video.runs.build_task import build_training_task
from uniformer_video.runs.build_teacher import build_lessons
from uniformer_video.runs.build_token_labels import build_label_maps
from uniformer_video.runs.check import medium_of_lists
from uniformer_video.runs.checkpoints import Begun, RunCheckpoints, read_begun
from uniformer_video.runs.ending import check_patience, check_validations, note_early_end, note_time
from uniformer_video.runs.examination import examination_of
from uniformer_video.runs.folder import BEST_FILE, LAST_FILE, LOCK_FILE, RunFolder
from uniformer_video.runs.frame_cache import fill_frame_cache
from uniformer_video.tasks.task import Task
from uniformer_video.training.monitor import Monitor
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.training.timetable import Timetable
from uniformer_video.training.trainer import Trainer
from uniformer_video.training.writers import Writers
from uniformer_video.versions import device_name
from uniformer_video.weights.checkpoint import LoadReport
from uniformer_video.words import duration, plural
from uniformer_video.zoo.create import count_parameters

log = logging.getLogger(__name__)


def fit(
    cfg: CfgNode,
    data: Data,
    folder: RunFolder,
    ranks: Ranks,
    command: str = "",
    from_best: bool = False,
    show_bars: bool | None = None,
    rehearse: Callable[[Trainer], None] | None = None,
    writers: Writers | None = None,
) -> None:
    """Train, or go on with an unfinished training; a finished one is left as it is.

    from_best: go on from the best weights in place of the last ones, with fresh moments.
    show_bars: of progress; None = on a terminal. rehearse: what to do with all that is built in place of
    training, see `rehearsal.py`. writers: get the curves.
    """
    # a wrong name shows now, not after training
    build_clips.opposite_classes(cfg, data.class_names)
    check_patience(cfg, data)
    data.label_maps = build_label_maps(cfg, data.train, data.class_names)
    seed_torch("weights", cfg.RNG_SEED)
    begun = read_begun(folder) if cfg.UNIFORMER.PRETRAIN_NAME else None
    model, report = _build_model(cfg, data, begun, ranks)
    model.to(ranks.device)
    loader = build_clips.build_train_loader(cfg, data, ranks)
    trace = build_trace(cfg, loader.plan, folder, ranks)
    task = build_training_task(cfg, data, ranks.device)
    precision = choose_precision(cfg.TRAIN.PRECISION, ranks.device)
    state = build_training.build_train_state(cfg, model, precision, ranks)
    timetable = build_training.build_timetable(cfg, loader.plan.steps_per_epoch)
    check_validations(cfg, timetable)
    schedule = build_training.build_schedule(cfg, loader.plan.steps_per_epoch)
    checkpoints = RunCheckpoints(folder, cfg, data, state, timetable, begun)
    del begun  # it is large
    with _take_folder(folder, ranks), kept_for_the_next_step(ranks.device.type == "cpu"):
        first_step = _go_on(cfg, folder, ranks, checkpoints, timetable, from_best)
        progress, tested = state.progress, state.tested_models
        if timetable.is_finished(progress, cfg.TRAIN.PATIENCE):
            if writers:
                writers.begin(first_step)  # a test of the weights belongs behind the curves
            ranks.say(
                f"Training is finished ({folder.path}).",
                *note_early_end(cfg, timetable, progress, data),
                *note_time(cfg, progress, data),
            )
            return
        depthwise = choose_depthwise(
            cfg, [*tested.values()], loader.plan.slot_size, precision, ranks, checkpoints.depthwise
        )
        checkpoints.depthwise = depthwise.record
        fill_frame_cache(cfg, data, ranks, show_bars)
        autocast = autocast_for(precision, ranks.device)
        lessons = build_lessons(cfg, data, task, ranks, autocast)
        lessons.objective.output_weights = getattr(model, "output_weights", ())
        checkpoints.take_teacher(lessons.record)
        ranks.say(
            *_training_facts(cfg, model, loader, timetable, precision, ranks, command),
            *lessons.lines,
            *depthwise.lines,
        )
        ranks.say(*(recomputation_lines(cfg, model) if ranks.is_main else ()))
        ranks.say(*note_untraced(cfg, first_step))
        if not first_step:
            _say_start(cfg, report, ranks)
        costs = build_costs(cfg, timetable, ranks)
        checkpoints.take_costs(costs)
        monitor = Monitor(
            folder.path if ranks.is_main and not rehearse else None,
            cfg.LOG_PERIOD,
            timetable.last_step,
            None if timetable.by_iterations else cfg.SOLVER.MAX_EPOCH,
            task.figures,
            first_step,
            writers,
            show_bars,
            costs,
            data.medium.name,
            validated=not timetable.has_open_end(progress),
        )
        trainer = Trainer(
            state=state,
            loader=loader,
            timetable=timetable,
            schedule=schedule,
            ranks=ranks,
            autocast=autocast,
            settings=build_training.build_train_settings(cfg),
            mixup=build_training.build_mixup(cfg),
            task=task,
            monitor=monitor,
            validate=partial(
                _validate, cfg, data, tested, ranks, monitor, task, timetable, checkpoints.remedy
            ),
            write=checkpoints.write,
            remedy=checkpoints.remedy,
            objective=lessons.objective,
            trace=trace,
        )
        give_back_freed()  # of what looked at long lists, before workers share what is held
        try:
            (rehearse or Trainer.fit)(trainer)
        finally:
            loader.close()
            trace.close()
            monitor.close()
    if rehearse:
        return
    ranks.say(
        *note_early_end(cfg, timetable, progress, data),
        *note_time(cfg, progress, data),
        f"Trained in {duration(progress.seconds)}; weights in {folder.path}.",
    )


def _build_model(
    cfg: CfgNode, data: Data, begun: Begun | None, ranks: Ranks
) -> tuple[RecognitionModel, LoadReport | None]:
    """The model to train, and the `LoadReport` of the weights that it starts from, or None.

    A training that is begun, or finished, needs those no more: its own checkpoint tells the model.
    """
    if cfg.UNIFORMER.PRETRAIN_NAME:
        model = (
            build_model.build_begun_model(cfg, data.num_classes, begun.weights) if begun else None
        )
        if all(ranks.exchange(model is not None)) and model is not None:
            return model, None
        # Again: a model that was built in vain has drawn from it.
        seed_torch("weights", cfg.RNG_SEED)
        build_model.fetch_weights(cfg.UNIFORMER.PRETRAIN_NAME, ranks)
    return build_model.build_model(cfg, data.num_classes, data.class_names)


def _say_start(cfg: CfgNode, report: LoadReport | None, ranks: Ranks) -> None:
    """What a training begins from."""
    if report:
        ranks.say(*report.lines())
        return
    frozen = build_training.build_freezing(cfg)
    for note in (build_model.note_from_scratch(cfg), frozen.note_without_weights()):
        if note:
            log.warning(note)


@contextmanager
def _take_folder(folder: RunFolder, ranks: Ranks) -> Iterator[None]:
    """The folder, made if need be; the main process keeps other trainings out of it."""
    with ExitStack() as held:

        def take() -> None:
            folder.make()
            held.enter_context(folder_lock(folder / LOCK_FILE))

        ranks.on_main(take)
        yield


def _go_on(
    cfg: CfgNode,
    folder: RunFolder,
    ranks: Ranks,
    checkpoints: RunCheckpoints,
    timetable: Timetable,
    from_best: bool,
) -> int:
    """Load what the folder holds of this run and take the folder for it; the steps that are done."""
    if from_best and ranks.on_main(checkpoints.went_on_from_best):
        ranks.say(
            f"This run has gone on from {BEST_FILE} already; going on from {folder / LAST_FILE}."
        )
        from_best = False
    if from_best:
        checkpoints.start_from_best()
    found = None if from_best else checkpoints.resume()
    state, progress = checkpoints.state, checkpoints.state.progress
    first_step = timetable.finished_steps(progress)
    if len(set(ranks.exchange((first_step, progress.best_at)))) > 1:
        raise ConfigError(
            f"the processes find different checkpoints in OUTPUT_DIR {folder.path}; it must be one folder "
            "that all machines share"
        )
    if from_best:
        # the run is that of the best weights from here on, also if it ends before its first checkpoint
        saved, weights = state.state_dict(), state.tested_weights()
        ranks.on_main(lambda: checkpoints.write(saved, weights))
        ranks.say(
            f"Going on from {folder / BEST_FILE}, {timetable.unit} {timetable.count(first_step)}, with fresh "
            "moments."
        )
    elif found and not timetable.is_finished(progress, cfg.TRAIN.PATIENCE):
        epoch = first_step / timetable.steps_per_epoch
        place = f"iteration {first_step}" if timetable.by_iterations else f"epoch {epoch:.2f}"
        ranks.say(f"Resuming at {place} from {found}.")
        if reason := ranks.on_main(checkpoints.fault_of_best):
            checkpoints.forget_best(reason)
    ranks.on_main(lambda: folder.record(cfg))
    return first_step


def _training_facts(
    cfg: CfgNode,
    model: RecognitionModel,
    loader: TrainLoader,
    timetable: Timetable,
    precision: str,
    ranks: Ranks,
    command: str,
) -> Iterator[str]:
    parameters = count_parameters(model) / 1e6
    plan, noun = loader.plan, medium_of_lists(cfg).name
    length = f"{timetable.count(timetable.last_step)} {timetable.unit}s"
    steps = plan.steps_per_epoch
    epoch = f", epochs of {steps}," if timetable.by_iterations else f" of {steps} steps"
    yield (
        f"Training {parameters:.2f} M parameters for {length}{epoch} on "
        f"{ranks.size} x {device_name()}, {precision}, "
        f"{plural(plan.slots * plan.slot_size, noun)} a step, "
        f"{resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)} workers."
    )
    yield from build_training.build_freezing(cfg).lines(model)
    yield from norm_lines(cfg, model, ranks)
    lines = (
        plan.repeats_line(),
        build_training.decay_line(cfg, model),
        build_training.rate_line(cfg),
    )
    yield from filter(None, lines)
    if cfg.EMA.ENABLE and cfg.BN.USE_PRECISE_STATS:
        yield (
            "BN.USE_PRECISE_STATS measures BatchNorm's statistics for the weights that are trained; the "
            "averaged weights (EMA.ENABLE) keep averaged statistics."
        )
    if (steps := cfg.SOLVER.ACCUMULATION_STEPS) > 1:
        yield (
            f"Gradients of {steps} batches are added up for each update (SOLVER.ACCUMULATION_STEPS): "
            f"{plan.slots} parts of {plural(plan.slot_size, noun)}, each of which BatchNorm normalises "
            "by itself."
        )
    processes = cfg.NUM_GPUS * cfg.NUM_SHARDS
    if processes > ranks.size:
        yield (
            f"The recipe is for {processes} processes (NUM_GPUS {cfg.NUM_GPUS} x NUM_SHARDS "
            f"{cfg.NUM_SHARDS}); {ranks.size} will work through their {plan.slots} parts of each step "
            f"in turn: {plan.slots // ranks.size} x {plural(plan.slot_size, noun)}, gradients accumulated."
        )
        yield (
            f"On {processes} GPUs: {torchrun(cfg.NUM_GPUS, cfg.NUM_SHARDS)} "
            f"{command or shlex.join([*run_again(), '--cfg', 'FILE'])}"
        )


def _validate(
    cfg: CfgNode,
    data: Data,
    models: Mapping[str, RecognitionModel],
    ranks: Ranks,
    monitor: Monitor,
    task: Task,
    timetable: Timetable,
    remedy: Callable[[], str],
    steps: int,
) -> dict[str, float]:
    """The score of each of the `models` on one centre view of the validation videos; {} when nothing can be
    measured.

    Raises `TrainingError` for scores that are not finite: no such weights are ever the best.
    """
    started, noun = time.monotonic(), data.medium.name
    place = f"{timetable.unit} {timetable.count(steps)}"
    found = examination_of(task).validate(cfg, task, models, data, ranks)
    if not found.is_finite:
        raise TrainingError(
            f"the scores of the validation after {place} are not finite; {remedy()}"
        )
    if not found.measured:
        monitor.message(f"no validation {noun} can be decoded")
        return {}
    for score, _ in found.measured.values():
        if math.isnan(score):
            monitor.message(
                f"no validation {noun} has a label, so there is no score to choose weights by"
            )
            return {}
        if not 0 <= score <= 1:
            raise ConfigError(
                f"the task {task.name} gives the validation after {place} the score {score:g}; a score "
                "is a share from 0 to 1, the more the better"
            )
    seconds = time.monotonic() - started
    epoch = steps / timetable.steps_per_epoch if timetable.by_iterations else timetable.count(steps)
    monitor.validation(epoch, steps, found.measured, seconds, task.score_key)
    if found.failed:
        monitor.message(f"{plural(found.failed, f'validation {noun}')} cannot be {found.verb}")
    return {name: score for name, (score, _) in found.measured.items()}
