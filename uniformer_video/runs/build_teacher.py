"""What a training minimises, from the settings: the task's loss, or that and what a teacher says, live, in
stored logits, or in label maps.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fvcore.common.config import CfgNode

from uniformer_video.config.recorded import check_recorded_settings
from uniformer_video.data.lists.class_names import are_stand_ins
from uniformer_video.data.lists.media import IMAGE, VIDEO
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.data.protocol import Protocol
from uniformer_video.distributed.ranks import Ranks
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.evaluation.record import Results
from uniformer_video.evaluation.results import SCORES_FILE
from uniformer_video.inference.teacher import ClipView, ImageView, LiveTeacher, StoredTeacher
from uniformer_video.program import command
from uniformer_video.runs import build_clips, build_model
from uniformer_video.runs.build_data import Data
from uniformer_video.runs.build_task import check_same_task
from uniformer_video.runs.build_token_labels import build_token_labelling
from uniformer_video.runs.check import medium_of_lists
from uniformer_video.runs.class_order import check_order_is_told, known_names, order_of_teacher
from uniformer_video.runs.stored_test import folder_of_test, read_stored_test
from uniformer_video.tasks.task import Task
from uniformer_video.training.objective import LiveDistillation, Objective, StoredDistillation
from uniformer_video.weights.checkpoint import (
    CALIBRATION,
    Weights,
    file_sha256,
    fit_weights,
    read_weights,
)
from uniformer_video.words import name_some, plural
from uniformer_video.zoo.create import build_for_weights
from uniformer_video.zoo.published import known_protocol
from uniformer_video.zoo.registry import count_classes, identify_model

Autocast = Callable[[], AbstractContextManager]


@dataclass(frozen=True)
class Lessons:
    """What a training learns from. record: what its checkpoints say of the teacher, {} without one; lines:
    what the log says of it.
    """

    objective: Objective
    record: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def build_lessons(
    cfg: CfgNode, data: Data, task: Task, ranks: Ranks, autocast: Autocast
) -> Lessons:
    """The task's loss alone, or with a teacher, a model, the stored logits or the label maps of one.

    Raises `CheckpointError`, `ConfigError` or `DataError` for a teacher that does not suit the training.
    """
    if cfg.TOKEN_LABELS.ENABLE:
        assert data.label_maps is not None  # `build_label_maps` made them before
        objective, lines = build_token_labelling(cfg, task, data.label_maps)
        return Lessons(objective, lines=lines)
    if not (cfg.TEACHER.CHECKPOINT or cfg.TEACHER.SCORES):
        return Lessons(Objective(task))
    if not task.has_distillation:
        raise ConfigError(
            f"TRAIN.TASK {task.name} has no way to learn from a teacher; leave TEACHER.CHECKPOINT and "
            "TEACHER.SCORES empty"
        )
    if cfg.TEACHER.CHECKPOINT:
        return _from_model(cfg, data, task, ranks, autocast)
    return _from_scores(cfg, data, task)


def _from_model(cfg: CfgNode, data: Data, task: Task, ranks: Ranks, autocast: Autocast) -> Lessons:
    source = cfg.TEACHER.CHECKPOINT
    try:
        path = build_model.fetch_weights(source, ranks)
        weights = read_weights(path)
        check_recorded_settings(weights.metadata.get("config"), source)
        check_same_task(weights, task, "take another teacher")
        known = identify_model(weights)
        medium, other = medium_of_lists(cfg), IMAGE if known.takes_images else VIDEO
        if other is not medium:
            raise CheckpointError(
                f"{source} holds weights of {known.name}, which takes {other.name}s, and a teacher sees "
                f"what is learnt from, {medium.name}s; take {medium.one} model"
            )
        model = build_for_weights(weights)
        fit_weights(model, weights)
    except CheckpointError as error:
        raise type(error)(f"TEACHER.CHECKPOINT: {error}") from None
    own = known_names(weights)
    if own is None:
        check_order_is_told(weights, data.class_names)
    outputs = count_classes(weights) or 0
    order, line = order_of_teacher(data.class_names, own, outputs, source)
    learner, protocol = Protocol.from_cfg(cfg), protocol_of_teacher(weights)
    clip_view = ClipView(
        learner.sampling.num_frames,
        cfg.DATA.TRAIN_CROP_SIZE,
        learner.views.normalise,
        protocol.sampling.num_frames,
        protocol.views.crop_size,
        protocol.views.normalise,
        ranks.device,
    )
    view = ImageView(clip_view) if medium is IMAGE else clip_view
    teacher = LiveTeacher(model.to(ranks.device), view, order, autocast)
    lines = [f"Teacher: {known.name} of {source}{_strength(cfg)}.", *_sentences([line])]
    if CALIBRATION in weights.metadata:
        lines.append("The temperature of its calibration is not applied: TEACHER.TEMPERATURE is.")
    return Lessons(
        LiveDistillation(task, cfg.TEACHER.WEIGHT, cfg.TEACHER.TEMPERATURE, teacher),
        {"teacher": source, "teacher_sha256": file_sha256(path)},
        lines + _sentences(_of_clips(cfg, learner, protocol)),
    )


def protocol_of_teacher(weights: Weights) -> Protocol:
    """How a teacher's input is prepared: what its file records, or what is known of published weights."""
    protocol = known_protocol(weights)
    if protocol is None:
        raise CheckpointError(
            f"TEACHER.CHECKPOINT {weights.path} does not record how its input is prepared (frames, stride, "
            f"size, pixels); convert it: {command(f'convert {weights.path} --out NEW.pt')}, with --published "
            "NAME or --cfg CONFIG where the file does not tell"
        )
    return protocol


