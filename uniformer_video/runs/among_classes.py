"""A test among some of a model's classes, as of data that has 200 of 1000: only their scores are compared."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fvcore.common.config import CfgNode

from uniformer_video.data.lists.records import VideoRecord
from uniformer_video.errors import ConfigError, DataError
from uniformer_video.evaluation.selection import chosen_classes
from uniformer_video.models.among import AmongClasses
from uniformer_video.models.contract import RecognitionModel
from uniformer_video.runs.build_data import Data
from uniformer_video.tasks.task import Task
from uniformer_video.words import plural

_SETTING, _PRESENT = "TEST.AMONG_CLASSES", "present"


def keep_classes(
    cfg: CfgNode, task: Task, data: Data, model: RecognitionModel
) -> tuple[Data, RecognitionModel | AmongClasses, dict[str, Any] | None]:
    """`data` and `model` with the classes of TEST.AMONG_CLASSES alone, and what the record says of it; as
    they are, and None, where it names none or all.

    data: in the order of the model's classes. Raises `ConfigError` for classes that the model lacks and for
    too few of them, `DataError` where no video is left.
    """
    asked, names = cfg.TEST.AMONG_CLASSES, data.class_names
    if asked == _PRESENT:
        classes = sorted({label for record in data.test for label in record.labels})
    else:
        classes = chosen_classes([asked], names, _SETTING) if asked else []
    if not asked or len(classes) == len(names):
        return data, model, None
    if len(classes) < task.min_classes:
        raise ConfigError(
            f"{_SETTING} {asked} leaves {plural(len(classes), 'class', 'classes')}, and the task {task.name} "
            f"takes {task.min_classes} or more"
        )
    places = {own: place for place, own in enumerate(classes)}
    tested = [_among(each, places) for each in data.test if _counts(task, each, places)]
    if not tested:
        raise DataError(f"no {data.medium.name} of the test is of a class of {_SETTING} {asked}")
    told = {
        "asked": asked,
        "classes": len(classes),
        "of": len(names),
        "left_out_videos": len(data.test) - len(tested),
    }
    chosen = replace(
        data,
        class_names=[names[own] for own in classes],
        test=tested,
        notes=[*data.notes, _note(told, data.medium.name)],
    )
    return chosen, AmongClasses(model, classes).eval(), told


def _counts(task: Task, record: VideoRecord, places: Mapping[int, int]) -> bool:
    return task.label_among(task.label_of(record), places) is not None


def _among(record: VideoRecord, places: Mapping[int, int]) -> VideoRecord:
    labels = tuple(places[label] for label in record.labels if label in places)
    return replace(record, labels=labels)


def _note(told: Mapping[str, Any], noun: str) -> str:
    out = told["left_out_videos"]
    left = (
        f" {plural(out, noun)} of other classes {'is' if out == 1 else 'are'} left out."
        if out
        else ""
    )
    return (
        f"Tested among {told['classes']} of the model's {told['of']} classes ({_SETTING} {told['asked']}): "
        f"the scores of the others do not count.{left}"
    )
