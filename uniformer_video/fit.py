"""Training as a run does it: build, resume, train, validate, save."""

import csv
import io
import math
import time
from functools import partial

import torch

from uniformer_video import build
from uniformer_video.data.loader import resolve_workers
from uniformer_video.data.records import list_digest
from uniformer_video.errors import CheckpointError, DataError
from uniformer_video.evaluate import score_records
from uniformer_video.files import atomic_write
from uniformer_video.models.zoo import count_parameters
from uniformer_video.output import BAD_VIDEOS_FILE, BEST_FILE, LAST_FILE
from uniformer_video.randomness import seed_torch
from uniformer_video.training.monitor import Monitor, duration
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.training.trainer import Progress, Trainer
from uniformer_video.weights.checkpoint import read_weights, write_checkpoint


def fit(cfg, data, folder, ranks, command=""):
    """Train, or go on with an unfinished training; a finished one is left as it is."""
    build.opposite_classes(cfg, data.class_names)  # a wrong name shows now, not after training
    seed_torch("weights", cfg.RNG_SEED)
    if cfg.UNIFORMER.PRETRAIN_NAME:
        build.fetch_weights(cfg.UNIFORMER.PRETRAIN_NAME, ranks)
    model, report = build.build_model(cfg, data.num_classes, data.class_names)
    model.to(ranks.device)
    optimizer = build.build_optimizer(cfg, model)
    loader = build.build_train_loader(cfg, data, ranks)
    objective = build.build_objective(cfg, data, ranks.device)
    precision = choose_precision(cfg.TRAIN.PRECISION, ranks.device)
    scaler = torch.amp.GradScaler(ranks.device.type, enabled=precision == "fp16")
    if ranks.is_main:
        folder.claim(cfg)
    ranks.wait()
    train_list = list_digest(data.train)
    progress = _resume(folder / LAST_FILE, train_list, model, optimizer, scaler)
    if progress.epoch == cfg.SOLVER.MAX_EPOCH:
        ranks.say(f"Training is finished ({folder / LAST_FILE}).")
        return
    steps = loader.plan.steps_per_epoch
    first_step = progress.epoch * steps + progress.step
    ranks.say(*_training_facts(cfg, model, loader, precision, ranks, command))
    if report and not first_step:
        ranks.say(*report.lines())
    if first_step:
        ranks.say(f"Resuming at epoch {first_step / steps:.2f} from {folder / LAST_FILE}.")
    monitor = Monitor(
        folder.path if ranks.is_main else None,
        cfg.LOG_PERIOD,
        cfg.SOLVER.MAX_EPOCH * steps,
        cfg.SOLVER.MAX_EPOCH,
        first_step,
        cfg.TENSORBOARD.ENABLE,
    )
    autocast = autocast_for(precision, ranks.device)
    trainer = Trainer(
        model=model,
        loader=loader,
        optimizer=optimizer,
        schedule=build.build_schedule(cfg),
        ranks=ranks,
        autocast=autocast,
        scaler=scaler,
        settings=build.build_train_settings(cfg, data.num_classes),
        mixup=build.build_mixup(cfg, data.num_classes),
        objective=objective,
        monitor=monitor,
        validate=partial(_validate, cfg, data, model, ranks, monitor, objective, steps),
        save=partial(_save, cfg, data, train_list, model, optimizer, scaler, folder, ranks),
    )
    try:
        trainer.fit(progress)
    finally:
        monitor.close()
    ranks.say(f"Trained in {duration(progress.seconds)}; weights in {folder.path}.")


