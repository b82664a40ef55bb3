"""Processes of one run that are stopped, killed or fail: what the user is told, and that nothing is lost.

Under torchrun, which sends SIGTERM to the others when one has ended, and SIGKILL 30 seconds later.
"""

import os
import re
import signal
import sys
import time

import pytest
import torch
from processes import ROOT, Launch, by_hand, torchrun
from tiny_run import TINY

from uniformer_video.weights.checkpoint import read_weights

AGAIN = "the same command goes on from there"


@pytest.fixture(scope="module")
def settings(tmp_path_factory, demo):
    """Words of a command, but for OUTPUT_DIR, that trains some seconds in 2 or 3 processes."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "empty.yaml").write_text("")
    values = {
        **TINY,
        "DATA.PATH_TO_DATA_DIR": demo,
        "NUM_GPUS": 6,
        "TRAIN.BATCH_SIZE": 6,
        "SOLVER.MAX_EPOCH": 40,
        "TRAIN.EVAL_PERIOD": 10,
        "TRAIN.CHECKPOINT_PERIOD": 10,
        "TEST.ENABLE": "False",
        "DISTRIBUTED.TIMEOUT": 2,
    }
    words = [str(word) for pair in values.items() for word in pair]
    return ["--cfg", folder / "empty.yaml", *words]


@pytest.fixture
def start(settings, tmp_path):
    """A function: start `size` processes of the run in `tmp_path / "run"`; all are ended afterwards."""
    launches = []

    def launch(size, *words, options=(), script=ROOT / "tools/run_net.py", folder="run"):
        arguments = [script, *settings, "OUTPUT_DIR", tmp_path / folder, *words]
        log = tmp_path / f"log{len(launches)}"
        if size == 1:
            launches.append(Launch([sys.executable, *arguments], log, {}))
        else:
            launches.append(torchrun(size, arguments, log, options))
        return launches[-1]

    yield launch
    for started in launches:
        started.kill()


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    """A function: the weights of a run of `size` processes that nobody disturbs."""
    known = {}

    def weights(size):
        if size not in known:
            folder = tmp_path_factory.mktemp(f"undisturbed{size}")
            arguments = [ROOT / "tools/run_net.py", *settings, "OUTPUT_DIR", folder]
            launch = torchrun(size, arguments, folder / "log")
            assert launch.wait() == 0, launch.text
            known[size] = read_weights(folder / "last.pt").state
        return known[size]

    return weights


def assert_undisturbed(folder, expected):
    found = read_weights(folder / "last.pt")
    assert found.training["progress"]["epoch"] == 40
    for key, value in expected.items():
        assert torch.equal(found.state[key], value), key


def finished(launch):
    assert launch.wait() == 0, launch.text
    return launch.text


def told(launch):
    """The lines of the program itself, without torchrun's."""
    return re.findall(r"^(?:error: .*|Stopped; .*|Interrupted.*)$", launch.text, re.MULTILINE)


def test_one_is_killed_and_the_other_saves(settings, tmp_path):
    """Without torchrun: nobody but the other process notices."""
    words = [*settings, "OUTPUT_DIR", tmp_path / "run", "DISTRIBUTED.TIMEOUT", 1]
    launches = by_hand(2, [ROOT / "tools/run_net.py", *words], tmp_path / "log")
    try:
        launches[0].wait_for(r"step 1\d/")
        launches[1].process.kill()
        assert launches[0].wait(30) == 2
    finally:
        for launch in launches:
            launch.kill()
    (line,) = told(launches[0])
    found = re.fullmatch(
        r"error: process 1 of 2 no longer answers \(killed, or stopped; last heard of at step \d+\); "
        rf"all up to step (\d+) is saved, and {AGAIN}",
        line,
    )
    progress = read_weights(tmp_path / "run" / "last.pt").training["progress"]
    assert progress["epoch"] * 2 + progress["step"] == int(found[1]) >= 10


