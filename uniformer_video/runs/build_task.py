"""The task of a run: chosen by its name, and checked against the settings that it must go with."""

from collections.abc import Sequence
from typing import Protocol

import torch
from fvcore.common.config import CfgNode

from uniformer_video.data.lists.balance import class_weights
from uniformer_video.data.lists.formats import ListFormat, find_format, list_formats
from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import CheckpointError, ConfigError, choice_error
from uniformer_video.tasks.registry import recorded_name, task_by_name
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.tasks.task import Task
from uniformer_video.weights.checkpoint import Weights

_KIND_WORDS = {
    "one": "one label a video",
    "any": "any number of labels a video",
    "mask": "a mask for each picture",
}


class TrainingData(Protocol):
    """What is asked of the lists of a training; `build_data.Data` has it."""

    train: Sequence[VideoRecord]

    @property
    def num_classes(self) -> int: ...


def build_task(cfg: CfgNode) -> Task:
    """The `Task` that the config names, for all but training.

    Raises `ConfigError` for an unknown name, and for settings that the task cannot go with.
    """
    task = task_by_name(cfg.TRAIN.TASK)
    if cfg.TEST.SCORE not in task.view_scores:
        what = f"TRAIN.TASK is {task.name} and TEST.SCORE"
        raise choice_error(what, cfg.TEST.SCORE, task.view_scores)
    for key, wanted in (
        ("TEST.MOTION_CHECK", cfg.TEST.MOTION_CHECK),
        ("TEST.ROBUSTNESS", cfg.TEST.ROBUSTNESS),
        ("TEST.AMONG_CLASSES", cfg.TEST.AMONG_CLASSES),
    ):
        if cfg.TEST.ENABLE and wanted and not task.has_analyses:
            raise ConfigError(
                f"{key} compares the scores of whole videos, and TRAIN.TASK {task.name} has none of that "
                f"kind; leave it out"
            )
    _check_label_kind(task, find_format(cfg.TRAIN.DATASET, "TRAIN.DATASET"))
    if cfg.TEST.DATASET and cfg.TEST.ENABLE:
        _check_label_kind(task, find_format(cfg.TEST.DATASET, "TEST.DATASET"))
    return task


def _check_label_kind(task: Task, list_format: ListFormat) -> None:
    """Refuse lists that cannot hold labels such as the task takes."""
    if task.label_kind in list_format.label_kinds:
        return
    able = [known.name for known in list_formats() if task.label_kind in known.label_kinds]
    remedy = f"take {' or '.join(able)}" if able else "register a format that can"
    raise ConfigError(
        f"TRAIN.TASK {task.name} takes {_KIND_WORDS.get(task.label_kind, task.label_kind)}, which lists of "
        f"the format {list_format.name} cannot hold; {remedy}"
    )


def build_training_task(cfg: CfgNode, data: TrainingData, device: torch.device) -> Task:
    """The same for training, with the weights of the classes on `device`."""
    weights, count = cfg.SOLVER.CLASS_WEIGHTS, data.num_classes
    if weights and len(weights) != count:
        raise ConfigError(
            f"SOLVER.CLASS_WEIGHTS has {len(weights)} weights and there are {count} classes; give one "
            "for each class, in the order of their names, or [] for none"
        )
    if cfg.SOLVER.CLASS_BALANCE:
        weights = class_weights(data.train, count, cfg.SOLVER.CLASS_BALANCE)
    weights = torch.tensor(weights, dtype=torch.float32, device=device) if len(weights) else None
    smoothing = cfg.MIXUP.LABEL_SMOOTH_VALUE
    return task_by_name(
        cfg.TRAIN.TASK, num_classes=count, class_weights=weights, label_smoothing=smoothing
    )


def check_same_task(weights: Weights, task: Task, or_else: str = "test other weights") -> None:
    """Refuse weights that were trained for another task than `task`; `or_else` is what to do in place of it.

    Files that this toolkit did not train do not tell, and pass. Raises `CheckpointError`.
    """
    told = recorded_name(weights.metadata)
    trained = told or SingleLabel.name
    if trained == task.name or not (told or weights.metadata.get("training")):
        return
    raise CheckpointError(
        f"{weights.path} was trained for TRAIN.TASK {trained}, and TRAIN.TASK is {task.name}; set it to "
        f"{trained}, with a list of that kind, or {or_else}"
    )