def _training_facts(cfg, model, loader, precision, ranks, command):
    parameters = count_parameters(model) / 1e6
    plan = loader.plan
    yield (
        f"Training {parameters:.2f} M parameters for {cfg.SOLVER.MAX_EPOCH} epochs of "
        f"{plan.steps_per_epoch} steps on {ranks.size} x {build.device_name()}, {precision}, "
        f"{plan.slots * plan.slot_size} videos a step, "
        f"{resolve_workers(cfg.DATA_LOADER.NUM_WORKERS)} workers."
    )
    if plan.slots > ranks.size:
        yield (
            f"The recipe is for {plan.slots} processes (NUM_GPUS {cfg.NUM_GPUS} x NUM_SHARDS "
            f"{cfg.NUM_SHARDS}); {ranks.size} will work through their {plan.slots} parts of each step "
            f"in turn: {plan.slots // ranks.size} x {plan.slot_size} videos, gradients accumulated."
        )
        nodes = f"--nnodes {cfg.NUM_SHARDS} " if cfg.NUM_SHARDS > 1 else ""
        yield (
            f"On {plan.slots} GPUs: torchrun {nodes}--nproc_per_node {cfg.NUM_GPUS} "
            f"{command or 'tools/run_net.py --cfg FILE'}"
        )


def _resume(path, train_list, model, optimizer, scaler):
    """Load a run's last checkpoint into its objects; a fresh `Progress` without one."""
    if not path.is_file():
        return Progress()
    damaged = CheckpointError(
        f"{path} is damaged, so the run cannot go on; delete it to start over, or choose another "
        "OUTPUT_DIR"
    )
    try:
        weights = read_weights(path)
        state = weights.training
        progress = Progress.restored(state["progress"])
        known = state["train_list"]
    except (CheckpointError, KeyError, TypeError, ValueError):
        raise damaged from None
    if known != train_list:
        raise DataError(
            f"the training list is not the one that {path} was trained on; restore it, or choose "
            "another OUTPUT_DIR"
        )
    try:
        model.load_state_dict(weights.state)
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
    except (KeyError, RuntimeError, TypeError, ValueError):
        raise damaged from None
    return progress


def _save(cfg, data, train_list, model, optimizer, scaler, folder, ranks, progress, is_best):
    """`last.pt` with the training state, and `best.pt` with weights alone."""
    if not ranks.is_main:
        return
    metadata = build.build_metadata(cfg, model, data.class_names)
    metadata["epoch"] = progress.epoch
    metadata["training"] = {
        "epochs": cfg.SOLVER.MAX_EPOCH,
        "seconds": round(progress.seconds, 1),
        "train_videos": len(data.train),
        "broken_videos": len(progress.bad_videos),
        "seed": cfg.RNG_SEED,
    }
    if is_best or not (folder / BEST_FILE).exists():
        write_checkpoint(folder / BEST_FILE, model.state_dict(), metadata)
    training = {
        "progress": vars(progress),
        "train_list": train_list,
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
    }
    write_checkpoint(folder / LAST_FILE, model.state_dict(), metadata, training)
    if progress.bad_videos:
        with atomic_write(folder / BAD_VIDEOS_FILE) as file:
            text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
            reasons = (
                (path, why.removeprefix(f"{path} ")) for path, why in progress.bad_videos.items()
            )
            csv.writer(text).writerows([("path", "reason"), *reasons])
            text.detach()


def _validate(cfg, data, model, ranks, monitor, objective, steps, progress):
    """The score on one centre view of the validation videos; None when nothing can be measured."""
    started = time.monotonic()
    scores = score_records(cfg, model, data.val, 1, 1, ranks, quiet=True, faults=data.faults)
    videos = [record for record, decoded in zip(data.val, scores.decoded, strict=True) if decoded]
    if not videos:
        monitor.message("no validation video can be decoded")
        return None
    score, loss = objective.validate(scores.videos()[scores.decoded], videos)
    if math.isnan(score):
        monitor.message(
            "no validation video has a label, so there is no score to choose weights by"
        )
        return None
    seconds = time.monotonic() - started
    step = progress.epoch * steps
    monitor.validation(progress.epoch, step, score, loss, seconds, objective.score)
    if scores.failures:
        monitor.message(f"{len(scores.failures)} validation videos cannot be decoded")
    return score
