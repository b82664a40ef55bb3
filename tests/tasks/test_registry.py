"""Tasks by name, and what files of now and of earlier say of theirs."""

import re
from types import SimpleNamespace

import pytest

from uniformer_video.config.recorded import config_from_text, config_text
from uniformer_video.config.settings import COMMAND_LINE, DEFAULT, load_config, origin
from uniformer_video.errors import CheckpointError, ConfigError, DataError
from uniformer_video.evaluation.parts import Figure
from uniformer_video.runs.build_task import build_task, check_same_task
from uniformer_video.runs.check import check_settings
from uniformer_video.tasks import registry
from uniformer_video.tasks.multi_label import MultiLabel
from uniformer_video.tasks.registry import recorded_task, register_task, task_by_name
from uniformer_video.tasks.single_label import SingleLabel
from uniformer_video.tasks.task import Task

ONE_LABEL_FORMATS = ("folder", "frames", "ssv2-json", "ucf101", "hmdb51")


def built(*settings):
    return build_task(load_config(overrides=[str(part) for part in settings]))


def test_a_name_gives_its_task_and_another_lists_the_names():
    task = task_by_name("multi-label", num_classes=3, label_smoothing=0.2)
    assert type(task) is MultiLabel and (task.num_classes, task.label_smoothing) == (3, 0.2)
    assert type(built()) is SingleLabel
    with pytest.raises(
        ConfigError, match=r"TRAIN\.TASK is 'dense'; allowed: 'single-label', 'multi"
    ):
        built("TRAIN.TASK", "dense")


def test_a_name_is_registered_once(monkeypatch):
    monkeypatch.setattr(registry, "_TASKS", dict(registry._TASKS))

    class Other(SingleLabel):
        name = "other"

    assert register_task(Other) is register_task(Other) is Other
    assert type(built("TRAIN.TASK", "other")) is Other
    with pytest.raises(ConfigError, match=r"a task 'other' already, .*Other; give yours another"):
        register_task(type("Third", (MultiLabel,), {"name": "other"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bases": (Task,)}, "the task Own lacks figures, hits_key, score_key, headline, template"),
        ({"hits_key": "none"}, "'none'; its name stands in `figures`"),
        ({"figures": (Figure("loss", "a", "A"), *SingleLabel.figures)}, "calls a figure 'loss'"),
    ],
)
def test_a_task_that_could_not_run_is_refused_at_once(changes, message):
    bases = changes.pop("bases", (SingleLabel,))
    with pytest.raises(ConfigError, match=message):
        register_task(type("Own", bases, {"name": "own", **changes}))
    with pytest.raises(ConfigError, match="allowed: "):
        task_by_name("own")


def test_a_recorded_task_that_is_no_name_is_refused():
    with pytest.raises(DataError, match=r"a\.pt is of the task \['x'\]"):
        recorded_task({"task": ["x"]}, "a.pt")


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({}, SingleLabel),
        (SingleLabel().mark(), SingleLabel),
        (MultiLabel().mark(), MultiLabel),
        ({"multi_label": True}, MultiLabel),  # of earlier checkpoints
        ({"multi_label": False}, SingleLabel),
    ],
)
def test_what_files_record(record, kind):
    assert type(recorded_task(record, "w.pt")) is kind


def test_a_recorded_task_that_nobody_registered():
    with pytest.raises(
        DataError,
        match=r"^w\.pt is of the task .mine., .* .multi-label., .segmentation.; register it first",
    ):
        recorded_task({"task": "mine"}, "w.pt")


@pytest.mark.parametrize("mark", [{"multi_label": True}, {"task": "multi-label"}])
def test_weights_are_tested_for_the_task_they_were_trained_for(mark):
    def weights(**metadata):
        return SimpleNamespace(path="w.pt", metadata=metadata)

    several, one = weights(training={}, **mark), weights(training={"epochs": 1})
    check_same_task(several, MultiLabel())
    check_same_task(one, SingleLabel())
    with pytest.raises(CheckpointError, match=r"TRAIN\.TASK multi-label, and .* set it to multi"):
        check_same_task(several, SingleLabel())
    with pytest.raises(CheckpointError, match=r"TRAIN\.TASK single-label, .* is multi-label"):
        check_same_task(one, MultiLabel())
    check_same_task(weights(), MultiLabel())  # not trained here: it does not tell
    check_same_task(weights(class_names=["a"]), MultiLabel())