@pytest.mark.slow
def test_torchrun_starts_a_run_again_that_has_lost_a_process(start, undisturbed, tmp_path):
    """kill -9 of one; the others save, end with one line, and `--max-restarts` goes on by itself."""
    launch = start(2, options=["--max-restarts=1"])
    launch.wait_for(r"step 1\d/")
    os.kill(launch.ranks()[1], signal.SIGKILL)
    text = finished(launch)
    lost = "error: process 1 of 2 no longer answers (killed, or stopped; last heard of at step"
    (line,) = told(launch)
    assert line.startswith(lost)
    step = int(re.search(r"up to step (\d+) is saved", text)[1])
    assert f"Resuming at epoch {step / 2:.2f}" in text
    assert_undisturbed(tmp_path / "run", undisturbed(2))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("to", ["group", "last rank"])
def test_a_request_to_stop_loses_nothing(start, undisturbed, tmp_path, size, name, to):
    # one process alone is soon done: the signal must come before
    epochs = 120 if size == 1 else 40
    launch = start(size, "SOLVER.MAX_EPOCH", epochs)
    launch.wait_for(r"step 1\d/")
    target = getattr(signal, name)
    if to == "group" or size == 1:
        os.killpg(launch.process.pid, target)
    else:
        os.kill(launch.ranks()[size - 1], target)
    assert launch.wait(60) == (130 if size == 1 else 1)
    lines = told(launch)
    begun_with = "python" if size == 1 else f"torchrun --nproc_per_node {size}"
    assert lines[0].startswith(
        f"Stopped; what was finished is saved. To go on, run the same command: {begun_with} "
    )
    assert sum(line.startswith("Stopped") for line in lines) == 1
    position = read_weights(tmp_path / "run" / "last.pt").training["progress"]
    assert 5 <= position["epoch"] < epochs - 1
    again = start(size, "SOLVER.MAX_EPOCH", epochs)
    assert f"Resuming at epoch {position['epoch'] + position['step'] / 2:.2f}" in finished(again)
    if size > 1:
        assert_undisturbed(tmp_path / "run", undisturbed(size))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "rank"), [(2, 0), (3, 1), (3, 0)])
def test_killed_the_others_save_what_they_have_in_common(start, undisturbed, tmp_path, size, rank):
    launch = start(size)
    launch.wait_for(r"step 1\d/")
    os.kill(launch.ranks()[rank], signal.SIGKILL)
    assert launch.wait(60) == 1
    (line,) = told(launch)
    assert line.startswith(f"error: process {rank} of {size} no longer answers")
    assert line.endswith(AGAIN)
    finished(start(size))
    assert_undisturbed(tmp_path / "run", undisturbed(size))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "rank"), [(2, 1), (3, 0)])
def test_stopped_in_silence_it_is_given_up_by_its_heartbeat(
    start, undisturbed, tmp_path, size, rank
):
    """SIGSTOP: no connection breaks, and torchrun notices nothing."""
    launch = start(size)
    launch.wait_for(r"step 1\d/")
    os.kill(launch.ranks()[rank], signal.SIGSTOP)
    launch.wait_for("no longer answers", seconds=30)
    launch.wait(60)
    (line,) = told(launch)
    assert line.startswith(f"error: process {rank} of {size} no longer answers")
    assert line.endswith(AGAIN)
    finished(start(size))
    assert_undisturbed(tmp_path / "run", undisturbed(size))


SLOW_DATA = """
import sys, time
from uniformer_video import cli
from uniformer_video.data.loading.dataset import TrainDataset
from uniformer_video.distributed import environment
original = TrainDataset.__getitem__
def slow(self, key):
    if environment.rank() == 1 and (key.epoch, key.position) == (3, 3):
        {what}
    return original(self, key)
TrainDataset.__getitem__ = slow
sys.exit(cli.main(command="run"))
"""


@pytest.fixture
def script(tmp_path):
    """A function: the run's script, in which the data of process 1 does something in the fourth epoch."""

    def write(what):
        path = tmp_path / "script.py"
        path.write_text(SLOW_DATA.format(what=what))
        return path

    return write


@pytest.mark.slow
def test_one_that_waits_for_its_data_is_not_dead(start, undisturbed, tmp_path, script):
    """For much longer than DISTRIBUTED.TIMEOUT, as for a video that hangs."""
    launch = start(2, script=script("time.sleep(9)"))
    finished(launch)
    assert not told(launch)
    assert_undisturbed(tmp_path / "run", undisturbed(2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (
            "from uniformer_video.errors import WorkerError; raise WorkerError('was killed')",
            2,
            "error: was killed",
        ),
        (
            "raise MemoryError('no room')",
            1,
            f"error: process 1 of 2 failed: MemoryError: no room; all up to step 6 is saved, and {AGAIN}",
        ),
    ],
    ids=["ours", "any"],
)
def test_an_error_of_one_process_is_that_of_all(start, script, tmp_path, raised, status, line):
    launch = start(2, script=script(raised))
    assert launch.wait(60) == 1
    assert told(launch) == [line]
    assert read_weights(tmp_path / "run" / "last.pt").training["progress"]["epoch"] == 3
    statuses = {int(code) for code in re.findall(r"exitcode\s*: (\d+)", launch.text)}
    assert status in statuses


