"""The story of a run: load, build, fit, evaluate, report."""

import logging
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from uniformer_video import build, distributed
from uniformer_video.config import config_text
from uniformer_video.data.decoding import open_video
from uniformer_video.data.loader import resolve_workers
from uniformer_video.data.records import list_digest
from uniformer_video.errors import CheckpointError, DataError, MissingLibraryError
from uniformer_video.evaluation.metrics import topk_correct
from uniformer_video.evaluation.report import write_report
from uniformer_video.evaluation.results import (
    RESULTS_FILE,
    build_results,
    load_results,
    proportion,
    save_results,
)
from uniformer_video.evaluation.scoring import score_videos
from uniformer_video.files import atomic_write
from uniformer_video.models.checkpoint import file_sha256, read_weights, write_checkpoint
from uniformer_video.output import (
    BAD_VIDEOS_FILE,
    BEST_FILE,
    LAST_FILE,
    RecordedTest,
    RunFolder,
)
from uniformer_video.randomness import seed_torch
from uniformer_video.training.monitor import Monitor, duration
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.training.trainer import Progress, Trainer

log = logging.getLogger(__name__)


def run(cfg, name, command=""):
    """Train and test by `cfg`. `name` is the config's; `command` repeats this run, for messages.

    Returns the folder of the results, or None when nothing was tested.
    """
    ranks = distributed.start()
    try:
        data = build.build_data(cfg)
        folder = RunFolder(cfg.OUTPUT_DIR or Path("runs") / name)
        _say(ranks, *_introduction(cfg, data, folder))
        if cfg.TRAIN.ENABLE:
            fit(cfg, data, folder, ranks, command)
        return test(cfg, data, folder, ranks, name) if cfg.TEST.ENABLE else None
    finally:
        distributed.stop()


def fit(cfg, data, folder, ranks, command=""):
    """Train, or go on with an unfinished training; a finished one is left as it is."""
    build.opposite_classes(cfg, data.class_names)  # a wrong name shows now, not after training
    if ranks.is_main:
        folder.claim(cfg)
    ranks.wait()
    seed_torch("weights", cfg.RNG_SEED)
    model, report = build.build_model(cfg, data.num_classes)
    model.to(ranks.device)
    optimizer = build.build_optimizer(cfg, model)
    loader = build.build_train_loader(cfg, data, ranks)
    precision = choose_precision(cfg.TRAIN.PRECISION, ranks.device)
    scaler = torch.amp.GradScaler(ranks.device.type, enabled=precision == "fp16")
    progress = _resume(folder / LAST_FILE, list_digest(data.train), model, optimizer, scaler)
    if progress.epoch == cfg.SOLVER.MAX_EPOCH:
        _say(ranks, f"Training is finished ({folder / LAST_FILE}); testing only.")
        return
    steps = loader.plan.steps_per_epoch
    first_step = progress.epoch * steps + progress.step
    _say(ranks, *_training_facts(cfg, model, loader, precision, ranks, command))
    if report and not first_step:
        _say(ranks, *report.lines())
    if first_step:
        _say(ranks, f"Resuming at epoch {first_step / steps:.2f} from {folder / LAST_FILE}.")
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
        monitor=monitor,
        validate=partial(_validate, cfg, data, model, ranks, autocast, monitor, steps),
        save=partial(_save, cfg, data, model, optimizer, scaler, folder, ranks),
    )
    try:
        trainer.fit(progress)
    finally:
        monitor.close()
    _say(ranks, f"Trained in {duration(progress.seconds)}; weights in {folder.path}.")