def _of_clips(cfg: CfgNode, learner: Protocol, teacher: Protocol) -> list[str]:
    """What a teacher sees otherwise than in its own test."""
    side, other_side = cfg.DATA.TRAIN_CROP_SIZE, teacher.views.crop_size
    frames, other_frames = learner.sampling.num_frames, teacher.sampling.num_frames
    told = []
    if learner.medium == IMAGE.name and side != other_side:
        told.append(
            f"its input of {other_side} x {other_side} is made of the images that are learnt from, "
            f"{side} x {side}: pixels are resized"
        )
    elif (frames, side) != (other_frames, other_side):
        told.append(
            f"its input of {other_frames} x {other_side} x {other_side} is made of the clips that are "
            f"learnt from, {frames} x {side} x {side}: frames come again or are left out, pixels are resized"
        )
    if learner.views.normalise != teacher.views.normalise:
        told.append("their pixels are normalised anew, as its own were")
    if _time_of(learner) != _time_of(teacher):
        told.append(
            f"its own clips were of {_time_of(teacher)}, and it sees clips of {_time_of(learner)}"
        )
    return told


def _time_of(protocol: Protocol) -> str:
    """How long a clip is."""
    sampling = protocol.sampling
    if sampling.rule != "dense":
        return "the whole video"
    rate = f" at {sampling.target_fps:g} a second" if sampling.target_fps else ""
    return f"{sampling.num_frames * sampling.frame_stride} frames of the video{rate}"


def _from_scores(cfg: CfgNode, data: Data, task: Task) -> Lessons:
    folder = folder_of_test(cfg.TEACHER.SCORES)
    try:
        results, scores = read_stored_logits(folder)
    except DataError as error:
        raise DataError(f"TEACHER.SCORES: {error}") from None
    source = str(folder / SCORES_FILE)
    if results.task != task.name:
        raise DataError(
            f"TEACHER.SCORES {source} is of a test with TRAIN.TASK {results.task}, and TRAIN.TASK is "
            f"{task.name}; take a teacher of the same task"
        )
    own = None if are_stand_ins(results.class_names) else results.class_names
    order, line = order_of_teacher(data.class_names, own, scores.shape[2], source)
    logits = scores.mean(axis=1) if order is None else scores.mean(axis=1)[:, order]
    rows, notes = _rows_of_training(cfg, data.train, results, logits, source)
    _, mirrored = build_clips.mirroring(cfg, data.class_names)
    lines = [f"Teacher: the logits stored in {source}{_strength(cfg)}.", *_sentences([line])]
    return Lessons(
        StoredDistillation(
            task, cfg.TEACHER.WEIGHT, cfg.TEACHER.TEMPERATURE, StoredTeacher(rows, mirrored)
        ),
        {
            "teacher": source,
            "teacher_sha256": file_sha256(folder / SCORES_FILE),
            "teacher_lacks_videos": int(np.isnan(rows).any(axis=1).sum()),
        },
        lines + notes,
    )