def test_the_scores_of_a_test():
    assert built("TEST.SCORE", "softmax").name == "single-label"
    assert built("TRAIN.TASK", "multi-label", "TEST.SCORE", "sigmoid").name == "multi-label"
    allowed = "'logits', 'softmax'"
    with pytest.raises(
        ConfigError, match=f"is single-label and TEST.SCORE is 'sum'; allowed: {allowed}"
    ):
        built("TEST.SCORE", "sum")
    with pytest.raises(ConfigError, match=f"label and TEST.SCORE is 'sigmoid'; allowed: {allowed}"):
        built("TEST.SCORE", "sigmoid")
    with pytest.raises(ConfigError, match="allowed: 'logits', 'sigmoid'"):
        built("TRAIN.TASK", "multi-label", "TEST.SCORE", "softmax")


@pytest.mark.parametrize("asked", [("TEST.MOTION_CHECK", True), ("TEST.ROBUSTNESS", "[blur]")])
def test_variants_are_of_tasks_whose_videos_have_scores(asked, monkeypatch):
    for task in (SingleLabel, MultiLabel):
        assert built("TRAIN.TASK", task.name, *asked).name == task.name
    monkeypatch.setattr(MultiLabel, "has_analyses", False)
    with pytest.raises(ConfigError, match=f"{asked[0]} compares .* multi-label has none"):
        built("TRAIN.TASK", "multi-label", *asked)


def test_opposite_classes_have_no_effect_without_the_check_of_motion(tmp_path, caplog, monkeypatch):
    text = "DATA: {OPPOSITE_CLASS_PAIRS: [[0, 1]], REVERSE_FRAMES: True}"
    (tmp_path / "a.yaml").write_text(text)
    check_settings(load_config(tmp_path / "a.yaml"))
    assert not caplog.messages
    monkeypatch.setattr(MultiLabel, "has_analyses", False)
    check_settings(load_config(tmp_path / "a.yaml", ["DATA.MULTI_LABEL", "True"]))
    told = "DATA.OPPOSITE_CLASS_PAIRS [[0, 1]] (TRAIN.TASK multi-label has no check of motion)"
    assert caplog.messages == [f"These settings have no effect: {told}"]


def test_lists_that_cannot_hold_several_labels():
    several = ("TRAIN.TASK", "multi-label")
    for name in ONE_LABEL_FORMATS:
        for key in ("TRAIN.DATASET", "TEST.DATASET"):
            message = (
                f"takes any number of labels .* format {name} cannot hold; take kinetics or shards"
            )
            with pytest.raises(ConfigError, match=message):
                built(*several, key, name)
            assert built(key, name).name == "single-label"
    assert built(*several, "TRAIN.DATASET", "shards").label_kind == "any"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ((), "single-label"),
        (("DATA.MULTI_LABEL", True), "multi-label"),
        (("DATA.MULTI_LABEL", False), "single-label"),
        (("DATA.MULTI_LABEL", True, "TRAIN.TASK", "multi-label"), "multi-label"),
        (("DATA.MULTI_LABEL", False, "TRAIN.TASK", "single-label"), "single-label"),
    ],
)
def test_the_other_name_in_a_config(settings, name):
    cfg = load_config(overrides=[str(part) for part in settings])
    said = "TRAIN.TASK" in settings or name == "multi-label"
    assert origin(cfg, "TRAIN.TASK") == (COMMAND_LINE if said else DEFAULT)
    assert name == cfg.TRAIN.TASK and "MULTI_LABEL" not in config_text(cfg)


def test_names_that_contradict_each_other():
    for several, task in ((True, "single-label"), (False, "multi-label"), (True, "mine")):
        given = ["DATA.MULTI_LABEL", str(several), "TRAIN.TASK", task]
        with pytest.raises(ConfigError, match=f"is {several} and TRAIN.TASK is {task}.*set one"):
            load_config(overrides=given)


def test_the_other_name_in_stored_settings():
    stored = re.sub(r"TASK: single-label[,\s]*", "", config_text(load_config()))
    assert "TASK" not in stored
    for several, name in ((True, "multi-label"), (False, "single-label")):
        text = stored.replace("DATA:", f"DATA:\n  MULTI_LABEL: {several}", 1)
        assert name == config_from_text(text).TRAIN.TASK
    assert config_from_text(stored).TRAIN.TASK == "single-label"
