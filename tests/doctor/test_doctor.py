"""What the doctor finds on machines that are well, and on such that are not."""

import itertools
import sys
from collections import namedtuple
from importlib import metadata

import numpy as np
import pytest

from uniformer_video import plugins
from uniformer_video.data.decoding import decoders as registry
from uniformer_video.doctor import decoders, examine, libraries, machine, self_test
from uniformer_video.doctor.finding import Level
from uniformer_video.signals import Interrupted

Usage = namedtuple("Usage", "total used free")


def levels(findings):
    return [finding.level for finding in findings]


@pytest.mark.parametrize(
    ("torch", "cudnn", "is_bad"),
    [
        ("2.9.0+cu128", 91002, True),
        ("2.9.1", 90800, True),
        ("2.9.1", 91400, True),
        ("2.9.1", 91500, False),
        ("2.9.1", 90701, False),
        ("2.8.0", 91002, False),
        ("2.10.0", 91002, False),
        ("2.9.0+cpu", None, False),
    ],
)
def test_versions_that_are_known_to_be_bad(torch, cudnn, is_bad):
    assert levels(libraries.check_known_bad(torch, cudnn, True)) == [Level.WRONG] * is_bad
    assert levels(libraries.check_known_bad(torch, cudnn, False)) == [Level.NOTE] * is_bad


def test_versions_outside_the_ranges_are_wrong(monkeypatch):
    asked = [f"numpy<{np.__version__}", "absent-library>=2", "pip; extra == 'report'"]
    asked += ["lacking; extra == 'hub'", "other; python_version < '3'", "lint; extra == 'lint'"]
    monkeypatch.setattr(metadata, "requires", lambda name: asked)
    found = {finding.about: finding for finding in libraries.check_libraries()}
    needed = found["libraries"]
    assert needed.level is Level.WRONG
    assert f"numpy is {np.__version__}, which is not" in needed.found
    assert "absent-library is not installed" in needed.found
    assert needed.remedy.startswith("pip install") and '"absent-library>=2"' in needed.remedy
    assert found["extra report"].level is Level.FINE
    assert found["extra hub"].level is Level.NOTE
    assert found["extra hub"].remedy == 'pip install "uniformer-video[hub]"'
    assert set(found) == {"libraries", "extra report", "extra hub", "extra remote"}


@pytest.mark.parametrize(
    ("free", "level"), [(5e8, Level.WRONG), (5e9, Level.NOTE), (5e10, Level.FINE)]
)
def test_free_disk(free, level, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(1e12, 0, free))
    assert machine.check_disk("disk", tmp_path / "not/yet/there").level is level


@pytest.mark.parametrize(
    ("size", "level"), [(64e6, Level.WRONG), (1e9, Level.NOTE), (8e9, Level.FINE)]
)
def test_shared_memory(size, level, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(size, 0, size))
    finding = machine.check_shared_memory(str(tmp_path))
    assert finding.level is level
    assert ("--shm-size" in finding.remedy) == (level is not Level.FINE)


def test_pyav_reads_what_it_has_written(tmp_path):
    (finding,) = [
        found for found in decoders.check_reading(tmp_path, ["pyav"]) if "reads" in found.about
    ]
    assert finding.level is Level.FINE
    assert finding.found.startswith("H.264, ")


ODD_DECODERS = """
import os
import signal

import numpy as np

from uniformer_video.data.decoding.decoders import Decoder, register_decoder
from uniformer_video.data.decoding.reader import Reader
from uniformer_video.errors import DecodeError


class Shifted(Reader):
    # frames are one too late

    def __init__(self, path):
        if not str(path).endswith("libx264.mp4"):
            raise DecodeError("not this one")

    def frames(self, indices, short_side=0):
        return np.full((1, 2, 2, 3), 12) * (3 + indices[:, None, None, None])


class Crashing(Reader):
    def __init__(self, path):
        if str(path).endswith("libx265.mp4"):
            os.kill(os.getpid(), signal.SIGSEGV)
        raise DecodeError("not this one")


register_decoder(Decoder("shifted", Shifted))
register_decoder(Decoder("crashing", Crashing))
"""


