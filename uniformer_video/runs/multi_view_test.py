"""The multi-view test as a run does it: score every view, record the results, write the page."""

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from uniformer_video.config.settings import config_text
from uniformer_video.data.decoding import open_video
from uniformer_video.data.lists.records import list_digest
from uniformer_video.data.loading.dataset import timeline_of
from uniformer_video.data.loading.loader import resolve_workers
from uniformer_video.data.protocol import Protocol
from uniformer_video.data.sampling import ClipSampling
from uniformer_video.errors import CheckpointError, DataError, MissingLibraryError
from uniformer_video.evaluation.metrics import topk_correct
from uniformer_video.evaluation.report import write_report
from uniformer_video.evaluation.results import (
    RESULTS_FILE,
    build_results,
    is_multi_label,
    load_results,
    proportion,
    save_results,
)
from uniformer_video.evaluation.scoring import score_videos
from uniformer_video.runs import build
from uniformer_video.runs.class_order import match_classes
from uniformer_video.runs.folder import BEST_FILE, LAST_FILE, RecordedTest
from uniformer_video.training.precision import autocast_for, choose_precision
from uniformer_video.versions import versions
from uniformer_video.weights.checkpoint import file_sha256
from uniformer_video.zoo.create import count_parameters

log = logging.getLogger(__name__)


def evaluate(cfg, data, folder, ranks, name):
    """The multi-view test and its report. Results that are already there are only shown again."""
    ranks.wait()  # for the weights of the main process
    path = _tested_weights(cfg, folder, ranks)
    digest = file_sha256(path)
    model, weights = build.load_tested_model(cfg, path)
    known_notes = data.notes
    data = match_classes(data, weights, cfg.MODEL.NUM_CLASSES)
    ranks.say(*data.notes[len(known_notes) :])
    videos = list_digest(data.test)
    target, done = folder.results_folder(cfg, digest, videos, _recorded_test)
    if done:
        ranks.say(f"These weights are tested already ({target / RESULTS_FILE}).")
        return _present(target, ranks)
    model.to(ranks.device)
    protocol = Protocol.from_cfg(cfg)
    protocol = replace(protocol, precision=choose_precision(protocol.precision, ranks.device))
    ranks.say(f"Testing {path}: {len(data.test)} videos, {protocol.num_views} views of each.")
    started = time.monotonic()
    playback = "reverse" if cfg.DATA.REVERSE_FRAMES else "forward"
    score = partial(score_records, cfg, model, data.test, protocol, ranks, faults=data.faults)
    view_scores = score(playback=playback)
    _check_scores(view_scores, path)
    many = cfg.DATA.MULTI_LABEL
    motion = None if many else _motion(cfg, data, score, view_scores, playback)
    if not ranks.is_main:
        return target
    results = build_results(
        title=name,
        names=[record.name for record in data.test],
        paths=[record.path for record in data.test],
        labels=[record.labels if many else record.label for record in data.test],
        scores=view_scores.videos(protocol.score),
        class_names=data.class_names,
        protocol=protocol,
        playback=playback,
        videos_sha256=videos,
        model={
            "name": cfg.MODEL.MODEL_NAME,
            "parameters": count_parameters(model),
            "checkpoint": str(path),
            "checkpoint_sha256": digest,
            "epoch": weights.metadata.get("epoch"),
        },
        multi_label=many,
        segments=[(record.start, record.end) for record in data.test],
        failures=view_scores.failures,
        motion=motion,
        training=weights.metadata.get("training"),
        notes=data.notes,
        seconds=time.monotonic() - started,
        settings=config_text(cfg),
        versions=versions(),
    )
    save_results(target, results, view_scores.scores)
    return _present(target, ranks)


def _present(folder, ranks):
    """Print the summary and write the page; without the page's libraries the results stand alone."""
    if not ranks.is_main:
        return folder
    ranks.say(*_summary(load_results(folder)))
    try:
        ranks.say(f"Report: {report(folder)}")
    except MissingLibraryError as error:
        log.warning("No report page: %s", error)
    return folder