def test(cfg, data, folder, ranks, name):
    """The multi-view test and its report. Results that are already there are only shown again."""
    ranks.wait()  # for the weights of the main process
    path = _tested_weights(cfg, folder)
    digest = file_sha256(path)
    model, weights = build.load_tested_model(cfg, path)
    data = build.match_classes(data, weights, cfg.MODEL.NUM_CLASSES)
    videos = list_digest(data.test)
    target, done = folder.results_folder(cfg, digest, videos, _recorded_test)
    if done:
        _say(ranks, f"These weights are tested already ({target / RESULTS_FILE}).")
        return _report(target, ranks)
    model.to(ranks.device)
    clips, crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    _say(ranks, f"Testing {path}: {len(data.test)} videos, {clips * crops} views of each.")
    started = time.monotonic()
    playback = "reverse" if cfg.DATA.REVERSE_FRAMES else "forward"
    view_scores = _score(cfg, model, data.test, clips, crops, ranks, playback)
    motion = _motion(cfg, model, data, view_scores, playback, ranks)
    if not ranks.is_main:
        return target
    results = build_results(
        title=name,
        names=[record.name for record in data.test],
        paths=[record.path for record in data.test],
        labels=[record.label for record in data.test],
        scores=view_scores.videos(cfg.TEST.SCORE),
        class_names=data.class_names,
        protocol={**_protocol(cfg, playback), "videos_sha256": videos},
        model={
            "name": cfg.MODEL.MODEL_NAME,
            "parameters": sum(p.numel() for p in model.parameters()),
            "checkpoint": str(path),
            "checkpoint_sha256": digest,
            "epoch": weights.metadata.get("epoch"),
        },
        failures=view_scores.failures,
        motion=motion,
        training=weights.metadata.get("training"),
        notes=data.notes,
        seconds=time.monotonic() - started,
        settings=config_text(cfg),
        versions=build.versions(),
    )
    save_results(target, results, view_scores.scores)
    return _report(target, ranks)


def report(folder):
    """Write the page of the results in `folder` again; its path."""
    return write_report(folder, _strip)


def _report(folder, ranks):
    """Print the summary and write the page; without the page's libraries the results stand alone."""
    if not ranks.is_main:
        return folder
    _say(ranks, *_summary(load_results(folder)))
    try:
        _say(ranks, f"Report: {report(folder)}")
    except MissingLibraryError as error:
        log.warning("No report page: %s", error)
    return folder


def _introduction(cfg, data, folder):
    counts = ", ".join(
        f"{len(records)} {split}"
        for split in ("train", "val", "test")
        if (records := getattr(data, split))
    )
    yield f"{cfg.MODEL.MODEL_NAME}, {data.num_classes} classes, videos: {counts}; output {folder.path}"
    yield from data.notes


def _training_facts(cfg, model, loader, precision, ranks, command):
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
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
    weights = read_weights(path)
    state = weights.training
    if not state:
        raise CheckpointError(f"{path} holds no training state; choose another OUTPUT_DIR")
    if state["train_list"] != train_list:
        raise DataError(
            f"the training list is not the one that {path} was trained on; restore it, or choose "
            "another OUTPUT_DIR"
        )
    model.load_state_dict(weights.state)
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    return Progress(**state["progress"])


def _save(cfg, data, model, optimizer, scaler, folder, ranks, progress, is_best):
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
        "train_list": list_digest(data.train),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
    }
    write_checkpoint(folder / LAST_FILE, model.state_dict(), metadata, training)
    if progress.bad_videos:
        with atomic_write(folder / BAD_VIDEOS_FILE) as file:
            for video, reason in progress.bad_videos.items():
                file.write(f'"{video}","{reason}"\n'.encode())


def _validate(cfg, data, model, ranks, autocast, monitor, steps, progress):
    """Top-1 on one centre view of the validation videos; None when none can be decoded."""
    started = time.monotonic()
    scores = _score(cfg, model, data.val, 1, 1, ranks, quiet=True, autocast=autocast)
    decoded = scores.decoded
    labels = np.array([record.label for record in data.val])[decoded]
    if not len(labels):
        monitor.message("no validation video can be decoded")
        return None
    logits = scores.videos()[decoded]
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    top1 = float(topk_correct(logits, labels, 1).mean())
    seconds = time.monotonic() - started
    monitor.validation(progress.epoch, progress.epoch * steps, top1, float(loss), seconds)
    if scores.failures:
        monitor.message(f"{len(scores.failures)} validation videos cannot be decoded")
    return top1


def _score(
    cfg, model, records, clips, crops, ranks, playback="forward", quiet=False, autocast=None
):
    """All views of `records` through the model, with a progress bar on a terminal."""
    if autocast is None:
        precision = choose_precision(cfg.TRAIN.PRECISION, ranks.device)
        autocast = autocast_for(precision, ranks.device)
    dataset = build.build_test_dataset(cfg, records, clips, crops, playback)
    hidden = True if quiet or not ranks.is_main else None  # None: hidden off a terminal
    own = len(range(ranks.rank, len(records), ranks.size))
    with tqdm(total=own, unit="video", leave=False, disable=hidden) as bar:
        return score_videos(
            model,
            dataset,
            model.num_classes,
            ranks,
            cfg.TEST.BATCH_SIZE,
            resolve_workers(cfg.DATA_LOADER.NUM_WORKERS),
            autocast,
            bar.update,
        )