FAILING = """
import sys
from uniformer_video import cli
from uniformer_video.runs import run, score_views
from uniformer_video.distributed import environment
from uniformer_video.errors import CheckpointError
def fail(*args, **kwargs):
    raise CheckpointError("its weights are broken")
if environment.rank() == 1:
    {where} = fail
sys.exit(cli.main(command="run"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["run.build_data", "score_views.score"])
def test_an_error_of_one_outside_the_training_is_told_too(start, tmp_path, where):
    """Before torchrun's SIGTERM to the others can hide it."""
    (tmp_path / "script.py").write_text(FAILING.format(where=where))
    words = ("SOLVER.MAX_EPOCH", 2, "TEST.ENABLE", "True")
    launch = start(2, *words, script=tmp_path / "script.py")
    assert launch.wait(60) == 1
    assert told(launch) == ["error: its weights are broken"]
    assert set(re.findall(r"exitcode\s*: (-?\d+)", launch.text)) == {"2"}


@pytest.mark.slow
def test_broken_videos_of_all_processes_are_named_and_counted_together(start, demo, tmp_path):
    lines = [f"{demo}/train/{i:05d}.mp4,{i % 8}" for i in range(12)]
    for number in range(4):
        (tmp_path / f"bad{number}.mp4").write_bytes(b"broken")
        lines.append(f"{tmp_path}/bad{number}.mp4,0")
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    validation = (demo / "val.csv").read_text().replace("val/", f"{demo}/val/")
    (tmp_path / "val.csv").write_text(validation)
    data = ("DATA.PATH_TO_DATA_DIR", tmp_path)
    launch = start(2, *data, "DATA.MAX_BAD_RATIO", 0.5, "SOLVER.MAX_EPOCH", 4)
    text = finished(launch)
    table = (tmp_path / "run" / "bad_videos.csv").read_text()
    for number in range(4):
        assert text.count(f"replaced by another: {tmp_path}/bad{number}.mp4") == 1
        assert f"bad{number}.mp4" in table
    launch = start(2, *data, "DATA.MAX_BAD_RATIO", 0.1, folder="refused")
    assert launch.wait(60) == 1
    (line,) = told(launch)
    assert re.search(r"of 16 training videos are broken, more than DATA\.MAX_BAD_RATIO 0\.1", line)
    assert set(re.findall(r"exitcode\s*: (\d+)", launch.text)) == {"2"}


@pytest.mark.slow
def test_what_is_wrong_before_the_training_is_said_once(start, tmp_path):
    """A typo in a setting; a folder of another run, which the main process alone looks into."""
    launch = start(2, "SOLVER.BASE_LRR", 1)
    assert launch.wait(60) == 1
    assert len(told(launch)) == 1 and "did you mean SOLVER.BASE_LR?" in told(launch)[0]
    launch = start(2)
    launch.wait_for(r"step 1\d/")
    os.killpg(launch.process.pid, signal.SIGTERM)
    launch.wait(60)
    launch = start(2, "SOLVER.WEIGHT_DECAY", 0.1)
    assert launch.wait(60) == 1
    assert len(told(launch)) == 1 and "holds a run with other settings" in told(launch)[0]


@pytest.mark.slow
def test_a_signal_in_the_test_is_told(start, tmp_path):
    launch = start(1, "TEST.ENABLE", "True", "SOLVER.MAX_EPOCH", 2, "TEST.NUM_ENSEMBLE_VIEWS", 900)
    launch.wait_for("Testing ")
    time.sleep(0.3)
    launch.process.send_signal(signal.SIGTERM)
    assert launch.wait(30) == 130
    (line,) = told(launch)
    assert line.startswith("Interrupted; what was finished is kept")
    assert not (tmp_path / "run" / "results.json").exists()