def score_records(
    cfg, model, records, protocol, ranks, playback="forward", quiet=False, faults=None
):
    """The `ViewScores` of `records`, with a progress bar on a terminal unless `quiet`.

    faults: as in `Data`.
    """
    precision = choose_precision(protocol.precision, ranks.device)
    dataset = build.build_test_dataset(cfg, records, protocol, playback, faults)
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
            autocast_for(precision, ranks.device),
            bar.update,
            cfg.DATA_LOADER.TIMEOUT,
        )


def _check_scores(view_scores, path):
    """A test that measured nothing is an error, not a result of 0 %."""
    if not view_scores.decoded.any():
        reason = next(iter(view_scores.failures.values()))
        raise DataError(f"none of the test videos can be decoded; the first: {reason}")
    if not np.isfinite(view_scores.scores[view_scores.decoded]).all():
        raise CheckpointError(
            f"{path} gives scores that are not finite; try TRAIN.PRECISION fp32, or other weights"
        )


def _motion(cfg, data, score, view_scores, playback):
    """Backwards and still-frame accuracies, where classes have opposites; else None.

    `score(playback=...)` gives the `ViewScores` of the same videos; `view_scores` are those of `playback`.
    """
    names = data.class_names
    opposite = build.opposite_classes(cfg, names)
    if not opposite or not (cfg.TEST.MOTION_CHECK or playback == "reverse"):
        return None
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


def _tested_weights(cfg, folder, ranks):
    """The checkpoint that the config asks to test, on this machine."""
    if cfg.TEST.CHECKPOINT_FILE_PATH:
        return build.fetch_weights(cfg.TEST.CHECKPOINT_FILE_PATH, ranks)
    path = folder / (BEST_FILE if cfg.TEST.WEIGHTS == "best" else LAST_FILE)
    if not path.is_file():
        other = "last" if cfg.TEST.WEIGHTS == "best" else "best"
        raise CheckpointError(
            f"there is no {path.name} to test in {folder.path}; set TEST.WEIGHTS {other} if that is "
            "there, TEST.CHECKPOINT_FILE_PATH to a checkpoint, or train first"
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
        results["model"].get("checkpoint_sha256", ""),
        results["videos_sha256"],
        results["settings"],
    )


def _summary(results):
    """The outcome in a few lines."""
    summary = results["summary"]
    if is_multi_label(results):
        yield f"mAP {_map(summary['map'])} over {_classes(results)}, hit@1 {_percent(summary['hit1'])}"
        failed = f"scored lowest: mAP {_map(summary['map_all'])}"
    else:
        yield f"top-1 {_percent(summary['top1'])}, top-5 {_percent(summary['top5'])}"
        failed = f"wrong: top-1 {_percent(summary['top1_all'])}"
    if summary["failed"]:
        first = results["failures"][0]
        yield (
            f"{summary['failed']} of {summary['videos']} videos failed and count in neither; with them "
            f"as {failed}. The first: {first['reason']}"
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


def _map(found):
    if found["value"] is None:
        return "none"
    if found["low"] is None:
        return f"{found['value']:.1%}"
    return f"{found['value']:.1%} (95 % interval {found['low']:.1%}-{found['high']:.1%})"


def _classes(results):
    occur, total = results["summary"]["classes"], len(results["class_names"])
    return f"{occur} classes" if occur == total else f"the {occur} of {total} classes that occur"


def _strip(path, start=0.0, end=None):
    """Four frames spread over a video, or over the seconds of it that count, for the report."""
    with open_video(path) as video:
        timeline = timeline_of(video, ClipSampling(4), path, start, end)
        return video.frames(timeline[np.linspace(0, len(timeline) - 1, 4).round().astype(int)])


def report(folder):
    """Write the page of the results in `folder` again; its path."""
    return write_report(folder, _strip)
