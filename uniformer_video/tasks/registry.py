"""Tasks by name: the built-in ones, those that somebody registers, and those that files record."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from uniformer_video.config.recorded import recorded_plugins
from uniformer_video.errors import ConfigError, DataError, choice_error, quote
from uniformer_video.evaluation.results import RESULTS_FILE, load_results
from uniformer_video.plugins import hint_at_plugins, is_defined_again
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.segmentation import Segmentation
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.tasks.task import Task

# What a class has to say of itself, and what every line of metrics.jsonl holds beside its figures.
_ASKED = ("name", "figures", "hits_key", "score_key", "headline", "template")
_TAKEN = ("kind", "epoch", "step", "loss", "distillation_loss", "lr", "seconds")
_OwnTask = TypeVar("_OwnTask", bound=Task)  # what is decorated keeps its own class
_TASKS: dict[str, type[Task]] = {
    task.name: task for task in (SingleLabel, MultiLabel, Segmentation)
}


def register_task(task: type[_OwnTask]) -> type[_OwnTask]:
    """Make a subclass of `Task` known by its `name`; a decorator.

    A class that the same code defines again replaces itself. Raises `ConfigError` for a name in use, and for
    a class that lacks what `Task` asks of it.
    """
    _check_task(task)
    known = _TASKS.get(task.name, task)
    if known is not task and not is_defined_again(known, task):
        raise ConfigError(
            f"there is a task {task.name!r} already, {known.__module__}.{known.__qualname__}; give yours "
            "another name"
        )
    _TASKS[task.name] = task
    return task


def _check_task(task: type[Task]) -> None:
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise ConfigError(f"{quote(task)} is no subclass of `uniformer_video.Task`")
    lacking = [key for key in _ASKED if not hasattr(task, key)]
    lacking += sorted(getattr(task, "__abstractmethods__", ()))
    if lacking:
        raise ConfigError(
            f"the task {task.__qualname__} lacks {', '.join(lacking)}; see `uniformer_video.Task`"
        )
    if not Path(task.template).is_file():
        raise ConfigError(
            f"the task {task.name!r} has the page {task.template}, which is not there"
        )
    keys = [figure.key for figure in task.figures]
    for key in (task.hits_key, task.score_key, *keys):
        if key not in keys or key in _TAKEN:
            raise ConfigError(
                f"the task {task.name!r} calls a figure {key!r}; its name stands in `figures`, and is none "
                f"of {', '.join(_TAKEN)}, which every line of metrics.jsonl has"
            )


def task_by_name(name: str, **options: Any) -> Task:
    """The task of that name; `options` are those of `Task`. Raises `ConfigError` for an unknown name."""
    if name not in _TASKS:
        raise choice_error("TRAIN.TASK", name, _TASKS)
    return _TASKS[name](**options)


def recorded_name(record: Mapping[str, Any]) -> str | None:
    """The name of the task that a checkpoint's metadata or a results record tells; None without one."""
    if "task" in record:
        return record["task"]
    return MultiLabel.name if record.get("multi_label") else None  # as checkpoints told it at first


def recorded_task(record: Mapping[str, Any], place: Path | str) -> Task:
    """The task of a checkpoint's metadata or a results record; one that tells none is `SingleLabel`'s.

    Raises `DataError`, naming the file `place`, for a task that is not registered.
    """
    name = recorded_name(record) or SingleLabel.name
    if not isinstance(name, str) or name not in _TASKS:
        raise DataError(
            f"{place} is of the task {name!r}, and the tasks known here are "
            f"{', '.join(map(repr, _TASKS))}; {hint_at_plugins(_plugins_of(record))}"
        )
    return task_by_name(name)


def _plugins_of(record: Mapping[str, Any]) -> Any:
    """The plugins of a checkpoint's metadata, or of the settings in a results record."""
    if "plugins" in record:
        return record["plugins"]
    return recorded_plugins(record.get("settings"))


def load_tested(folder: Path | str) -> tuple[dict[str, Any], Task]:
    """The results record in `folder`, and its task. Raises `DataError` as `load_results` does, and where
    the task's part of it is lacking.
    """
    results, place = load_results(folder), Path(folder) / RESULTS_FILE
    task = recorded_task(results, place)
    task.check_results(results, place)
    return results, task
