"""TRAIN.PROFILE: a trace of the steps that are asked for, and no other."""

import json
import re

import pytest

from uniformer_video.config.settings import load_config
from uniformer_video.distributed.ranks import join_ranks
from uniformer_video.errors import ConfigError
from uniformer_video.runs.build_data import build_data
from uniformer_video.runs.build_measures import note_untraced
from uniformer_video.runs.folder import RunFolder
from uniformer_video.runs.rehearsal import rehearse
from uniformer_video.runs.run import run
from uniformer_video.training.tracing import StepTrace


def steps_in(path):
    events = json.loads(path.read_text())["traceEvents"]
    names = {event.get("name", "") for event in events}
    return sorted(int(name.split()[1]) for name in names if re.fullmatch(r"step \d+", name))


def test_a_run_writes_a_trace_of_its_steps(tiny, tmp_path):
    run(load_config(overrides=tiny(TRAIN__PROFILE="[3,2]", TEST__ENABLE=False)), "tiny")
    (path,) = (tmp_path / "run" / "profile").iterdir()
    assert path.name == "steps_3-5_rank0.json" and steps_in(path) == [3, 4, 5]
    assert any(
        "convolution" in event.get("name", "")
        for event in json.loads(path.read_text())["traceEvents"]
    )


@pytest.mark.parametrize("steps", ["[8,1]", "[0,2]", "[9,0]"])
def test_steps_that_the_run_does_not_have(steps, tiny, tmp_path):
    with pytest.raises(ConfigError, match="has the steps 1 to 8") as error:
        run(load_config(overrides=tiny(TRAIN__PROFILE=steps)), "tiny")
    assert "TRAIN.PROFILE" in str(error.value)
    assert not (tmp_path / "run" / "last.pt").exists()


def test_steps_that_are_done_already_are_named(tiny):
    assert note_untraced(load_config(overrides=tiny()), 4) == []
    cfg = load_config(overrides=tiny(TRAIN__PROFILE="[3,3]"))
    assert note_untraced(cfg, 2) == []
    (line,) = note_untraced(cfg, 4)
    assert "behind step 4, so the steps 3 to 4 are not traced" in line
    (line,) = note_untraced(cfg, 8)
    assert "the steps 3 to 6 are not traced" in line


def test_a_trial_has_other_steps_and_traces_none(tiny, tmp_path):
    """Steps that the trial lacks are the run's: TRAIN.MINUTES sets the number of epochs afterwards."""
    data = build_data(load_config(overrides=tiny(TEST__ENABLE=False)))
    cfg = load_config(overrides=tiny(TRAIN__PROFILE="[1,900]", TEST__ENABLE=False))
    folder, tried = RunFolder(tmp_path / "run"), []
    with join_ranks(60, 60) as ranks:
        rehearse(cfg, data, folder, ranks, tried.append)
    assert len(tried) == 1 and not list(folder.path.rglob("*.json"))


@pytest.mark.parametrize("value", ["[3]", "[1,2,3]", "[-1,2]", "3", "[1.5,2]"])
def test_what_the_setting_takes(value, tiny):
    with pytest.raises(ConfigError, match=r"TRAIN\.PROFILE"):
        load_config(overrides=tiny(TRAIN__PROFILE=value))


def test_a_trace_that_is_cut_short_holds_what_there_was(tmp_path):
    trace = StepTrace(tmp_path, 2, 9)
    for number in (1, 2, 3):
        with trace.step(number):
            pass
    trace.close(3)
    trace.close()
    (path,) = tmp_path.iterdir()
    assert path.name == "steps_2-3_rank0.json" and steps_in(path) == [2, 3]


def test_a_trace_that_cannot_be_written_ends_nothing(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    trace = StepTrace(tmp_path / "file", 1, 1)
    with trace.step(1):
        pass
    assert "cannot be written" in caplog.text