def _motion(cfg, model, data, view_scores, playback, ranks):
    """Backwards and still-frame accuracies, where classes have opposites; else None."""
    names = data.class_names
    opposite = build.opposite_classes(cfg, names)
    if not opposite or not (cfg.TEST.MOTION_CHECK or playback == "reverse"):
        return None
    clips, crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    score = partial(_score, cfg, model, data.test, clips, crops, ranks)
    forward = view_scores if playback == "forward" else score(playback="forward")
    backward = view_scores if playback == "reverse" else score(playback="reverse")
    labels = np.array([record.label for record in data.test])
    opposed = np.array([opposite.get(label, label) for label in labels])

    def share_right(views, answers):
        good = views.decoded
        right = topk_correct(views.videos(cfg.TEST.SCORE)[good], answers[good], 1)
        return proportion(right.sum(), len(right))

    return {
        "forward": share_right(forward, labels),
        "reversed_opposite": share_right(backward, opposed),
        "reversed_original": share_right(backward, labels),
        "still": share_right(score(playback="still"), labels),
        "opposites": {names[a]: names[b] for a, b in sorted(opposite.items())},
    }


def _protocol(cfg, playback):
    crop = cfg.DATA.TEST_CROP_SIZE
    return {
        "num_frames": cfg.DATA.NUM_FRAMES,
        "sampling_rate": cfg.DATA.SAMPLING_RATE,
        "sampling": cfg.DATA.SAMPLING,
        "clips": cfg.TEST.NUM_ENSEMBLE_VIEWS,
        "crops": cfg.TEST.NUM_SPATIAL_CROPS,
        "short_side": cfg.DATA.TEST_SCALE or crop,
        "crop_size": crop,
        "score": cfg.TEST.SCORE,
        "channel_order": cfg.DATA.CHANNEL_ORDER,
        "playback": playback,
    }


def _tested_weights(cfg, folder):
    """The checkpoint that the config asks to test."""
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        return Path(cfg.TEST.CHECKPOINT_FILE_PATH)
    path = folder / (BEST_FILE if cfg.TEST.WEIGHTS == "best" else LAST_FILE)
    if not path.is_file():
        raise CheckpointError(
            f"there are no weights to test in {folder.path}; set TEST.CHECKPOINT_FILE_PATH to a "
            "checkpoint, or TRAIN.ENABLE True"
        )
    return path


def _recorded_test(folder):
    """The `RecordedTest` of the results in a folder, or None."""
    if not (Path(folder) / RESULTS_FILE).is_file():
        return None
    try:
        results = load_results(folder)
    except DataError:
        return None
    return RecordedTest(
        results["model"]["checkpoint_sha256"],
        results["protocol"]["videos_sha256"],
        results["settings"],
    )


def _summary(results):
    """The outcome in a few lines."""
    summary = results["summary"]
    yield f"top-1 {_percent(summary['top1'])}, top-5 {_percent(summary['top5'])}"
    if summary["failed"]:
        first = results["failures"][0]
        yield (
            f"{summary['failed']} of {summary['videos']} videos failed and count in neither; with them "
            f"as wrong: top-1 {_percent(summary['top1_all'])}. The first: {first['reason']}"
        )
    motion = results["motion"]
    if motion:
        yield (
            f"played backwards: {_percent(motion['reversed_opposite'])} see the opposite class, "
            f"{_percent(motion['reversed_original'])} the original one; "
            f"middle frame repeated: {_percent(motion['still'])}"
        )


def _percent(share):
    if share["value"] is None:
        return "none"
    value, low, high = (f"{share[key]:.1%}" for key in ("value", "low", "high"))
    return f"{value} ({share['correct']}/{share['of']}, 95 % interval {low}-{high})"


def _strip(path):
    """Four frames spread over a video, for the report."""
    with open_video(path) as video:
        return video.frames(np.linspace(0, video.num_frames - 1, 4).round().astype(int))


def _say(ranks, *lines):
    if ranks.is_main:
        for line in lines:
            log.info(line)