@pytest.fixture
def odd_decoders(tmp_path, monkeypatch):
    """Two decoders of a plugin, which the processes that try them import too."""
    plugin = tmp_path / f"{tmp_path.name}.py"  # modules of one name are imported once
    plugin.write_text(ODD_DECODERS)
    monkeypatch.setattr(registry, "_DECODERS", dict(registry._DECODERS))
    monkeypatch.setattr(plugins, "_named", list(plugins._named))
    plugins.import_plugins([str(plugin)])


def test_a_decoder_with_wrong_frames_is_found(tmp_path, odd_decoders):
    finding = list(decoders.check_reading(tmp_path, ["shifted"]))[-1]
    assert finding.level is Level.WRONG
    assert "not HEVC" in finding.found and "WRONG FRAMES of H.264" in finding.found


def test_a_decoder_that_crashes_is_told_and_the_doctor_goes_on(tmp_path, odd_decoders):
    found = list(decoders.check_reading(tmp_path, ["crashing", "pyav"]))
    crashing, pyav = [finding for finding in found if "reads" in finding.about]
    assert "HEVC (its process crashed (SIGSEGV))" in crashing.found
    assert crashing.level is Level.NOTE and pyav.level is Level.FINE


def test_a_codec_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "libx264.mp4").mkdir()
    encoding, reading = decoders.check_reading(tmp_path, ["pyav"])
    assert reading.about == "pyav reads"
    assert encoding.level is Level.WRONG and "no H.264 can be written" in encoding.found


def test_a_step_of_the_self_test_that_fails_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(self_test._TOLERANCE, "bfloat16", 1e-9)
    model, videos = list(self_test._try("model", self_test._compare_precisions)) + list(
        self_test._try("videos", lambda: 1 / 0)
    )
    assert model.level is Level.WRONG and "bfloat16 on" in model.found
    assert videos.found == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("seconds", "said"), [((4, 1), "4.0 times as fast as in fp32"), ((1, 1), "fp32 is as well")]
)
def test_it_says_whether_bfloat16_pays(monkeypatch, seconds, said):
    """By a clock that shows so many seconds for a pass in fp32, and in bf16."""
    ticks = itertools.accumulate(
        itertools.chain([0], itertools.cycle([seconds[0], 0, seconds[1], 0]))
    )
    monkeypatch.setattr(self_test.time, "perf_counter", lambda: next(ticks))
    assert said in self_test._time_bfloat16()


def test_a_training_that_is_asked_to_stop_stops_the_doctor():
    def stop():
        raise Interrupted

    with pytest.raises(KeyboardInterrupt):
        list(self_test._try("training", stop))


def test_the_command_looks_and_says_that_all_is_well(call, monkeypatch):
    fine = [libraries.check_python(), libraries.check_command()]
    monkeypatch.setattr(examine, "examine", lambda folder: fine if folder is None else [])
    status, out, _ = call("doctor", "--quick")
    assert status == 0
    assert out.splitlines()[-1] == "All that is needed works."


def test_without_torch_the_rest_is_still_looked_at(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    status, out, errors = call("doctor", "--quick")
    assert status == 1 and "Traceback" not in errors
    assert "WRONG  torch " in out and "pytorch.org" in out
    assert "pyav" in out and "/dev/shm" in out
    assert out.splitlines()[-1].endswith("see WRONG above.")


def test_a_check_that_fails_itself_is_a_finding(monkeypatch):
    monkeypatch.setattr(machine, "check_disks", lambda: [][0])
    (finding,) = examine._of("machine", "check_disks")
    assert finding.level is Level.WRONG and "IndexError" in finding.found