def read_stored_logits(folder: Path) -> tuple[Results, np.ndarray]:
    """The results in a folder, and the logits beside them, float32 `[video, view, class]`.

    Raises `DataError` where they are missing, damaged, do not belong together, or are of videos that were
    played backwards.
    """
    stored = read_stored_test(folder)
    if stored.results.playback != "forward":
        raise DataError(
            f"{folder / SCORES_FILE} is of videos that were played backwards; run the test with "
            "DATA.REVERSE_FRAMES False"
        )
    return stored.results, stored.view_scores


def _rows_of_training(
    cfg: CfgNode,
    records: Sequence[VideoRecord],
    results: Results,
    logits: np.ndarray,
    source: str,
) -> tuple[np.ndarray, list[str]]:
    """The logits `[videos, K]` of the training videos, NaN where there are none, and what to say of these.

    A video is known by its path and segment; elsewhere than where it was tested, by its name in the list.
    """
    noun = results.protocol.medium
    places = [(each["path"], each.get("start", 0.0), each.get("end")) for each in results.videos]
    names = [each["name"] for each in results.videos]
    by_place, by_name = (dict(zip(keys, logits, strict=True)) for keys in (places, names))
    moved = {record.name for record in records if record.segment not in by_place}
    twice = [name for name, count in Counter(names).items() if count > 1 and name in moved]
    if twice:
        raise DataError(
            f"TEACHER.SCORES {source} holds several {noun}s called {name_some(twice)}, so nothing tells "
            f"whose logits are meant; give the {noun}s different names in the lists"
        )
    nothing = np.full(logits.shape[1], np.nan, np.float32)
    found = [by_place.get(record.segment, by_name.get(record.name)) for record in records]
    rows = np.stack([nothing if row is None else row for row in found])
    lacking = np.isnan(rows).any(axis=1)
    if not lacking.any():
        return rows, []
    without = [record.name for record, lacks in zip(records, lacking, strict=True) if lacks]
    undecoded = sum(row is not None and bool(np.isnan(row).any()) for row in found)
    told = (
        f"{source} holds no logits of {len(without)} of {plural(len(records), f'training {noun}')}"
        f"{f' ({undecoded} could not be decoded in the test)' if undecoded else ''}: {name_some(without)}"
    )
    if len(without) > cfg.DATA.MAX_BAD_RATIO * len(records):
        fold = f"DATA.FOLDS {cfg.DATA.FOLDS} DATA.FOLD {cfg.DATA.FOLD} " if cfg.DATA.FOLDS else ""
        again = f"{fold}TRAIN.ENABLE False TEST.SPLIT train TEST.CHECKPOINT_FILE_PATH TEACHER.pt"
        raise DataError(
            f"TEACHER.SCORES {told}; DATA.MAX_BAD_RATIO {cfg.DATA.MAX_BAD_RATIO:g} allows fewer. Test the "
            f"teacher on this training list: {command(f'run --cfg FILE {again}')}"
        )
    return rows, [f"{told}. These learn from their labels alone."]


def _strength(cfg: CfgNode) -> str:
    """How much a teacher counts, at the end of a line."""
    return f", weight {cfg.TEACHER.WEIGHT:g}, temperature {cfg.TEACHER.TEMPERATURE:g}"


def _sentences(facts: Sequence[str]) -> list[str]:
    """Facts as lines of the log."""
    return [f"{fact[0].upper()}{fact[1:]}." for fact in facts if fact]
